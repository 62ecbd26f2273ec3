"""Sizes that follow from sizes, however many steps one after the other."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from costmodel.readers.onnx import read_onnx
from costmodel.readers.onnx_sizes import ROUNDS

TEXT = """<ir_version: 8, opset_import: ["": 17]>
chain (float[1, 6, 4] x0) => (float[1, 6, 4] y)
<int64[1] one = {1}, int64[1] rest = {-1}, int64[1] front = {0}, int64 second = {1},
 float[4, 4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}>
{
STEPS
    y = Identity(xLAST)
}"""
# As converters write an einsum: one size is the larger of two, on which onnx's inference gives up,
# so that what comes behind is known only once what comes before is.
STEP = """
    s# = Shape(x#)
    a# = Gather(s#, second)
    b# = Unsqueeze(a#, front)
    c# = Max(b#, one)
    t# = Concat <axis = 0> (one, c#, rest)
    r# = Reshape(x#, t#)
    x@ = MatMul(r#, w)"""


@pytest.mark.parametrize("length", [1, 2, ROUNDS - 1, ROUNDS, ROUNDS + 1, 3 * ROUNDS])
def test_a_chain_of_sizes_is_followed_to_its_end(tmp_path: Path, length: int) -> None:
    steps = [STEP.replace("@", str(n + 1)).replace("#", str(n)) for n in range(length)]
    text = TEXT.replace("STEPS", "".join(steps)).replace("LAST", str(length))
    path = tmp_path / "chain.onnx"
    onnx.save(onnx.parser.parse_model(text), path)
    network = read_onnx(path)
    assert network.unread == {}
    assert sum(layer.op.macs for layer in network.layers) == length * 6 * 4 * 4

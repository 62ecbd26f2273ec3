"""No runtime that was not told to changes what numbers mean in the process that uses it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper


def tiny_model(path: Path) -> Path:
    weights = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="conv")
    graph = helper.make_graph(
        [node],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 6, 6))],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


CODE = """
import sys
from pathlib import Path
from costmodel.registry import load_runner

def check():
    assert float("1e-310") * 0.5 > 0.0, "denormal numbers are taken for zero"

path = Path(sys.argv[2])
runner = load_runner(sys.argv[1], {"threads": 1})
network = runner.lower(path, {})
check()
with runner.load_model(path, {}) as workload:
    workload.block(0.1)
check()
with runner.load_op(network.ops[0]) as workload:
    workload.block(0.1)
check()
"""


@pytest.mark.parametrize("name", ["openvino", "litert", "xla"])
def test_denormal_numbers_stay_numbers(name: str, tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "tiny.onnx")
    # A process each: what one runtime sets, the next would be blamed for.
    command = [sys.executable, "-c", CODE, name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

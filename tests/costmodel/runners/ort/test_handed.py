"""Weights handed to a session as they lie in memory take part as those inside a file do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from costmodel.runners.ort.bound import session_options
from costmodel.runners.ort.handed import LARGE_BYTES, session_of, weights_beside

CHANNELS = 160
WEIGHT = np.random.default_rng(0).standard_normal((CHANNELS, CHANNELS)).astype(np.float32)


def dense(weight: NDArray[Any] = WEIGHT, *, replaceable: bool = False) -> onnx.ModelProto:
    """Sums of a row of features by a weight, and the weight itself negated, which folds."""
    kind = helper.np_dtype_to_tensor_dtype(weight.dtype)
    rows = helper.make_tensor_value_info("x", kind, [1, weight.shape[0]])
    outputs = [
        helper.make_tensor_value_info("y", kind, [1, weight.shape[1]]),
        helper.make_tensor_value_info("z", kind, list(weight.shape)),
    ]
    inputs = [rows]
    if replaceable:
        inputs.append(helper.make_tensor_value_info("w", kind, list(weight.shape)))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), helper.make_node("Neg", ["w"], ["z"])]
    unread = numpy_helper.from_array(weight, "unread")
    weights = [numpy_helper.from_array(weight, "w"), unread]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def options() -> onnxruntime.SessionOptions:
    return session_options(1, optimise=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32, np.int64])
def test_results_are_those_of_the_file(dtype: type) -> None:
    weight: NDArray[Any] = (WEIGHT * 8).astype(dtype)
    assert weight.nbytes >= LARGE_BYTES
    model = dense(weight)
    before = model.SerializeToString(deterministic=True)
    row: NDArray[Any] = np.arange(CHANNELS, dtype=dtype)[None]
    handed = session_of(model, options()).run(None, {"x": row})
    inside = onnxruntime.InferenceSession(before, options()).run(None, {"x": row})
    for ours, theirs in zip(handed, inside, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert model.SerializeToString(deterministic=True) == before, "the model was changed"


@pytest.mark.parametrize("replaceable", [False, True])
def test_constants_are_folded_unless_a_user_may_replace_them(
    *, replaceable: bool, tmp_path: Path
) -> None:
    asked = options()
    asked.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    weights_beside(asked, "weights.bin")
    session_of(dense(replaceable=replaceable), asked)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert ("Neg" in kinds) == replaceable
    assert (tmp_path / "weights.bin").stat().st_size >= WEIGHT.nbytes


def test_a_small_weight_stays_where_a_reader_may_look_at_it() -> None:
    small = WEIGHT[:8, :8].copy()
    row = np.ones((1, 8), np.float32)
    y, _ = session_of(dense(small), options()).run(None, {"x": row})
    np.testing.assert_allclose(y, row @ small, rtol=1e-5)

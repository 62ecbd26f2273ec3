"""No runtime changes what numbers mean in the process that uses it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from costmodel.registry import load_runner


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


@pytest.mark.parametrize("name", ["ort", "openvino", "litert", "xla"])
def test_denormal_numbers_stay_numbers(name: str, tmp_path: Path) -> None:
    path = tiny_model(tmp_path / "tiny.onnx")
    least = np.float64(1e-310)
    runner: Any = load_runner(name, {"threads": 1})
    network = runner.lower(path, {})
    assert least * 0.5 > 0.0
    with runner.load_model(path, {}) as workload:
        workload.block(0.1)
    assert least * 0.5 > 0.0
    with runner.load_op(network.ops[0]) as workload:
        workload.block(0.1)
    assert least * 0.5 > 0.0

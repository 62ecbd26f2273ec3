"""The runner contract, held by every runner: one class each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from costmodel.runners.fake import FakeRunner, write_model
from costmodel.runners.ort.runner import OrtRunner
from costmodel.testing import UNKNOWN_OP, RunnerContract, example_ops


class TestFakeRunner(RunnerContract):
    @pytest.fixture
    def runner(self) -> FakeRunner:
        return FakeRunner(noise=0.1, misbehave=f"unsupported:{UNKNOWN_OP.kind}")

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "model.json", example_ops())


class TestFakeRunnerInRealTime(TestFakeRunner):
    @pytest.fixture
    def runner(self) -> FakeRunner:
        return FakeRunner(realtime=True, misbehave=f"unsupported:{UNKNOWN_OP.kind}")


class TestOrtRunner(RunnerContract):
    @pytest.fixture
    def runner(self) -> OrtRunner:
        return OrtRunner()

    @pytest.fixture
    def sizes(self) -> dict[str, int]:
        return {"side": 12}

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        weights = np.random.default_rng(0).normal(size=(2, 16, 16, 3, 3)).astype(np.float32)
        nodes = [
            helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["b", "c"], ["d"]),
            helper.make_node("GlobalAveragePool", ["d"], ["e"]),
            helper.make_node("Flatten", ["e"], ["f"]),
            helper.make_node("Softmax", ["f"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("x", 1, ["N", 16, "side", "side"])],
            [helper.make_tensor_value_info("y", 1, None)],
            [numpy_helper.from_array(w, f"w{i}") for i, w in enumerate(weights)],
        )
        opset = [helper.make_opsetid("", 17)]
        onnx.save(
            helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "model.onnx"
        )
        return tmp_path / "model.onnx"

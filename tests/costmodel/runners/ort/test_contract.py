"""The runner contract on every provider that the installed runtime has, and in every type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from costmodel.op import Op
from costmodel.runners.ort.convert import DTYPES
from costmodel.runners.ort.providers import PROVIDERS, Provider
from costmodel.runners.ort.runner import OrtRunner
from costmodel.testing import RunnerContract

HERE = [n for n, p in PROVIDERS.items() if p.name in onnxruntime.get_available_providers()]


def write_network(path: Path) -> Path:
    """A residual network with a pool, a joined branch and a classifier; two sizes are open."""
    rng = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) * 0.1, name)

    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "w0", "b0"], ["a"], **pads),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MaxPool", ["b"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w1", "b1"], ["c"], **pads),
        helper.make_node("Add", ["p", "c"], ["d"]),
        helper.make_node("Conv", ["d", "w2", "b2"], ["g"], group=16, **pads),
        helper.make_node("Concat", ["d", "g"], ["j"], axis=1),
        helper.make_node("GlobalAveragePool", ["j"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["h"], transB=1),
        helper.make_node("Softmax", ["h"], ["y"]),
    ]
    stored = [
        weight("w0", 16, 16, 3, 3), weight("b0", 16), weight("w1", 16, 16, 3, 3), weight("b1", 16),
        weight("w2", 16, 1, 3, 3), weight("b2", 16), weight("w3", 10, 32), weight("b3", 10),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", 1, ["N", 16, "side", "side"])],
        [helper.make_tensor_value_info("y", 1, None)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


class _Contract(RunnerContract):
    @pytest.fixture
    def sizes(self) -> dict[str, int]:
        return {"side": 12}

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return write_network(tmp_path / "model.onnx")


@pytest.fixture(
    params=[(provider, dtype) for provider in HERE for dtype in DTYPES],
    ids="-".join,
    scope="module",
)
def usable(request: pytest.FixtureRequest) -> OrtRunner:
    provider, dtype = request.param
    return OrtRunner(provider=provider, dtype=dtype)


class TestEveryProviderAndType(_Contract):
    @pytest.fixture
    def runner(self, usable: OrtRunner) -> OrtRunner:
        return usable

    def test_every_op_can_be_rebuilt(
        self, runner: OrtRunner, model: Path, sizes: dict[str, int]
    ) -> None:
        network = runner.lower(model, sizes)
        assert network.unread == {}
        for op in dict.fromkeys(network.ops):
            with runner.load_op(op) as workload:
                assert workload.block(0.0).latency_ms > 0


class TestAProviderThatCompilesGraphs(_Contract):
    """The CPU in the part of a provider of whose kernels nobody knows."""

    @pytest.fixture
    def runner(self, monkeypatch: pytest.MonkeyPatch) -> OrtRunner:
        compiling = Provider(name="CPUExecutionProvider", wheel="", whole_graph=True)
        monkeypatch.setitem(PROVIDERS, "cpu", compiling)
        return OrtRunner()

    @pytest.fixture
    def sizes(self) -> dict[str, int]:
        return {"side": 48}

    @pytest.fixture
    def some_ops(self, runner: OrtRunner, model: Path, sizes: dict[str, int]) -> list[Op]:
        """Kernels that last longer than a run's fixed cost, which alone is taken off here."""
        return [op for op in dict.fromkeys(runner.lower(model, sizes).ops) if op.macs > 1e6]

    def test_its_ops_are_those_of_the_graph_it_is_given(
        self, runner: OrtRunner, model: Path, sizes: dict[str, int]
    ) -> None:
        layers = runner.lower(model, sizes).layers[:-1]
        kinds = [layer.op.implementation for layer in layers]
        assert kinds.count("Conv") == 3
        assert "Gemm" in kinds
        assert not [name for name in kinds if ":" in name], "kernels of the CPU provider"
        assert all(layer.share != layer.share for layer in layers), "nobody saw its times"

    def test_its_kernels_are_never_copied(
        self, runner: OrtRunner, model: Path, sizes: dict[str, int]
    ) -> None:
        relu = next(op for op in runner.lower(model, sizes).ops if op.kind == "relu")
        with runner.load_op(relu) as workload:
            assert workload.block(0.0).runs == 1

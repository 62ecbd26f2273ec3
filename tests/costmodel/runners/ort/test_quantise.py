"""Quantised networks: what becomes of a float one, and integer kernels as Ops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.calibrate import CalibrationDataReader
from onnxruntime.quantization.quant_utils import QuantFormat, QuantType
from onnxruntime.quantization.quantize import quantize_static
from random_networks import Builder

from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.network import Network
from costmodel.onnx_model.inputs import bound_model
from costmodel.op import Op, decode_op, encode_op
from costmodel.runners.ort.convert import convert
from costmodel.runners.ort.runner import OrtRunner

RUNNER = OrtRunner(dtype="int8")


def residual(build: Builder, channels: int = 16) -> str:
    """A block of what most networks are made of."""
    first = build.op("Relu", build.conv("x", 8, channels))
    deep = build.op(
        "Clip",
        build.conv(first, channels, channels, groups=channels),
        build.constant(0.0, np.float32),
        build.constant(6.0, np.float32),
    )
    total = build.op("Relu", build.op("Add", build.conv(deep, channels, channels, 1), first))
    joined = build.op("Concat", total, first, axis=1)
    pooled = build.op("MaxPool", joined, kernel_shape=[2, 2], strides=[2, 2])
    flat = build.op("Flatten", build.op("GlobalAveragePool", pooled))
    return build.op("Gemm", flat, build.weight(2 * channels, 10), build.weight(10))


class _Data(CalibrationDataReader):
    def __init__(self, shape: Sequence[int]) -> None:
        values = np.random.default_rng(0).normal(size=tuple(shape)).astype(np.float32)
        self._batches = iter([{"x": values}])

    def get_next(self) -> object:
        return next(self._batches, None)


@pytest.mark.filterwarnings("ignore")
def test_the_runtimes_own_tool_gives_the_same_kernels(tmp_path: Path) -> None:
    build = Builder((1, 8, 12, 12))
    path = build.save(tmp_path / "net.onnx", residual(build))
    quantize_static(
        str(path),
        str(tmp_path / "tool.onnx"),
        _Data((1, 8, 12, 12)),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
    own = Counter(RUNNER.lower(path, {}).ops)
    theirs = Counter(RUNNER.lower(tmp_path / "tool.onnx", {}).ops)
    assert own == theirs
    assert Counter(OrtRunner().lower(tmp_path / "tool.onnx", {}).ops) == own


def test_a_quantised_network_computes_about_the_same(tmp_path: Path) -> None:
    """Scales are made up, so only that nothing is wired wrongly shows: signs and order."""
    build = Builder((1, 8, 6, 6))
    y = build.op("Sigmoid", build.conv("x", 8, 4))
    path = build.save(tmp_path / "net.onnx", build.op("GlobalAveragePool", y))
    model = bound_model(path, {})
    changed = convert(model, "int8", "net", symmetric=False)
    values = np.random.default_rng(1).normal(size=(1, 8, 6, 6)).astype(np.float32) / 20
    found, expected = (
        onnxruntime.InferenceSession(item.SerializeToString()).run(None, {"x": values})[0]
        for item in (changed, model)
    )
    np.testing.assert_allclose(expected, found, atol=0.05)


def network_of(build: Builder, tmp_path: Path, *outputs: str) -> Network:
    return RUNNER.lower(build.save(tmp_path / "net.onnx", *outputs), {})


def test_results_and_tensors_read_twice_keep_their_names(tmp_path: Path) -> None:
    build = Builder((1, 8, 6, 6))
    first = build.conv("x", 8, 8)
    second = build.op("Relu", first)
    network = network_of(build, tmp_path, first, second, build.conv(first, 8, 4))
    network.check()
    assert network.outputs[:2] == (first, second)
    assert network.unread == {}


def test_every_layer_has_exactly_one_kernel(tmp_path: Path) -> None:
    build = Builder((1, 8, 12, 12))
    y = residual(build)
    network = network_of(build, tmp_path, y)
    covered = Counter(name for layer in network.layers for name in layer.covers)
    assert covered == Counter(node.name for node in build.nodes)
    homes = {name: layer.op for layer in network.layers for name in layer.covers}
    for before, after in zip(build.nodes, build.nodes[1:], strict=False):
        if after.op_type in {"Clip", "Relu"}:  # applied by the range of what comes before
            assert homes[after.name] is homes[before.name]


def test_replaceable_weights_are_quantised_too(tmp_path: Path) -> None:
    build = Builder((1, 8, 6, 6))
    path = build.save(tmp_path / "net.onnx", build.conv("x", 8, 8))
    model = onnx.load(path)
    for item in model.graph.initializer:
        info = helper.make_tensor_value_info(item.name, item.data_type, item.dims)
        model.graph.input.append(info)
    onnx.save(model, path)
    kinds = Counter(op.implementation for op in RUNNER.lower(path, {}).ops)
    assert kinds["com.microsoft:QLinearConv"] == 1


def test_integers_and_sizes_are_left_alone(tmp_path: Path) -> None:
    build = Builder((1, 8, 6, 6))
    best = build.op("ArgMax", build.conv("x", 8, 8), axis=1)
    flat = build.op("Reshape", best, build.ints(1, 36))
    network = network_of(build, tmp_path, build.op("Cast", flat, to=TensorProto.FLOAT))
    assert {op.kind: op.dtype for op in network.ops}["reshape"] == "int64"


def test_signed_activations_have_no_zero_point(tmp_path: Path) -> None:
    build = Builder((1, 8, 6, 6))
    path = build.save(tmp_path / "net.onnx", build.conv("x", 8, 8))
    model = convert(bound_model(path, {}), "int8", "net", symmetric=True)
    zeros = [i for i in model.graph.initializer if i.name.endswith("zero_point")]
    assert {i.data_type for i in zeros} == {TensorProto.INT8, TensorProto.INT32}
    assert not any(numpy_helper.to_array(i).any() for i in zeros)


def test_a_network_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    infos = [helper.make_tensor_value_info(n, TensorProto.STRING, [2]) for n in ("x", "y")]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    path = tmp_path / "text.onnx"
    imports = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    for read in (RUNNER.lower, RUNNER.load_model):
        with pytest.raises(ModelFormatError, match="text: this network cannot be converted"):
            read(path, {})


def test_a_network_is_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from costmodel.runners.ort import runner as module

    calls = []

    def counted(*arguments: object, **named: object) -> object:
        calls.append(arguments)
        return convert(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "convert", counted)
    runner = OrtRunner(dtype="int8")
    build = Builder((1, 8, 6, 6))
    path = build.save(tmp_path / "net.onnx", build.conv("x", 8, 8))
    runner.lower(path, {})
    with runner.load_model(path, {}) as workload:
        workload.block(0.0)
    assert len(calls) == 1


# Integer kernels as Ops


@pytest.fixture(scope="module")
def ops(tmp_path_factory: pytest.TempPathFactory) -> tuple[Op, ...]:
    build = Builder((1, 8, 12, 12))
    path = build.save(tmp_path_factory.mktemp("int8") / "net.onnx", residual(build))
    return RUNNER.lower(path, {}).ops


def test_integer_kernels_are_the_work_of_float_ones(ops: tuple[Op, ...]) -> None:
    conv = next(op for op in ops if op.kind == "conv")
    assert conv.implementation == "com.microsoft:QLinearConv"
    assert (conv.layout, conv.dtype) == ("nhwc", "uint8")
    assert conv.weights == ((16, 8, 3, 3), (16,))
    assert (conv.in_channels, conv.out_channels, conv.spatial_in) == (8, 16, (12, 12))
    assert conv.macs == 12 * 12 * 16 * 8 * 9
    assert dict(conv.attributes)["weight_dtypes"] == "int8 int32"
    depthwise = [op for op in ops if op.is_depthwise]
    assert [op.groups for op in depthwise] == [16]
    gemm = next(op for op in ops if op.kind == "gemm")
    assert (gemm.implementation, gemm.macs) == ("com.microsoft:QGemm", 320)


def test_scales_never_enter_an_op(tmp_path: Path) -> None:
    """Two networks that differ in nothing but values are the same work."""
    found = []
    for seed in (0, 1):
        build = Builder((1, 8, 12, 12))
        build.values = np.random.default_rng(seed)
        found.append(RUNNER.lower(build.save(tmp_path / f"{seed}.onnx", residual(build)), {}).ops)
    assert found[0] == found[1]


def test_a_concat_that_need_not_rescale_is_other_work(tmp_path: Path) -> None:
    build = Builder((1, 8, 6, 6))
    scale, zero = build.constant(0.1, np.float32), build.constant(0, np.uint8)
    other = build.constant(0.2, np.float32)

    def pair(name: str, by: str) -> str:
        return build.op("DequantizeLinear", build.op("QuantizeLinear", name, by, zero), by, zero)

    parts = [pair("x", scale), pair("x", other)]
    y = pair(build.op("Concat", *parts, axis=1), scale)
    network = network_of(build, tmp_path, y)
    op = next(op for op in network.ops if op.kind == "concat")
    assert op.operands in {"szd==dsz", "szdszd=="}
    with RUNNER.load_op(op) as workload:
        assert workload.block(0.0).latency_ms > 0


def test_zero_points_and_scales_are_rebuilt_in_their_types(ops: tuple[Op, ...]) -> None:
    for op in dict.fromkeys(ops):
        again = decode_op(encode_op(op))
        with RUNNER.load_op(again) as workload:
            assert workload.block(0.0).latency_ms > 0


@pytest.mark.parametrize("operands", ["zdszwSZszw", "dszw", "szdszwSZsz", "dszwSZszz"])
def test_operands_in_no_known_order_are_refused(ops: tuple[Op, ...], operands: str) -> None:
    conv = next(op for op in ops if op.kind == "conv")
    with pytest.raises(UnsupportedOpError, match=r"\w"):
        RUNNER.load_op(replace(conv, operands=operands))


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    channels=st.integers(1, 40),
    filters=st.integers(1, 40),
    side=st.integers(3, 12),
    stride=st.sampled_from([1, 2]),
    biases=st.sampled_from([0, 1]),
)
def test_any_convolution_survives_json_and_is_rebuilt(
    tmp_path_factory: pytest.TempPathFactory,
    channels: int,
    filters: int,
    side: int,
    stride: int,
    biases: int,
) -> None:
    build = Builder((1, channels, side, side))
    y = build.conv("x", channels, filters, strides=[stride] * 2, bias=bool(biases))
    path = build.save(tmp_path_factory.mktemp("nets") / "net.onnx", y)
    op = next(op for op in RUNNER.lower(path, {}).ops if op.kind == "conv")
    assert decode_op(encode_op(op)) == op
    assert op.outputs == ((1, -(-side // stride), -(-side // stride), filters),)
    with RUNNER.load_op(op) as workload:
        workload.block(0.0)
        assert workload.output_shapes() == op.outputs


# float16


def test_half_precision_shows_its_conversions_on_the_cpu(tmp_path: Path) -> None:
    build = Builder((1, 8, 6, 6))
    path = build.save(tmp_path / "net.onnx", build.op("Relu", build.conv("x", 8, 16)))
    network = OrtRunner(dtype="float16").lower(path, {})
    kinds = [(op.kind, op.dtype) for op in network.ops]
    assert ("cast", "float16") in kinds
    assert ("conv", "float32") in kinds
    assert network.unread == {}

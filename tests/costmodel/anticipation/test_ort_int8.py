"""What the rules say of quantised networks equals what the runtime executes of them."""

from collections import Counter

import numpy as np
import onnx
import pytest
from architectures import network_file
from random_networks import TO_NHWC, Builder, QuantisableNet
from rule_versions import follows, is_followed

from costmodel.anticipation import anticipate, ort_int8
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.readers.onnx import load_onnx, read_onnx
from costmodel.runners.ort import quantise
from costmodel.runners.ort.runner import OrtRunner
from costmodel.sampling.thin import thin

pytestmark = follows("onnxruntime")

RUNNER = OrtRunner(dtype="int8")
EXACT = [
    "light_inception_v1", "light_inception_v2", "light_resnet50", "light_squeezenet", "mnist",
    "resnet20", "yunet",
]  # fmt: skip


def differences(path):
    """Ops that only one of the two roads gives: executed ones, then anticipated ones."""
    lowered = Counter(RUNNER.lower(path, {}).ops)
    network = anticipate(read_onnx(path), RUNNER.device)
    network.check()
    anticipated = Counter(network.ops)
    return list((lowered - anticipated).elements()), list((anticipated - lowered).elements())


@pytest.mark.parametrize("name", EXACT)
def test_real_networks_are_anticipated_exactly(name):
    assert differences(network_file(name)) == ([], [])


@pytest.mark.parametrize("name", ["resnet20", "light_squeezenet", "yunet"])
def test_thinned_networks_are_anticipated_exactly(tmp_path, name):
    model = thin(load_onnx(network_file(name)), keep=(0.3, 1.0), seed=1)
    path = tmp_path / "thin.onnx"
    onnx.save(model, path)
    assert differences(path) == ([], [])


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_random_networks_are_anticipated_exactly(tmp_path, start):
    """Of 1,000 drawn, all agreed."""
    for seed in range(start, start + 20):
        path = QuantisableNet(seed).save(tmp_path / f"{seed}.onnx")
        assert differences(path) == ([], []), f"seed {seed}"


@pytest.mark.parametrize("channels", [1, 3, 4, 7, 16, 33, 64])
def test_every_channel_count_is_anticipated(tmp_path, channels):
    build = Builder((1, channels, 9, 9))
    first = build.op("Relu", build.conv("x", channels, channels))
    deep = build.conv(first, channels, channels, groups=channels)
    total = build.op("Relu", build.op("Add", build.conv(deep, channels, channels, 1), first))
    paired = build.op("Concat", total, first, axis=1)
    pooled = build.op("MaxPool", paired, kernel_shape=[3, 3])
    flat = build.op("Flatten", build.op("GlobalAveragePool", pooled))
    head = build.op("Gemm", flat, build.weight(2 * channels, 10), build.weight(10))
    path = build.save(tmp_path / "chain.onnx", build.op("Softmax", head))
    assert differences(path) == ([], [])


UNARY = (
    "Abs", "Elu", "Erf", "Exp", "Floor", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish",
    "Neg", "Reciprocal", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh",
)  # fmt: skip


@pytest.mark.parametrize("kind", UNARY)
def test_activations_between_convolutions(tmp_path, kind):
    build = Builder((1, 16, 9, 9), opset=18)
    y = build.conv(build.op(kind, build.conv("x", 16, 24)), 24, 16)
    assert differences(build.save(tmp_path / "net.onnx", y)) == ([], [])


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_only_copying_enlarges_integers(tmp_path, mode):
    build = Builder((1, 8, 6, 6))
    y = build.conv("x", 8, 8)
    y = build.op("Resize", y, "", build.floats(1, 1, 2, 2), mode=mode)
    path = build.save(tmp_path / "net.onnx", build.conv(y, 8, 8))
    assert differences(path) == ([], [])
    found = [op.dtype for op in RUNNER.lower(path, {}).ops if op.kind == "resize"]
    assert found == ["uint8" if mode == "nearest" else "float32"]


def test_transposed_convolutions_stay_float(tmp_path):
    build = Builder((1, 8, 6, 6))
    y = build.op("ConvTranspose", "x", build.weight(8, 4, 2, 2), strides=[2, 2])
    path = build.save(tmp_path / "net.onnx", y)
    lowered = [op for op in RUNNER.lower(path, {}).ops if op.kind == "conv_transpose"]
    assert [op.dtype for op in lowered] == ["float32"]


def test_transposes_that_the_network_returns_cancel(tmp_path):
    build = Builder((1, 8, 9, 9))
    y = build.op("Tanh", build.conv("x", 8, 12))
    path = build.save(tmp_path / "net.onnx", build.op("Transpose", y, perm=TO_NHWC))
    assert differences(path) == ([], [])
    assert sum(op.kind == "transpose" for op in RUNNER.lower(path, {}).ops) == 1


def test_a_transpose_left_before_floats_lies_between_conversions(tmp_path):
    build = Builder((1, 8, 9, 9))
    y = build.op("Tanh", build.conv("x", 8, 12))
    path = build.save(tmp_path / "net.onnx", y, build.op("Transpose", y, perm=TO_NHWC))
    assert differences(path) == ([], [])
    kinds = [op.kind for op in RUNNER.lower(path, {}).ops]
    assert kinds[3:7] == ["dequantize_linear", "transpose", "quantize_linear", "dequantize_linear"]


def test_a_conversion_stays_behind_an_activation_that_it_applies(tmp_path):
    build = Builder((1, 4, 9, 9))  # no processor has blocks of so few channels
    y = build.op("MaxPool", "x", kernel_shape=[3, 3])
    limits = (build.constant(limit, np.float32) for limit in (0, 6))
    y = build.op("GlobalAveragePool", build.op("Clip", y, *limits))
    path = build.save(tmp_path / "net.onnx", y)
    assert differences(path) == ([], [])
    assert [op.kind for op in RUNNER.lower(path, {}).ops][:2] == ["max_pool", "quantize_linear"]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("returned", [False, True])
def test_conversions_on_the_way_to_a_transpose(tmp_path, returned, several):
    """Where it cannot cancel in the end, channels come first again before a second reader."""
    build = Builder((1, 8, 9, 9))
    y = build.conv("x", 8, 12)
    relu = build.op("Relu", y)
    build.op("GlobalMaxPool", y)
    if several:
        build.op("GlobalMaxPool", relu)
    z = build.op("Tanh", relu)
    outputs = [build.op("Transpose", z, perm=TO_NHWC), *([z] if returned else [])]
    assert differences(build.save(tmp_path / "net.onnx", *outputs)) == ([], [])


@pytest.mark.parametrize("other", ["Exp", "Sigmoid"])
@pytest.mark.parametrize("of_input", [False, True])
def test_a_conversion_before_a_pool_that_shares_its_operand(tmp_path, of_input, other):
    build = Builder((1, 8, 9, 9))
    y = "x" if of_input else build.op("Exp", "x")
    build.op(other, y)
    y = build.op("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4)
    path = build.save(tmp_path / "net.onnx", build.op("Sigmoid", y))
    assert differences(path) == ([], [])
    pooled = next(op for op in RUNNER.lower(path, {}).ops if op.kind == "max_pool")
    assert pooled.dtype == ("uint8" if of_input or other == "Sigmoid" else "float32")


@pytest.mark.parametrize("of_input", [False, True])
@pytest.mark.parametrize("kind", ["Clip", "Relu"])
def test_activations_that_a_conversion_applies(tmp_path, kind, of_input):
    build = Builder((1, 8, 9, 9))
    y = "x" if of_input else build.op("Exp", "x")
    limits = (0, 6) if kind == "Clip" else ()
    y = build.op(kind, y, *(build.constant(limit, np.float32) for limit in limits))
    path = build.save(tmp_path / "net.onnx", build.conv(y, 8, 12))
    assert differences(path) == ([], [])


# Where the rules stop


def shuffle(build):
    """A Transpose is taken past the Reshapes of a channel shuffle."""
    y = build.op("Reshape", build.conv("x", 8, 16), build.ints(1, 2, 8, 9, 9))
    y = build.op("Transpose", y, perm=[0, 2, 1, 3, 4])
    return build.conv(build.op("Reshape", y, build.ints(1, 16, 9, 9)), 16, 16)


def transposed_filter(build):
    """A transposed convolution's filter is converted to float in every run."""
    y = build.op("ConvTranspose", build.conv("x", 8, 8), build.weight(8, 4, 2, 2), strides=[2, 2])
    return build.conv(y, 4, 4)


@pytest.mark.parametrize("case", [shuffle, transposed_filter], ids=lambda c: c.__name__)
@pytest.mark.xfail(
    strict=is_followed("onnxruntime"), reason="known exceptions: rewriting that the rules leave out"
)
def test_known_exceptions(tmp_path, case):
    build = Builder((1, 8, 9, 9))
    assert differences(build.save(tmp_path / "case.onnx", case(build))) == ([], [])


# The rules and the runner beside each other


def test_rules_and_runner_quantise_the_same_operators():
    assert ort_int8.QUANTISED == quantise.QUANTISED
    assert ort_int8.DIRECT == quantise.DIRECT


@pytest.mark.parametrize("changed", [{"dtype": "float16"}, {"provider": "CUDAExecutionProvider"}])
def test_other_types_and_providers_have_no_rules(tmp_path, changed):
    build = Builder((1, 8, 6, 6))
    written = read_onnx(build.save(tmp_path / "net.onnx", build.conv("x", 8, 8)))
    device = Device(name="board", runtime="onnxruntime", **changed)
    with pytest.raises(InvalidInputError, match=f"no rules for .*{next(iter(changed.values()))}"):
        anticipate(written, device)


def test_each_written_layer_is_covered_by_what_executes_it():
    written = read_onnx(network_file("resnet20"))
    network = anticipate(written, RUNNER.device)
    covered = Counter(name for layer in network.layers for name in layer.covers)
    assert covered == Counter(layer.name for layer in written.layers)

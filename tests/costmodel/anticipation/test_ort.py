"""What is anticipated by rule equals what the installed runtime really executes."""

from collections import Counter
from itertools import pairwise

import onnx
import pytest
from architectures import NAMES, network_file
from random_networks import FROM_NHWC, TO_NHWC, Builder, RandomNet
from rule_versions import follows
from small_models import Draft

from costmodel.anticipation import anticipate
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.readers.onnx import load_onnx, read_onnx
from costmodel.runners.ort.runner import OrtRunner
from costmodel.sampling.thin import thin

pytestmark = follows("onnxruntime")

RUNNER = OrtRunner()


def differences(path):
    """Ops that only one of the two roads gives: executed ones, then anticipated ones."""
    lowered = Counter(RUNNER.lower(path, {}).ops)
    written = read_onnx(path)
    network = anticipate(written, RUNNER.device)
    network.check()
    anticipated = Counter(network.ops)
    return list((lowered - anticipated).elements()), list((anticipated - lowered).elements())


# Real networks


@pytest.mark.parametrize("name", NAMES)
def test_real_networks_are_anticipated_exactly(name):
    assert differences(network_file(name)) == ([], [])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "name", ["resnet20", "light_squeezenet", "yunet", "light_shufflenet", "mnist"]
)
def test_thinned_networks_are_anticipated_exactly(tmp_path, name, seed):
    model = thin(load_onnx(network_file(name)), keep=(0.3, 1.0), seed=seed)
    path = tmp_path / "thin.onnx"
    onnx.save(model, path)
    assert differences(path) == ([], [])


def test_each_written_layer_is_covered_by_what_executes_it():
    written = read_onnx(network_file("light_resnet50"))
    network = anticipate(written, RUNNER.device)
    covered = Counter(name for layer in network.layers for name in layer.covers)
    assert covered == Counter(layer.name for layer in written.layers)


# Random networks


@pytest.mark.parametrize("start", range(0, 150, 25))
def test_random_networks_are_anticipated_exactly(tmp_path, start):
    """Of 600 drawn, all agreed; of 4,000 others once, 4 differed in one corner or another: equal
    kernels that are dead or returned, which the runtime merges in an order of its own.
    """
    for seed in range(start, start + 25):
        path = RandomNet(seed).save(tmp_path / f"{seed}.onnx")
        assert differences(path) == ([], []), f"seed {seed}"


@pytest.mark.parametrize("channels", range(1, 71, 3))
def test_every_channel_count_takes_its_path(tmp_path, channels):
    """A chain through one width: plain, depthwise and grouped, with a residual sum."""
    build = Builder((1, channels, 9, 9))
    first = build.op("Relu", build.conv("x", channels, channels))
    deep = build.conv(first, channels, channels, groups=channels)
    total = build.op("Relu", build.op("Add", build.conv(deep, channels, channels, 1), first))
    paired = build.op("Concat", total, first, axis=1)
    grouped = build.conv(paired, 2 * channels, 2 * channels, groups=2)
    assert differences(build.save(tmp_path / "chain.onnx", grouped)) == ([], [])


@pytest.mark.parametrize("axes", [1, 3])
def test_other_numbers_of_axes_stay_plain(tmp_path, axes):
    build = Builder((1, 32, *(8,) * axes))
    y = build.op("Conv", "x", build.weight(32, 32, *(3,) * axes), pads=[1] * (2 * axes))
    y = build.op("MaxPool", build.op("Relu", build.norm(y, 32)), kernel_shape=[2] * axes)
    path = build.save(tmp_path / "axes.onnx", y)
    assert differences(path) == ([], [])


def transposed(build, *orders):
    y = build.op("Exp", "x")
    for order in orders:
        y = build.op("Transpose", y, perm=order)
    return y


ROWS = {
    "undone": lambda build: build.op("Exp", transposed(build, TO_NHWC, FROM_NHWC)),
    "undone and returned": lambda build: transposed(build, TO_NHWC, FROM_NHWC),
    "one of two": lambda build: build.op("Exp", transposed(build, TO_NHWC, TO_NHWC)),
    "past a Reshape of no effect": lambda build: build.op(
        "Exp", build.op("Reshape", transposed(build, TO_NHWC), build.ints(1, 8, 32, 8))
    ),
    "of an input": lambda build: build.op(
        "Transpose", build.op("Transpose", "x", perm=TO_NHWC), perm=FROM_NHWC
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_transposes_in_a_row_are_one_or_none(tmp_path, case):
    build = Builder((1, 8, 8, 32))
    assert differences(build.save(tmp_path / "row.onnx", ROWS[case](build))) == ([], [])


def test_the_first_of_two_transposes_stays_for_others(tmp_path):
    build = Builder((1, 8, 8, 32))
    first = transposed(build, TO_NHWC)
    second = build.op("Exp", build.op("Transpose", first, perm=FROM_NHWC))
    assert differences(build.save(tmp_path / "row.onnx", second, build.op("Neg", first))) == (
        [],
        [],
    )


def test_two_channel_shuffles_of_two_pairs_undo_each_other(tmp_path):
    build = Builder((1, 4, 6, 6))
    y = build.op("Exp", "x")
    for _ in range(2):
        y = build.op("Reshape", y, build.ints(1, 2, 2, 6, 6))
        y = build.op("Transpose", y, perm=[0, 2, 1, 3, 4])
        y = build.op("Reshape", y, build.ints(1, 4, 6, 6))
    assert differences(build.save(tmp_path / "shuffles.onnx", y)) == ([], [])


# Where Transposes and sums end up around other kernels


def nhwc_sum(build):
    """Two Transposes into one Add become one after it."""
    y = build.op("Transpose", "x", perm=FROM_NHWC)
    return build.conv(build.op("Add", y, y), 32, 32)


def nhwc_island(build):
    """A pair of Transposes around an operator between convolutions goes."""
    y = build.conv(build.op("Transpose", "x", perm=FROM_NHWC), 32, 32)
    y = build.op("Sigmoid", build.op("Transpose", y, perm=TO_NHWC))
    return build.conv(build.op("Transpose", y, perm=FROM_NHWC), 32, 32)


def nhwc_mean(build):
    """A Transpose moves behind a mean, where it is smaller."""
    y = build.conv(build.op("Transpose", "x", perm=FROM_NHWC), 32, 32)
    return build.op("ReduceMean", build.op("Transpose", y, perm=TO_NHWC), axes=[1, 2])


def gemm_transpose(build):
    """A Transpose of two axes becomes a flag of the Gemm that reads it."""
    y = build.op("Reshape", "x", build.ints(32, -1))
    return build.op("Gemm", build.op("Transpose", y, perm=[1, 0]), build.weight(32, 4))


def gemm_sum(build):
    """A Sum (not Add) of a constant becomes the bias of a Gemm that has none."""
    y = build.op("Gemm", build.op("Flatten", "x"), build.weight(32 * 64, 4))
    return build.op("Sum", y, build.weight(4))


@pytest.mark.parametrize(
    "case", [nhwc_sum, nhwc_island, nhwc_mean, gemm_transpose, gemm_sum], ids=lambda c: c.__name__
)
def test_what_stands_around_a_kernel_is_moved_or_joined(tmp_path, case):
    build = Builder((1, 8, 8, 32))
    assert differences(build.save(tmp_path / "case.onnx", case(build))) == ([], [])


# Rules for devices that are not this one


def kernels(widths, isa, tmp_path):
    build, y = Builder((1, widths[0], 8, 8)), "x"
    for before, after in pairwise(widths):
        y = build.conv(y, before, after)
    written = read_onnx(build.save(tmp_path / "chain.onnx", y))
    network = anticipate(written, Device(name="board", runtime="onnxruntime", isa=isa))
    names = {"reorder_input": "in", "reorder_output": "out", "session": "."}
    found = [
        names.get(op.kind, "blocked" if "nchwc" in op.implementation else "plain")
        for op in network.ops
    ]
    return " ".join(found), network


@pytest.mark.parametrize(
    ("widths", "isa", "expected"),
    [
        # Seen on an AVX2 machine, block 8.
        ((64, 64), "avx2", "in blocked out ."),
        ((62, 64), "avx2", "plain ."),
        ((3, 60), "avx2", "blocked out ."),
        ((64, 62, 64), "avx2", "in blocked out plain ."),
        ((64, 62, 64, 64), "avx2", "in blocked out plain in blocked out ."),
        ((64, 60, 64), "avx2", "in blocked blocked out ."),
        # Between the blocks: 12 channels fill one block of 8 but not of 16.
        ((12, 16), "avx2", "in blocked out ."),
        ((12, 16), "avx512", "blocked out ."),
        # No blocked kernels at all.
        ((64, 64), "neon", "plain ."),
    ],
)
def test_paths_follow_the_instruction_set(tmp_path, widths, isa, expected):
    assert kernels(widths, isa, tmp_path)[0] == expected


def test_blocked_sizes_are_padded_to_the_block(tmp_path):
    _, network = kernels((20, 12), "avx2", tmp_path)
    enter, conv, leave, _ = network.ops
    assert enter.outputs == ((1, 24, 8, 8),)
    assert conv.weights == ((16, 24, 3, 3), (16,))
    assert (conv.layout, conv.outputs) == ("nchw8c", ((1, 16, 8, 8),))
    assert leave.attributes == (("channels", 12), ("channels_last", 0))
    assert leave.outputs == ((1, 12, 8, 8),)


def test_unknown_runtime_is_refused_with_the_known_ones(tmp_path):
    build = Builder((1, 4))
    written = read_onnx(build.save(tmp_path / "m.onnx", build.op("Relu", "x")))
    with pytest.raises(InvalidInputError, match=r"'tflite' executes.*onnxruntime"):
        anticipate(written, Device(name="board", runtime="tflite"))


def gated(net, source, *, alpha=1 / 6, swapped=False):
    """A map times its own hard sigmoid."""
    gate = net.node("HardSigmoid", source, alpha=alpha, beta=0.5)
    return net.node("Mul", *([gate, source] if swapped else [source, gate]))


@pytest.mark.parametrize(
    "case", ["plain", "swapped", "other line", "sum", "relu", "twice", "third reader", "returned"]
)
def test_a_hard_swish_joins_its_convolution_where_nothing_else_reads_it(tmp_path, case):
    net = Draft(1, 8, 9, 9)
    x = net.conv("x", 8, 20)
    if case == "sum":
        x = net.node("Add", x, net.conv("x", 8, 20))
    elif case == "relu":
        x = net.node("Relu", x)
    y = gated(net, x, alpha=0.2 if case == "other line" else 1 / 6, swapped=case == "swapped")
    if case == "twice":
        y = gated(net, y)
    outputs = [y if case == "returned" else net.conv(y, 20, 16)]
    outputs += [net.node("Tanh", x)] if case == "third reader" else []
    path = tmp_path / "swish.onnx"
    onnx.save(net.done(*outputs), path)
    assert differences(path) == ([], [])

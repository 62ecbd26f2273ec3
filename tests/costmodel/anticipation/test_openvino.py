"""What is anticipated for OpenVINO by rule equals what the installed plug-in really executes."""

from collections import Counter

import onnx
import pytest
from architectures import network_file
from hypothesis import given, settings
from hypothesis import strategies as st
from openvino_agreement import WRITTEN, agreement_elsewhere, compared
from openvino_networks import Builder
from rule_versions import follows, is_followed

pytest.importorskip("openvino", reason="needs the openvino extra")

from costmodel.anticipation import anticipate
from costmodel.anticipation.openvino_isa import PLUGIN_FACTS
from costmodel.anticipation.openvino_program import lines_of, with_lines
from costmodel.device import PROCESSOR_ISA, Device
from costmodel.errors import InvalidInputError
from costmodel.op import Op
from costmodel.readers.onnx import load_onnx, read_onnx
from costmodel.runners.openvino.runner import OpenVinoRunner
from costmodel.runners.ort.device import own_instruction_set
from costmodel.sampling.thin import thin

RUNNER = OpenVinoRunner()
#: Every test but one runs on the instruction set that the runtime uses in this process.
ISA = PLUGIN_FACTS.get(RUNNER.device.isa)
pytestmark = [
    pytest.mark.skipif(
        ISA is None, reason="the rules know AVX2 and AVX-512 only, and say so on other processors"
    ),
    follows("openvino"),
]
#: Real models that lower in under a second each; the heads of two detectors are not modelled.
QUICK = (
    "light_densenet121", "light_inception_v1", "light_shufflenet", "light_squeezenet", "mnist",
    "resnet20",
)  # fmt: skip
HEADS = ("ultraface", "yunet")


def differences(path):
    """Ops that only the runtime has, and Ops that only the rules have."""
    return compared(RUNNER, path)


@pytest.mark.parametrize("name", QUICK)
def test_real_networks_are_anticipated_exactly(name):
    assert differences(network_file(name)) == ([], [])


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.xfail(
    strict=is_followed("openvino"), reason="known exceptions: boxes and resizing are not modelled"
)
def test_heads_of_detectors_are_anticipated_exactly(name):
    assert differences(network_file(name)) == ([], [])


@pytest.mark.parametrize("name", ["resnet20", "light_squeezenet"])
def test_thinned_networks_are_anticipated_exactly(tmp_path, name):
    model = thin(load_onnx(network_file(name)), keep=(0.3, 1.0), seed=1)
    path = tmp_path / "thin.onnx"
    onnx.save(model, path)
    assert differences(path) == ([], [])


def test_each_written_layer_is_covered_by_what_executes_it():
    written = read_onnx(network_file("resnet20"))
    network = anticipate(written, RUNNER.device)
    covered = Counter(name for layer in network.layers for name in layer.covers)
    assert covered == Counter(layer.name for layer in written.layers)


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32))
def test_random_networks_are_anticipated_exactly(tmp_path_factory, written, seed):
    path = written(seed, tmp_path_factory.mktemp("nets") / "net.onnx")
    assert differences(path) == ([], [])


@pytest.mark.parametrize("isa", PLUGIN_FACTS)
def test_every_instruction_set_is_anticipated_here(isa):
    """In a process of its own: a cap on the runtime is read once."""
    found = agreement_elsewhere(isa, seeds=range(10))
    if found is None:
        pytest.skip(f"this processor has no {isa}, and there is no emulator of it")
    assert found == {"isa": isa, "networks": 20, "disagree": []}


def test_a_capped_runtime_is_never_called_by_the_processors_name():
    device = RUNNER.device
    capped = dict(device.options).get("ONEDNN_MAX_CPU_ISA")
    if capped is None:
        assert PROCESSOR_ISA not in dict(device.options)
        assert device.isa == own_instruction_set()
    else:
        assert dict(device.options).get(PROCESSOR_ISA, device.isa) == own_instruction_set()


@pytest.mark.parametrize("inside", [1, 15, 16, 17, 32])
def test_few_channels_a_group_run_in_the_older_kernel(tmp_path, inside):
    build = Builder((1, 4 * inside, 9, 9))
    y = build.conv("x", 4 * inside, 8 * inside, groups=4)
    path = build.save(tmp_path / "groups.onnx", y)
    assert differences(path) == ([], [])
    kernels = [op.implementation for op in RUNNER.lower(path, {}).ops if op.kind == "conv"]
    assert ISA is not None
    older = inside <= ISA.few_channels
    assert kernels == [f"Convolution:{'jit' if older else 'brgconv'}_{ISA.vector}_f32"]


def strided_behind_input(build):
    return build.conv(build.op("Relu", "x"), 32, 16, 1, stride=2)


def strided_behind_pool(build):
    y = build.op("MaxPool", build.conv("x", 32, 32), kernel_shape=[2, 2])
    return build.conv(build.op("Relu", y), 32, 16, 1, stride=2)


def strided_behind_sum(build):
    """As between the stages of a residual network: one operand of the sum is wanted whole."""
    y = build.op("Relu", build.conv("x", 32, 32))
    total = build.op("Relu", build.op("Add", build.conv(build.conv(y, 32, 8, 1), 8, 32, 1), y))
    first, second = (build.conv(total, 32, 64, 1, stride=2) for _ in range(2))
    return build.op("Concat", first, second, axis=1)


def strided_for_one_reader(build):
    y = build.op("Relu", build.conv("x", 32, 32))
    return build.op(
        "Concat", build.conv(y, 32, 8, 1, stride=2), build.conv(y, 32, 8, 3, stride=2), axis=1
    )


def strided_behind_groups(build):
    """The stride passes the bias, which thereby becomes a kernel of its own."""
    y = build.op("Relu", build.conv("x", 32, 32, groups=4))
    return build.conv(y, 32, 16, 1, stride=2)


STRIDED = [
    strided_behind_groups,
    strided_behind_input,
    strided_behind_pool,
    strided_behind_sum,
    strided_for_one_reader,
]


@pytest.mark.parametrize("case", STRIDED, ids=lambda case: case.__name__)
def test_strides_of_single_pixels_wander_up(tmp_path, case):
    build = Builder((1, 32, 8, 8))
    path = build.save(tmp_path / "strides.onnx", case(build))
    assert differences(path) == ([], [])


def test_kernels_whose_stride_wandered_can_be_timed(tmp_path):
    build = Builder((1, 32, 8, 8))
    path = build.save(tmp_path / "strides.onnx", strided_behind_sum(build))
    ops = dict.fromkeys(RUNNER.lower(path, {}).ops)
    assert {op.stride for op in ops if op.kind == "conv"} == {(1, 1), (2, 2)}
    for op in ops:
        RUNNER.load_op(op).close()


def resized(build):
    return build.op("DepthToSpace", build.conv("x", 32, 32), blocksize=2)


def transposed(build):
    y = build.op("ConvTranspose", "x", build.weight(32, 8, 2, 2), strides=[2, 2])
    return build.op("Relu", y)


def one_channel(build):
    """A single channel lies the same way in every layout."""
    y = build.op("Relu", build.conv("x", 32, 1))
    return build.op("GlobalAveragePool", build.op("Relu", build.norm(y, 1)))


def test_a_transposition_behind_channels_last_memory_is_free(tmp_path):
    build = Builder((1, 32, 8, 8))
    y = build.op("Transpose", build.op("Relu", build.conv("x", 32, 32)), perm=[0, 2, 3, 1])
    assert differences(build.save(tmp_path / "last.onnx", y)) == ([], [])


@pytest.mark.parametrize("case", [resized, transposed, one_channel], ids=lambda case: case.__name__)
@pytest.mark.xfail(
    strict=is_followed("openvino"), reason="known exceptions: kernels that the rules leave unnamed"
)
def test_known_exceptions(tmp_path, case):
    build = Builder((1, 32, 8, 8))
    assert differences(build.save(tmp_path / "case.onnx", case(build))) == ([], [])


@pytest.mark.parametrize("change", [{"isa": "sse"}, {"dtype": "int8"}])
def test_other_devices_have_no_rules(tmp_path, change):
    build = Builder((1, 32, 8, 8))
    written = read_onnx(build.save(tmp_path / "net.onnx", build.conv("x", 32, 32)))
    fields = {"name": "cpu", "runtime": "openvino", "isa": "avx512"} | change
    with pytest.raises(InvalidInputError, match="avx512 and avx2 only"):
        anticipate(written, Device(**fields))


def test_programs_keep_their_meaning():
    op = Op(kind="add", inputs=((1, 8), (1, 8)), outputs=((1, 8),))
    assert lines_of(op) == [("Add", ("d0", "d1"))]
    swapped = with_lines(op, [("Multiply", ("d1", "d0")), ("Relu", ("v0",))])
    assert dict(swapped.attributes) == {"program": "Multiply(d0,d1);Relu(v0)"}
    assert lines_of(swapped) == [("Multiply", ("d0", "d1")), ("Relu", ("v0",))]

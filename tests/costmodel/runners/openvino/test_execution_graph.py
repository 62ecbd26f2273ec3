"""What OpenVINO executes, read from its execution graph, and rebuilt from that alone."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("openvino", reason="needs the openvino extra")

from costmodel.errors import UnsupportedOpError
from costmodel.op import decode_op, encode_op
from costmodel.readers.onnx import read_onnx
from costmodel.runners.openvino.describe import NotDescribed, _stride_between
from costmodel.runners.openvino.executed import layout_name
from costmodel.runners.openvino.runner import OpenVinoRunner
from costmodel.runners.openvino.workload import InferWorkload, Timed

RUNNER = OpenVinoRunner()
#: Models whose every kernel can be told and timed.
WHOLE = (
    "bn_left_over", "branches", "chain", "classifier", "depthwise",
    "computed_weights",
    "odd_channels", "pools", "rank_3_and_5", "residual", "shuffle", "slices", "transposed_conv",
)  # fmt: skip
#: Models with a kernel that is no Op, and what is said of it.
UNREAD = {"elementwise": "Greater", "qdq": "MaxPool", "transformer": "ScaledDotProductAttention"}


@pytest.mark.parametrize("name", WHOLE)
def test_every_kernel_is_told_and_timed(model_file: Callable[[str], Path], name: str) -> None:
    network = RUNNER.lower(model_file(name), {})
    network.check()
    assert not network.unread
    for op in dict.fromkeys(network.ops):
        with RUNNER.load_op(decode_op(encode_op(op))) as workload:
            assert workload.block(0.0).latency_ms > 0, op.label


@pytest.mark.parametrize("name", UNREAD)
def test_what_cannot_be_told_has_a_reason(model_file: Callable[[str], Path], name: str) -> None:
    network = RUNNER.lower(model_file(name), {})
    network.check()
    assert [reason for reason in network.unread.values() if UNREAD[name] in reason]


def test_every_written_layer_is_carried_out_by_a_kernel(model_file: Callable[[str], Path]) -> None:
    for name in ("residual", "folded_bn", "branches"):
        path = model_file(name)
        network = RUNNER.lower(path, {})
        covered = Counter(layer for kernel in network.layers for layer in kernel.covers)
        written = Counter(layer.name for layer in read_onnx(path).layers)
        assert covered == written


def test_what_is_folded_in_is_told_in_order(model_file: Callable[[str], Path]) -> None:
    ops = RUNNER.lower(model_file("residual"), {}).ops
    assert ("sum", "relu") in {op.epilogue for op in ops if op.kind == "conv"}
    assert {op.layout for op in ops if op.kind == "conv"} == {"nhwc"}
    shares = [layer.share for layer in RUNNER.lower(model_file("residual"), {}).layers[:-1]]
    assert all(0 <= share <= 1 for share in shares)


def test_quantised_files_run_in_whole_numbers_in_any_runner(
    model_file: Callable[[str], Path],
) -> None:
    for runner in (RUNNER, OpenVinoRunner(dtype="int8")):
        convolutions = [op for op in runner.lower(model_file("qdq"), {}).ops if op.kind == "conv"]
        assert [op.dtype for op in convolutions] == ["uint8"]
        assert convolutions[0].implementation.endswith("_I8")
        assert convolutions[0].epilogue == ("quantize",)
        runner.load_op(convolutions[0]).close()


def test_names_of_the_file_do_not_matter(model_file: Callable[[str], Path], tmp_path: Path) -> None:
    path = model_file("residual")
    model = onnx.load(path)
    for index, node in enumerate(model.graph.node):
        node.name = f"another,name/{index % 2}"
    onnx.save(model, tmp_path / "renamed.onnx")
    assert RUNNER.lower(path, {}).ops == RUNNER.lower(tmp_path / "renamed.onnx", {}).ops


def test_a_kernel_that_other_kernels_would_take_in_is_refused(
    model_file: Callable[[str], Path],
) -> None:
    from dataclasses import replace

    op = next(o for o in RUNNER.lower(model_file("chain"), {}).ops if o.kind == "max_pool")
    with pytest.raises(UnsupportedOpError, match="its kernel is"):
        RUNNER.load_op(replace(op, implementation="Pooling:ref_any_f32"))


@pytest.mark.parametrize(
    ("text", "name"),
    [("abc", "nchw"), ("acb", "nhwc"), ("acdeb", "nhwc"), ("aBcde8b", "nchw8c"), ("ba", "ba")],
)
def test_layouts_have_the_names_of_other_runtimes(text: str, name: str) -> None:
    assert layout_name(text) == name


@given(size=st.integers(1, 300), step=st.integers(1, 9), other=st.integers(1, 9))
def test_strides_that_wandered_are_found_from_sizes(size: int, step: int, other: int) -> None:
    few = (size - 1) // step + 1
    (found,) = _stride_between((other,), (size,), (few,))
    assert (size - 1) // found + 1 == few
    if (size - 1) // other + 1 == few:
        assert found == other


def test_sizes_that_no_stride_leads_to_are_refused() -> None:
    with pytest.raises(NotDescribed, match="cannot give 7"):
        _stride_between((1,), (5,), (7,))


class FakeTimed(Timed):
    """Runs that take what a list says."""

    def __init__(self, times: list[float]) -> None:
        self.times, self.least_ms = times, float("inf")

    def stretch(self, min_ms: float) -> tuple[float, float, int]:
        run_ms = self.times.pop(0)
        self.least_ms = min(self.least_ms, run_ms)
        return run_ms, 10 * run_ms, 10


def test_the_neighbours_share_is_taken_off() -> None:
    full, baseline = FakeTimed([1.0, 3.0]), FakeTimed([0.6, 1.8])
    workload = InferWorkload(full, replicas=4, baseline=baseline)
    assert workload.block(1.0).latency_ms == pytest.approx(0.1)
    # Three times slower as a whole, three times slower for the kernel.
    assert workload.block(1.0).latency_ms == pytest.approx(0.3)


def test_a_kernel_never_takes_nothing() -> None:
    workload = InferWorkload(FakeTimed([1.0]), replicas=2, baseline=FakeTimed([1.2]))
    assert workload.block(1.0).latency_ms > 0

"""Every executed kernel rebuilt alone: the same work, in the same layout, as often as asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from costmodel.errors import UnsupportedOpError
from costmodel.network import Network, session_op
from costmodel.op import Op, conv_op
from costmodel.runners.ort.bound import session_options
from costmodel.runners.ort.rebuild import RELABEL, TURN_BYTES, num_turns, rebuild
from costmodel.runners.ort.runner import OrtRunner

Lower = Callable[[str], Network]
REPLICAS = (1, 2, 5)
#: Larger tensors would make the tests slow and prove nothing more.
LARGEST_BYTES = 64 << 20


def written_by(runner: OrtRunner, op: Op, replicas: int) -> tuple[tuple[int, ...], ...]:
    """Sizes of what the rebuilt graph really writes."""
    with runner._workload(op, replicas) as workload:
        workload._time(1)  # a block runs twice at least, and big networks take seconds
        return workload.output_shapes()


def require_rebuilds(runner: OrtRunner, network: Network) -> None:
    """Every different Op of a network runs alone and writes what it says."""
    for op in dict.fromkeys(network.ops):
        tensors = (*op.inputs, *op.outputs, *op.weights)
        if max(map(prod, tensors)) * 4 > LARGEST_BYTES:
            continue
        for replicas in REPLICAS:
            assert written_by(runner, op, replicas) == op.outputs, (op, replicas)


def test_every_kernel_of_every_model_runs_alone(
    lower: Lower, runner: OrtRunner, every_model: str
) -> None:
    require_rebuilds(runner, lower(every_model))


@pytest.mark.parametrize(
    "name", ["light_bvlc_alexnet", "light_resnet50", "light_vgg19", "light_zfnet512"]
)
def test_every_kernel_of_big_models_runs_alone(lower: Lower, runner: OrtRunner, name: str) -> None:
    require_rebuilds(runner, lower(name))


def nodes_of(op: Op, replicas: int) -> list[onnx.NodeProto]:
    """Replicas in the rebuilt graph; readers of their results have no name."""
    graph = onnx.load_from_string(rebuild(op, replicas).model).graph
    return [node for node in graph.node if node.name in {f"n{i}" for i in range(replicas)}]


@pytest.mark.parametrize("replicas", REPLICAS)
def test_the_graph_holds_as_many_kernels_as_asked(
    lower: Lower, every_model: str, replicas: int
) -> None:
    for op in dict.fromkeys(lower(every_model).ops[:-1]):
        nodes = nodes_of(op, replicas)
        domain, _, op_type = op.implementation.rpartition(":")
        assert [(node.domain, node.op_type) for node in nodes] == [(domain, op_type)] * replicas


def test_a_relabelled_tensor_goes_there_and_back(lower: Lower) -> None:
    (reshape,) = (op for op in lower("rank_3_and_5").ops if op.kind == "reshape")
    assert reshape.kind in RELABEL
    graph = onnx.load_from_string(rebuild(reshape, 3).model).graph
    assert [node.name for node in graph.node] == ["n0", "back0", "n1", "back1", "n2"]


def test_replicas_have_weights_of_their_own(lower: Lower) -> None:
    (conv,) = (op for op in lower("conv_relu").ops if op.kind == "conv")
    values = list(rebuild(conv, 5).weights.values())
    assert [value.shape for value in values] == [(32, 16, 3, 3), (32,)] * 5
    for i, value in enumerate(values):
        assert not any(np.shares_memory(value, other) for other in values[:i])


def test_weights_are_normal_numbers(lower: Lower) -> None:
    tiny = np.finfo(np.float32).tiny
    for name in ("bn_left_over", "classifier", "transposed_conv"):
        for op in lower(name).ops:
            for value in rebuild(op, 2).weights.values():
                assert np.isfinite(value).all()
                assert (np.abs(value) >= tiny).mean() > 0.999
                # Vectors may be variances, of which a root is taken.
                assert value.ndim > 1 or (np.asarray(value, np.float64) > 0).all()


def test_a_lone_reorder_output_reads_whole_blocks(lower: Lower, runner: OrtRunner) -> None:
    network = lower("elementwise")
    found = [op for op in network.ops if op.kind == "reorder_output"]
    if runner.block > 1:
        assert {op.inputs[0][1] for op in found} == {-(-20 // runner.block) * runner.block}
        assert {op.outputs[0][1] for op in found} == {20}
    for op in found:
        assert written_by(runner, op, 5) == op.outputs


def test_elementwise_replicas_work_in_place_as_in_a_network(lower: Lower) -> None:
    (relu, *_) = (op for op in lower("bn_left_over").ops if op.kind == "relu")
    turns = num_turns(relu, 100)
    assert turns > 1
    nodes = nodes_of(relu, 2 * turns)
    for first, second in zip(nodes[:turns], nodes[turns:], strict=True):
        assert second.input == first.output
    assert len({node.input[0] for node in nodes}) == 2 * turns
    assert rebuild(relu, 2 * turns).ordered


def test_turns_of_kernels_in_place_run_as_they_are_written(lower: Lower, tmp_path: Path) -> None:
    (relu, *_) = (op for op in lower("bn_left_over").ops if op.kind == "relu")
    rebuilt = rebuild(relu, 12)
    options = session_options(1, optimise=False, ordered=rebuilt.ordered)
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "p")
    session = onnxruntime.InferenceSession(
        rebuilt.model, options, providers=["CPUExecutionProvider"]
    )
    session.run(None, rebuilt.feed)
    events = json.loads(Path(session.end_profiling()).read_text())
    ran = [e["name"] for e in events if e["name"].endswith("_kernel_time")]
    kernels = [name for name in ran if name.startswith("n")]
    assert kernels == [f"n{i}_kernel_time" for i in range(12)]


def test_a_fused_sum_is_added_to_the_result_before(lower: Lower) -> None:
    (conv,) = (op for op in lower("residual").ops if "sum" in op.epilogue)
    turns = num_turns(conv, 100)
    nodes = nodes_of(conv, turns + 1)
    first, second, last = nodes[0], nodes[1], nodes[-1]
    assert last.input[3] == first.output[0]
    assert last.input[0] == first.input[0]
    assert second.input[0] != first.input[0]


def test_a_comparison_is_not_fed_its_own_answer(lower: Lower) -> None:
    (greater,) = (op for op in lower("elementwise").ops if op.kind == "greater")
    first, second = nodes_of(greater, 2)
    assert first.output[0] not in second.input


def conv_on(size: int) -> Op:
    op = conv_op(in_channels=64, out_channels=64, size=(size, size), kernel=(1, 1))
    return replace(op, implementation="Conv")


def test_small_activations_take_turns_so_that_none_is_still_in_the_near_cache() -> None:
    op = conv_on(28)
    moved = 4 * (op.num_input_elements + op.num_output_elements)
    turns = num_turns(op, 64)
    assert (turns - 1) * moved < TURN_BYTES <= turns * moved
    rebuilt = rebuild(op, 2 * turns)
    read = [node.input[0] for node in nodes_of(op, 2 * turns)]
    assert len(set(read)) == turns
    assert read[0] == read[turns]
    assert set(read) == set(rebuilt.feed)
    # Every result but the last is read, a round of turns later.
    assert rebuilt.readers == 2 * turns - 1
    order = [node.output[0] for node in onnx.load_from_string(rebuilt.model).graph.node]
    assert order.index("s_y0_0") == order.index(f"y{turns - 1}_0") + 1


def test_large_activations_are_as_cold_as_among_neighbours_of_their_size() -> None:
    assert num_turns(conv_on(112), 64) == 5
    # Ten copies of 51 MiB would be no colder than three.
    assert num_turns(conv_on(320), 64) == 3
    huge = conv_on(640)
    assert num_turns(huge, 64) == 1
    assert num_turns(conv_on(112), 1) == 1


@pytest.mark.parametrize(("reads", "writes"), [(1, 1), (0, 1), (3, 2), (1, 4), (2, 0)])
def test_a_session_has_as_many_inputs_and_outputs_as_its_network(
    runner: OrtRunner, reads: int, writes: int
) -> None:
    rebuilt = rebuild(session_op(reads, writes), 1)
    graph = onnx.load_from_string(rebuilt.model).graph
    assert (len(rebuilt.feed), len(graph.output)) == (max(1, reads), max(1, writes))
    assert written_by(runner, session_op(reads, writes), 1) == ((1,),) * max(1, writes)


def test_an_op_as_written_cannot_be_timed(runner: OrtRunner) -> None:
    op = conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(3, 3))
    with pytest.raises(UnsupportedOpError, match="conv 3x3 8->8 @4x4 is as written"):
        runner.load_op(op)


RELU = Op(kind="relu", implementation="Relu", inputs=((1, 8),), outputs=((1, 8),))
GEMM = Op(
    kind="gemm",
    implementation="Gemm",
    inputs=((2, 8),),
    outputs=((2, 4),),
    weights=((9, 4),),
)


@pytest.mark.parametrize(
    ("op", "words"),
    [
        (GEMM, r"ONNX Runtime rejects gemm 8->4 n2 \(Gemm\): .*Dimension mismatch"),
        (replace(RELU, inputs=((1, 8),) * 2), r"ONNX Runtime rejects relu 8 \(Relu\): .*[Nn]ode"),
        (replace(RELU, outputs=((1, 9),)), r"relu 8 \(Relu\) writes \(\(1, 8\),\), not"),
        (replace(RELU, implementation="nowhere:Relu"), r"ONNX Runtime rejects .*nowhere"),
        (replace(RELU, attributes=(("bend", 3),)), "ONNX Runtime rejects .*bend"),
        (replace(RELU, dtype="float8"), "Element type 'float8' cannot be rebuilt"),
        (replace(RELU, dtype="str"), "Element type 'str' cannot be rebuilt"),
        (replace(RELU, dtype="bfloat16"), "ONNX Runtime rejects|make no kernel"),
        (replace(RELU, operands="dd"), "make no kernel"),
        (replace(RELU, inputs=(), outputs=()), "ONNX Runtime rejects|make no kernel"),
        (replace(RELU, kind="conv", weights=((1,),)), "make no kernel"),
        (replace(RELU, input_dtypes=("float32", "float32")), "make no kernel"),
        (replace(RELU, operands="dc", constants=(("a",),)), "make no kernel"),  # type: ignore[arg-type]
        (replace(RELU, attributes=(("since", 99),)), "ONNX Runtime rejects"),
        (replace(RELU, kind="conv", epilogue=("sum",)), "make no kernel"),
    ],
)
def test_an_absurd_op_is_refused_in_the_runtimes_words(
    runner: OrtRunner, op: Op, words: str
) -> None:
    with pytest.raises(UnsupportedOpError, match=words):
        runner.load_op(op)


@pytest.mark.parametrize("field", ["inputs", "outputs", "weights"])
def test_a_huge_tensor_is_refused_before_memory_is_taken(runner: OrtRunner, field: str) -> None:
    op = replace(RELU, **{field: ((1 << 20, 1 << 20),)})  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOpError, match="larger than 2 GiB"):
        runner.load_op(op)


def test_a_blocked_kernel_that_writes_other_sizes_is_refused(
    lower: Lower, runner: OrtRunner
) -> None:
    if runner.block == 1:
        pytest.skip("no blocked layout on this instruction set")
    (conv,) = (op for op in lower("conv_relu").ops if op.kind == "conv")
    with pytest.raises(
        UnsupportedOpError,
        match=r"writes \(\(1, 32, 12, 12\),\), not \(\(1, 32, 3, 3\),\) as it says",
    ):
        runner.load_op(replace(conv, outputs=((1, 32, 3, 3),)))

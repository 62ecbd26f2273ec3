from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from costmodel.op import Op, conv_op
from costmodel.sampling.choose import (
    choose_convolutions,
    choose_kernels,
    execution_path,
    split_roles,
)
from costmodel.sampling.lowered import Found
from costmodel.sampling.probe import Probe


def convolutions(count: int, *, groups: int = 1, name: str = "fast") -> list[Op]:
    return [
        replace(
            conv_op(in_channels=8, out_channels=8, size=(4 + i, 4), kernel=(3, 3), groups=groups),
            implementation=name,
        )
        for i in range(count)
    ]


def kernels(kind: str, count: int, name: str = "k") -> list[Op]:
    return [Op(kind=kind, implementation=name, inputs=((1, 1 + i),)) for i in range(count)]


@given(common=st.integers(0, 60), rare=st.integers(0, 20), count=st.integers(1, 60))
def test_convolutions_keep_their_order_and_number(common: int, rare: int, count: int) -> None:
    ops = convolutions(common) + convolutions(rare, name="slow")
    chosen = choose_convolutions(ops, count)
    assert chosen == [op for op in ops if op in set(chosen)]
    assert len(chosen) == min(count, len(ops)) or len({op.implementation for op in ops}) > count


def test_rare_paths_come_before_more_of_the_common_one() -> None:
    ops = convolutions(500) + convolutions(10, groups=8) + convolutions(3, name="slow")
    chosen = choose_convolutions(ops, 300)
    assert len(chosen) == 300
    assert sum(op.groups == 8 for op in chosen) == 6
    assert sum(op.implementation == "slow" for op in chosen) == 3


def test_path_tells_blocked_from_thin_inputs() -> None:
    thin = conv_op(in_channels=3, out_channels=16, size=(8, 8), kernel=(3, 3))
    wide = conv_op(in_channels=16, out_channels=16, size=(8, 8), kernel=(3, 3))
    blocked = [replace(op, layout="nchw16c") for op in (thin, wide)]
    assert execution_path(blocked[0]) != execution_path(blocked[1])
    assert execution_path(thin) == execution_path(wide)


def test_every_kind_gets_six_rows_where_there_is_room() -> None:
    ops = kernels("gemm", 50) + kernels("elu", 50) + kernels("lrn", 2)
    chosen = choose_kernels(ops, 30)
    count = {kind: sum(op.kind == kind for op in chosen) for kind in ("gemm", "elu", "lrn")}
    assert count["lrn"] == 2
    assert count["elu"] >= 6
    assert count["gemm"] > count["elu"]
    assert sum(count.values()) == 30


def test_most_rows_are_dealt_out_evenly_and_the_rest_by_weight() -> None:
    kinds = ("elu", "exp", "gemm", "matmul", "relu", "tanh")
    chosen = choose_kernels([op for kind in kinds for op in kernels(kind, 50)], 24)
    count = {kind: sum(op.kind == kind for op in chosen) for kind in kinds}
    assert sum(count.values()) == 24
    assert min(count.values()) >= 3
    assert count["matmul"] > count["gemm"] >= count["elu"]


def test_every_kind_gets_a_row_before_any_gets_two() -> None:
    chosen = choose_kernels(kernels("gemm", 9) + kernels("elu", 9) + kernels("exp", 9), 3)
    assert sorted(op.kind for op in chosen) == ["elu", "exp", "gemm"]


def test_implementations_of_a_kind_take_turns() -> None:
    ops = kernels("max_pool", 20, "plain") + kernels("max_pool", 20, "blocked")
    chosen = choose_kernels(ops, 6)
    assert sorted(op.implementation for op in chosen) == ["blocked"] * 3 + ["plain"] * 3


def test_few_candidates_are_all_taken() -> None:
    assert choose_kernels(kernels("relu", 4), 10) == kernels("relu", 4)
    assert choose_kernels([], 10) == []


def test_roles_are_told_apart_and_repeats_dropped() -> None:
    probe = Probe(name="p", kind="conv")
    conv, relu, clip = convolutions(1)[0], *kernels("relu", 1), *kernels("clip", 1)
    reorder = kernels("reorder_input", 1)[0]
    items = [
        Found(op=conv, probe=probe, role="target"),
        Found(op=conv, probe=probe, role="target"),
        Found(op=clip, probe=probe, role="side"),
        Found(op=relu, probe=probe, role="target"),
        Found(op=reorder, probe=probe, role="layout"),
        Found(op=convolutions(2)[1], probe=probe, role="scaffold"),
    ]
    assert split_roles(items) == ([conv], [reorder], [relu, clip])

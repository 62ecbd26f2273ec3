"""What kernels ask for: amounts grow with the work, and have the same names on every runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from costmodel.costs.work import asked, unlikeness, work_of
from costmodel.network import session_op
from costmodel.op import Op, conv_op

SIZES = st.integers(1, 64)


def conv(channels=16, out=32, side=8, kernel=3, **other):
    return conv_op(
        in_channels=channels, out_channels=out, size=(side, side), kernel=(kernel,) * 2, **other
    )


def loops(op):
    return {thing.loop for thing, _ in asked(op)} - {""}


def test_convolutions_by_the_loop_that_runs():
    assert loops(conv()) == {"dense"}
    assert loops(conv(kernel=1)) == {"pointwise"}
    assert loops(conv(channels=3)) == {"stem"}
    assert loops(conv(channels=32, groups=32)) == {"depthwise"}
    assert loops(conv(channels=32, groups=4)) == {"grouped"}
    assert loops(conv(kernel=1, side=1)) == {"vector"}
    assert loops(conv(epilogue=("sum", "relu"))) == {"dense", "fused"}


def test_other_kernels():
    shape = ((1, 8, 4, 4),)
    assert loops(Op(kind="sigmoid", inputs=shape, outputs=shape)) == {"heavy"}
    assert loops(Op(kind="add", inputs=shape * 2, outputs=shape)) == {"elementwise"}
    gemm = Op(kind="gemm", inputs=((1, 8),), outputs=((1, 4),), weights=((4, 8),))
    assert loops(gemm) == {"vector"}
    assert loops(session_op(1, 1)) == {"session"}
    assert asked(Op(kind="model")) == ()


@given(channels=SIZES, out=SIZES, side=SIZES, times=st.integers(2, 4))
def test_more_of_anything_never_asks_for_less(channels, out, side, times):
    small = dict(asked(conv(channels + 4, out, side)))
    large = dict(asked(conv(times * (channels + 4), times * out, times * side)))
    assert small.keys() == large.keys()
    assert all(large[thing] >= small[thing] > 0 for thing in small)


def test_a_runtimes_own_name_and_layout_change_nothing_but_the_slow_path():
    blocked = replace(conv(), layout="nchw16c", implementation="com.microsoft.nchwc:Conv")
    plain = replace(conv(), implementation="com.microsoft:FusedConv")
    assert asked(blocked) == asked(conv())
    assert {thing.form for thing, _ in asked(plain) if thing.loop} == {"3 plain", "3"}


def test_networks_are_their_kernels_and_counts():
    work = work_of([[conv(), conv()], [conv(), conv(out=64)]])
    assert work.counts.tolist() == [[2.0, 0.0], [1.0, 1.0]]
    assert work.amounts.shape == (2, len(work.things))
    more = work_of([[conv(kernel=1)]], work.things)
    assert more.things[: len(work.things)] == work.things


def test_kernels_of_one_loop_are_alike_by_their_sizes():
    far = unlikeness([conv(), conv(kernel=1)], [conv(), conv(out=64), conv(stride=2)])
    assert far[0, 0] == 0
    assert far[0, 1] == 1
    assert 1 < far[0, 2] < np.inf
    assert np.isinf(far[1]).all()

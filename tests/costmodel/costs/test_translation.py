"""Ops in another device's words."""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from costmodel.costs.translation import Translation, translated
from costmodel.op import Op, conv_op

POINT = conv_op(in_channels=24, out_channels=40, size=(8, 6), kernel=(1, 1))
BLOCKED = replace(
    conv_op(in_channels=32, out_channels=48, size=(8, 6), kernel=(1, 1)),
    layout="nchw16c",
    implementation="blocked",
)
LAST = Op(
    kind="conv", implementation="lite", inputs=((1, 8, 6, 32),), outputs=((1, 8, 6, 48),),
    weights=((48, 32, 1, 1), (48,)), layout="nhwc", stride=(1, 1), pads=(0,) * 4, dilation=(1, 1),
)  # fmt: skip


def test_what_a_device_runs_itself_stays() -> None:
    assert Translation([BLOCKED]).of(BLOCKED) is BLOCKED
    wider = replace(BLOCKED, outputs=((1, 64, 8, 6),), weights=((64, 32, 1, 1),))
    assert Translation([BLOCKED]).of(wider) is wider


def test_channels_fill_the_others_blocks() -> None:
    found = Translation([BLOCKED]).of(POINT)
    assert found is not None
    assert (found.layout, found.implementation) == ("nchw16c", "blocked")
    assert found.inputs == ((1, 32, 8, 6),)
    assert found.outputs == ((1, 48, 8, 6),)
    assert found.weights[0] == (48, 32, 1, 1)


def test_a_first_layer_keeps_its_plain_channels() -> None:
    stem = conv_op(in_channels=3, out_channels=20, size=(8, 8), kernel=(3, 3))
    found = Translation([BLOCKED]).of(stem)
    assert found is not None
    assert found.inputs == ((1, 3, 8, 8),)
    assert found.weights[0] == (32, 3, 3, 3)


def test_depthwise_channels_are_filled_with_their_groups() -> None:
    deep = conv_op(in_channels=20, out_channels=20, size=(8, 8), kernel=(3, 3), groups=20)
    like = replace(
        conv_op(in_channels=32, out_channels=32, size=(8, 8), kernel=(3, 3), groups=32),
        layout="nchw16c",
    )
    found = Translation([like]).of(deep)
    assert found is not None
    assert (found.groups, found.weights[0]) == (32, (32, 1, 3, 3))
    assert found.is_depthwise


def test_other_kinds_have_no_translation() -> None:
    add = Op(kind="add", inputs=((1, 8),) * 2, outputs=((1, 8),))
    assert Translation([BLOCKED]).of(add) is None
    assert translated(Translation([BLOCKED]), [add, BLOCKED]) == ([1], [BLOCKED])


@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 9),
    st.sampled_from(["nchw", "nhwc", "nchw8c", "nchw16c"]),
)  # fmt: skip
def test_work_is_never_less(inside: int, out: int, side: int, layout: str) -> None:
    op = conv_op(in_channels=inside, out_channels=out, size=(side, side), kernel=(3, 3))
    like = LAST if layout == "nhwc" else replace(BLOCKED, layout=layout, implementation="other")
    found = Translation([like]).of(op)
    assert found is not None
    assert found.macs >= op.macs
    assert found.macs == pytest.approx(op.macs) or "c" in layout.removeprefix("nchw")
    assert Translation([like]).of(found) == found

"""Ops of a small network, and rows and tables of them on the fake device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from costmodel.measurement import Measurement, Round
from costmodel.op import Op, conv_op
from costmodel.runners.fake import FakeRunner, law_ms
from costmodel.table import LatencyTable

ADD = Op(kind="add", inputs=((1, 64, 14, 14),) * 2, outputs=((1, 64, 14, 14),))


def conv(width: int = 64, into: int = 32) -> Op:
    return conv_op(in_channels=into, out_channels=width, size=(14, 14), kernel=(3, 3))


def row(op: Op, *times_ms: float) -> Measurement:
    rounds = [Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times_ms)]
    return Measurement.from_rounds(op, rounds)


def law_table(path: Path, ops: Sequence[Op], **device: object) -> Path:
    """A table of the fake device without a flaw."""
    identity = replace(FakeRunner().device, **device)  # type: ignore[arg-type]
    LatencyTable(identity, [row(op, law_ms(op), law_ms(op)) for op in ops]).save(path)
    return path

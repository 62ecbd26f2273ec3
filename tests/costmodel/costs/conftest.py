"""A table of the fake device, whose law is known exactly, and a regression fitted on it once."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from costmodel.costs.regression import Regression
from costmodel.measurement import Measurement
from costmodel.op import Op, conv_op
from costmodel.runners.fake import FakeRunner

FAKE = FakeRunner()


def random_convs(count: int, seed: int) -> list[Op]:
    """Different convolutions as networks have them, pointwise and dense, odd channels included."""
    rng = np.random.default_rng(seed)
    found: dict[Op, None] = {}
    while len(found) < count:
        side = int(rng.choice([7, 14, 28, 56]))
        op = conv_op(
            in_channels=int(2 ** rng.uniform(3, 8)),
            out_channels=int(2 ** rng.uniform(3, 8)),
            size=(side, side),
            kernel=(int(rng.choice([1, 3])),) * 2,
            stride=int(rng.choice([1, 1, 2])),
        )
        found[op] = None
    return list(found)


def row_of(op: Op, latency_ms: float | None = None, spread: float = 0.01) -> Measurement:
    """The row that the fake device would get, or one of this latency."""
    latency_ms = FAKE.law_ms(op) if latency_ms is None else latency_ms
    return Measurement(op=op, latency_ms=latency_ms, median_ms=latency_ms, spread=spread)


def failed_row(op: Op) -> Measurement:
    return Measurement(
        op=op, latency_ms=math.nan, median_ms=math.nan, status="crashed", reason="it crashed"
    )


class Tools:
    """What the tests of this folder share."""

    fake = FAKE
    random_convs = staticmethod(random_convs)
    row_of = staticmethod(row_of)
    failed_row = staticmethod(failed_row)

    @staticmethod
    def truth(ops: Sequence[Op]) -> np.ndarray:
        return np.array([FAKE.law_ms(op) for op in ops])


@pytest.fixture(scope="session")
def tools() -> Tools:
    return Tools()


@pytest.fixture(scope="session")
def trained() -> Regression:
    """Fitted on 400 convolutions, 20 additions and two sessions of the fake device."""
    adds = [
        Op(kind="add", inputs=((1, c, 14, 14),) * 2, outputs=((1, c, 14, 14),))
        for c in range(16, 336, 16)
    ]
    sessions = [Op(kind="session", inputs=((1,),), outputs=((1,),) * n) for n in (1, 3)]
    rows = [row_of(op) for op in (*random_convs(400, seed=1), *adds)]
    rows += [row_of(op, 0.05 * len(op.outputs)) for op in sessions]
    return Regression(rows, device=FAKE.device)

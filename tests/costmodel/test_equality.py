"""What has no number equals its copy in every version of Python, and hashes alike."""

from __future__ import annotations

import math

import pytest
from rows import conv

from costmodel.measurement import Measurement
from costmodel.network import Layer
from costmodel.prediction import Unpriced

VALUES = [
    lambda: Measurement(op=conv(), latency_ms=math.nan, median_ms=math.nan, status="crashed"),
    lambda: Layer(name="a", op=conv()),
    lambda: Unpriced(name="a", reason="none"),
]


@pytest.mark.parametrize("make", VALUES)
def test_missing_numbers_are_the_same(make) -> None:
    assert make() == make()
    assert len({make(), make()}) == 1
    assert make() != 1
    assert make() != VALUES[VALUES.index(make) - 1]()

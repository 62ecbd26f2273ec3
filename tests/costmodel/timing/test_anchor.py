from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

import pytest

from costmodel.protocols import Block
from costmodel.timing.anchor import Anchor


class Script:
    def __init__(self, times_ms: Iterable[float]) -> None:
        self.times: Iterator[float] = iter(times_ms)

    def block(self, min_ms: float) -> Block:
        return Block(latency_ms=next(self.times), wall_ms=min_ms, runs=1)

    def close(self) -> None:
        """Nothing to release."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def anchor(times_ms: list[float], waits: list[float]) -> Anchor:
    return Anchor(Script(times_ms), sleep=waits.append)


def test_the_first_probe_sets_the_best() -> None:
    waits: list[float] = []
    subject = anchor([3.0, 2.0, 2.5], waits)
    probed = subject.probe(1.0, 1_000.0)
    assert (probed.latency_ms, probed.slow, subject.best_ms, waits) == (2.0, False, 2.0, [])


def test_a_slow_machine_is_waited_for_with_growing_patience() -> None:
    waits: list[float] = []
    probed = anchor([1.2] * 6 + [1.05] * 3, waits).probe(1.0, 1_000.0, best_ms=1.0)
    assert (probed.slow, waits) == (False, [0.05, 0.075])
    assert probed.waited_ms == pytest.approx(125.0)


def test_patience_ends() -> None:
    waits: list[float] = []
    probed = anchor([1.2] * 99, waits).probe(1.0, 1e9, best_ms=1.0)
    assert probed.slow
    assert 0.5 < sum(waits) <= 1.0


def test_without_patience_there_is_one_look() -> None:
    waits: list[float] = []
    probed = anchor([1.2] * 3, waits).probe(1.0, 0.0, best_ms=1.0)
    assert (probed.slow, waits) == (True, [])


def test_a_probe_is_due_at_once_and_then_after_a_while() -> None:
    subject = anchor([1.0] * 3, [])
    assert subject.is_due(2_000.0)
    subject.probe(1.0, 0.0)
    assert not subject.is_due(2_000.0)

from __future__ import annotations

import time
from typing import Self

import pytest

from costmodel.profiler.kept import KeptWorkloads
from costmodel.protocols import Block


class Slow:
    """Takes a while to load, and remembers whether it was closed."""

    def __init__(self) -> None:
        time.sleep(0.002)
        self.closed = False

    def block(self, min_ms: float) -> Block:
        return Block(latency_ms=1.0, wall_ms=min_ms, runs=1)

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def visit(kept: KeptWorkloads, number: int, worth_ms: float) -> Slow:
    with kept.loaded(number, Slow, worth_ms=worth_ms) as (workload, _):
        assert isinstance(workload, Slow)
        assert not workload.closed
        return workload


def fail(kept: KeptWorkloads, number: int) -> None:
    message = "boom"
    with kept.loaded(number, Slow, worth_ms=0.0):
        raise RuntimeError(message)


def test_what_loads_slower_than_it_is_timed_is_loaded_once() -> None:
    kept = KeptWorkloads(limit_bytes=1 << 40)
    first = visit(kept, 0, worth_ms=0.0)
    assert not first.closed
    assert visit(kept, 0, worth_ms=0.0) is first
    assert visit(kept, 1, worth_ms=0.0) is not first


def test_what_loads_quickly_is_closed_and_loaded_anew() -> None:
    kept = KeptWorkloads(limit_bytes=1 << 40)
    first = visit(kept, 0, worth_ms=1e9)
    assert first.closed
    assert visit(kept, 0, worth_ms=1e9) is not first


def test_nothing_more_is_kept_when_memory_is_used_up() -> None:
    held = 0
    kept = KeptWorkloads(limit_bytes=10, held=lambda: held)
    first = visit(kept, 0, worth_ms=0.0)
    held = 10
    second = visit(kept, 1, worth_ms=0.0)
    assert second.closed
    assert visit(kept, 0, worth_ms=0.0) is first  # what lies there already stays


class Process:
    """Memory of a process in which each workload holds so many bytes while it is open."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = sizes
        self.loaded: dict[int, Slow] = {}

    def held(self) -> int:
        return sum(self.sizes[number] for number, one in self.loaded.items() if not one.closed)

    def visit(self, kept: KeptWorkloads, number: int) -> Slow:
        def load() -> Slow:
            self.loaded[number] = Slow()
            return self.loaded[number]

        with kept.loaded(number, load, worth_ms=0.0) as (workload, _):
            assert isinstance(workload, Slow)
            return workload


def test_a_giant_is_not_kept() -> None:
    process = Process(200, 100)
    kept = KeptWorkloads(limit_bytes=800, held=process.held)
    assert process.visit(kept, 0).closed
    assert not process.visit(kept, 1).closed


def test_where_memory_is_short_a_giant_makes_room_for_what_saves_more_for_less() -> None:
    process = Process(*[100] * 7, *[10] * 10)
    kept = KeptWorkloads(limit_bytes=800, held=process.held)
    giants = [process.visit(kept, number) for number in range(7)]
    small = [process.visit(kept, number) for number in range(7, 16)]
    assert not any(one.closed for one in (*giants, *small))  # 790 bytes
    assert not process.visit(kept, 16).closed
    assert sum(one.closed for one in giants) == 1
    assert not any(one.closed for one in small)


def test_what_failed_is_closed_and_not_kept() -> None:
    kept = KeptWorkloads(limit_bytes=1 << 40)
    first = visit(kept, 0, worth_ms=0.0)
    with pytest.raises(RuntimeError, match="boom"):
        fail(kept, 0)
    assert first.closed
    assert visit(kept, 0, worth_ms=0.0) is not first

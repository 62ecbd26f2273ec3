"""Cores: which processors a process may use, works on, and leaves to others."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

#: A processor that others keep busier than this share is taken only if there is no other.
BUSY_SHARE = 0.3
_LOOK_S = 0.1


def usable_cores() -> list[int]:
    """Processors that this process may use; empty where the system has no affinity."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def own_cores(threads: int) -> list[int]:
    """A processor for each of several threads; empty for one thread, or where they are too few."""
    usable = usable_cores()
    return usable[:threads] if 1 < threads <= len(usable) else []


def split_cores(
    usable: Sequence[int], threads: int, turn: int = 0, root: Path = Path("/")
) -> tuple[list[int], list[int]]:
    """Processors for a process that times kernels, and those it leaves to others.

    Each process moves on by one processor: on a virtual machine each may share its hardware with
    another neighbour, whose noise the rounds of the next process then escape. Processors that
    somebody keeps busy right now come last.

    Args:
        usable: processors to choose from; empty gives two empty parts.
        threads: threads of one kernel.
        turn: how many processes came before.
        root: where ``proc`` lies.

    >>> split_cores([], 1)
    ([], [])
    """
    if not usable:
        return [], []
    start = turn % len(usable)
    order = [*usable[start:], *usable[:start]]
    threads = max(1, min(threads, len(order)))
    if threads < len(order):
        busy = _busy(root)
        order.sort(key=lambda core: core in busy)
    return sorted(order[:threads]), sorted(order[threads:])


def _busy(root: Path) -> set[int]:
    """Processors that are busy right now; none where the system keeps that to itself."""
    before = _busy_ticks(root)
    if not before:
        return set()
    time.sleep(_LOOK_S)
    most = _LOOK_S * os.sysconf("SC_CLK_TCK") * BUSY_SHARE
    return {core for core, ticks in _busy_ticks(root).items() if ticks - before.get(core, 0) > most}


def _busy_ticks(root: Path) -> dict[int, int]:
    """Ticks that each processor has worked."""
    try:
        lines = (root / "proc/stat").read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    found = {}
    for line in lines:
        fields = line.split()
        if fields and fields[0][:3] == "cpu" and fields[0][3:].isdigit():
            found[int(fields[0][3:])] = sum(int(item) for item in fields[1:4])
    return found


@contextmanager
def affinity_restored() -> Iterator[None]:
    """Give this thread back, at the end, the processors that it had at the beginning."""
    former = usable_cores()
    try:
        yield
    finally:
        stay_on(former)


def stay_on(cores: Collection[int]) -> None:
    """Keep this thread, and threads that it starts, on some processors; empty changes nothing."""
    if cores and hasattr(os, "sched_setaffinity"):
        with suppress(OSError):
            os.sched_setaffinity(0, cores)

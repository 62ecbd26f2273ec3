"""Affinity: the worker and its parent share no processor if they need not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence

import psutil

#: A processor that others keep busier than this is taken only if there is no other, in percent.
BUSY_PERCENT = 30.0
_LOOK_S = 0.1


def usable_cores() -> tuple[int, ...]:
    """Processors that this process may use; empty where the system has no affinity."""
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def split_cores(
    usable: Sequence[int], threads: int, turn: int = 0
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Processors for the worker and for the parent.

    Each worker moves on by one processor: on a virtual machine each may share its hardware with
    another neighbour, whose noise the rounds of the next worker then escape. Processors that
    somebody keeps busy right now come last.

    Args:
        usable: processors to choose from; empty gives two empty parts.
        threads: threads of one kernel.
        turn: how many workers came before.

    >>> split_cores((), 1)
    ((), ())
    """
    if not usable:
        return (), ()
    start = (turn + 1) % len(usable)
    order = [*usable[start:], *usable[:start]]
    threads = max(1, min(threads, len(order)))
    if threads < len(order):
        loads = psutil.cpu_percent(interval=_LOOK_S, percpu=True)
        order.sort(key=lambda core: core < len(loads) and loads[core] > BUSY_PERCENT)
    return tuple(sorted(order[:threads])), tuple(sorted(order[threads:]))


@contextlib.contextmanager
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
        os.sched_setaffinity(0, cores)

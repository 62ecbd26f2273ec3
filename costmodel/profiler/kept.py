"""Workloads that a worker keeps between visits: those that take longer to load than to time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import psutil

from costmodel.protocols import Workload

#: Share of the memory that is free when a worker starts which kept workloads may fill.
MEMORY_SHARE = 0.25
#: Share of that which one workload may fill: a giant would lie in the place of a hundred others.
ONE_SHARE = 1 / 64


def resident_bytes() -> int:
    """Memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


class KeptWorkloads:
    """Loads workloads, and keeps the slow ones while memory lasts.

    A runtime that compiles takes 0.2 s to make what is then timed for 30 ms, so that a table of a
    few minutes would have two or three rounds. Only a new process gives another memory layout for
    certain, so what is kept goes with its worker (``Plan.restart_every``).

    Args:
        limit_bytes: by which the process may grow; None for a share of what is free now.
        held: tells the memory that the process holds.
    """

    def __init__(
        self, limit_bytes: int | None = None, held: Callable[[], int] = resident_bytes
    ) -> None:
        if limit_bytes is None:
            limit_bytes = int(MEMORY_SHARE * psutil.virtual_memory().available)
        self._most = held() + limit_bytes
        self._most_each = limit_bytes * ONE_SHARE
        self._held = held
        self._kept: dict[int, Workload] = {}

    @contextmanager
    def loaded(
        self, number: int, load: Callable[[], Workload], *, worth_ms: float
    ) -> Iterator[tuple[Workload, float]]:
        """The workload of job ``number`` and the milliseconds that loading it took.

        It is closed in the end, unless loading took longer than ``worth_ms``, nothing failed, it
        is no giant and memory is left.
        """
        before = self._held()
        begin = perf_counter()
        workload = self._kept.pop(number, None)
        was_kept = workload is not None
        if workload is None:
            workload = load()
        load_ms = (perf_counter() - begin) * 1000.0
        try:
            yield workload, load_ms
        except BaseException:
            workload.close()
            raise
        held = self._held()
        fits = held < self._most and held - before <= self._most_each
        if was_kept or (load_ms > worth_ms and fits):
            self._kept[number] = workload
        else:
            workload.close()

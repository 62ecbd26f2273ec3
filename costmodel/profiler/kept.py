"""Workloads that a worker keeps between visits: those that take longer to load than to time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import psutil

from costmodel.protocols import Workload

#: Share of the memory that is free when a worker starts which kept workloads may fill.
MEMORY_SHARE = 0.25
#: Share of that which one workload may fill.
ONE_SHARE = 1 / 8


@dataclass(frozen=True, slots=True)
class _Kept:
    """One kept workload.

    Attributes:
        workload: itself.
        load_ms: what loading it took.
        held: bytes by which the process grew for it.
    """

    workload: Workload
    load_ms: float
    held: int

    @property
    def worth(self) -> float:
        """Time that it saves for the memory that it takes, ms per byte."""
        return self.load_ms / max(1, self.held)


def resident_bytes() -> int:
    """Memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


class KeptWorkloads:
    """Loads workloads, and keeps the slow ones while memory lasts.

    A runtime that compiles takes 0.2 s to make what is then timed for 30 ms, so that a table of a
    few minutes would have two or three rounds; others pack hundreds of megabytes of weights for
    each visit. Only a new process gives another memory layout for certain, so what is kept goes
    with its worker (``Plan.restart_every``). Where memory is short, those stay that save most time
    for what they take: a giant must not lie in the place of a hundred others.

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
        self._kept: dict[int, _Kept] = {}

    @contextmanager
    def loaded(
        self, number: int, load: Callable[[], Workload], *, worth_ms: float
    ) -> Iterator[tuple[Workload, float]]:
        """The workload of job ``number`` and the milliseconds that loading it took.

        It is closed in the end, unless loading took longer than ``worth_ms``, nothing failed, it
        is not too large and memory is left, or can be had from those that are worth less.
        """
        before = self._held()
        begin = perf_counter()
        kept = self._kept.pop(number, None)
        workload = load() if kept is None else kept.workload
        load_ms = (perf_counter() - begin) * 1000.0
        try:
            yield workload, load_ms
        except BaseException:
            workload.close()
            raise
        if kept is None and load_ms > worth_ms:
            kept = self._fitting(workload, load_ms, self._held() - before)
        if kept is None:
            workload.close()
        else:
            self._kept[number] = kept

    def _fitting(self, workload: Workload, load_ms: float, grown: int) -> _Kept | None:
        """What to keep of a newcomer, once there is room for it; None where there is none."""
        newcomer = _Kept(workload, load_ms, max(0, grown))
        excess = self._held() - self._most
        lesser = sorted(
            (number for number, other in self._kept.items() if other.worth < newcomer.worth),
            key=lambda number: self._kept[number].worth,
        )
        leaving = []
        for number in lesser:
            if excess < 0:
                break
            leaving.append(number)
            excess -= self._kept[number].held
        if newcomer.held > self._most_each or excess >= 0:
            return None
        for number in leaving:
            self._kept.pop(number).workload.close()
        return newcomer

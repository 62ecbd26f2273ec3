"""Anchor: one fixed kernel, probed every few seconds, that shows when the machine slows down."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from costmodel.timing.visit import Workload

#: The anchor is slow when it takes this many times its best.
SLOW = 1.10
#: Blocks of a probe; the least of them is its time.
PROBE_BLOCKS = 3
#: First wait for a slow machine, its growth, and the most in sum, in ms.
WAIT_MS, WAIT_GROWTH, MOST_WAIT_MS = 50.0, 1.5, 1_000.0


class Probe(NamedTuple):
    """What one look at the anchor gave.

    Attributes:
        latency_ms: its time.
        slow: whether it was still slow after waiting.
        timed_ms: wall time spent timing it.
        waited_ms: time spent waiting.
    """

    latency_ms: float
    slow: bool
    timed_ms: float
    waited_ms: float


class Anchor:
    """A loaded kernel that is probed between visits."""

    def __init__(
        self,
        workload: Workload,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take hold of the kernel.

        Args:
            workload: the kernel, loaded; stays open.
            sleep: waits a number of seconds.
        """
        self._workload = workload
        self._sleep = sleep
        self.best_ms = float("inf")
        self._last = float("-inf")

    def is_due(self, every_ms: float) -> bool:
        """Whether the last probe is long enough ago."""
        return (time.perf_counter() - self._last) * 1000.0 >= every_ms

    def probe(self, block_ms: float, patience_ms: float, best_ms: float | None = None) -> Probe:
        """Time the kernel; while it is slow, wait and try again.

        Args:
            block_ms: how long a block is.
            best_ms: least time that any probe saw, in an earlier process.
            patience_ms: most to wait in sum; at most ``MOST_WAIT_MS`` is used.
        """
        self.best_ms = min(self.best_ms, best_ms or self.best_ms)
        patience_ms = min(patience_ms, MOST_WAIT_MS)
        waited_ms = timed_ms = 0.0
        wait_ms = WAIT_MS
        while True:
            begin = time.perf_counter()
            blocks = [self._workload.block(block_ms) for _ in range(PROBE_BLOCKS)]
            timed_ms += (time.perf_counter() - begin) * 1000.0
            latency_ms = min(block.latency_ms for block in blocks)
            slow = latency_ms > SLOW * self.best_ms
            if not slow or waited_ms + wait_ms > patience_ms:
                break
            self._sleep(wait_ms / 1000.0)
            waited_ms += wait_ms
            wait_ms *= WAIT_GROWTH
        self.best_ms = min(self.best_ms, latency_ms)
        self._last = time.perf_counter()
        return Probe(latency_ms=latency_ms, slow=slow, timed_ms=timed_ms, waited_ms=waited_ms)

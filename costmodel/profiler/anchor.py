"""Anchor: one fixed kernel, probed every few seconds, that shows when the machine slows down."""

from __future__ import annotations

import time
from collections.abc import Callable

from costmodel.profiler.messages import Care, Probed
from costmodel.protocols import Workload

#: The anchor is slow when it takes this many times its best.
SLOW = 1.10
#: Blocks of a probe; the least of them is its time.
PROBE_BLOCKS = 3
#: First wait for a slow machine, its growth, and the most in sum, in ms.
WAIT_MS, WAIT_GROWTH, MOST_WAIT_MS = 50.0, 1.5, 1_000.0


class Anchor:
    """A loaded kernel that is probed between visits."""

    def __init__(
        self,
        workload: Workload,
        best_ms: float | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Take hold of the kernel.

        Args:
            workload: the kernel, loaded; stays open.
            best_ms: least time that any probe saw, in this process or an earlier one.
            sleep: waits a number of seconds.
        """
        self._workload = workload
        self._sleep = sleep
        self.best_ms = best_ms or float("inf")
        self._last = float("-inf")

    def is_due(self, care: Care) -> bool:
        """Whether the last probe is long enough ago."""
        return (time.perf_counter() - self._last) * 1000.0 >= care.anchor_every_ms

    def probe(self, care: Care, patience_ms: float) -> Probed:
        """Time the kernel; while it is slow, wait and try again.

        Args:
            care: how long a block is.
            patience_ms: most to wait in sum; at most ``MOST_WAIT_MS`` is used.
        """
        patience_ms = min(patience_ms, MOST_WAIT_MS)
        waited_ms = timed_ms = 0.0
        wait_ms = WAIT_MS
        while True:
            begin = time.perf_counter()
            blocks = [self._workload.block(care.block_ms) for _ in range(PROBE_BLOCKS)]
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
        return Probed(latency_ms=latency_ms, slow=slow, timed_ms=timed_ms, waited_ms=waited_ms)

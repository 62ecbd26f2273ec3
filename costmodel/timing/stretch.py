"""Stretches of runs that last long enough to be timed."""

from __future__ import annotations

from collections.abc import Callable

#: Least part of a run that is believed to be the kernels' own.
LEAST_SHARE = 0.02


class Stretches:
    """Times runs in stretches whose count is set before, so that no clock is read between runs.

    Args:
        time: wall milliseconds of a number of runs.
        turns: the number of runs is a multiple of this.
    """

    def __init__(self, time: Callable[[int], float], turns: int = 1) -> None:
        self._time = time
        self._turns = turns
        self._run_ms = 0.0

    def run(self, min_ms: float) -> tuple[int, float]:
        """Run for at least ``min_ms``; returns runs, and the milliseconds of all of them.

        A stretch that ended too early, as caches were cold when a run was first estimated, is done
        again with more runs.
        """
        if self._run_ms <= 0:
            self._run_ms = self._time(self._turns) / self._turns
        count = self._whole(-(-int(min_ms * 1e6) // max(1, int(self._run_ms * 1e6))))
        wall_ms = self._time(count)
        while wall_ms < min_ms:
            count = self._whole(max(count + 1, int(count * 1.2 * min_ms / max(wall_ms, 1e-6))))
            wall_ms = self._time(count)
        self._run_ms = min(self._run_ms, wall_ms / count)
        return count, wall_ms

    def _whole(self, count: int) -> int:
        """At least ``count`` runs, every turn as often as any other."""
        return max(1, -(-count // self._turns)) * self._turns


def kernel_time(
    count: int, wall_ms: float, overhead_ms: float, kernels: float
) -> tuple[float, int]:
    """Time per execution of a kernel, and executions, in a stretch of runs.

    Args:
        count: runs.
        wall_ms: what all of them took.
        overhead_ms: fixed cost of one run; a small part of a run is always the kernels'.
        kernels: executions in one run.

    >>> kernel_time(10, 50.0, 1.0, 2.0)
    (2.0, 20)
    """
    net_ms = max(wall_ms / count - overhead_ms, LEAST_SHARE * wall_ms / count)
    return net_ms / kernels, max(1, round(count * kernels))

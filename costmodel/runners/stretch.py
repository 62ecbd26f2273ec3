"""Stretches of runs that last long enough to be timed."""

from __future__ import annotations

from collections.abc import Callable


class Stretches:
    """Times runs in stretches whose count is set before, so that no clock is read between runs.

    Args:
        time: wall milliseconds of a number of runs.
    """

    def __init__(self, time: Callable[[int], float]) -> None:
        self._time = time
        self._run_ms = 0.0

    def run(self, min_ms: float) -> tuple[int, float]:
        """Run for at least ``min_ms``; returns runs, and the milliseconds of all of them.

        A stretch that ended too early, as caches were cold when a run was first estimated, is done
        again with more runs.
        """
        if self._run_ms <= 0:
            self._run_ms = self._time(1)
        count = max(1, -(-int(min_ms * 1e6) // max(1, int(self._run_ms * 1e6))))
        wall_ms = self._time(count)
        while wall_ms < min_ms:
            count = max(count + 1, int(count * 1.2 * min_ms / max(wall_ms, 1e-6)))
            wall_ms = self._time(count)
        self._run_ms = min(self._run_ms, wall_ms / count)
        return count, wall_ms

"""Watch: how much of a timed block the device took away, and whether its clock changed.

The host's own watch in the words of Python 3.8, with the clock of the processor besides.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Any

from costmodel.remote.agent.health import Clock

_TASKS = Path("/proc/self/task")
_STAT = Path("/proc/stat")
_STEAL_FIELD = 8
_LEAST_MS = 1e-9


class Sample:
    """One timed block and what it lost to others.

    Args:
        latency_ms: time per execution.
        wall_ms: how long the block took.
        runs: executions in it.
        lost_share: a block that lost more than this share of its wall time is disturbed.
    """

    def __init__(self, latency_ms: float, wall_ms: float, runs: int, lost_share: float) -> None:
        self.latency_ms = latency_ms
        self.wall_ms = wall_ms
        self.runs = runs
        self.lost_ms = 0.0
        self._lost_share = lost_share

    @property
    def has_time(self) -> bool:
        """Whether the time can be one: above 0 and finite."""
        return _LEAST_MS < self.latency_ms < float("inf")

    @property
    def disturbed(self) -> bool:
        """Whether the block must not count."""
        return not self.has_time or self.lost_ms > self._lost_share * self.wall_ms


class Watch:
    """Watches one visit, block by block: ``begin``, run the block, ``end``.

    Args:
        cores: processors whose stolen time concerns us; empty for all.
        clock: the processor's clock.
        rules: the host's constants.
    """

    def __init__(self, cores: list[int], clock: Clock, rules: dict[str, Any]) -> None:
        self._names = tuple("cpu%d" % core for core in cores) or ("cpu",)
        self._tick_ms = 1000.0 / os.sysconf("SC_CLK_TCK") if _steal_lines() else 0.0
        self._clock = clock
        self._every_ms = rules["steal_every_ms"]
        self._pending: list[Sample] = []
        self._steal_ms = self._looked = 0.0
        self._waited_ms: float | None = None
        self._switches = 0
        self._thread_s = self._wall_s = 0.0

    def reset(self) -> None:
        """Forget what happened until now; for the start of a visit."""
        self._pending = []
        self._steal_ms = self._read_steal_ms()
        self._waited_ms = _read_waited_ms()
        self._clock.begin()
        self._looked = time.perf_counter()

    def begin(self) -> None:
        """Note the state before a block."""
        self._switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
        self._thread_s = time.thread_time()
        self._wall_s = time.perf_counter()

    def end(self, sample: Sample) -> Sample:
        """Charge the block just run with what it lost; stolen time is added a little later."""
        now = time.perf_counter()
        if resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw != self._switches:
            sample.lost_ms = self._waited(now)
        self._pending.append(sample)
        if (now - self._looked) * 1000.0 >= self._every_ms:
            self.settle()
        return sample

    def settle(self) -> None:
        """Charge stolen time, or a change of the clock, to every block since the last look."""
        steal_ms = self._read_steal_ms()
        changed = self._clock.changed()
        for sample in self._pending:
            sample.lost_ms += steal_ms - self._steal_ms
            if changed:
                sample.lost_ms += sample.wall_ms
        self._pending = []
        self._steal_ms = steal_ms
        self._looked = time.perf_counter()

    def _waited(self, now: float) -> float:
        waited_ms = _read_waited_ms()
        if waited_ms is None or self._waited_ms is None:
            return (now - self._wall_s - (time.thread_time() - self._thread_s)) * 1000.0
        lost_ms = max(0.0, waited_ms - self._waited_ms)
        self._waited_ms = waited_ms
        return lost_ms

    def _read_steal_ms(self) -> float:
        if not self._tick_ms:
            return 0.0
        ticks = 0
        for fields in _steal_lines():
            if fields[0] in self._names and len(fields) > _STEAL_FIELD:
                ticks += int(fields[_STEAL_FIELD])
        return ticks * self._tick_ms


def _steal_lines() -> list[list[str]]:
    """The processors' lines of the system's account; empty where it is not to be read."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
    except OSError:  # Android keeps it from programs
        return []
    return [line.split() for line in lines if line.startswith("cpu")]


def _read_waited_ms() -> float | None:
    """Time in ms that our threads were ready but not running; None where nobody counts it."""
    total = 0
    try:
        for task in _TASKS.iterdir():
            total += int((task / "schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return total / 1e6

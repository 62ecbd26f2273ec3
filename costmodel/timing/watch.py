"""Watch: how much of a timed block the machine took away from us.

Sources, by precision: the scheduler's own account of the time that our threads were ready but not
running (``/proc/self/task/*/schedstat``), read only when involuntary context switches rose; time
that a hypervisor stole (``/proc/stat``, in ticks of about 10 ms, so read every few ms and charged
to all blocks since); and, where there is no ``/proc``, wall time less the thread's own time.
A device that tells the clock of its processors has that watched besides.
A share of lost time, not a mere count of switches, makes a block disturbed: on a shared machine
every block of tens of ms sees a switch, which costs it next to nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

#: A block that lost more than this share of its wall time is disturbed.
LOST_SHARE = 0.01
#: Time between two readings of the stolen time: it advances in ticks, and a reading costs 10 us.
STEAL_EVERY_MS = 4.0
#: Shorter times come from an overhead correction that went too far, not from a kernel.
_LEAST_MS = 1e-9

_TASKS = Path("/proc/self/task")
_STAT = Path("/proc/stat")
_STEAL_FIELD = 8


class Block(Protocol):
    """One timed stretch, as ``costmodel.protocols.Block`` says it."""

    @property
    def latency_ms(self) -> float:
        """Time per execution."""
        ...

    @property
    def wall_ms(self) -> float:
        """How long the block took."""
        ...

    @property
    def runs(self) -> int:
        """Executions in it."""
        ...


class Clock(Protocol):
    """Watches the clock of the processors."""

    def begin(self) -> None:
        """Start a visit."""
        ...

    def changed(self) -> bool:
        """Whether the clock is another one than at the last look."""
        ...


@dataclass
class Sample:
    """One timed block and what it lost to others.

    Attributes:
        block: what the workload returned.
        lost_ms: time during it when something else ran instead; grows when stolen time is read.
    """

    block: Block
    lost_ms: float = 0.0

    @property
    def has_time(self) -> bool:
        """Whether the runner returned a time that can be one: above 0 and finite."""
        return _LEAST_MS < self.block.latency_ms < float("inf")

    @property
    def disturbed(self) -> bool:
        """Whether the block must not count; a time that is no time counts as disturbed too."""
        return not self.has_time or self.lost_ms > LOST_SHARE * self.block.wall_ms


class Watch:
    """Watches one visit, block by block: ``begin``, run the block, ``end``."""

    def __init__(self, cores: Collection[int] = (), clock: Clock | None = None) -> None:
        """Find the accounts.

        Args:
            cores: processors we run on, whose stolen time concerns us; empty for all.
            clock: their clock, where somebody watches it.
        """
        self._names = tuple(f"cpu{core}" for core in cores) or ("cpu",)
        self._tick_ms = 1000.0 / os.sysconf("SC_CLK_TCK") if _steal_lines() else 0.0
        self._clock = clock
        self._since_steal: list[Sample] = []
        self._steal_ms = self._steal_read = 0.0
        self._waited_ms: float | None = None
        self._switches = 0
        self._thread_s = self._wall_s = 0.0
        self.reset()

    def reset(self) -> None:
        """Forget what happened until now; for the start of a visit."""
        self._since_steal.clear()
        self._steal_ms = self._read_steal_ms()
        self._waited_ms = _read_waited_ms()
        if self._clock is not None:
            self._clock.begin()
        self._steal_read = time.perf_counter()

    def begin(self) -> None:
        """Note the state before a block."""
        self._switches = _involuntary_switches()
        self._thread_s = time.thread_time()
        self._wall_s = time.perf_counter()

    def end(self, block: Block) -> Sample:
        """Say what the block just run has lost; stolen time is added to it a little later."""
        now = time.perf_counter()
        sample = Sample(block=block)
        if _involuntary_switches() != self._switches:
            sample.lost_ms = self._waited(now)
        self._since_steal.append(sample)
        if (now - self._steal_read) * 1000.0 >= STEAL_EVERY_MS:
            self.settle()
        return sample

    def settle(self) -> None:
        """Charge stolen time, or a change of the clock, to every block since the last look."""
        steal_ms = self._read_steal_ms()
        changed = self._clock is not None and self._clock.changed()
        for sample in self._since_steal:
            sample.lost_ms += steal_ms - self._steal_ms + changed * sample.block.wall_ms
        self._since_steal.clear()
        self._steal_ms = steal_ms
        self._steal_read = time.perf_counter()

    def _waited(self, now: float) -> float:
        """Time in ms that our threads were kept from running since the last look."""
        waited_ms = _read_waited_ms()
        if waited_ms is None or self._waited_ms is None:
            return (now - self._wall_s - (time.thread_time() - self._thread_s)) * 1000.0
        # A thread that ended took its account along.
        lost_ms = max(0.0, waited_ms - self._waited_ms)
        self._waited_ms = waited_ms
        return lost_ms

    def _read_steal_ms(self) -> float:
        if not self._tick_ms:
            return 0.0
        ticks = (
            int(fields[_STEAL_FIELD])
            for fields in _steal_lines()
            if fields[0] in self._names and len(fields) > _STEAL_FIELD
        )
        return sum(ticks) * self._tick_ms


def _steal_lines() -> list[list[str]]:
    """The processors' lines of the system's account; empty where it is not to be read."""
    try:
        lines = _STAT.read_text(encoding="ascii").splitlines()
    except OSError:  # Android keeps it from programs
        return []
    return [line.split() for line in lines if line.startswith("cpu")]


def _involuntary_switches() -> int:
    """Involuntary context switches of all our threads."""
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def _read_waited_ms() -> float | None:
    """Time in ms that our threads were ready but not running; None where nobody counts it."""
    try:
        accounts = [
            (task / "schedstat").read_text(encoding="ascii").split() for task in _TASKS.iterdir()
        ]
        return sum(int(fields[1]) for fields in accounts) / 1e6
    except (OSError, IndexError, ValueError):
        return None

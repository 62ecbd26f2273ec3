"""Budget: how long the next visits may be, so that enough rounds fit into the time given."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from costmodel.profiler.plan import Plan

#: Fewest blocks that the shortest visit has room for.
_FLOOR_BLOCKS = 5
#: Steps by which a visit is shortened.
_SHRINK = 0.85
#: Longest visit as a multiple of the plan's where time is left over, and visits that there must be
#: time for, as a multiple of those foreseen: noisy rows get more.
_LONGER, _SPARE = 2.0, 1.25
#: A visit timed for longer than this many times what was asked does not get shorter by asking.
_STIFF = 1.5
#: Recent visits that the estimate looks at.
_MEMORY = 2_000
#: What a visit costs beside its timed part before any was made, in ms.
_OVERHEAD_MS = 8.0
#: A visit of this share of the plan's is still worth having.
_GOOD_SHARE = 0.5
#: What such a visit costs before any was made, in ms: what a slow runtime takes, so that no job is
#: let in that time then has to leave half measured.
_FIRST_GUESS_MS = 80.0
#: Share of the budget that is not promised to visits: starts of processes, the last visit.
_RESERVE = 0.05


class Budget:
    """The clock of one profile."""

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.perf_counter) -> None:
        """Start the clock.

        Args:
            plan: whose ``budget_ms`` and ``visit_ms`` hold.
            clock: seconds that only go up.
        """
        self._plan = plan
        self._clock = clock
        self._begin = clock()
        self._overheads: deque[float] = deque(maxlen=_MEMORY)
        self._floors: deque[float] = deque(maxlen=_MEMORY)

    def follow(self, plan: Plan) -> None:
        """Go on under another plan; the clock runs on."""
        self._plan = plan

    @property
    def elapsed_ms(self) -> float:
        """Wall time since the start."""
        return (self._clock() - self._begin) * 1000.0

    @property
    def remaining_ms(self) -> float:
        """Wall time left; infinite without a budget."""
        if self._plan.budget_ms is None:
            return float("inf")
        return self._plan.budget_ms - self.elapsed_ms

    def note(self, visit_ms: float, wall_ms: float, timed_ms: float) -> None:
        """Learn from a visit.

        Args:
            visit_ms: timed wall time that was asked for.
            wall_ms: what it took in all.
            timed_ms: what it took inside timed blocks.
        """
        self._overheads.append(max(0.0, wall_ms - timed_ms))
        self._floors.append(timed_ms if timed_ms > _STIFF * visit_ms else 0.0)

    def cost_ms(self, visits: int, visit_ms: float) -> float:
        """Wall time that ``visits`` visits of ``visit_ms`` are expected to take."""
        if not self._floors:
            return visits * (visit_ms + _OVERHEAD_MS)
        timed = sum(max(visit_ms, floor) for floor in self._floors)
        return visits * (timed + sum(self._overheads)) / len(self._floors)

    @property
    def good_visits(self) -> float:
        """Visits of a length worth having that fit into what is left; infinite without a budget."""
        if self._plan.budget_ms is None:
            return float("inf")
        left_ms = self.remaining_ms - _RESERVE * self._plan.budget_ms
        known = self.cost_ms(1, _GOOD_SHARE * self._plan.visit_ms)
        return left_ms / (known if self._floors else max(known, _FIRST_GUESS_MS))

    def visit_ms(self, visits: int, waiting: int = 0) -> float:
        """Longest visit, as a rule up to the plan's, with which so many fit into what is left.

        Where there is time to spare it goes into longer visits, of which more is timing. Where not
        even the shortest visit fits, that is the answer: the rounds end when time does.

        Args:
            visits: to the jobs that were let in.
            waiting: to those that wait for time: they get what can be spared without making the
                others' visits worthless.
        """
        if waiting:
            return max(self.visit_ms(visits + waiting), _GOOD_SHARE * self._plan.visit_ms)
        left_ms = self.remaining_ms
        planned_ms = visit_ms = self._plan.visit_ms
        if self._plan.budget_ms is not None:
            left_ms -= _RESERVE * self._plan.budget_ms
            visit_ms = _LONGER * planned_ms
            while visit_ms > planned_ms and self.cost_ms(visits, visit_ms) > left_ms / _SPARE:
                visit_ms = max(visit_ms * _SHRINK, planned_ms)
        floor_ms = min(planned_ms, _FLOOR_BLOCKS * self._plan.block_ms)
        while visit_ms > floor_ms and self.cost_ms(visits, visit_ms) > left_ms:
            visit_ms *= _SHRINK
        return max(visit_ms, floor_ms)

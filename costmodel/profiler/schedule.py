"""Schedule: which job is visited when, and which are finished."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from costmodel.measurement import UNMEASURED, Measurement, Round, Status, half_spread
from costmodel.profiler.outlook import Outlook, foresee
from costmodel.profiler.plan import Job, Plan

#: A job is tried again in a later round only after these: the others would repeat.
_WORTH_ANOTHER_TRY = frozenset({"crashed", "timeout"})
#: Failures of one job before it is given up.
_MOST_FAILURES = 2
#: Visits that a job may get, spoiled ones included, as a multiple of the plan's rounds.
_MOST_VISITS = 1.5
#: Share of the fewest rounds that a job must be sure of before it is let in.
_GOOD_SHARE = 0.5


@dataclass(slots=True)
class Tally:
    """What is known about one job.

    Attributes:
        job: the job.
        rounds: its visits, those of earlier sessions included.
        spoiled: how many of them fell into a time when the anchor was slow.
        failures: how often it failed.
        failure: the failure that is not in the table yet, because it will be tried again.
        closed: whether it gets no more visits, whatever its rounds say.
        written_off: rounds of earlier sessions that do not count against the most it may get: a
            row that stayed noisy gets a full set of new rounds when the profile is run again.
    """

    job: Job
    rounds: list[Round] = field(default_factory=list)
    spoiled: int = 0
    failures: int = 0
    failure: Measurement | None = None
    closed: bool = False
    written_off: int = 0


class Schedule:
    """All jobs of one profile."""

    def __init__(self, jobs: Sequence[Job], plan: Plan, known: Mapping[str, Measurement]) -> None:
        """Take stock.

        Args:
            jobs: what to time, without repetition.
            plan: how often.
            known: rows already in the table, by the Op's digest; rounds count, failures are final.
        """
        self._plan = plan
        self._admitted = len(jobs)
        self.tallies = [Tally(job=job) for job in jobs]
        for tally in self.tallies:
            row = known.get(tally.job.op.digest)
            if row is not None and row.status != UNMEASURED:
                tally.rounds.extend(row.rounds)
                # Numbers without rounds were imported: they are not ours to improve.
                tally.closed = not row.has_number or not row.rounds
                if row.status == "noisy" and len(row.rounds) >= plan.rounds:
                    tally.written_off = len(row.rounds)

    def is_finished(self, number: int) -> bool:
        """Whether a job needs no further visit."""
        tally, plan = self.tallies[number], self._plan
        visits = len(tally.rounds)
        if tally.closed:
            return True
        if visits >= plan.min_rounds:
            quiet = [item.quiet_ms for item in tally.rounds]
            if visits > 1 and half_spread(quiet) <= plan.settled:
                return True
        visits -= tally.written_off
        return visits - tally.spoiled >= plan.rounds or visits >= _MOST_VISITS * plan.rounds

    def admit(self, visits: float) -> None:
        """Let in as many jobs, from the first on, as so many visits measure well.

        The others wait: a row of few visits has not seen the machine quiet, and says more than it
        should. A job that was visited stays in.

        Args:
            visits: that there is time for; infinite without a budget.
        """
        wanted = max(1, round(_GOOD_SHARE * self._plan.min_rounds))
        for number, tally in enumerate(self.tallies):
            if visits <= 0:
                self._admitted = number
                return
            if not self.is_finished(number):
                visits -= max(wanted - len(tally.rounds), 1)
        self._admitted = len(self.tallies)

    def is_waiting(self, number: int) -> bool:
        """Whether there is no time for a job that was never visited."""
        return number >= self._admitted and not self.tallies[number].rounds

    @property
    def _pending(self) -> list[int]:
        return [
            number
            for number in range(len(self.tallies))
            if not self.is_waiting(number) and not self.is_finished(number)
        ]

    def order(self, round_number: int) -> list[int]:
        """Unfinished jobs in this round's own order."""
        pending = self._pending
        # A hash of a tuple of ints would do, but a text seed is the same in every Python.
        random.Random(f"{self._plan.seed}/{round_number}").shuffle(pending)
        return pending

    def record(self, number: int, visited: Round) -> Round:
        """Number a visit, keep it, and return it as it goes into the table."""
        tally = self.tallies[number]
        last = max((item.number for item in tally.rounds), default=-1)
        numbered = replace(visited, number=last + 1)
        tally.rounds.append(numbered)
        return numbered

    def spoil(self, numbers: Collection[int]) -> None:
        """Count the last visit of each of these jobs as one in a time when the machine was slow."""
        for number in numbers:
            self.tallies[number].spoiled += 1

    def fail(self, number: int, status: Status, reason: str) -> Measurement | None:
        """Note a failure; returns the row for the table once the job is given up.

        A job that has rounds already keeps its number instead, and is left alone.
        """
        tally = self.tallies[number]
        tally.failures += 1
        tally.failure = Measurement.from_rounds(tally.job.op, (), status=status, reason=reason)
        if status in _WORTH_ANOTHER_TRY and tally.failures < _MOST_FAILURES:
            return None
        tally.closed = True
        return None if tally.rounds else tally.failure

    def abandoned(self) -> list[Measurement]:
        """Failures whose second try never came, for the table."""
        return [
            tally.failure
            for tally in self.tallies
            if tally.failure is not None and not tally.closed and not tally.rounds
        ]

    def unvisited(self) -> list[Job]:
        """Jobs of which nothing is known: there was no time for them."""
        return [
            tally.job
            for tally in self.tallies
            if not tally.rounds and tally.failure is None and not tally.closed
        ]

    @property
    def visits_left(self) -> int:
        """Visits still wanted, as far as can be foreseen."""
        return sum(
            max(self._plan.min_rounds - len(self.tallies[number].rounds), 1)
            for number in self._pending
        )

    def outlook(self) -> Outlook:
        """Visits and rounds still to come, those of jobs that may not settle at first among them.

        Nobody knows when noise ends. A job is taken to settle, at each look after its fewest
        rounds, as often as jobs of this profile did until now (one more of each at first, so that
        half of them are expected to before any was looked at).
        """
        plan, pending = self._plan, set(self._pending)
        looks = settled = 0
        jobs: Counter[tuple[int, int]] = Counter()
        for number, tally in enumerate(self.tallies):
            seen = len(tally.rounds)
            left = plan.rounds - (seen - tally.written_off - tally.spoiled)
            if not tally.closed and seen >= plan.min_rounds:
                looks += seen - plan.min_rounds + 1
                settled += number not in pending and left > 0
            if number in pending:
                certain = max(plan.min_rounds - seen, 1)
                jobs[certain, max(left, certain)] += 1
        return foresee(jobs, (settled + 1) / (looks + 2))

    @property
    def visits_waiting(self) -> int:
        """Visits that the jobs would take for which there is no time yet."""
        waiting = sum(map(self.is_waiting, range(len(self.tallies))))
        return waiting * self._plan.min_rounds

    @property
    def visits_done(self) -> int:
        """Visits made, those of earlier sessions included."""
        return sum(len(tally.rounds) for tally in self.tallies)

"""Session: one run of the profiler over one table."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil

import msgspec

from costmodel.device import Device
from costmodel.errors import CostModelError
from costmodel.measurement import UNMEASURED, Measurement
from costmodel.model_rows import model_op_counts
from costmodel.profiler.account import Account
from costmodel.profiler.budget import Budget
from costmodel.profiler.interrupt import Interrupt
from costmodel.profiler.messages import (
    Care,
    Done,
    Event,
    Failed,
    JobSpec,
    Noted,
    Probed,
    Segment,
    Setup,
    Started,
    Stop,
    Visited,
)
from costmodel.profiler.outcome import ProfileReport, make_report
from costmodel.profiler.plan import Job, Plan, Progress, is_computed, pick_anchor
from costmodel.profiler.schedule import Schedule
from costmodel.profiler.supervisor import Supervisor, WorkerDiedError, default_memory_limit
from costmodel.table import LatencyTable
from costmodel.timing.cores import split_cores, stay_on, usable_cores

#: Visits ordered at once: between two orders the length of visits is fitted to the budget anew.
_SEGMENT = 50
#: Deaths of workers in a row, none of them at a job, before the profile gives up.
_MOST_IDLE_DEATHS = 3
#: Longest wait for an event before budget and interruption are looked at, in seconds.
_LOOK_EVERY_S = 0.2
#: Share of the wall time that may be spent waiting for a slow machine, and what is free, in ms.
_WAIT_SHARE, _FREE_WAIT_MS = 0.02, 1_000.0
#: Beyond its budget a profile waits this share of it, or this many ms, for the last visit to end.
_GRACE_SHARE, _GRACE_MS = 0.05, 2_000.0
#: A second look at visits spoiled by drift must not shorten the others below this share.
_REVISIT_SHARE = 0.9
_ELEMENT_BYTES = 4
_NO_TIME = "there was no time to measure it well"
#: Longer than any profile.
_NEVER_MS = 1e15


class Session:
    """Jobs, a worker and a table, from the first visit to the last."""

    def __init__(
        self,
        jobs: Sequence[Job],
        *,
        runner: str,
        options: Mapping[str, str | int | float | bool],
        plan: Plan,
        progress: Progress | None,
        interrupt: Interrupt,
    ) -> None:
        """Start the clock; nothing runs yet.

        Args:
            jobs: what to time, without repetition.
            runner: name of the runner.
            options: its options.
            plan: how to measure.
            progress: who is told.
            interrupt: tells when the user wants an end.
        """
        self._jobs = jobs
        self._plan = plan
        self._progress = progress
        self._interrupt = interrupt
        self._budget = Budget(plan)
        self._account = Account()
        self._memory_limit = plan.memory_limit_bytes or default_memory_limit()
        self._setup = Setup(
            runner=runner,
            options=dict(options),
            cores=(),
            jobs=tuple(
                JobSpec(
                    op=job.op, model=str(job.model) if job.model else None, sizes=dict(job.sizes)
                )
                for job in jobs
            ),
            anchor=pick_anchor(jobs, plan),
            timeout_ms=plan.timeout_ms,
        )
        self._usable = usable_cores()
        self._worker: Supervisor | None = None
        self._idle_deaths = 0

    def start(self) -> Device:
        """Start a worker, in place of the present one if there is one.

        Raises:
            CostModelError: if the runner refuses, or no worker stays alive.
        """
        begin = time.perf_counter()
        self.close()
        self._place()
        while True:
            self._worker = Supervisor(
                timeout_ms=self._plan.timeout_ms,
                start_timeout_ms=self._plan.start_timeout_ms,
                memory_limit=self._memory_limit,
            )
            self._account.counts["starts"] += 1
            try:
                device = self._worker.setup(self._setup)
                if not is_computed(device) or self._plan == self._plan.for_estimates():
                    break
                # No anchor is needed, but more patience: start again with both.
                self._plan = self._plan.for_estimates()
                self._budget.follow(self._plan)
                self._setup = msgspec.structs.replace(
                    self._setup, anchor=None, timeout_ms=self._plan.timeout_ms
                )
                self.close()
            except WorkerDiedError as death:
                self._note_idle_death(death)
        self._account.spent_ms["start"] += (time.perf_counter() - begin) * 1000.0
        return device

    def _place(self) -> None:
        """Choose processors for the next worker, and leave them."""
        threads = int(self._setup.options.get("threads", 1))
        cores, others = split_cores(self._usable, threads, self._account.counts["starts"] + 1)
        self._setup = msgspec.structs.replace(self._setup, cores=tuple(cores))
        stay_on(others or self._usable)

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def run(self, table: LatencyTable) -> ProfileReport:
        """Visit every job until all are finished, the budget is used up, or the user stops it.

        Args:
            table: where each visit goes as soon as it is over.

        Raises:
            InvalidInputError: if the table cannot be written.
            CostModelError: if no worker stays alive.
        """
        self._table = table
        known = {op.digest: row for op, row in table.rows.items()}
        self._schedule = Schedule(self._jobs, self._plan, known)
        if self._progress is not None:
            self._progress.start(self._schedule.visits_done + self._schedule.visits_left)
        try:
            self._refuse_giants()
            self._rounds()
        finally:
            self.close()
            if self._progress is not None:
                self._progress.stop()
        if not self._interrupt.asked:
            for failure in self._schedule.abandoned():
                table.append(failure)
            self._keep_unmeasured()
        return make_report(
            table,
            (job.op for job in self._jobs),
            self._account,
            wall_ms=self._budget.elapsed_ms,
            interrupted=self._interrupt.asked,
            visits_left=self._schedule.visits_left,
        )

    def _keep_unmeasured(self) -> None:
        """Note the kernels of timed networks that there was no time for.

        Else nobody could say what those networks are made of, and their times would teach nothing.
        """
        timed = {digest for row in self._table.models() for digest in model_op_counts(row.op)}
        for job in self._schedule.unvisited():
            if job.op.digest in timed and job.op not in self._table:
                self._table.append(
                    Measurement.from_rounds(job.op, (), status=UNMEASURED, reason=_NO_TIME)
                )

    @property
    def _stopping(self) -> bool:
        return self._interrupt.asked or self._budget.remaining_ms <= 0.0

    def _rounds(self) -> None:
        number = 0
        self._admit()
        while not self._stopping and (order := self._schedule.order(number)):
            if number and number % self._plan.restart_every == 0:
                self.start()
            self._account.forget_spoiled()
            self._visit_all(order)
            spoiled = self._account.forget_spoiled()
            if spoiled and self._may_revisit(len(spoiled)):
                again = [job for job in order if job in spoiled]
                self._account.counts["revisits"] += len(again)
                self._visit_all(again)
            number += 1
            self._admit()

    def _admit(self) -> None:
        """Let in the jobs that can be measured well by now; a round goes on with newcomers."""
        self._schedule.admit(self._budget.good_visits)

    def _may_revisit(self, visits: int) -> bool:
        """Whether the machine is well again and the other visits can spare the time."""
        left = self._schedule.visits_left
        shorter = self._budget.visit_ms(left + visits)
        return not self._account.drifting and shorter >= _REVISIT_SHARE * self._budget.visit_ms(
            left
        )

    def _visit_all(self, order: Iterable[int]) -> None:
        todo = deque(order)
        while todo and not self._stopping:
            chunk = [todo.popleft() for _ in range(min(_SEGMENT, len(todo)))]
            todo.extendleft(reversed(self._visit_some(chunk)))

    def _visit_some(self, chunk: Sequence[int]) -> list[int]:
        """Let the worker visit some jobs; returns those that it never came to."""
        if self._worker is None:
            self.start()
        assert self._worker is not None
        schedule = self._schedule
        visit_ms = self._budget.visit_ms(schedule.visits_left, schedule.visits_waiting)
        self._worker.send(self._segment(chunk, visit_ms))
        waiting = deque(chunk)
        current: int | None = None
        begin = time.perf_counter()
        try:
            for event in self._listen(self._worker):
                match event:
                    case Started(job=current):
                        waiting.popleft()
                        begin = time.perf_counter()
                    case Visited():
                        wall_ms = (time.perf_counter() - begin) * 1000.0
                        self._budget.note(visit_ms, wall_ms, event.timed_ms)
                        self._keep(event)
                        current = None
                    case Failed():
                        self._fail(event)
                        current = None
                    case Probed():
                        self._schedule.spoil(self._account.probed(event))
                    case Noted():
                        self._note(event)
        except WorkerDiedError as death:
            self.close()
            if current is None:
                self._note_idle_death(death)
            else:
                self._fail(Failed(job=current, status=death.status, reason=death.reason))
        return list(waiting)

    def _segment(self, chunk: Sequence[int], visit_ms: float) -> Segment:
        spent_ms = self._account.spent_ms["wait"]
        patience_ms = _FREE_WAIT_MS + _WAIT_SHARE * self._budget.elapsed_ms - spent_ms
        return Segment(
            order=tuple(chunk),
            care=Care(
                visit_ms=visit_ms,
                block_ms=self._plan.block_ms,
                # JSON knows no infinity, which is how a plan does without probes.
                anchor_every_ms=min(self._plan.anchor_every_ms, _NEVER_MS),
            ),
            anchor_best_ms=min(self._account.anchor_ms, default=None),
            patience_ms=max(0.0, patience_ms),
        )

    def _listen(self, worker: Supervisor) -> Iterator[Event]:
        """Events of a segment; tells the worker to stop when the time has come.

        Where the budget is long over, the present visit is given up with its worker.
        """
        told = False
        grace_ms = max(_GRACE_MS, _GRACE_SHARE * (self._plan.budget_ms or 0.0))
        while True:
            event = worker.hear(within_s=_LOOK_EVERY_S)
            if self._stopping and not told:
                worker.send(Stop())
                told = True
            if isinstance(event, Done):
                return
            if event is not None:
                yield event
            elif self._budget.remaining_ms < -grace_ms:
                self.close()
                return

    def _keep(self, visited: Visited) -> None:
        op = self._jobs[visited.job].op
        self._table.append_round(op, self._schedule.record(visited.job, visited.round))
        self._schedule.spoil(self._account.visited(visited))
        self._idle_deaths = 0
        self._advance(op.label)

    def _fail(self, failed: Failed) -> None:
        failure = self._schedule.fail(failed.job, failed.status, failed.reason)
        if failure is not None:
            self._table.append(failure)
        self._idle_deaths = 0
        self._advance(f"{self._jobs[failed.job].op.label}: {failed.status}")

    def _note(self, noted: Noted) -> None:
        """Pass on what the worker has to say; the device's last state goes into the table."""
        if noted.text:
            self._advance(noted.text)
        if noted.state:
            state = {**self._table.device.state, **noted.state}
            self._table.device = replace(self._table.device, state=state)

    def _note_idle_death(self, death: WorkerDiedError) -> None:
        """A worker died while at no job: the anchor is suspected first.

        Raises:
            CostModelError: if it happens again and again.
        """
        self._idle_deaths += 1
        self._setup = msgspec.structs.replace(self._setup, anchor=None)
        if self._idle_deaths >= _MOST_IDLE_DEATHS:
            message = (
                f"The worker of runner {self._setup.runner!r} died {self._idle_deaths} times "
                f"without being at any row: {death.reason}. Expected it to stay alive between "
                "rows; check that the runtime works here (costmodel devices)."
            )
            raise CostModelError(message) from death

    def _refuse_giants(self) -> None:
        """Fail the jobs that cannot fit into the memory limit before they endanger the machine."""
        for number, job in enumerate(self._jobs):
            op = job.op
            elements = op.num_weights + op.num_input_elements + op.num_output_elements
            needed = elements * _ELEMENT_BYTES
            if needed > self._memory_limit and not self._schedule.is_finished(number):
                reason = (
                    f"its tensors alone need {needed / 2**20:.0f} MiB, above the limit of "
                    f"{self._memory_limit / 2**20:.0f} MiB"
                )
                self._fail(Failed(job=number, status="out_of_memory", reason=reason))

    def _advance(self, note: str) -> None:
        if self._progress is None:
            return
        left, done = self._schedule.visits_left, self._schedule.visits_done
        outlook = self._schedule.outlook()
        wanted_ms = self._budget.cost_ms(ceil(outlook.visits), self._budget.visit_ms(left))
        # Where every round has a process of its own, starting those takes longer than the visits.
        starts = outlook.rounds / self._plan.restart_every
        wanted_ms += starts * self._account.mean_start_ms
        seconds_left = max(0.0, min(wanted_ms, self._budget.remaining_ms)) / 1000.0
        self._progress.advance(done, done + left, seconds_left, note)

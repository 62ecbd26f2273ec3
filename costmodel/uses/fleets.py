"""``profile --fleet`` and ``fleet status``: many devices at once."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import msgspec

from costmodel.fleets.dealing import COPIES, Part, relief
from costmodel.fleets.driver import Task, run_tasks
from costmodel.fleets.engine import ALONE, Post
from costmodel.fleets.keeper import TableFile
from costmodel.fleets.messages import (
    Begin,
    Described,
    Event,
    Finished,
    Moved,
    Order,
    ProfileOrder,
    Rows,
)
from costmodel.fleets.opening import opened_engine
from costmodel.fleets.spec import Fleet, FleetDevice, asked_of, read_fleet
from costmodel.fleets.standing import (
    FleetStatus,
    Saved,
    Standing,
    driver_of,
    load_state,
    lone_driver,
    save_state,
    status_of,
    write_kinds,
)
from costmodel.profiler import Progress
from costmodel.profiler.interrupt import Interrupt
from costmodel.uses.fleet_models import FAR_CPUS, WORK, Ready, models_by_key, post_for, sent
from costmodel.uses.profiling import parse_budget

_LOG = logging.getLogger("costmodel")
#: States of devices whose rows others of their kind measure.
_LEFT = frozenset({"failed", "gone"})
#: What a job is given where nothing is left: ``profile`` takes what it needs at least.
_LEAST_BUDGET_S = 0.001
#: Seconds between two saves of the state; what counts, the tables, is saved at once.
_SAVE_EVERY_S = 1.0


def profile_fleet(path: Path | str, *, progress: Progress | None = None) -> FleetStatus:
    """Profile all devices of a fleet file. Call it again to resume, after any sort of end.

    Args:
        path: the file; docs/fleets.md says what may be in it.
        progress: who is told how far all devices are together.

    Returns:
        How far it came: what each device has, and how boards of one kind agree.

    Raises:
        InvalidInputError: for a file that cannot be used (naming field and fix), a cluster that is
            not there, or a table that cannot be written, such as on a full disk. What was measured
            is kept, and the same call goes on.
        LockedError: if another driver runs this fleet.
        MissingDependencyError: if the file names a Ray cluster and Ray is not installed.

    >>> import tempfile
    >>> from costmodel.op import conv_op
    >>> from costmodel.runners.fake import write_model
    >>> folder = Path(tempfile.mkdtemp())
    >>> op = conv_op(in_channels=8, out_channels=16, size=(14, 14), kernel=(3, 3))
    >>> _ = write_model(folder / "net.json", [op])
    >>> _ = (folder / "fleet.toml").write_text('''
    ... models = ["net.json"]
    ... samples = 0
    ... [[devices]]
    ... name = "board"
    ... runner = "fake"
    ... ''')
    >>> profile_fleet(folder / "fleet.toml").is_done
    True
    """
    fleet = read_fleet(Path(path), parse_budget)
    with lone_driver(fleet):
        run = _Profiling(fleet, progress)
        interrupted = run.drive()
        run.save()
        found = status_of(fleet, run.standings(), "")
        return replace(found, interrupted=interrupted, tables=write_kinds(fleet, found.kinds))


def fleet_status(path: Path | str) -> FleetStatus:
    """How far the profile of a fleet is, whether it runs or not; starts and changes nothing.

    Args:
        path: the fleet file.

    Raises:
        InvalidInputError: for a file that cannot be used, or a state that cannot be read.
        TableFormatError: if a device's table cannot be read.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "fleet.toml"
    >>> _ = path.write_text('''
    ... [[devices]]
    ... name = "board"
    ... runner = "ssh://board"
    ... ''')
    >>> found = fleet_status(path)
    >>> found.is_done, found.standings["board"].state
    (False, 'waiting')
    """
    fleet = read_fleet(Path(path), parse_budget)
    running = driver_of(fleet)
    saved = load_state(fleet)
    standings = {
        device.name: saved.devices.get(device.name, Standing()) for device in fleet.devices
    }
    if not running:  # whoever wrote it is gone
        for item in standings.values():
            if item.state in {"running", "away"}:
                item.state = "stopped"
    return status_of(fleet, standings, running)


class _BoardTask(Task):
    """One device's profile."""

    def __init__(
        self,
        device: FleetDevice,
        run: _Profiling,
        standing: Standing,
        asked: str,
        part: Part,
    ) -> None:
        super().__init__(device.name, FAR_CPUS if device.is_far else ALONE)
        self.device = device
        self.file = TableFile(run.fleet.table(device.name))
        # What an earlier question took says nothing of this one.
        holds = standing.holds(asked, self.file.rows)
        self.moved = Moved(done=standing.done, total=standing.total) if holds else Moved()
        self.wanted, self.design = standing.wanted, standing.design
        self.part = part
        self._told: list[Part] = []
        self.kind = self.file.device.fingerprint if self.file.device else standing.kind
        self.asked = asked
        # A budget is for what is asked, however many jobs and drivers that takes.
        self.spent_s = self._before_s = standing.spent if holds else 0.0
        self.relieved = dict(part.relieved).get(device.name, 0.0) if holds else 0.0
        if standing.is_done(asked, self.file.rows):
            self.state = "done"
        self._run = run

    def post(self) -> Post:
        """The order, with the table as it is by now."""
        device, wanted, run = self.device, self.device.wanted, self._run
        models, sizes = run.models_of(device)
        self._before_s = self.spent_s
        self._told = []
        order = ProfileOrder(
            name=device.name,
            owner=run.owner(device.name),
            runner=device.runner,
            options=dict(device.options),
            folder=run.folder(device.name),
            table=self.file.content(),
            models=tuple(models),
            sizes=sent(sizes),
            samples=wanted.samples,
            thinned=wanted.thinned,
            # With nothing left, a job keeps what a lost one had found, and ends.
            budget_s=None if self._left_s is None else max(_LEAST_BUDGET_S, self._left_s),
            rounds=wanted.rounds,
            seed=wanted.seed,
        )
        return post_for(device, order, order.folder, models)

    @property
    def _left_s(self) -> float | None:
        """What its jobs have left of its budget, in seconds, to a thousandth; None without one."""
        budget = self.device.wanted.budget
        if budget is None:
            return None
        return round(max(0.0, parse_budget(budget) / 1000.0 - self.spent_s), 3)

    @property
    def lacks_rows(self) -> bool:
        """Whether its part now has rows that it was not asked for, and it has time for them."""
        part = self._run.part_of(self)
        if part == self.part or self._left_s == 0.0:
            return False
        return not self.design or bool(part.gained(self.part, self.name, self.design))

    @property
    def comes_late(self) -> bool:
        """Whether it may be behind its like: it had begun before, or was away."""
        return bool(self.moved.total) or self.is_back

    def move(self, done: float, total: float) -> None:
        """Count rows that it leaves or takes, until its job does.

        Args:
            done: share of the visits made so far that still counts.
            total: visits of all its rows.
        """
        if self.moved.total:
            counted = round(self.moved.done * done)
            self.moved = msgspec.structs.replace(self.moved, done=counted, total=round(total))

    def _begin(self, part: Part) -> Begin:
        self._told.append(part)
        self.part = part
        return Begin(part=part)

    def take(self, event: Event) -> Order | None:
        """Keep rows before anything else; a board that is there is told its part."""
        match event:
            case Described():
                self.file.begin(event.header)
                assert self.file.device is not None
                self.kind = self.file.device.fingerprint
                return self._begin(self._run.begun(self))
            case Rows():
                self.file.add(event.lines)
            case Moved():
                self.spent_s = self._before_s + event.spent_s
                if event.total:
                    self.moved = event
                    self.reason = event.note if self.state == "running" else self.reason
                    if self._told and (part := self._run.part_of(self)) != self.part:
                        return self._begin(part)
            case Finished():
                if event.table:
                    self.file.replace(event.table)
                if event.begun:
                    self.part = self._told[event.begun - 1]
                found = event.found or {}
                self.wanted, self.design = found.get("rows", 0), found.get("design", 0)
        return None

    @property
    def standing(self) -> Standing:
        """For the state file, which says the part by itself."""
        return Standing(
            state=self.state,
            reason=self.reason if self.state != "done" else "",
            device=self.file.device.label if self.file.device else "",
            kind=self.kind,
            rows=self.file.rows,
            wanted=self.wanted,
            done=self.moved.done,
            total=self.moved.total,
            seconds_left=self.moved.seconds_left,
            spent=self.spent_s,
            asked=self.asked,
            design=self.design,
        )


class _Profiling:
    """All devices' profiles, from what is in files to what is then."""

    def __init__(self, fleet: Fleet, progress: Progress | None) -> None:
        self.fleet = fleet
        self._progress = progress
        self._saved_s = 0.0
        self._models: dict[object, Ready] = {}
        self._seen: list[object] = []
        self._parts: dict[str, Part] = {}
        self._asked_for: dict[str, Part] = {}
        saved = load_state(fleet)
        self._id = saved.id
        parts = dict(enumerate(saved.parts))
        asked = asked_of(fleet)
        self._is_shown = False
        self.tasks = [
            _BoardTask(device, self, standing, asked[device.name], parts.get(standing.part, Part()))
            for device in fleet.devices
            for standing in [saved.devices.get(device.name, Standing())]
        ]

    def drive(self) -> bool:
        """Do what is left, on the fleet's engine; returns whether the user ended it."""
        self._regroup()
        if not any(task.is_open for task in self.tasks):
            _LOG.info("Every device has measured all that it is to.")
            return False
        names = ", ".join(task.name for task in self.tasks if task.is_open)
        _LOG.info("To profile: %s.", names)
        self.save()
        # The engine first: Ray would take the signals away.
        with (
            self._files_of_models(),
            opened_engine(self.fleet.ray) as engine,
            Interrupt() as interrupt,
        ):
            try:
                run_tasks(
                    self.tasks,
                    engine,
                    patience_s=self.fleet.patience_s,
                    stopping=lambda: interrupt.asked,
                    look=self._look,
                )
            finally:
                self.save()
                if self._progress is not None and self._is_shown:
                    self._progress.stop()
            return interrupt.asked

    def _look(self) -> None:
        self._regroup()
        now = time.monotonic()
        if now - self._saved_s < _SAVE_EVERY_S:
            return
        self._saved_s = now
        self.save()
        if self._progress is not None:
            moved = [task.moved for task in self.tasks]
            running = [task for task in self.tasks if task.state == "running"]
            left = max((task.moved.seconds_left for task in running), default=0.0)
            note = f"{len(running)} of {len(self.tasks)} devices at work"
            done, total = (sum(getattr(item, name) for item in moved) for name in ("done", "total"))
            if total and not self._is_shown:  # before, nobody has told how much there is to do
                self._is_shown = True
                self._progress.start(total)
            if total:
                self._progress.advance(done, total, left, note)

    def _regroup(self) -> None:
        """Ask boards again that lack rows, because another of their kind has left or is late."""
        self._refresh()
        if self._parts is self._asked_for:
            return
        self._asked_for = self._parts
        for task in self.tasks:
            if task.state == "done" and task.lacks_rows:
                task.state = "waiting"

    def _refresh(self) -> None:
        """Group boards anew if anything has changed."""
        seen: list[object] = [
            (task.kind, task.state in _LEFT, task.state == "done", task.relieved)
            for task in self.tasks
        ]
        if seen != self._seen:
            self._seen, self._parts = seen, self._grouped()

    def begun(self, task: _BoardTask) -> Part:
        """The part of a device that has just told its kind, less what it is too late for."""
        self._refresh()
        if task.comes_late:
            self._relieve(task)
            self._refresh()
        return self.part_of(task)

    def part_of(self, task: _BoardTask) -> Part:
        """What decides who of the boards that share a device's design measures what."""
        return self._parts[task.name]

    def _relieve(self, late: _BoardTask) -> None:
        """Leave rows of late boards to others of the kind, so that all end together.

        Not where there is a budget: a board that was away has its own left, and the others none.
        """
        if late.device.wanted.budget is not None:
            return
        present = frozenset(self.part_of(late).present)
        group = [task for task in self.tasks if task.name in present]
        totals = [task.moved.total for task in group if task.moved.total]
        if len(group) <= COPIES or not totals:
            return
        usual = sum(totals) / len(totals)
        whole = {t.name: t.moved.total or usual * (1.0 - t.relieved) for t in group}
        left = {
            task.name: 0.0 if task.state == "done" else whole[task.name] - task.moved.done
            for task in group
        }
        end, shares = relief(left, whole)
        if not shares:
            return
        for task in group:
            share, visits = shares.get(task.name, 0.0), whole[task.name]
            task.relieved = 1.0 - (1.0 - task.relieved) * (1.0 - share)
            if share:
                _LOG.info("%s is late: others measure %.0f %% of its rows.", task.name, 100 * share)
                task.move(1.0 - share, visits * (1.0 - share))
            else:
                task.move(1.0, visits + max(0.0, end - left[task.name]))

    def _grouped(self) -> dict[str, Part]:
        """Every device's part. Until a board was reached, it counts as one of those it is like."""
        kinds: dict[object, Counter[str]] = defaultdict(Counter)
        for task in self.tasks:
            if task.kind:
                kinds[task.device.alike][task.kind] += 1
        groups: dict[object, list[_BoardTask]] = defaultdict(list)
        for task in self.tasks:
            known = kinds[task.device.alike]
            kind = task.kind or (known.most_common(1)[0][0] if known else "")
            groups[(kind, task.device.wanted) if kind else task.device.alike].append(task)
        found: dict[str, Part] = {}
        for group in groups.values():
            group.sort(key=lambda task: task.name)
            part = Part(
                boards=tuple(task.name for task in group),
                present=tuple(task.name for task in group if task.state not in _LEFT),
                relieved=tuple((task.name, task.relieved) for task in group if task.relieved),
            )
            found |= dict.fromkeys(part.boards, part)
        return found

    def owner(self, name: str) -> str:
        """Who a device's jobs are for its agents: the same after the driver was killed."""
        return f"{self._id}-{name}"

    def folder(self, name: str) -> str:
        """A job's own folder, beside its device."""
        work = self.fleet.work or (WORK if self.fleet.ray else str(self.fleet.out / ".work"))
        if not self.fleet.ray:
            work = str(Path(work).expanduser().resolve())
        return f"{work}/{self._id}/{name}"

    @contextmanager
    def _files_of_models(self) -> Iterator[None]:
        """Models as files that can be sent, by what a device is to measure."""
        with models_by_key(
            {device.wanted: device.wanted.models for device in self.fleet.devices},
            {device.wanted: dict(device.wanted.sizes) for device in self.fleet.devices},
        ) as found:
            self._models = found
            yield

    def models_of(self, device: FleetDevice) -> Ready:
        """Files of a device's networks by key, and values of their open dimensions."""
        return self._models[device.wanted]

    def standings(self) -> dict[str, Standing]:
        """How far each device is."""
        return {task.name: task.standing for task in self.tasks}

    def save(self) -> None:
        """Write the state file."""
        parts = {part: place for place, part in enumerate({task.part: 0 for task in self.tasks})}
        standings = self.standings()
        for task in self.tasks:
            standings[task.name].part = parts[task.part]
        save_state(self.fleet, Saved(id=self._id, devices=standings, parts=tuple(parts)))

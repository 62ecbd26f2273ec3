"""``profile --fleet`` and ``fleet status``: many devices at once."""

from __future__ import annotations

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from costmodel.fleets.dealing import dealt
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
    NO_PART,
    FleetStatus,
    Part,
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
        part: Part = NO_PART,
    ) -> None:
        super().__init__(device.name, FAR_CPUS if device.is_far else ALONE)
        self.device = device
        self.file = TableFile(run.fleet.table(device.name))
        self.moved = Moved(done=standing.done, total=standing.total)
        self.wanted, self.design = standing.wanted, standing.design
        self.part = part
        self.kind = self.file.device.fingerprint if self.file.device else standing.kind
        self.asked = asked
        # A budget is for what is asked, however many jobs and drivers that takes.
        holds = standing.holds(asked, self.file.rows)
        self.spent_s = self._before_s = standing.spent if holds else 0.0
        if standing.is_done(asked, self.file.rows):
            self.state = "done"
        self._run = run

    def post(self) -> Post:
        """The order, with the table as it is by now."""
        device, wanted, run = self.device, self.device.wanted, self._run
        models, sizes = run.models_of(device)
        self._before_s = self.spent_s
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
        now, then = (set(dealt(self.design, *item, self.name)) for item in (part, self.part))
        return bool(now - then) or not self.design

    def take(self, event: Event) -> Order | None:
        """Keep rows before anything else; a board that is there is told its part."""
        match event:
            case Described():
                self.file.begin(event.header)
                assert self.file.device is not None
                self.kind = self.file.device.fingerprint
                boards, present = self.part = self._run.told_part(self)
                return Begin(boards=boards, present=present)
            case Rows():
                self.file.add(event.lines)
            case Moved():
                self.spent_s = self._before_s + event.spent_s
                if event.total:
                    self.moved = event
                    self.reason = event.note if self.state == "running" else self.reason
            case Finished():
                if event.table:
                    self.file.replace(event.table)
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
        self._seen: tuple[object, ...] = ()
        self._parts: dict[str, Part] = {}
        saved = load_state(fleet)
        self._id = saved.id
        parts = dict(enumerate(saved.parts))
        asked = asked_of(fleet)
        self._is_shown = False
        self.tasks = [
            _BoardTask(
                device, self, standing, asked[device.name], parts.get(standing.part, NO_PART)
            )
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
        """Ask boards again that lack rows, because another of their kind has left."""
        if self._refresh():
            for task in self.tasks:
                if task.state == "done" and task.lacks_rows:
                    task.state = "waiting"

    def _refresh(self) -> bool:
        """Group boards anew if anything has changed; returns whether it has."""
        seen = tuple((task.kind, task.state in _LEFT, task.state == "done") for task in self.tasks)
        if seen == self._seen:
            return False
        self._seen, self._parts = seen, self._grouped()
        return True

    def told_part(self, task: _BoardTask) -> Part:
        """The part of a device that has just told its kind."""
        self._refresh()
        return self.part_of(task)

    def part_of(self, task: _BoardTask) -> Part:
        """Boards that share a device's design, and those of them that can be asked."""
        return self._parts[task.name]

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
            boards = tuple(sorted(task.name for task in group))
            present = tuple(sorted(task.name for task in group if task.state not in _LEFT))
            found |= dict.fromkeys(boards, (boards, present))
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

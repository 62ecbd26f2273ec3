"""``sweep``: a grid of searches, budgets by seeds by devices, and which are worth having."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError
from costmodel.fleets.driver import State, Task, run_tasks
from costmodel.fleets.engine import Post
from costmodel.fleets.fields import Fields, is_there, read_toml, require_unique
from costmodel.fleets.messages import CommandOrder, Event, Finished, Moved, Order, encode
from costmodel.fleets.opening import opened_engine
from costmodel.fleets.spec import out_is_no_folder
from costmodel.profiler import Progress
from costmodel.profiler.interrupt import Interrupt
from costmodel.profiler.lock import hold
from costmodel.uses.fleet_models import JOB
from costmodel.uses.profiling import parse_budget
from costmodel.uses.tables import cost_of, open_table
from morphnet_core.plots import plot_sweep

_LOG = logging.getLogger("costmodel")
#: What a search leaves in its folder when it is done, and what the sweep leaves in its own.
RESULT, PICTURE = "result.json", "pareto.svg"
#: How long a search may be lost before it is given up, in seconds.
_PATIENCE_S = 300.0
#: Options of ``morphnet train`` that a file may give, by their kind, with what each takes: a slip
#: is then told at once, and not by every search.
_WHOLE = {
    "search_epochs": (0, 10**6),
    "finish_epochs": (0, 10**6),
    "batch_size": (1, 10**6),
    "looks": (0, 10**6),
    "rounds": (2, 1000),
}
_NUMBERS = {"distil": (0.0, 1.0), "grow": (1.0, 16.0)}
_WORDS = {
    "finish": ("retrain", "finetune", "none"),
    "importance": ("taylor", "signal"),
    "signal": ("gamma", "group_lasso", "logistic_sigmoid", "hard_concrete"),
}
_EXPORTS = ("onnx", "litert")
_FLAGS = ("augment", "remove_blocks")
#: Parts of the names of metrics, and whole names, of which less is better.
_LESS = ("loss", "error", "entropy", "divergence", "hinge", "perplexity", "poisson", "false_")
_LESS_WHOLE = frozenset({"mae", "mse", "rmse", "mape", "msle", "logcosh"})
_TRAIN = ("-P", "-c", "from morphnet_core.cli import main; main()", "train")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A device, by whatever prices it.

    Attributes:
        name: of it.
        arguments: of ``morphnet train`` that mean it.
        unit: of its prices.
    """

    name: str
    arguments: tuple[str, ...]
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """All of a sweep file.

    Attributes:
        path: of the file.
        out: folder of all results.
        model: the seed network.
        data: the script that loads what it is trained on.
        budgets: shares such as ``60%``, other texts in a cost's unit, or milliseconds.
        seeds: of fresh weights and shuffling.
        targets: the devices.
        arguments: further ones of ``morphnet train``, the same for all.
        metric: by which networks are judged; empty for their accuracy, else their loss.
        ray: address of the Ray cluster that searches run on; empty for this machine.
        cpus: processors that one search takes.
        patience_s: how long a search may be lost before it is given up.
    """

    path: Path
    out: Path
    model: Path
    data: Path
    budgets: tuple[str | float, ...]
    seeds: tuple[int, ...]
    targets: tuple[Target, ...]
    arguments: tuple[str, ...]
    metric: str
    ray: str
    cpus: int
    patience_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One search of the grid.

    Attributes:
        target: the device's name.
        budget: that it was to keep, as the file says it.
        seed: of it.
        folder: of its files.
        unit: of ``cost`` and of what is predicted.
        state: where it is; see ``costmodel.fleets.driver``.
        reason: why it is not done.
        found: what ``morphnet train --json`` wrote; empty until it is done.
        best: whether no other network of its device is at least as fast and as good.
    """

    target: str
    budget: str
    seed: int
    folder: Path
    unit: str
    state: State
    reason: str = ""
    found: Mapping[str, Any] = field(default_factory=dict)
    best: bool = False

    @property
    def cost(self) -> float | None:
        """What the clock says, else what the prices do; None until it is done."""
        measured = self.found.get("measured_ms")
        return self.found.get("predicted") if measured is None else measured

    def value(self, metric: str) -> float | None:
        """What the network is worth; None where it is not known."""
        found = self.found.get("metrics", {}).get(metric)
        return None if found is None or not math.isfinite(found) else float(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What a sweep gave.

    Attributes:
        sweep: what was asked for.
        runs: all searches, in the grid's order.
        metric: by which they are judged.
        picture: of cost and metric; None where there is nothing to draw, or nothing to draw with.
        interrupted: whether the user ended it.
    """

    sweep: Sweep
    runs: tuple[Searched, ...]
    metric: str
    picture: Path | None = None
    interrupted: bool = False

    @property
    def is_done(self) -> bool:
        """Whether every search is."""
        return all(run.state == "done" for run in self.runs)

    def to_json(self) -> dict[str, object]:
        """The sweep as plain values."""
        return {
            "sweep": str(self.sweep.path),
            "done": self.is_done,
            "metric": self.metric,
            "picture": str(self.picture) if self.picture else None,
            "runs": [
                {
                    "device": run.target,
                    "budget": run.budget,
                    "seed": run.seed,
                    "folder": str(run.folder),
                    "state": run.state,
                    "reason": run.reason or None,
                    "unit": run.unit,
                    "predicted": run.found.get("predicted"),
                    "measured_ms": run.found.get("measured_ms"),
                    "value": run.value(self.metric),
                    "best": run.best,
                }
                for run in self.runs
            ],
        }


def sweep(path: Path | str, *, progress: Progress | None = None) -> Swept:
    """Search for networks within each budget, with each seed, for each device of a file.

    Each search is ``morphnet train`` in a process of its own. Call it again to go on, after any
    sort of end: what is done is not done again, and what was begun goes on from where it is.

    Args:
        path: the sweep file; docs/fleets.md says what may be in it.
        progress: who is told how many searches are done.

    Returns:
        Every search, those that are best for their device marked, and a picture.

    Raises:
        InvalidInputError: for a file that cannot be used; names field and fix.
        LockedError: if another sweep writes there.
        MissingDependencyError: if the file names a Ray cluster and Ray is not installed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "sweep.toml"
    >>> _ = path.write_text('model = "net.keras"')
    >>> sweep(path)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    costmodel.errors.InvalidInputError: ... data is missing. Add it: data = ...
    """
    asked = read_sweep(Path(path))
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{path}: out: {asked.out} cannot be made: {error.strerror}."
        raise InvalidInputError(message) from error
    why = "Two at once would search for the same networks."
    with hold(asked.out / "sweep.lock", f"the sweep {path}", who="sweep", why=why):
        tasks = [
            _SearchTask(asked, target, budget, seed)
            for target in asked.targets
            for budget in asked.budgets
            for seed in asked.seeds
        ]
        interrupted = _run(asked, tasks, progress)
    runs = tuple(task.searched for task in tasks)
    metric = asked.metric or _metric(runs)
    _tell_unknown(asked, runs)
    best = frozenset(_best(runs, metric))
    found = Swept(
        sweep=asked,
        runs=tuple(replace(run, best=number in best) for number, run in enumerate(runs)),
        metric=metric,
        interrupted=interrupted,
    )
    return replace(found, picture=_draw(found))


def _run(asked: Sweep, tasks: Sequence[_SearchTask], progress: Progress | None) -> bool:
    """Do all searches that are left; returns whether the user ended it."""
    left = [task for task in tasks if task.is_open]
    if not left:
        return False
    _LOG.info("%d of %d searches are to be done.", len(left), len(tasks))
    total = len(tasks)

    def look() -> None:
        if progress is not None:
            running = next((task for task in tasks if task.state == "running"), None)
            note = f"{running.name}: {running.reason}" if running else ""
            done = sum(task.state == "done" for task in tasks)
            progress.advance(done, total, math.inf, note)

    with opened_engine(asked.ray) as engine, Interrupt() as interrupt:
        if progress is not None:
            progress.start(total)
        try:
            run_tasks(
                left,
                engine,
                patience_s=asked.patience_s,
                stopping=lambda: interrupt.asked,
                look=look,
            )
        finally:
            if progress is not None:
                progress.stop()
        return interrupt.asked


class _SearchTask(Task):
    """One search, in a process of its own."""

    def __init__(self, asked: Sweep, target: Target, budget: str | float, seed: int) -> None:
        text = _words(budget)
        super().__init__(f"{target.name} {text} seed {seed}", float(asked.cpus))
        folder = asked.out / target.name / f"{_file_name(text)}-s{seed}"
        option = "--target" if isinstance(budget, str) else "--target-ms"
        command = (
            str(asked.model.resolve()),
            *("--data", str(asked.data.resolve()), "--out", str(folder.resolve())),
            *(option, str(budget), "--seed", str(seed)),
            *target.arguments,
            *asked.arguments,
            "--json",
        )
        self._arguments = (*_TRAIN, *command)
        self._digest = hashlib.blake2b(json.dumps(command).encode(), digest_size=8).hexdigest()
        self._asked = asked
        self._searched = Searched(
            target=target.name,
            budget=text,
            seed=seed,
            folder=folder,
            unit=target.unit,
            state="waiting",
        )
        self._found = self._earlier()
        if self._found:
            self.state = "done"

    def _earlier(self) -> dict[str, Any]:
        """What the same search found before; empty if there was none, or it was asked otherwise."""
        try:
            found = json.loads((self._searched.folder / RESULT).read_text(encoding="utf-8"))
            return dict(found["found"]) if found["asked"] == self._digest else {}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def post(self) -> Post:
        """The command; what it has begun before, it goes on with."""
        folder = str(self._asked.path.parent.resolve())
        order = CommandOrder(arguments=self._arguments, folder=folder)
        return Post(module=JOB, order=encode(order), folder=folder, cpus=self.cpus)

    def take(self, event: Event) -> Order | None:
        """Keep the result."""
        match event:
            case Moved():
                self.reason = event.note
            case Finished(interrupted=False):
                self._found = json.loads(event.found)
                told = {"asked": self._digest, "found": self._found}
                data = json.dumps(told, indent=1).encode() + b"\n"
                write_lines(self._searched.folder / RESULT, [data])
        return None

    @property
    def searched(self) -> Searched:
        """What came of it."""
        reason = self.reason if self.state != "done" else ""
        return replace(self._searched, state=self.state, reason=reason, found=self._found)


def _words(budget: str | float) -> str:
    """A budget as people read it."""
    return budget if isinstance(budget, str) else f"{budget:g} ms"


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in ".-" else "" for c in text.replace("%", "pc"))


def _metric(runs: Sequence[Searched]) -> str:
    """The accuracy if there is one, else the loss."""
    names = {name for run in runs for name in run.found.get("metrics", {})}
    return "accuracy" if "accuracy" in names else "loss"


def _tell_unknown(asked: Sweep, runs: Sequence[Searched]) -> None:
    """Warn of a metric that no network has: nothing is the best by it."""
    known = sorted({name for run in runs for name in run.found.get("metrics", {})})
    if asked.metric and known and asked.metric not in known:
        _LOG.warning(
            "%s: metric: no network has %r. Known: %s. Write one of these and run the same command "
            "again: nothing is searched anew.",
            asked.path, asked.metric, ", ".join(known),
        )  # fmt: skip


def _best(runs: Sequence[Searched], metric: str) -> list[int]:
    """Places of the searches that no other of their device beats in both cost and metric."""
    less = metric in _LESS_WHOLE or any(part in metric for part in _LESS)
    sign = -1.0 if less else 1.0
    points = [
        (number, run.target, run.cost, sign * value)
        for number, run in enumerate(runs)
        if run.cost is not None and (value := run.value(metric)) is not None
    ]
    return [
        number
        for number, target, cost, value in points
        if not any(
            other == target and c <= cost and v >= value and (c, v) != (cost, value)
            for _, other, c, v in points
        )
    ]


def _draw(found: Swept) -> Path | None:
    points = [
        (run.target, run.cost, value, run.best, run.unit)
        for run in found.runs
        if run.cost is not None and (value := run.value(found.metric)) is not None
    ]
    if not points:
        return None
    try:
        return plot_sweep(points, found.metric, found.sweep.out / PICTURE)
    except ImportError as error:
        _LOG.warning("%s", error)
        return None


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file; its form is in docs/fleets.md.

    Raises:
        InvalidInputError: if it cannot be read, or says what there is not; names file, field and
            what to write instead.
    """
    top = Fields(str(path), read_toml(path, "sweep"))
    files = {name: path.parent / top.text(name) for name in ("model", "data")}
    for name, file in files.items():
        if not (is_there(file) and file.is_file()):
            problem = f"there is no file {file}. Give its path from the folder of this file."
            top.refuse(name, problem)
    budgets = tuple(
        _budget(top, item)
        for item in top.items("budgets", (str, int, float), "shares such as '60%', or milliseconds")
    )
    if not budgets:
        message = f"{path}: budgets is missing. Add it: budgets = ['80%', '60%']"
        raise InvalidInputError(message)
    seeds = tuple(top.items("seeds", (int,), "whole numbers")) or (0,)
    if min(seeds) < 0:
        top.refuse("seeds", f"expected whole numbers from 0 up. Received: {min(seeds)}.")
    folders = [_file_name(_words(budget)) for budget in budgets]
    for name, several in (("budgets", folders), ("seeds", seeds)):
        if len(set(several)) < len(several):
            top.refuse(name, "one of them is given twice. Leave it out.")
    search = Fields(f"{path}, [search]", top.table("search"))
    found = Sweep(
        path=path,
        out=path.parent / top.text("out", f"{path.stem}-results"),
        model=files["model"],
        data=files["data"],
        budgets=budgets,
        seeds=seeds,
        targets=tuple(
            _target(Fields(where, values), path.parent, budgets)
            for where, values in top.tables("devices")
        ),
        arguments=_arguments(search),
        metric=top.text("metric", ""),
        ray=top.text("ray", ""),
        cpus=top.whole("cpus", 1 if top.has("ray") else os.cpu_count() or 1, 1, 4096),
        patience_s=top.checked("patience", _PATIENCE_S * 1000.0, parse_budget) / 1000.0,
    )
    top.done()
    require_unique(str(path), [target.name for target in found.targets])
    if out_is_no_folder(found.out):
        top.refuse("out", f"{found.out} is a file. Name a folder; it is made if need be.")
    return found


def _budget(top: Fields, item: str | float) -> str | float:
    """A share, a text in the unit of a cost, or milliseconds."""
    text = item if isinstance(item, str) else f"{item:g}"
    try:
        number = float(text.strip().removesuffix("%"))
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        problem = f"expected shares such as '60%', or milliseconds above 0. It holds {item!r}."
        top.refuse("budgets", problem)
    return item if isinstance(item, str) else float(item)


def _target(fields: Fields, folder: Path, budgets: Sequence[str | float]) -> Target:
    name = fields.text("name")
    arguments: list[str] = []
    unit = "ms"
    cost = fields.text("cost", "regression")
    table = fields.text("table", "")
    rows = None
    if table:
        table = _beside(folder, table)
        rows = _told(fields, "table", lambda: open_table(table))
        arguments += ["--table", table]
    donors = fields.items("donors", (str,), "tables")
    for donor in donors:
        found = _beside(folder, donor)
        _told(fields, "donors", partial(open_table, found))
        arguments += ["--donor", found]
    if cost not in {"regression", "lookup"}:  # a fit takes seconds, and each search makes its own
        unit = _told(fields, "cost", lambda: cost_of(cost, rows)).unit
    elif rows is None:
        fields.refuse("table", f"the cost {cost!r} needs one. Add table = 'cpu.jsonl'.")
    arguments += ["--cost", cost]
    if unit != "ms" and any(not isinstance(item, str) for item in budgets):
        problem = f"{cost} counts {unit}, not milliseconds. Give shares as budgets, such as '60%'."
        fields.refuse("cost", problem)
    if fields.has("runner"):
        arguments += ["--runner", fields.text("runner")]
    if fields.has("threads"):
        arguments += ["--threads", str(fields.whole("threads", 1, 1, 1024))]
    for key, value in fields.options("options").items():
        arguments += ["--runner-option", f"{key}={value}"]
    if fields.truth("predict_only", default=False):
        arguments.append("--predict-only")
    fields.done()
    return Target(name=name, arguments=tuple(arguments), unit=unit)


def _beside(folder: Path, table: str) -> str:
    """A table's file, named from the folder of the sweep file; else it is a shipped profile's."""
    where = folder / table
    return str(where.resolve()) if is_there(where) else table


def _told(fields: Fields, name: str, call: Any) -> Any:
    """What a call returns; its error gets the field's name."""
    try:
        return call()
    except (InvalidInputError, ValueError) as error:
        fields.refuse(name, str(error), error)


def _arguments(search: Fields) -> tuple[str, ...]:
    """Options of ``morphnet train`` for all searches."""
    found: list[str] = []
    for name, limits in _WHOLE.items():
        if search.has(name):
            found += [_option(name), str(search.whole(name, 0, *limits))]
    for name, (least, most) in _NUMBERS.items():
        if search.has(name):
            found += [_option(name), f"{search.number(name, 0.0, least, most):g}"]
    for name, words in _WORDS.items():
        if search.has(name):
            found += [_option(name), search.one_of(name, words, words[0])]
    for name in _FLAGS:
        if search.truth(name, default=False):
            found.append(_option(name))
    found += _exports(search)
    search.done()
    return tuple(found)


def _exports(search: Fields) -> list[str]:
    expected = " or ".join(map(repr, _EXPORTS))
    found: list[str] = []
    for item in search.items("export", (str,), expected):
        if item not in _EXPORTS:
            search.refuse("export", f"expected a list of {expected}. It holds {item!r}.")
        found += ["--export", item]
    return found


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"

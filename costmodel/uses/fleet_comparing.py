"""``compare --fleet``: networks predicted for every device of a fleet, and timed there."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from costmodel.errors import InvalidInputError
from costmodel.fleets.boards import Kind, joined, kinds_of
from costmodel.fleets.driver import Task, run_tasks
from costmodel.fleets.engine import ALONE, Post
from costmodel.fleets.messages import CompareOrder, Event, Finished, Order
from costmodel.fleets.opening import opened_engine
from costmodel.fleets.spec import FleetDevice, read_fleet
from costmodel.fleets.standing import load_state, lone_driver, tables_of
from costmodel.profiler.interrupt import Interrupt
from costmodel.sizes import Sizes
from costmodel.table import LatencyTable
from costmodel.table_format import encode_header, encode_measurement
from costmodel.uses.fleet_models import FAR_CPUS, WORK, models_by_key, post_for, sent
from costmodel.uses.models import Model, as_list
from costmodel.uses.profiling import parse_budget


class _CompareTask(Task):
    """Networks on one device, predicted and timed."""

    def __init__(self, device: FleetDevice, order: CompareOrder, models: dict[str, Path]) -> None:
        super().__init__(device.name, FAR_CPUS if device.is_far else ALONE)
        self.found: list[dict[str, Any]] = []
        self._post = post_for(device, order, order.folder, models)

    def post(self) -> Post:
        """The same at each try."""
        return self._post

    def take(self, event: Event) -> Order | None:
        """What came of it."""
        if isinstance(event, Finished):
            self.found = event.found or []
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetComparison:
    """Networks on the devices of a fleet.

    Attributes:
        boards: by device, in the file's order: its comparisons as ``Comparison.to_json`` writes
            them; none of a device that gave none.
        devices: by device, its label where it is known.
        factors: by device, how much longer it takes than those of its kind that agree; 1 for these.
        reasons: by device, why it gave nothing.
        interrupted: whether the user ended it.
    """

    boards: Mapping[str, Sequence[Mapping[str, Any]]]
    devices: Mapping[str, str]
    factors: Mapping[str, float]
    reasons: Mapping[str, str]
    interrupted: bool = False

    def to_json(self) -> dict[str, object]:
        """The comparison as plain values."""
        return {
            "boards": [
                {
                    "name": name,
                    "device": self.devices.get(name),
                    "factor": self.factors.get(name),
                    "reason": self.reasons.get(name),
                    "compared": list(found),
                }
                for name, found in self.boards.items()
            ]
        }


def compare_fleet(
    path: Path | str,
    models: Model | Sequence[Model],
    *,
    cost: str = "regression",
    sizes: Sizes | None = None,
    rounds: int | None = None,
    seed: int = 0,
) -> FleetComparison:
    """Predict networks for every device of a fleet, by its table, and time them there.

    A board is predicted from the rows of all boards of its kind that agree; one that is kept apart
    from its own rows, and from those of the others multiplied by its factor.

    Args:
        path: the fleet file.
        models: one or several, each as for ``predict``.
        cost: ``regression`` or ``lookup``.
        sizes: values of open dimensions, as for ``predict``.
        rounds: most visits to a network; 12 by default.
        seed: of the order of visits.

    Raises:
        InvalidInputError: for a file that cannot be used, or a fleet of which no device has a
            table yet.
        LockedError: if another driver runs this fleet.
        MissingDependencyError: if the file names a Ray cluster and Ray is not installed.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "fleet.toml"
    >>> _ = path.write_text('''
    ... [[devices]]
    ... name = "board"
    ... runner = "ssh://board"
    ... ''')
    >>> compare_fleet(path, "net.onnx")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    costmodel.errors.InvalidInputError: ... Profile them first: costmodel profile --fleet ...
    """
    fleet = read_fleet(Path(path), parse_budget)
    tables = tables_of(fleet, [device.name for device in fleet.devices])
    if not tables:
        message = (
            f"{path}: none of its devices has a table in {fleet.out} yet. Profile them first: "
            f"costmodel profile --fleet {path}"
        )
        raise InvalidInputError(message)
    kinds = {name: kind for kind in kinds_of(tables) for name in (b.name for b in kind.boards)}
    given = as_list(models)
    if not given:
        message = "There is nothing to compare. Give at least one model."
        raise InvalidInputError(message)
    with (
        lone_driver(fleet),
        models_by_key({"": given}, {"": dict(sizes or {})}) as found,
        tempfile.TemporaryDirectory(prefix="costmodel-") as here,
    ):
        files, bound = found[""]
        work = Path(fleet.work or WORK) if fleet.ray else Path(here)
        tasks = [
            _CompareTask(
                device,
                CompareOrder(
                    name=device.name,
                    owner=f"{load_state(fleet).id}-{device.name}",
                    runner=device.runner,
                    options=dict(device.options),
                    folder=str(work / uuid.uuid4().hex / device.name),
                    table=_text(_priced_by(device.name, kinds[device.name], tables)),
                    models=tuple(files),
                    sizes=sent(bound),
                    cost=cost,
                    rounds=rounds,
                    seed=seed,
                ),
                files,
            )
            for device in fleet.devices
            if device.name in tables
        ]
        with opened_engine(fleet.ray) as engine, Interrupt() as interrupt:
            run_tasks(
                tasks,
                engine,
                patience_s=fleet.patience_s,
                stopping=lambda: interrupt.asked,
                look=lambda: None,
            )
    reasons = {task.name: task.reason or task.state for task in tasks if task.state != "done"}
    reasons |= {d.name: "it has no table yet" for d in fleet.devices if d.name not in tables}
    came = {task.name: task.found for task in tasks}
    return FleetComparison(
        boards={device.name: came.get(device.name, []) for device in fleet.devices},
        devices={name: table.device.label for name, table in tables.items()},
        factors={
            name: kind.factor(name) if _apart(kind, name) else 1.0 for name, kind in kinds.items()
        },
        reasons=reasons,
        interrupted=interrupt.asked,
    )


def _apart(kind: Kind, name: str) -> bool:
    return name not in kind.together


def _priced_by(name: str, kind: Kind, tables: Mapping[str, LatencyTable]) -> LatencyTable:
    return joined(kind, tables, scaled_to=name if _apart(kind, name) else "")


def _text(table: LatencyTable) -> str:
    lines = [encode_header(table.device), *map(encode_measurement, table.values())]
    return b"".join(lines).decode("utf-8")

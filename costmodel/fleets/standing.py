"""Standing: how far a fleet is, in its state file and its tables, and who drives it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
from filelock import FileLock, Timeout

from costmodel.durable import left_behind, write_lines
from costmodel.errors import InvalidInputError
from costmodel.fleets.boards import Kind, joined, kinds_of
from costmodel.fleets.dealing import Part
from costmodel.fleets.driver import State
from costmodel.fleets.spec import Fleet, asked_of
from costmodel.profiler.lock import hold
from costmodel.table import LatencyTable
from costmodel.timing.lock import note_path, read_note

#: Version of the state file.
_FORMAT = 1


class Standing(msgspec.Struct, kw_only=True):
    """How far one device is, as the state file keeps it.

    ``spent`` are the seconds of its budget that its jobs have used for what is ``asked``.
    """

    state: State = "waiting"
    reason: str = ""
    device: str = ""
    kind: str = ""
    rows: int = 0
    wanted: int = 0
    done: int = 0
    total: int = 0
    seconds_left: float = 0.0
    spent: float = 0.0
    asked: str = ""
    design: int = 0
    part: int = -1

    def holds(self, asked: str, rows: int) -> bool:
        """Whether this is about what the device is asked for now, and its table is still there."""
        return self.asked == asked and rows >= self.rows

    def is_done(self, asked: str, rows: int) -> bool:
        """Whether it has measured what it is asked for now."""
        return self.state == "done" and self.holds(asked, rows)


class Saved(msgspec.Struct, kw_only=True):
    """The state file.

    ``id`` is the fleet's own, in the names of folders on hosts. ``parts`` are what devices were
    told, to which ``Standing.part`` points.
    """

    id: str
    format: int = _FORMAT
    devices: dict[str, Standing] = {}
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetStatus:
    """How far a fleet is.

    Attributes:
        fleet: the file's.
        standings: by device, in the file's order.
        kinds: boards by device identity, of the tables that there are.
        running: who drives it now; empty for nobody.
        interrupted: whether the user ended what was just run.
        tables: files of the tables that boards of a kind make together.
    """

    fleet: Fleet
    standings: Mapping[str, Standing]
    kinds: tuple[Kind, ...] = ()
    running: str = ""
    interrupted: bool = False
    tables: Mapping[str, Path] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether every device has measured all that it is to."""
        return all(item.state == "done" for item in self.standings.values())

    def to_json(self) -> dict[str, object]:
        """The status as plain values."""
        return {
            "fleet": str(self.fleet.path),
            "running": self.running or None,
            "done": self.is_done,
            "devices": [
                {
                    "name": device.name,
                    "runner": device.runner,
                    "host": device.host or None,
                    "state": item.state,
                    "reason": item.reason or None,
                    "device": item.device or None,
                    "kind": item.kind or None,
                    "table": str(self.fleet.table(device.name)),
                    "rows": item.rows,
                    "rows_wanted": item.wanted or None,
                    "visits": item.done,
                    "visits_wanted": item.total or None,
                    "seconds_left": item.seconds_left if item.state == "running" else None,
                }
                for device in self.fleet.devices
                for item in [self.standings[device.name]]
            ],
            "kinds": [self._kind_json(kind) for kind in self.kinds],
        }

    def _kind_json(self, kind: Kind) -> dict[str, object]:
        table = self.tables.get(kind.device.fingerprint)
        return {
            "kind": kind.device.fingerprint,
            "device": kind.device.label,
            "table": str(table) if table else None,
            "rows": kind.rows,
            "single_rows": kind.single,
            "limit": kind.limit,
            "boards": [
                {
                    "name": board.name,
                    "rows": board.rows,
                    "shared_rows": board.shared,
                    "factor": board.factor,
                    "apart": board.apart,
                }
                for board in kind.boards
            ],
        }


def status_of(fleet: Fleet, standings: Mapping[str, Standing], running: str) -> FleetStatus:
    """The status of a fleet whose devices stand so; rows are counted in the tables.

    Args:
        fleet: as its file says.
        standings: by device.
        running: who drives it; empty for nobody.
    """
    # A table that grows has many lines a row, which are not read to say how far it is.
    still = [name for name, item in standings.items() if item.state != "running"]
    tables = tables_of(fleet, still)
    asked = asked_of(fleet)
    for name in still:
        item, rows = standings[name], len(tables.get(name, ()))
        if item.state == "done" and not item.is_done(asked[name], rows):
            item.state = "waiting"  # the next driver asks it again
        item.rows = rows
    for name, table in tables.items():
        standings[name].kind = table.device.fingerprint
        standings[name].device = table.device.label
    kinds = kinds_of(tables)
    files = {
        kind.device.fingerprint: _kind_file(fleet, kind) for kind in kinds if len(kind.together) > 1
    }
    return FleetStatus(
        fleet=fleet,
        standings=standings,
        kinds=kinds,
        running=running,
        tables={key: path for key, path in files.items() if path.exists()},
    )


def tables_of(fleet: Fleet, names: Iterable[str]) -> dict[str, LatencyTable]:
    """Tables of some devices, those that there are."""
    paths = {name: fleet.table(name) for name in names}
    return {
        name: LatencyTable.load(path)
        for name, path in paths.items()
        if path.exists() and path.stat().st_size
    }


def _kind_file(fleet: Fleet, kind: Kind) -> Path:
    stem = kind.device.slug.replace("/", "-")
    return fleet.out / "kinds" / f"{stem}-{kind.device.fingerprint[:8]}.jsonl"


def write_kinds(fleet: Fleet, kinds: Sequence[Kind]) -> dict[str, Path]:
    """The tables that two and more boards make together."""
    written = {}
    tables = tables_of(fleet, [board.name for kind in kinds for board in kind.boards])
    for kind in kinds:
        path = _kind_file(fleet, kind)
        if len(kind.together) > 1:
            joined(kind, tables).save(path)
            written[kind.device.fingerprint] = path
        else:
            path.unlink(missing_ok=True)  # they agreed as long as they had fewer rows
    return written


def _lock_file(fleet: Fleet) -> Path:
    return fleet.out / "fleet.lock"


def _state_file(fleet: Fleet) -> Path:
    return fleet.out / "fleet.json"


@contextmanager
def lone_driver(fleet: Fleet) -> Iterator[None]:
    """Be the only driver of a fleet while the body runs.

    Raises:
        LockedError: if there is another.
        InvalidInputError: if the fleet's folder cannot be made.
    """
    try:
        fleet.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = f"{fleet.path}: out: {fleet.out} cannot be made: {error.strerror}."
        raise InvalidInputError(message) from error
    with hold(_lock_file(fleet), f"the fleet {fleet.path}"):
        for path in left_behind(fleet.out):  # by a driver that was killed
            path.unlink(missing_ok=True)
        yield


def driver_of(fleet: Fleet) -> str:
    """Who drives a fleet; empty for nobody."""
    path = _lock_file(fleet)
    holder = read_note(note_path(path))
    if not psutil.pid_exists(int(holder.get("pid", -1))):
        return ""  # nor is the lock taken, which a driver that starts just now wants
    try:
        with FileLock(path, timeout=0, mode=0o666):
            return ""
    except Timeout:
        return f"process {holder['pid']} since {holder.get('since', '?')}"
    except OSError:
        return ""  # a folder that may only be read: nobody here drives it


def save_state(fleet: Fleet, saved: Saved) -> None:
    """Write the state file.

    Raises:
        InvalidInputError: if it cannot be written; the old one is then as before.
    """
    data = msgspec.json.format(msgspec.json.encode(saved), indent=1)
    write_lines(_state_file(fleet), [data + b"\n"])


def load_state(fleet: Fleet) -> Saved:
    """What the state file says; a new one without it.

    Raises:
        InvalidInputError: if it cannot be read, or is of a later version.
    """
    path = _state_file(fleet)
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Saved)
    except FileNotFoundError:
        return Saved(id=uuid.uuid4().hex[:12])
    except (OSError, msgspec.MsgspecError) as error:
        message = (
            f"{path} cannot be read ({error}). Move it away: what was measured is in the tables "
            "beside it."
        )
        raise InvalidInputError(message) from error
    if found.format != _FORMAT:
        message = f"{path} is of format {found.format}; this version reads {_FORMAT}. Update it."
        raise InvalidInputError(message)
    return found

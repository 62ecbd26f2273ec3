"""Fleet: the devices that a TOML file names, and what each of them measures."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path

from costmodel.errors import InvalidInputError
from costmodel.fleets.fields import Fields, is_there, read_toml, require_unique
from costmodel.registry import Option

#: Milliseconds of a text such as ``10m``, and what it is, for messages (``what``).
Duration = Callable[..., float]
#: How long a device may be away, in seconds, unless the file says otherwise.
PATIENCE_S = 300.0
#: Names that the fleet's own files have.
_TAKEN = ("fleet", "kinds")
_SAMPLES, _THINNED = 400, 2
#: Options of runners that say how a board is reached, or what becomes of it, but not what it is.
_BESIDE = frozenset(
    {
        *("address", "port", "identity", "known_hosts", "ssh_config", "ssh", "adb", "server_port"),
        *("python", "bundle", "folder", "reconnect_s", "max_temperature", "cool_s"),
        *("noise", "seed", "realtime", "misbehave", "slower"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a device measures; see ``costmodel.profile``.

    Attributes:
        samples: Ops to choose by design.
        thinned: variants of each network with channels cut.
        models: files of networks.
        sizes: values of their open dimensions.
        budget: most time, as ``profile`` reads it; None to take what it takes.
        rounds: most visits to one Op; None for the default.
        seed: of the choice and order.
    """

    samples: int = _SAMPLES
    thinned: int = _THINNED
    models: tuple[Path, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()
    budget: str | None = None
    rounds: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetDevice:
    """One device of a fleet.

    Attributes:
        name: of its table.
        runner: name or address of what measures there.
        options: of the runner.
        host: the custom resource of those nodes that reach it; empty for any.
        wanted: what it measures.
    """

    name: str
    runner: str
    options: Mapping[str, Option] = field(default_factory=dict)
    host: str = ""
    wanted: Wanted = Wanted()

    @property
    def is_far(self) -> bool:
        """Whether it is another machine than the one that its job runs on."""
        return "://" in self.runner

    @property
    def alike(self) -> tuple[object, ...]:
        """What devices have in common that may be boards of one kind, as far as the file tells."""
        kept = tuple(sorted((n, str(v)) for n, v in self.options.items() if n not in _BESIDE))
        return (self.runner.partition("://")[0], kept, self.wanted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All of a fleet file.

    Attributes:
        path: of the file.
        out: folder of the tables.
        devices: in the file's order.
        ray: address of the Ray cluster that jobs run on; empty to run them on this machine.
        patience_s: how long a device may be away before it is given up.
        work: folder for copies of tables beside the devices; empty for the usual place.
    """

    path: Path
    out: Path
    devices: tuple[FleetDevice, ...]
    ray: str = ""
    patience_s: float = PATIENCE_S
    work: str = ""

    def table(self, name: str) -> Path:
        """The table of a device."""
        return self.out / f"{name}.jsonl"


def asked_of(fleet: Fleet) -> dict[str, str]:
    """By device, a digest of all that it is asked for: another one asks for something else.

    Networks count by their names and contents: the same file may be reached by several paths, and
    may have changed.
    """
    digest = cache(_content)
    found = {}
    for device in fleet.devices:
        models = [(path.name, digest(path)) for path in device.wanted.models]
        options = sorted(device.options.items())
        asked = repr((device.runner, options, replace(device.wanted, models=()), models))
        found[device.name] = hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()
    return found


def _content(path: Path) -> str:
    """A digest of a file, or of all files of a folder.

    Raises:
        InvalidInputError: if one cannot be read.
    """
    found = hashlib.blake2b(digest_size=8)
    try:
        for file in _files(path):
            found.update(str(file.relative_to(path)).encode())
            with file.open("rb") as handle:
                found.update(hashlib.file_digest(handle, "blake2b").digest())
    except OSError as error:
        message = f"The network {path} cannot be read: {error.strerror or error}."
        raise InvalidInputError(message) from error
    return found.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    yield from sorted(filter(Path.is_file, path.rglob("*"))) if path.is_dir() else [path]


def read_fleet(path: Path, duration: Duration) -> Fleet:
    """Read a fleet file; its form is in docs/fleets.md.

    Args:
        path: of the file.
        duration: reads a text such as ``10m``; refuses what is none.

    Raises:
        InvalidInputError: if it cannot be read, or says what there is not; names file, field and
            what to write instead.
    """
    path = Path(path)
    top = Fields(str(path), read_toml(path, "fleet"))
    found = Fleet(
        path=path,
        out=path.parent / top.text("out", f"{path.stem}-tables"),
        ray=top.text("ray", ""),
        patience_s=top.checked("patience", PATIENCE_S * 1000.0, partial(duration, what="patience"))
        / 1000.0,
        work=top.text("work", ""),
        devices=tuple(
            _device(Fields(where, values, top), path.parent, duration)
            for where, values in top.tables("devices")
        ),
    )
    top.done(("devices",))
    for device in found.devices:
        if found.ray and not device.is_far and not device.host:
            message = (
                f"{path}: host: the device {device.name!r} is the machine that its job runs on. "
                f"Say which: host = 'NAME', where that node has the resource NAME."
            )
            raise InvalidInputError(message)
    names = [device.name for device in found.devices]
    require_unique(str(path), names)
    for name in names:
        if name in _TAKEN:
            message = f"{path}: the name {name!r} is taken by files of the fleet. Choose another."
            raise InvalidInputError(message)
    if out_is_no_folder(found.out):
        message = f"{path}: out: {found.out} is a file. Name a folder; it is made if need be."
        raise InvalidInputError(message)
    return found


def out_is_no_folder(out: Path) -> bool:
    """Whether something else is where a folder is to be."""
    return is_there(out) and not out.is_dir()


def _device(fields: Fields, folder: Path, duration: Duration) -> FleetDevice:
    options = fields.options("options")
    if fields.has("threads"):
        options["threads"] = fields.whole("threads", 1, 1, 1024)

    def checked_duration(value: str | float) -> str:
        duration(value)
        return str(value)

    models = tuple(folder / name for name in fields.items("models", (str,), "paths of networks"))
    for model in models:
        if not is_there(model):
            problem = f"there is no file {model}. Give its path from the folder of this file."
            fields.refuse("models", problem)
    sizes = fields.values("sizes", (int,), "a whole number")
    for name, size in sizes.items():
        if not 1 <= size < 2**31:
            fields.refuse("sizes", f"{name} must be from 1 to 2^31 - 1. Received: {size}.")
    found = FleetDevice(
        name=fields.text("name"),
        runner=fields.text("runner"),
        options=options,
        host=fields.text("host", ""),
        wanted=Wanted(
            samples=fields.whole("samples", _SAMPLES, 0, 100_000),
            thinned=fields.whole("thinned", _THINNED, 0, 100),
            models=models,
            sizes=tuple(sorted(sizes.items())),
            budget=fields.checked("budget", None, checked_duration),
            rounds=fields.whole("rounds", 24, 2, 1000) if fields.has("rounds") else None,
            seed=fields.whole("seed", 0, 0, 2**31 - 1),
        ),
    )
    if not found.wanted.samples and not models:
        fields.refuse("samples", "with none, and no models, there is nothing to measure.")
    fields.done()
    return found

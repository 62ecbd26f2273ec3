"""What a job and the driver tell each other: one JSON object a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from costmodel.fleets.dealing import Part
from costmodel.registry import Option


class ProfileOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a job, first: profile a device; it says ``Described`` and waits for ``Begin``.

    ``table`` is what the driver has of its table; ``folder`` is the job's own, where its copy of
    the table is. ``models`` are keys of ``files``, which whoever starts the job fills in. ``owner``
    is for agents on boards: one that a lost job has left there gives way to its like. ``budget_s``
    is what earlier jobs of the device have left of it; None to take what it takes.
    """

    name: str
    owner: str
    runner: str
    options: dict[str, Option]
    folder: str
    table: str
    models: tuple[str, ...]
    sizes: dict[str, int | tuple[int, ...]]
    samples: int
    thinned: int
    budget_s: float | None
    rounds: int | None
    seed: int


class CompareOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a job, first: predict networks by ``table`` and time them on the device."""

    name: str
    owner: str
    runner: str
    options: dict[str, Option]
    folder: str
    table: str
    models: tuple[str, ...]
    sizes: dict[str, int | tuple[int, ...]]
    cost: str
    rounds: int | None
    seed: int


class CommandOrder(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a job, first: run Python with these arguments and say what it wrote to standard output."""

    arguments: tuple[str, ...]
    folder: str


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To a job: with which boards its device shares the design.

    Also while it runs, when rows of another board become its own.
    """

    part: Part


class Bye(msgspec.Struct, frozen=True, tag=True):
    """To a job: all that it said is on disk; its own copy may go, and so may it."""


class Described(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a job: the device is there; ``header`` is the first line of its table."""

    header: str


class Rows(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a job: lines of the table that the driver has not seen, line ends included."""

    lines: tuple[str, ...]


class Moved(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a job: how far it is; ``note`` is for people.

    ``spent_s`` is what it has used of its budget; ``total`` is 0 where only that is told.
    """

    done: int = 0
    total: int = 0
    seconds_left: float = 0.0
    spent_s: float = 0.0
    note: str = ""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a job: it is done.

    ``table`` is the whole table, ``found`` whatever else came of it; ``begun`` says after how many
    ``Begin`` it measured what they told it.
    """

    table: str = ""
    found: Any = None
    begun: int = 0
    interrupted: bool = False


class Broke(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From a job: it cannot go on; ``again`` says whether another try may help."""

    text: str
    again: bool = False


Order = ProfileOrder | CompareOrder | CommandOrder | Begin | Bye
Event = Described | Rows | Moved | Finished | Broke

_ENCODER = msgspec.json.Encoder()
_ORDERS: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_FILES: msgspec.json.Decoder[dict[str, str]] = msgspec.json.Decoder(dict[str, str])


def encode(message: Order | Event) -> bytes:
    """One line, newline included."""
    return _ENCODER.encode(message) + b"\n"


def encode_files(files: Mapping[str, str]) -> bytes:
    """The line before the first order: where the job finds files, by key."""
    return _ENCODER.encode(dict(files)) + b"\n"


def decode_files(line: bytes) -> dict[str, str]:
    """Where files are, by key."""
    return _FILES.decode(line)


def decode_order(line: bytes) -> Order:
    """What the driver said."""
    return _ORDERS.decode(line)


def decode_event(line: bytes) -> Event:
    """What the job said."""
    return _EVENTS.decode(line)

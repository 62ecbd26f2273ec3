"""What the parent and its worker tell each other: one JSON object a line."""

from __future__ import annotations

import msgspec

from costmodel.device import Device
from costmodel.measurement import Round, Status
from costmodel.op import Op


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A job as the worker needs it."""

    op: Op
    model: str | None = None
    sizes: dict[str, int] = {}


class Care(msgspec.Struct, frozen=True, kw_only=True):
    """How a visit is timed; times in ms."""

    visit_ms: float
    block_ms: float
    anchor_every_ms: float


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To the worker, once: everything it will be asked to time."""

    runner: str
    options: dict[str, str | int | float | bool]
    cores: tuple[int, ...]
    jobs: tuple[JobSpec, ...]
    anchor: Op | None = None
    timeout_ms: float = 60_000.0


class Segment(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """To the worker: visit these jobs in this order, then say ``Done``."""

    order: tuple[int, ...]
    care: Care
    anchor_best_ms: float | None = None
    patience_ms: float = 0.0


class Stop(msgspec.Struct, frozen=True, tag=True):
    """To the worker: end the segment after the present visit."""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the worker: the runner is up."""

    device: Device


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the worker: there is no runner; ``error`` is the class in ``costmodel.errors``."""

    error: str
    message: str


class Started(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the worker: a visit begins; blame a crash on this job."""

    job: int


class Visited(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the worker: a visit gave a number.

    ``round.number`` is 0 here: the parent numbers rounds. ``timed_ms``, ``warm_ms`` and
    ``load_ms`` are wall times of the parts of the visit. ``times_ms`` are the single times of a
    whole network, where whoever timed it tells them.
    """

    job: int
    round: Round
    timed_ms: float
    warm_ms: float
    load_ms: float
    times_ms: tuple[float, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the worker: the runtime refused a job; the worker is well."""

    job: int
    status: Status
    reason: str


class Probed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the worker: the anchor took ``latency_ms``; ``slow`` when still slow after waiting."""

    latency_ms: float
    slow: bool
    timed_ms: float
    waited_ms: float


class Noted(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """From the worker: a sign of life of one that is busy with its device's troubles.

    ``text`` is for people, empty for none; ``state`` is what the device's state is now.
    """

    text: str = ""
    state: dict[str, str] = {}


class Done(msgspec.Struct, frozen=True, tag=True):
    """From the worker: the segment is over."""


Order = Setup | Segment | Stop
Event = Ready | Refused | Started | Visited | Failed | Probed | Noted | Done

_ENCODER = msgspec.json.Encoder()
_ORDERS: msgspec.json.Decoder[Order] = msgspec.json.Decoder(Order)
_EVENTS: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(message: Order | Event) -> bytes:
    """One line, newline included."""
    return _ENCODER.encode(message) + b"\n"


def decode_order(line: bytes) -> Order:
    """What the parent said."""
    return _ORDERS.decode(line)


def decode_event(line: bytes) -> Event:
    """What the worker said."""
    return _EVENTS.decode(line)

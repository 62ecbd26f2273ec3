"""What an agent may say: every answer and every event is held against its form when it arrives.

An agent is our own program, but it runs on somebody's board, and what comes from there may be cut,
mixed with other text, or made up. Past this module, messages have the fields that are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from costmodel.errors import MISFORMED, RemoteError
from costmodel.measurement import Count, Milliseconds

Json = dict[str, Any]
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
#: Waits and parts of a visit, which may be nothing, and times of which something was taken off.
_Ms = Annotated[float, msgspec.Meta(ge=0.0, le=1e12)]
_Rest = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]
_Shapes = list[list[_Size]]
_Core = Annotated[int, msgspec.Meta(ge=0, le=2**16)]


class _Cluster(msgspec.Struct):
    cores: list[_Core]
    max_mhz: _Size
    capacity: _Size


class _Hello(msgspec.Struct):
    machine: str
    system: str
    cpuinfo: dict[str, str]
    model: str
    soc: str
    caches: list[_Size]
    cores: Annotated[list[_Core], msgspec.Meta(min_length=1)]
    clusters: list[_Cluster]
    boot: str
    python: str
    emulated: bool
    digest: str
    folder: str


class _Versions(msgspec.Struct):
    numpy: str
    onnxruntime: str


class _Entered(msgspec.Struct):
    events: list[dict[str, Any]]
    seq: _Size
    displaced: bool
    state: dict[str, str]
    interrupted: str | None


class _Missing(msgspec.Struct):
    missing: list[str]


class _Scouted(msgspec.Struct):
    latency_ms: _Rest
    shapes: _Shapes


class _Block(msgspec.Struct):
    latency_ms: _Rest
    wall_ms: _Ms
    runs: Count


class _Inputs(msgspec.Struct):
    inputs: list[str]


class _Profile(msgspec.Struct):
    trace: str
    feed: dict[str, tuple[list[_Size], str]]


class _Piece(msgspec.Struct):
    data: str
    size: _Size


class _Error(msgspec.Struct):
    error: str
    text: str


class _Numbered(msgspec.Struct):
    seq: _Size


class _Named(msgspec.Struct):
    event: str


class _Other(msgspec.Struct):
    """An event of a later agent: what is read of any."""

    seq: _Size = 0
    step: str = ""
    state: dict[str, str] = {}


class _Step(_Numbered):
    step: str


class _ScoutedStep(_Step):
    latency_ms: _Rest
    shapes: _Shapes


class _Visited(_Step):
    quiet_ms: Milliseconds
    median_ms: Milliseconds
    blocks: Count
    discarded: Count
    runs: Count
    timed_ms: _Ms
    warm_ms: _Ms
    load_ms: _Ms


class _Failed(_Step):
    error: str
    text: str


class _Probed(_Numbered):
    latency_ms: _Rest
    slow: bool
    timed_ms: _Ms
    waited_ms: _Ms


class _Cooling(_Numbered):
    state: dict[str, str]


class _Cooled(_Cooling):
    waited_s: _Ms


class _Done(_Cooling):
    order: int


_ANSWERS: Mapping[str, type[msgspec.Struct]] = {
    "block": _Block,
    "enter": _Entered,
    "get": _Piece,
    "have": _Missing,
    "hello": _Hello,
    "optimise": _Inputs,
    "profile": _Profile,
    "scout": _Scouted,
    "versions": _Versions,
}
_EVENTS: Mapping[str, type[msgspec.Struct]] = {
    "cooled": _Cooled,
    "cooling": _Cooling,
    "done": _Done,
    "failed": _Failed,
    "left": _Step,
    "probed": _Probed,
    "scouted": _ScoutedStep,
    "started": _Step,
    "trouble": _Error,
    "visited": _Visited,
}


def checked_answer(address: str, do: str, message: Json) -> Json:
    """An answer that has what is read of it.

    Args:
        address: of the device, for messages.
        do: what was asked for.
        message: as it came.

    Raises:
        RemoteError: naming the field that is wrong.
    """
    kind = _Error if "error" in message else _ANSWERS.get(do)
    return message if kind is None else _checked(address, f"answer to {do!r}", kind, message)


def checked_event(address: str, message: Json) -> Json:
    """An event that has what is read of it.

    Args:
        address: of the device, for messages.
        message: as it came, with an ``event``.

    Raises:
        RemoteError: naming the field that is wrong.
    """
    name = message["event"]
    kind = _EVENTS.get(name, _Other) if isinstance(name, str) else _Named
    return _checked(address, f"event {name!r:.40}", kind, message)


def _checked(address: str, what: str, kind: type[msgspec.Struct], message: Json) -> Json:
    try:
        msgspec.convert(message, kind)
    except MISFORMED as error:
        text = (
            f"{address}: the agent's {what} is not as it should be: {error}. Something else "
            "answers there, or the agent is damaged: remove its folder there and try again."
        )
        raise RemoteError(text) from error
    return message

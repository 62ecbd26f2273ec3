"""How much of this machine a file may take before it is refused, whoever wrote it.

A small file may claim any number of nodes, bytes and calls. The limits let through what one
machine can work with; for a file that is trusted they are raised by ``limited``, by ``--limit`` of
the command lines, or by the environment variable that both set, which worker processes inherit.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

from costmodel.errors import InvalidInputError, LimitError

#: Holds ``NAME=NUMBER`` with commas between.
VARIABLE = "COSTMODEL_LIMITS"
#: Most bytes of a file that is read at once and is no model: a list, a baseline, a profile.
WHOLE = 256 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Most that one file may have.

    Attributes:
        bytes: of a model's file, and of all of its weights.
        unpacked: bytes that packed parts may become: sparse weights, compressed files.
        nodes: of a graph, those of graphs and functions inside it written out.
        elements: of one stored tensor.
        nesting: of graphs inside graphs, and of functions that call functions.
        seconds: of this process's processor time to read a model; looked at between steps, so that
            one call of a library may take longer.

    >>> Limits().nodes
    1000000
    """

    bytes: int = 2**31 - 1
    unpacked: int = 2**30
    nodes: int = 1_000_000
    elements: int = 2**30
    nesting: int = 500
    seconds: int = 600

    def require(self, name: str, found: int, where: object) -> None:
        """Refuse a file that goes beyond a limit.

        Args:
            name: of the limit.
            found: how much the file has.
            where: the file, for the message.

        Raises:
            LimitError: naming the file, the limit, and how to raise it.
        """
        most: int = getattr(self, name)
        if found > most:
            message = (
                f"{where}: it has {found:,} {_WORDS[name]}, and at most {most:,} are read. If you "
                f"trust it, raise the limit: --limit {name}={found} before the verb (in Python, "
                f"with costmodel.limits.limited({name}={found}))."
            )
            raise LimitError(message)


_WORDS = {
    "bytes": "bytes",
    "unpacked": "bytes when it is unpacked",
    "nodes": "nodes",
    "elements": "elements in one tensor",
    "nesting": "graphs or calls inside each other",
}
#: When the reading that is under way must end, in seconds of processor time, and what is read.
_DEADLINE: ContextVar[tuple[float, object] | None] = ContextVar("_DEADLINE", default=None)


def limits() -> Limits:
    """The limits that hold now.

    Raises:
        InvalidInputError: if the environment variable names what there is not.
    """
    return _parsed(os.environ.get(VARIABLE, ""))


@lru_cache(maxsize=16)
def _parsed(text: str) -> Limits:
    return Limits(**parse_limits([item for item in text.split(",") if item.strip()]))


def parse_limits(items: Sequence[str]) -> dict[str, int]:
    """Limits of texts ``NAME=NUMBER``, as ``limited`` takes them.

    Raises:
        InvalidInputError: for other names, and for what is no whole number.

    >>> parse_limits(["nodes=2000000"])
    {'nodes': 2000000}
    """
    names = [item.name for item in fields(Limits)]
    found: dict[str, int] = {}
    for item in items:
        name, _, number = item.strip().partition("=")
        digits = number.replace("_", "")
        if name not in names or not (digits.isdecimal() and digits.isascii() and len(digits) < 19):
            message = (
                f"{item!r} is no limit. Expected NAME=NUMBER with a whole number, and one of the "
                f"names {', '.join(names)}."
            )
            raise InvalidInputError(message)
        found[name] = int(digits)
    return found


@contextmanager
def limited(
    *,
    bytes: int | None = None,  # noqa: A002 - the limit's own name
    unpacked: int | None = None,
    nodes: int | None = None,
    elements: int | None = None,
    nesting: int | None = None,
    seconds: int | None = None,
) -> Iterator[Limits]:
    """Let other limits hold inside, in this process and in those that it starts.

    Args:
        bytes: as in ``Limits``; None leaves a limit as it is. The same for all others.
        unpacked: bytes that packed parts may become.
        nodes: of a graph.
        elements: of one stored tensor.
        nesting: of graphs and calls inside each other.
        seconds: of processor time to read a model.

    >>> with limited(nodes=5) as found:
    ...     found.nodes, limits().nodes
    (5, 5)
    """
    asked = {
        "bytes": bytes, "unpacked": unpacked, "nodes": nodes, "elements": elements,
        "nesting": nesting, "seconds": seconds,
    }  # fmt: skip
    found = replace(limits(), **{name: n for name, n in asked.items() if n is not None})
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = ",".join(f"{name}={number}" for name, number in asdict(found).items())
    try:
        yield found
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def read_whole(path: Path, most: int = WHOLE) -> bytes:
    """All bytes of a file; of one without an end, such as a device, no more than are allowed.

    Args:
        path: the file.
        most: bytes that it may have.

    Raises:
        InvalidInputError: if it has more.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        message = f"{path}: it is larger than {most >> 20} MiB; give a smaller file."
        raise InvalidInputError(message)
    return data


@contextmanager
def in_time(where: object) -> Iterator[None]:
    """Limit the time of the reading inside; reading inside of reading has the outer one's time.

    Args:
        where: what is read, for the message.
    """
    if _DEADLINE.get() is not None:
        yield
        return
    token = _DEADLINE.set((time.process_time() + limits().seconds, where))
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def still_in_time() -> None:
    """Say that a step of reading is about to be taken.

    Raises:
        LimitError: if the time of the reading under way is over.
    """
    deadline = _DEADLINE.get()
    if deadline is not None and time.process_time() > deadline[0]:
        most = limits().seconds
        more = max(1, most * 4)
        message = (
            f"{deadline[1]}: it is not read after {most} seconds. If you trust it, raise the "
            f"limit: --limit seconds={more} before the verb (in Python, with "
            f"costmodel.limits.limited(seconds={more}))."
        )
        raise LimitError(message)

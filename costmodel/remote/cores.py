"""Cores: which processors of the device work, by list or by the name of a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from costmodel.errors import InvalidInputError

CLUSTERS = ("little", "middle", "big")
_RANGE = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def parse_cores(text: str) -> tuple[int, ...] | str:
    """Processors of ``4-7`` or ``0,2,4-5``, or the name of a cluster; empty for no choice.

    Raises:
        InvalidInputError: for anything else.

    >>> parse_cores("4-6,1"), parse_cores("big"), parse_cores("")
    ((1, 4, 5, 6), 'big', ())
    """
    text = text.strip().lower()
    if not text or text in CLUSTERS:
        return text or ()
    found: set[int] = set()
    for piece in text.split(","):
        match = _RANGE.fullmatch(piece.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            message = (
                f"cores={text!r} names no processors. Give a list such as 4-7 or 0,2,4, or a "
                f"cluster: {', '.join(CLUSTERS)}."
            )
            raise InvalidInputError(message)
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def choose_cores(
    wanted: tuple[int, ...] | str, facts: Mapping[str, Any], threads: int, address: str
) -> tuple[int, ...]:
    """Processors of the device that are meant.

    Args:
        wanted: from ``parse_cores``.
        facts: from the agent: ``cores`` and ``clusters``, the slowest first.
        threads: of one kernel.
        address: of the device, for messages.

    Returns:
        The processors; without a choice those of the fastest cluster that has enough.

    Raises:
        InvalidInputError: if the device has no such processors, or too few of them.
    """
    clusters: Sequence[Mapping[str, Any]] = facts["clusters"]
    usable: Sequence[int] = facts["cores"]
    named = [(name_of(i, len(clusters)), item) for i, item in enumerate(clusters)]
    shown = ", ".join(
        f"{name} {','.join(map(str, item['cores']))}"
        + (f" ({item['max_mhz']} MHz)" if item["max_mhz"] else "")
        for name, item in named
    )
    if isinstance(wanted, str):
        chosen = sorted(core for name, item in named if name == wanted for core in item["cores"])
        if not chosen:
            message = f"{address} has no cluster {wanted!r}. It has: {shown}."
            raise InvalidInputError(message)
    elif wanted:
        missing = sorted(set(wanted) - set(usable))
        if missing:
            message = f"{address} has no processor {missing[0]} to offer. It has: {shown}."
            raise InvalidInputError(message)
        chosen = list(wanted)
    else:
        enough = [item["cores"] for item in clusters if len(item["cores"]) >= threads]
        return tuple(enough[-1] if enough else usable)
    if threads > len(chosen):
        message = f"{threads} threads need as many processors; {len(chosen)} were chosen: {shown}."
        raise InvalidInputError(message)
    return tuple(chosen)


def name_of(index: int, count: int) -> str:
    """Name of a cluster by its place among ``count``, the slowest first.

    >>> [name_of(i, 3) for i in range(3)], name_of(0, 1)
    (['little', 'middle', 'big'], 'big')
    """
    if index == count - 1:
        return "big"
    return "middle" if index else "little"

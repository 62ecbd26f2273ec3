"""Fields of a structure's file, read with errors that name file, field and remedy."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from costmodel.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWidth:
    """What one layer that writes fresh channels keeps of them.

    Attributes:
        count: channels kept.
        of: channels that the layer has in the network the structure is for; 0 where unknown.
        kept: positions of the kept channels, ascending; None where only their number is known.
        operation: type of the operation as the original names it, e.g. ``Conv2D``.
    """

    count: int
    of: int = 0
    kept: tuple[int, ...] | None = None
    operation: str = ""

    def __post_init__(self) -> None:
        """Raise ``InvalidInputError`` unless count, positions and size agree."""
        if self.count < 0 or (self.of and self.count > self.of):
            message = f"A layer of {self.of} channels cannot keep {self.count} of them."
            raise InvalidInputError(message)
        if self.kept is None:
            return
        ascending = all(low < high for low, high in zip(self.kept, self.kept[1:], strict=False))
        inside = not self.kept or (self.kept[0] >= 0 and (not self.of or self.kept[-1] < self.of))
        if not ascending or not inside or len(self.kept) != self.count:
            message = (
                f"Expected {self.count} different positions below {self.of or 'the width'} in "
                f"ascending order as kept channels, but got {self.kept!s:.80}."
            )
            raise InvalidInputError(message)


def fail(where: Any, what: str, remedy: str) -> NoReturn:
    """Raise ``InvalidInputError``: what is wrong where, and how to go on."""
    message = f"{where}: {what}; {remedy}."
    raise InvalidInputError(message)


def unique_keys(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dictionary.

    Raises:
        InvalidInputError: if a key is there twice, of which JSON readers keep any one.
    """
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            message = f"the key {key!r:.80} is there twice"
            raise InvalidInputError(message)
        found[key] = value
    return found


def is_amount(value: Any) -> bool:
    """Whether this is a whole number of channels."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def is_number(value: Any) -> bool:
    """Whether this is a finite number."""
    is_bool = isinstance(value, bool)
    return isinstance(value, int | float) and not is_bool and abs(value) <= sys.float_info.max


def read_layers(content: Any, counts: Mapping[str, int], where: str) -> dict[str, LayerWidth]:
    """The ``layers`` of a structure's file.

    Args:
        content: what the file has there.
        counts: the file's top level, channels by operation name.
        where: what to call the place in errors.

    Raises:
        InvalidInputError: naming layer and field, where something is malformed or where the
            layers contradict the counts.
    """
    if not isinstance(content, dict):
        fail(f"{where}, 'layers'", "there is no such object", "save the structure again")
    layers, used = {}, set()
    for name, fields in content.items():
        place = f"{where}, 'layers', {name!r}"
        if not isinstance(fields, dict):
            fail(place, "it is no object", "expected 'of', 'operation' and 'kept'")
        operation, of, kept = fields.get("operation", ""), fields.get("of", 0), fields.get("kept")
        if not isinstance(operation, str) or not is_amount(of):
            fail(place, "'operation' must be text and 'of' a count", "save the structure again")
        if kept is not None and not (isinstance(kept, list) and all(map(is_amount, kept))):
            fail(f"{place}, 'kept'", "it is no list of positions", "expected [0, 1, 5] or null")
        key = f"{name}/{operation}" if operation else name
        if key not in counts:
            fail(f"{place}", f"the top level has no {key!r}", "both must name the same layers")
        used.add(key)
        try:
            layers[name] = LayerWidth(
                count=counts[key],
                of=of,
                kept=None if kept is None else tuple(kept),
                operation=operation,
            )
        except InvalidInputError as error:
            fail(place, str(error).rstrip("."), f"mend it, or the count {key!r} at the top")
    spare = [key for key in counts if key not in used]
    if spare:
        fail(f"{where}, 'layers'", f"{spare[0]!r} is missing", "both must name the same layers")
    return layers

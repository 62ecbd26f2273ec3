"""Slot: one operand of an Op, and the types of sizes, attributes and constants."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Annotated

import msgspec

#: A size as a table may hold it; the bounds make msgspec refuse damaged files by field.
Size = Annotated[int, msgspec.Meta(ge=0, le=2**40)]
Shape = Annotated[tuple[Size, ...], msgspec.Meta(max_length=8)]
Attribute = int | float | str | tuple[int | float, ...]
Constant = tuple[int | float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One operand of an Op, where its operator takes it.

    Attributes:
        letter: ``d`` data, ``w`` weight, ``c`` constant, ``-`` absent; a runtime's own letters are
            those of parameters that it makes from the others.
        index: its place among the Op's operands of the same letter, such as ``op.inputs``.
        shape: sizes of data or of a weight; empty for others.
        values: of a constant; empty for others.
        dtype: element type of data or of a constant; empty for others.
    """

    letter: str
    index: int
    shape: Shape = ()
    values: Constant = ()
    dtype: str = ""

    @property
    def num_elements(self) -> int:
        """Numbers in it; 0 where it is absent."""
        if self.letter in "dw":
            return prod(self.shape)
        return len(self.values)

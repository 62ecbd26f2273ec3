"""Equality of values whose numbers may be missing, the same in every version of Python.

Up to Python 3.12 dataclasses compare their fields as tuples do, for which an object equals itself,
NaN included; from 3.13 on they compare them by ``==``, by which NaN equals nothing, and a row
without a number would not equal its own copy.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any


def same_fields(self: Any, other: object) -> Any:  # ``NotImplemented`` for another class
    """``__eq__`` of a dataclass whose fields may be ``math.nan``, that one object.

    >>> import math
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Row:
    ...     spread: float
    ...     __eq__ = same_fields
    >>> Row(math.nan) == Row(math.nan), Row(1.0) == Row(math.nan), Row(1.0) == 1.0
    (True, False, False)
    >>> len({Row(math.nan), Row(math.nan)})
    1
    """
    if not isinstance(other, type(self)):
        return NotImplemented
    for field in fields(self):
        ours, theirs = getattr(self, field.name), getattr(other, field.name)
        if ours is not theirs and ours != theirs:
            return False
    return True

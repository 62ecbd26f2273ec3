"""Keeps Python's garbage collector out of work that makes many objects and no cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

#: New objects from which on the collector is worth sparing.
_MANY = 20_000


@contextmanager
def no_garbage_collection() -> Iterator[None]:
    """Keep the collector from walking new objects again and again while they are being made.

    None of them may be part of a cycle. Freezing and unfreezing puts them among the old objects at
    once, or the next few collections would each walk them all: half the time of a big table.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            # Counting what a program has frozen for good walks it: only where much was made.
            if gc.get_count()[0] > _MANY and gc.get_freeze_count() == 0:
                gc.freeze()
                gc.unfreeze()
            gc.enable()

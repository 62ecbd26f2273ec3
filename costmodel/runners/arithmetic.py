"""Keeps a runtime's ways with floating-point numbers to itself."""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
from collections.abc import Iterator
from functools import cache

#: More than any platform's ``fenv_t`` takes.
_BYTES = 256


@cache
def _library() -> ctypes.CDLL | None:
    name = ctypes.util.find_library("m")
    return ctypes.CDLL(name) if name else None


@contextlib.contextmanager
def own_arithmetic() -> Iterator[None]:
    """Give the calling thread its arithmetic back after the body.

    OpenVINO, told to take denormal numbers for zero, says so to the processor for the thread that
    compiles, which then takes them for zero in everything else it does, too.
    """
    library = _library()
    if library is None:
        yield
        return
    before = ctypes.create_string_buffer(_BYTES)
    library.fegetenv(before)
    try:
        yield
    finally:
        library.fesetenv(before)

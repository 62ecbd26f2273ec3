"""Mishaps: the end of a process that times kernels with its parent, and its errors' names."""

from __future__ import annotations

import ctypes
import signal
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
#: Words by which runtimes say that memory ran out, in errors that are not ``MemoryError``.
_MEMORY_WORDS = ("bad_alloc", "out of memory", "failed to allocate", "cannot allocate memory")
_LONGEST_REASON = 400


def is_out_of_memory(error: Exception) -> bool:
    """Whether a runtime's error says that memory ran out."""
    text = " ".join(str(error).split()).lower()
    return isinstance(error, MemoryError) or any(word in text for word in _MEMORY_WORDS)


def one_line(error: Exception, *, named: bool) -> str:
    """An error's text in one line of bearable length, behind its class where ``named``.

    >>> one_line(ValueError("no   luck"), named=True)
    'ValueError: no luck'
    """
    text = " ".join(str(error).split())
    return (f"{type(error).__name__}: {text}" if named else text)[:_LONGEST_REASON]


def die_with_parent() -> None:
    """Ask Linux for a kill when the parent dies, also while native code holds every thread."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # If memory runs out, let it be this process that the system ends.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")

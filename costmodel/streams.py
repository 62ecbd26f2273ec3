"""The process's own streams: moved out of the way of libraries that print past Python."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import IO, BinaryIO

#: Longest wait for a dead process's last words, in seconds.
LAST_WORDS_S = 1.0


@contextmanager
def redirected(stream: int, to: int | None = None) -> Iterator[None]:
    """Send what is written to a descriptor elsewhere while the body runs.

    Args:
        stream: 1 for standard output, 2 for standard error.
        to: another descriptor; None drops what is written.
    """
    with ExitStack() as after:
        with suppress(OSError):  # a service may have closed either
            if to is None:
                to = os.open(os.devnull, os.O_WRONLY)
                after.callback(os.close, to)
            kept = os.dup(stream)
            after.callback(os.close, kept)
            os.dup2(to, stream)
            after.callback(os.dup2, kept, stream)
        yield


@contextmanager
def silenced() -> Iterator[None]:
    """Drop warnings, log lines below errors, and what C++ code writes past Python's stderr."""
    level = logging.root.manager.disable
    sys.stderr.flush()
    with warnings.catch_warnings(), redirected(2):
        warnings.simplefilter("ignore")
        logging.disable(logging.ERROR)
        try:
            yield
        finally:
            logging.disable(level)


def take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Move a conversation off descriptors 0 and 1, which native libraries read and print to.

    Returns:
        What were standard input and output; now the one is empty, and the other standard error.
    """
    orders = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)
    return orders, answers


def follow(
    stream: IO[bytes] | None,
    take: Callable[[bytes], object],
    end: Callable[[], object] | None = None,
    *,
    longest: int = -1,
) -> threading.Thread:
    """Read a process's lines in a thread of its own, until the process closes the stream.

    Args:
        stream: what is read.
        take: gets each line.
        end: called after the last one.
        longest: bytes of a line; a longer one comes in pieces. Below 0 for no limit.
    """

    def read() -> None:
        with suppress(OSError, ValueError):
            for line in iter(partial(stream.readline, longest), b"") if stream else ():
                take(line)
        if end is not None:
            end()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def end_session(process: subprocess.Popen[bytes], readers: Sequence[threading.Thread]) -> None:
    """Kill a process and whatever it started, and close its streams; never fails.

    Args:
        process: one that was started with ``start_new_session``.
        readers: threads of ``follow`` that read it.
    """
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    process.wait()
    for reader in readers:
        reader.join(LAST_WORDS_S)
    for stream in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if stream is not None:
                stream.close()

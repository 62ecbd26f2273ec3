"""Seat: the hold on a job's process, on whichever machine it runs."""

from __future__ import annotations

import collections
import contextlib
import queue
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from costmodel.fleets.messages import encode_files
from costmodel.streams import LAST_WORDS_S, end_session, follow

#: Lines of a job's standard error that are kept, and characters of them that are told.
_TAIL_LINES, _TAIL_CHARACTERS = 20, 300
#: Longest wait for a process to end by itself, in seconds.
_END_S = 5.0
#: Most lines of one turn.
_MOST_LINES = 2_000


class SeatLostError(Exception):
    """The job is gone without having said that it is done; the text says what is known."""


class Seat:
    """One job, from start to end.

    Args:
        module: what ``python -m`` runs; it reads orders and says events, a line each, and ends
            when nobody is there any more.
        order: the first one, as a line.
        files: paths here that it needs, by key.
    """

    def __init__(self, module: str, order: bytes, files: Mapping[str, str]) -> None:
        # -P: a file in the user's folder must not shadow a module of ours.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,  # the terminal's ctrl-C is for the driver alone
        )
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._tail: collections.deque[bytes] = collections.deque(maxlen=_TAIL_LINES)
        self._readers = [
            follow(self._process.stdout, self._lines.put, lambda: self._lines.put(None)),
            follow(self._process.stderr, self._tail.append),
        ]
        self._send(encode_files(files))
        self._send(order)

    def turn(self, order: bytes, within_s: float) -> list[bytes]:
        """Say something to the job and listen to it.

        Args:
            order: a line; empty for none.
            within_s: longest wait for the first line.

        Returns:
            What it has said since; nothing if it was silent.

        Raises:
            SeatLostError: if it has ended.
        """
        if order:
            self._send(order)
        found: list[bytes] = []
        with contextlib.suppress(queue.Empty):
            line = self._lines.get(timeout=within_s)
            while line is not None:
                found.append(line)
                if len(found) >= _MOST_LINES:
                    return found
                line = self._lines.get_nowait()
            if not found:
                self._lines.put(None)  # whoever asks again gets the same answer
                raise self._lost()
            self._lines.put(None)
        return found

    def stop(self) -> None:
        """Ask the job for a clean end."""
        with contextlib.suppress(OSError):
            self._process.send_signal(signal.SIGINT)

    def close(self, order: bytes = b"") -> None:
        """End the process and whatever it started.

        Args:
            order: a last line for it; it ends by itself then, if it is quick.
        """
        if order:
            self._send(order)
        self._stdin_closed()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        end_session(self._process, self._readers)

    def _stdin_closed(self) -> None:
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def _send(self, line: bytes) -> None:
        """Write a line; a dead job is noticed by ``turn``."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def _lost(self) -> SeatLostError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        self._readers[1].join(LAST_WORDS_S)
        said = [line.decode("utf-8", "replace").strip() for line in self._tail]
        words = next((line for line in reversed(said) if line), "it said nothing")
        status = self._process.poll()
        return SeatLostError(
            f"its job ended (status {status}): {words[:_TAIL_CHARACTERS].rstrip('.')}"
        )


def cleared(folder: Path) -> None:
    """Remove a job's folder, and those above it that are empty then and ours."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        for above in (folder.parent, folder.parent.parent):
            above.rmdir()

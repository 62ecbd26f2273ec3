"""Link: one connection to one agent, from its start to the first thing that goes wrong."""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import time
from typing import Any

import msgspec

from costmodel.errors import MISFORMED, LinkLostError, RemoteError
from costmodel.remote.answers import checked_answer, checked_event
from costmodel.remote.transport import Transport
from costmodel.streams import follow

Json = dict[str, Any]
#: An agent says something every 5 seconds; after this silence the link counts as broken.
SILENCE_S = 60.0
#: Lines of standard error that are kept, and the longest wait for a dead process's last words.
_TAIL_LINES, _LAST_WORDS_S = 20, 2.0
#: Longest line that is taken for a message, in bytes: pieces of files have a tenth of it.
LONGEST_LINE = 16 << 20
_LONGEST_WORDS = 1 << 12


class AgentEndedError(LinkLostError):
    """The agent itself is gone, though the link may be well."""


class AnswerError(Exception):
    """The agent cannot do what was asked for.

    Attributes:
        kind: sort of trouble: ``rejected``, ``out_of_memory``, ``crashed``, ``disk-full``, ...
        text: what the device says.
    """

    def __init__(self, kind: str, text: str) -> None:
        """Remember both."""
        super().__init__(text)
        self.kind = kind
        self.text = text


class Link:
    """A started agent: requests and their replies, and the events of an order.

    Args:
        transport: the way to the device.
        command: what starts the agent there.
    """

    def __init__(self, transport: Transport, command: tuple[str, ...]) -> None:
        self._transport = transport
        self._process = transport.start(command)
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._tail: collections.deque[bytes] = collections.deque(maxlen=_TAIL_LINES)
        self._events: collections.deque[Json] = collections.deque()
        self._ids = itertools.count(1)
        self._heard = time.perf_counter()
        self._readers = [
            follow(
                self._process.stdout,
                self._lines.put,
                lambda: self._lines.put(None),
                longest=LONGEST_LINE,
            ),
            follow(self._process.stderr, self._tail.append, longest=_LONGEST_WORDS),
        ]

    def ask(self, do: str, **fields: object) -> Json:
        """Send a request and wait for its reply; events that come in between are kept.

        Raises:
            LinkLostError: if the link breaks.
            RemoteError: if the device refuses the link for good, or answers what is no answer.
            AnswerError: if the agent answers with an error.
        """
        number = next(self._ids)
        self._send({"id": number, "do": do, **fields})
        while True:
            message = self._next(SILENCE_S)
            if message is None:
                continue
            if message.get("id") == number:
                checked_answer(self._transport.address, do, message)
                if "error" in message:
                    raise AnswerError(message["error"], message["text"])
                return message
            if "event" in message:
                self._events.append(checked_event(self._transport.address, message))

    def event(self, within_s: float) -> Json | None:
        """Next event, or None if there is none within ``within_s`` seconds.

        Raises:
            LinkLostError: as ``ask``.
            RemoteError: as ``ask``.
        """
        if self._events:
            return self._events.popleft()
        message = self._next(within_s)
        if message is None or "event" not in message:
            return None
        return checked_event(self._transport.address, message)

    def close(self) -> None:
        """End the local process; the agent notices. Never fails."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        for reader in self._readers:
            reader.join(_LAST_WORDS_S)
        for stream in (self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()

    def _send(self, message: Json) -> None:
        stream = self._process.stdin
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):  # a dead end is noticed by whoever listens
            stream.write(msgspec.json.encode(message) + b"\n")
            stream.flush()

    def _next(self, within_s: float) -> Json | None:
        """Next message, or None if there is none in time."""
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            silent_s = time.perf_counter() - self._heard
            if silent_s < SILENCE_S:
                return None
            self.close()
            text = f"{self._transport.address}: nothing was heard for {silent_s:.0f} s."
            raise LinkLostError(text) from None
        if line is None:
            self._lines.put(None)
            raise self._obituary()
        self._heard = time.perf_counter()
        try:
            message = msgspec.json.decode(line, type=dict[str, Any])
        except MISFORMED:
            # A login shell may greet, and a cut link leaves half a line.
            self._tail.append(line)
            return None
        return message

    def _obituary(self) -> RemoteError:
        status = self._process.wait()
        self._readers[1].join(_LAST_WORDS_S)
        err = b"".join(self._tail).decode("utf-8", "replace")
        trouble = self._transport.explain(status, err)
        if trouble is not None:
            return trouble
        words = " ".join(line.strip() for line in err.splitlines()[-3:])[:400]
        said = f": {words}" if words else ""
        message = f"{self._transport.address}: the agent ended (exit status {status}){said}."
        return AgentEndedError(message)

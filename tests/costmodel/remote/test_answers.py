"""What an agent says is held against its form before anything of it is read."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from costmodel.errors import LinkLostError, RemoteError
from costmodel.remote import link as links
from costmodel.remote.agent.facts import hardware
from costmodel.remote.answers import checked_answer, checked_event
from costmodel.remote.link import AnswerError, Link
from costmodel.remote.transport import Transport

HELLO = hardware(Path("/nowhere")) | {"digest": "d", "folder": "f"}
VISIT = {
    "event": "visited", "step": "1v0", "seq": 3, "quiet_ms": 1.0, "median_ms": 1.0, "blocks": 3,
    "discarded": 0, "runs": 30, "timed_ms": 4.0, "warm_ms": 0.0, "load_ms": 1.0,
}  # fmt: skip


class Said:
    """A transport whose other end says some lines, then ends."""

    address, folder = "ssh://board", "there"

    def __init__(self, *lines: bytes) -> None:
        self._said = b"".join(line + b"\n" for line in lines)

    def start(self, _: Any) -> subprocess.Popen[bytes]:
        process = SimpleNamespace(
            stdin=io.BytesIO(), stdout=io.BytesIO(self._said), stderr=io.BytesIO(b"bye\n"),
            kill=lambda: None, wait=lambda: 1,
        )  # fmt: skip
        return cast("subprocess.Popen[bytes]", process)

    def explain(self, *_: object) -> None:
        """It was the command itself that ended."""


def linked(*messages: object) -> Link:
    lines = [m if isinstance(m, bytes) else json.dumps(m).encode() for m in messages]
    return Link(cast("Transport", Said(*lines)), ("agent",))


def test_what_our_own_agent_says_is_as_it_should_be() -> None:
    assert checked_answer("board", "hello", HELLO) == HELLO
    assert checked_event("board", VISIT) == VISIT
    assert checked_event("board", {"event": "news", "x": 1})["x"] == 1, "of a later version"


@pytest.mark.parametrize(
    ("field", "value"),
    [("caches", None), ("caches", [-1]), ("cores", []), ("cpuinfo", {"flags": 1}),
     ("clusters", [{"cores": "all"}]), ("folder", 7), ("emulated", "yes")],
)  # fmt: skip
def test_a_wrong_field_is_named(field: str, value: object) -> None:
    with pytest.raises(RemoteError, match=rf"ssh://board: .*'hello'.*{field}"):
        linked({"id": 1, **HELLO, field: value}).ask("hello")


@pytest.mark.parametrize(
    "event",
    [{"event": "visited", "seq": 1}, VISIT | {"quiet_ms": -1.0}, VISIT | {"runs": 2**70},
     VISIT | {"seq": "1"}, {"event": 7}, {"event": "done", "seq": 1, "order": 1},
     {"event": "trouble"}],
)  # fmt: skip
def test_a_wrong_event_is_refused(event: dict[str, object]) -> None:
    with pytest.raises(RemoteError, match="is not as it should be"):
        linked(event).event(5.0)
    with pytest.raises(RemoteError, match="is not as it should be"):
        linked(event, {"id": 1}).ask("ping")


def test_a_missing_answer_is_no_answer() -> None:
    for found in (b"7", b"[]", b"\xff", b"{", b"[" * 100_000):
        with pytest.raises(LinkLostError, match="bye"):
            linked(found).ask("hello")


def test_an_error_needs_its_text() -> None:
    with pytest.raises(AnswerError, match="no such kernel"):
        linked({"id": 1, "error": "rejected", "text": "no such kernel"}).ask("load")
    with pytest.raises(RemoteError, match="text"):
        linked({"id": 1, "error": "rejected"}).ask("load")


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "LONGEST_LINE", 1000)
    link = linked(b"x" * 10_000, {"id": 1})
    assert link.ask("ping") == {"id": 1}

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from costmodel.streams import redirected


def say(text: str) -> None:
    os.write(1, text.encode())


def test_what_is_written_past_python_goes_elsewhere_for_a_while(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with redirected(1, to=2):
        say("aside ")
    with redirected(1):
        say("dropped ")
    say("kept")
    assert capfd.readouterr() == ("kept", "aside ")


def test_a_stream_comes_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="no number"), redirected(1):
        int("no number")
    say("kept")
    assert capfd.readouterr().out == "kept"


def test_no_descriptor_is_left_open() -> None:
    before = os.dup(1)
    os.close(before)
    for _ in range(3):
        with redirected(1), redirected(2, to=1):
            pass
    after = os.dup(1)
    os.close(after)
    assert after == before


def test_a_conversation_is_no_longer_where_libraries_print() -> None:
    code = (
        "import os\n"
        "from costmodel.streams import take_streams\n"
        "orders, answers = take_streams()\n"
        "os.write(1, b'chatter')\n"
        "assert os.read(0, 1) == b''\n"
        "answers.write(orders.read().upper())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"told", capture_output=True)
    assert (done.stdout, done.stderr) == (b"TOLD", b"chatter")

"""Bad input and broken pipes: one message with exit code 2, never a traceback."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rows import conv, law_table

from costmodel.runners.fake import write_model

QUICK = ("--samples", "0", "--thinned", "0", "--rounds", "2")
Run = Callable[..., Any]  # the fixture's


def bad_commands(folder: Path) -> dict[str, tuple[tuple[object, ...], str]]:
    """Mistakes, and a word that the message must have."""
    net = write_model(folder / "net.json", [conv()])
    table = law_table(folder / "t.jsonl", [conv(width) for width in (8, 16)])
    empty = law_table(folder / "empty.jsonl", [])
    zero = folder / "zero.jsonl"
    zero.write_bytes(b"")
    text = folder / "text.jsonl"
    text.write_text("hello\n", encoding="utf-8")
    image = folder / "image.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    fake = ("--runner", "fake")
    return {
        "no table": (("show", folder / "absent.jsonl"), "absent.jsonl"),
        "a folder as table": (("show", folder), str(folder)),
        "an empty file as table": (("show", zero), "zero.jsonl"),
        "text as table": (("check", text), "text.jsonl"),
        "an image as table": (("check", image), "image.png"),
        "no rows to price by": (("predict", net, "-t", empty), "no measured kernel"),
        "no rows to score": (("score", empty), "convolutions"),
        "no model": (("predict", folder / "absent.onnx", "-t", table), "absent.onnx"),
        "a folder as model": (("predict", folder, "-t", table), "is a folder"),
        "an image as model": (
            ("predict", image, "--cost", "flops", "--runner", "ort"),
            "image.png",
        ),
        "text as model": (("predict", text, "-t", table), "text.jsonl"),
        "one of two models": (("compare", net, folder / "x.json", "-t", table), "x.json"),
        "unknown runner": (("predict", net, "-t", table, "--runner", "tpu"), "'tpu'"),
        "unknown cost": (("predict", net, "-t", table, "--cost", "magic"), "'magic'"),
        "unknown datasheet": (("predict", net, "--cost", "roofline:abacus"), "'abacus'"),
        "cost without table": (("predict", net, *fake), "--table"),
        "counts against a clock": (("compare", net, "--cost", "flops", *fake), "flops"),
        "other threads": (("predict", net, "-t", table, "--threads", "2"), "threads"),
        "plot suffix": (("show", table, "--plot", folder / "p.gif"), ".png"),
        "plot folder": (("show", table, "--plot", folder / "no" / "p.png"), "p.png"),
        "budget": (("profile", *fake, "--budget", "soon", "-o", folder / "o.jsonl"), "'soon'"),
        "size": (("predict", net, "-t", table, "--size", "batch=0"), "batch=0"),
        "runner option": (
            ("profile", *fake, "--runner-option", "noise", "-o", folder / "o.jsonl"),
            "NAME=VALUE",
        ),
        "option the runner lacks": (
            ("profile", *fake, "--runner-option", "colour=red", "-o", folder / "o.jsonl"),
            "colour",
        ),
        "out is a folder": (("profile", *fake, "-o", folder), "folder"),
        "out below a file": (
            ("profile", *fake, "--models", net, *QUICK, "-o", net / "o.jsonl"),
            "o.jsonl",
        ),
        "out is not a table": (
            ("profile", *fake, "--models", net, *QUICK, "-o", text),
            "text.jsonl",
        ),
        "threads": (("profile", "--threads", "0", "-o", folder / "o.jsonl"), "--threads"),
        "nothing to profile": (("profile", *fake, "--samples", "0", "-o", folder / "o.jsonl"), "0"),
        "unknown option": (("show", table, "--loud"), "--loud"),
        "unknown verb": (("paint",), "paint"),
    }


with tempfile.TemporaryDirectory() as somewhere:
    MISTAKES = tuple(bad_commands(Path(somewhere)))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_bad_input_is_one_message_and_exit_2(run: Run, tmp_path: Path, mistake: str) -> None:
    arguments, word = bad_commands(tmp_path)[mistake]
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    found = run(*arguments)
    assert (found.code, found.out) == (2, "")
    assert word in found.err
    assert "fault of costmodel" not in found.err
    after = {path: path.read_bytes() for path in before}
    assert after == before


def test_a_fault_of_ours_is_told_without_a_traceback(
    run: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: str) -> None:
        reason = "of all things"
        raise ZeroDivisionError(reason)

    monkeypatch.setattr("costmodel.uses.tables.open_table", fail)
    found = run("show", table)
    assert found.code == 2
    assert "fault of costmodel" in found.err
    assert "ZeroDivisionError: of all things" in found.err


def test_an_interrupt_ends_quietly(run: Run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(source: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("costmodel.uses.tables.open_table", interrupt)
    found = run("show", table)
    assert (found.code, found.err) == (130, "Interrupted.\n")


def test_a_reader_that_leaves_is_no_error(table: Path) -> None:
    show = subprocess.Popen(
        [sys.executable, "-m", "costmodel", "show", str(table), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert show.stdout is not None
    assert show.stderr is not None
    show.stdout.close()
    err = show.stderr.read()
    show.stderr.close()
    assert (show.wait(timeout=60), err) == (141, b"")

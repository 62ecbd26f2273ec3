"""The script that tries what is published: what it finds, how it judges, what it leaves out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import try_wheel
from documented import (
    Example,
    help_examples,
    page_examples,
    shortened_snippet,
    verbs,
)

PAGE = """# Title

Text with `code`:

    costmodel show a.jsonl   # what is in it
    costmodel profile --threads 2 \\
        --out a.jsonl

```python
x = 1  # not a shell's comment
```

* A list

      with a paragraph of its own

```sh
morphnet align a.onnx
```
"""
HELP = """Usage: costmodel [OPTIONS] COMMAND [ARGS]...

Commands:
  devices  List.
  show     Summarise
           a table.

  Examples:
    costmodel show a.jsonl
    costmodel predict a.onnx --json
"""


def command(text: str, source: str = "page") -> Example:
    return Example(source, "command", text)


def ended(code: int, out: str = "text", err: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, out, err)


def test_a_page_is_read_in_its_order() -> None:
    found = page_examples("page", PAGE)
    assert [example.text for example in found] == [
        "costmodel show a.jsonl",
        "costmodel profile --threads 2 --out a.jsonl",
        "x = 1  # not a shell's comment\n",
        "morphnet align a.onnx",
    ]
    assert [example.kind for example in found] == ["command", "command", "python", "command"]


def test_a_fence_of_another_language_is_refused() -> None:
    with pytest.raises(ValueError, match="fenced as 'json'"):
        page_examples("page", "```json\n{}\n```\n")


def test_a_help_text_tells_its_verbs_and_examples() -> None:
    assert verbs(HELP) == ["devices", "show"]
    texts = [example.text for example in help_examples("help", HELP)]
    assert texts == ["costmodel show a.jsonl", "costmodel predict a.onnx --json"]


def test_only_time_is_taken_away() -> None:
    profile = "costmodel profile --out t.jsonl --budget 1h"
    assert try_wheel.shortened(command(profile)) == f"{profile} --rounds 2"
    short = "costmodel profile --out t.jsonl --rounds 2 --budget 12s"
    assert try_wheel.shortened(command(profile, "costmodel profile --help")) == short
    again = "costmodel check t.jsonl --pace"
    assert try_wheel.shortened(command(again)) == f"{again} --rounds 2"
    assert try_wheel.shortened(command("costmodel show t.jsonl")) == "costmodel show t.jsonl"
    assert shortened_snippet('cm.profile("t.jsonl", budget="10m")') == (
        'cm.profile("t.jsonl", budget="5s")'
    )


@pytest.mark.parametrize(
    ("verb", "arguments", "process", "problem"),
    [
        ("show", [], ended(0), ""),
        ("show", [], ended(1), "exit code 1"),
        ("check", [], ended(1), ""),
        ("check", [], ended(2), "exit code 2"),
        ("show", [], ended(0, err="Traceback (most recent call last)"), "exit code 0: Traceback"),
        ("show", [], ended(0, out=""), "printed nothing"),
        ("show", ["--json"], ended(0), "not JSON"),
        ("show", ["--json"], ended(0, out="{}"), ""),
        ("show", ["--plot", "a.png"], ended(0), "did not write a.png"),
        ("show", ["--plot", "here.png"], ended(0), ""),
        ("align", ["--out", "a.onnx"], ended(1), ""),
        ("align", ["--out", "a.onnx"], ended(0), "did not write a.onnx"),
    ],
)
def test_an_ending_is_judged(
    verb: str,
    arguments: list[str],
    process: subprocess.CompletedProcess[str],
    problem: str,
    tmp_path: Path,
) -> None:
    (tmp_path / "here.png").touch()
    found = try_wheel.problem_of(process, verb, arguments, tmp_path)
    assert problem in found
    assert bool(found) == bool(problem)


def test_what_cannot_be_done_here_has_a_reason_and_is_documented() -> None:
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *sorted((root / "docs").glob("*.md"))]
    shown = [e for page in pages for e in page_examples(page.name, page.read_text("utf-8"))]
    outcomes = [
        try_wheel.Outcome(example, left_out=try_wheel.not_here(example)) for example in shown
    ]
    assert try_wheel.unused_reasons(outcomes) == []
    assert try_wheel.unused_reasons(outcomes[:1]) != []
    left_out = [outcome.example for outcome in outcomes if outcome.left_out]
    assert 0 < len(left_out) < len(outcomes)


def test_the_summary_counts() -> None:
    example = command("costmodel devices")
    outcomes = [try_wheel.Outcome(example), try_wheel.Outcome(example, problem="it broke")]
    outcomes.append(try_wheel.Outcome(example, left_out="needs a board"))
    assert try_wheel.summary(outcomes) == "2 run, 1 failed, 1 left out"
    assert str(outcomes[1]).startswith("FAILED: page: costmodel devices")

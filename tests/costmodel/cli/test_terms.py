"""Options of pricing: the same ones, in one place, for every verb that prices models."""

from __future__ import annotations

from typing import Any

import pytest
import typer

from costmodel.cli import options
from costmodel.cli.terms import with_terms
from costmodel.errors import InvalidInputError


def asked(*arguments):
    """What a verb gets."""
    app = typer.Typer(add_completion=False)
    seen: dict[str, Any] = {}

    @app.command()
    @with_terms
    def verb(model: str, *, terms: dict[str, Any], json: options.Json = False) -> None:
        """Do nothing."""
        seen.update(model=model, terms=terms, json=json)

    app(list(arguments), standalone_mode=False)
    return seen


def test_a_verb_gets_the_defaults_of_the_use():
    assert asked("net.onnx") == {
        "model": "net.onnx",
        "json": False,
        "terms": {
            "cost": "regression",
            "donors": (),
            "runner": None,
            "options": {},
            "threads": None,
            "sizes": {},
            "calibrated": True,
            "signature": "",
        },
    }


def test_options_become_terms():
    terms = asked(
        *(
            "net.onnx",
            "--json",
            "--cost",
            "lookup",
            "--donor",
            "a",
            "--donor",
            "b",
            "--threads",
            "2",
        ),
        *("--runner", "fake", "--runner-option", "noise=0.5", "--size", "n=3"),
        *("--shape", "x:1x3x8x8", "--signature", "serve", "--no-calibration"),
    )["terms"]
    assert terms == {
        "cost": "lookup",
        "donors": ["a", "b"],
        "runner": "fake",
        "options": {"noise": 0.5},
        "threads": 2,
        "sizes": {"n": 3, "x": (1, 3, 8, 8)},
        "calibrated": False,
        "signature": "serve",
    }


def test_what_cannot_be_read_is_said_before_the_verb_begins():
    with pytest.raises(InvalidInputError, match="is not NAME=N"):
        asked("net.onnx", "--size", "n=0")


@pytest.mark.parametrize(
    "verb", [["predict", "net.onnx"], ["explain", "net.onnx"], ["compare", "net.onnx"]]
)
def test_user_code_runs_first(run, verb, tmp_path):
    code = tmp_path / "mine.py"
    code.write_text("raise ValueError('my own')")
    found = run(*verb, "--import", code)
    assert found.code == 2
    assert "my own" in found.err

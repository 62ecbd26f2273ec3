"""The script that collects what the product says when something is wrong."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from costmodel.errors import CostModelError, InvalidInputError
from costmodel.uses.profiling import parse_budget

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))

import messages

CODE = """
def read(path):
    if not path:
        message = "There is no path."
        raise InvalidInputError(message)
    try:
        load(path)
    except OSError as error:
        message = f"{path} cannot be read: {error}."
        raise InvalidInputError(message) from error
    raise MissingDependencyError("keras", "keras", what=f"Reading {path}")
"""


def test_each_message_is_the_one_before_its_error() -> None:
    assert messages.messages_of(ast.parse(CODE)) == [
        (5, "InvalidInputError: There is no path."),
        (10, "InvalidInputError: {path} cannot be read: {error}."),
        (11, "MissingDependencyError: keras | keras | Reading {path}"),
    ]


def test_the_products_own_are_found() -> None:
    found = list(messages.written())
    assert len(found) > 500
    places = {place.rpartition(":")[0] for place, _ in found}
    assert {"costmodel/table_format.py", "morphnet_core/data/fed.py"} <= places


def test_errors_that_are_made_are_kept_with_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CostModelError, "__init__", CostModelError.__init__)  # and put back
    recorder = messages.Recorder()
    recorder.pytest_configure()
    with pytest.raises(InvalidInputError, match="is not a duration"):
        parse_budget("soon")
    ((place, text), times), *others = recorder.found.items()
    assert (times, others) == (1, [])
    assert place.startswith("costmodel/uses/profiling.py:")
    assert text.startswith("InvalidInputError: The budget 'soon' is not a duration.")

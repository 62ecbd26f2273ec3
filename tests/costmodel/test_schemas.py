"""The published schemas of what verbs write with ``--json``."""

from __future__ import annotations

from typing import Any

import pytest
import typer.main
from json_promises import closed
from jsonschema import Draft202012Validator, ValidationError

from costmodel.cli import app as costmodel_app
from costmodel.errors import InvalidInputError
from costmodel.schemas import VERSION, schema, verbs
from morphnet_core.cli import app as morphnet_app

#: Verbs with a second schema, and the option with which they write as it says.
SECOND = {
    "compare-fleet": ("compare", "--fleet"),
    "compare-profile": ("compare", "--ort-profile"),
}
COMMANDS: dict[str, Any] = {
    name: command
    for app in (costmodel_app, morphnet_app)
    for name, command in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
}
JSON = {
    name
    for name, command in COMMANDS.items()
    if any("--json" in parameter.opts for parameter in command.params)
}


def described(part: Any) -> list[str]:
    """Fields of a schema that nobody describes."""
    own = part.get("properties", {})
    bare = [name for name, item in own.items() if not {"description", "const"} & item.keys()]
    inner = [*own.values(), part.get("items"), part.get("additionalProperties")]
    return bare + [name for item in inner if isinstance(item, dict) for name in described(item)]


def test_every_verb_that_writes_json_has_a_schema() -> None:
    assert set(verbs()) == JSON | set(SECOND)
    for verb, option in SECOND.values():
        assert any(option in parameter.opts for parameter in COMMANDS[verb].params)
    assert len(JSON) >= 14
    with pytest.raises(InvalidInputError, match="these do: align, check, compare"):
        schema("nothing")


@pytest.mark.parametrize("verb", sorted(JSON | set(SECOND)))
def test_a_schema_is_one_and_says_its_version(verb: str) -> None:
    found = schema(verb)
    Draft202012Validator.check_schema(found)
    assert found["$id"].endswith(f"/{verb}.json")
    one = found.get("items", found)
    assert one["properties"]["schema_version"]["const"] == VERSION
    assert "schema_version" in one["required"]
    assert set(described(found)) <= {
        *("label", "name", "runtime", "runtime_version", "provider", "isa"),  # a device's own words
        *("threads", "dtype", "caches", "options", "provenance", "state"),
    }


def test_more_fields_may_come_but_not_unnoticed() -> None:
    found = schema("devices")
    grown = {"schema_version": 1, "runners": [], "providers": [], "profiles": [], "moons": 2}
    Draft202012Validator(found).validate(grown)
    with pytest.raises(ValidationError, match="moons"):
        Draft202012Validator(closed(found)).validate(grown)

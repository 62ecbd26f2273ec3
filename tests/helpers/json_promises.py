"""Holds what verbs write with ``--json`` against the published schemas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from costmodel.schemas import schema


def check_output(arguments: Sequence[object], text: str) -> None:
    """Fail unless ``text``, written for a command with ``--json``, is as its schema says.

    Stricter than the schema in one thing: a field that it does not describe is a failure, too.
    """
    verb, *others = map(str, arguments)
    if "--json" in others and text:
        shape = f"{verb}-profile" if "--ort-profile" in others else verb
        if "--fleet" in others:
            shape = {"profile": "fleet", "compare": "compare-fleet"}[verb]
        _validator(shape).validate(json.loads(text))


@cache
def _validator(verb: str) -> Any:
    return Draft202012Validator(closed(schema(verb)))


def closed(part: Any) -> Any:
    """A schema whose objects have no fields but those that it describes."""
    if isinstance(part, list):
        return [closed(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {name: closed(item) for name, item in part.items()}
    # A field may itself be called "properties"; only a schema's own is a mapping of schemas.
    if isinstance(part.get("properties"), dict):
        found.setdefault("additionalProperties", False)
    return found

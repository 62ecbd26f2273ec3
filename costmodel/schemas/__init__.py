"""Schemas of what verbs write with ``--json``: one JSON file a verb, of both command lines.

What a verb writes in another shape where an option asks for something else has a file of its own:
``compare --ort-profile`` writes as ``compare-profile`` says, ``compare --fleet`` as
``compare-fleet``, and ``profile --fleet`` as ``fleet``.

Objects may get more fields within a version; a field never goes, nor changes what it means, without
the next.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from costmodel.errors import InvalidInputError

#: What ``schema_version`` says in every object that a verb writes.
VERSION = 1
_SUFFIX = ".json"


def refuse_later(content: object) -> str:
    """Why what a later version of this package wrote is not read; empty where none did.

    Args:
        content: what a verb wrote with ``--json``: an object, or a list of them.

    >>> refuse_later({"schema_version": 1})
    ''
    >>> refuse_later([{"schema_version": 2}])
    'it has schema_version 2, and this version of the package reads 1'
    """
    for item in content if isinstance(content, list) else [content]:
        version = item.get("schema_version", VERSION) if isinstance(item, dict) else VERSION
        if version != VERSION:
            return (
                f"it has schema_version {version}, and this version of the package reads {VERSION}"
            )
    return ""


def verbs() -> tuple[str, ...]:
    """Verbs that have a schema, and what else has one.

    >>> "predict" in verbs()
    True
    """
    found = (item.name for item in files(__package__).iterdir())
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in found if name.endswith(_SUFFIX)))


def schema(verb: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what a verb writes.

    Args:
        verb: of ``costmodel`` or ``morphnet``; or ``compare-profile``.

    Raises:
        InvalidInputError: if there is no such verb.

    >>> schema("predict")["required"][:2]
    ['schema_version', 'model']
    """
    if verb not in verbs():
        message = f"No verb {verb!r} writes JSON; these do: {', '.join(verbs())}."
        raise InvalidInputError(message)
    found: dict[str, Any] = json.loads((files(__package__) / f"{verb}{_SUFFIX}").read_text("utf-8"))
    return found

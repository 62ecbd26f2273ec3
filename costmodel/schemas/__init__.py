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

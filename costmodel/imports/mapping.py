"""Mapping files: what the columns of a colleague's spreadsheet are, as TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path

from costmodel.errors import InvalidInputError
from costmodel.limits import read_whole
from costmodel.tidy.columns import Asked

_TABLES = ("columns", "constants")
_TEXTS = ("source", "licence")


def read_mapping(path: Path) -> Asked:
    """Read a mapping file; its form is in docs/importing.md.

    Raises:
        InvalidInputError: if it cannot be read, or says what there is not; names file and key.
    """
    try:
        found = tomllib.loads(read_whole(path).decode())
    except InvalidInputError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        problem = getattr(error, "strerror", None) or error
        message = f"The mapping {path} cannot be read: {problem}."
        raise InvalidInputError(message) from error
    for key, value in found.items():
        if key not in (*_TABLES, *_TEXTS):
            message = f"{path}: there is no key {key!r}. Known: {', '.join((*_TABLES, *_TEXTS))}."
            raise InvalidInputError(message)
        if key in _TEXTS and not isinstance(value, str):
            message = f"{path}: {key} must be a text. Received: {value!r}."
            raise InvalidInputError(message)
        if key in _TABLES and not isinstance(value, dict):
            message = f"{path}: [{key}] must be a table of FIELD = 'text'. Received: {value!r}."
            raise InvalidInputError(message)
    try:
        return Asked(
            columns={k: str(v) for k, v in found.get("columns", {}).items()},
            constants={k: str(v) for k, v in found.get("constants", {}).items()},
            source=found.get("source", ""),
            licence=found.get("licence", ""),
        )
    except InvalidInputError as error:
        message = f"{path}: {error}"
        raise InvalidInputError(message) from error

"""Files that a command is given: what it writes is no folder, and nothing else that it is given.

A network of the user's, or a table that took ten minutes, must not end under what was made of it.
The functions are for ``callback`` of an option or argument: typer calls them for every one of a
verb, before the verb runs, with what was given for it (a path or name, several of them, or None),
and takes what they return, which is the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import typer

from costmodel.errors import InvalidInputError

_KEY = f"{__name__}.given"


def reads(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Note files that a verb reads.

    Raises:
        InvalidInputError: if the verb is to write one of them.
    """
    return _noted(context, param, value, is_written=False)


def writes(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Note a file that a verb is to write.

    Raises:
        InvalidInputError: if it is a folder, or the verb reads it, or writes it for another option.
    """
    for path in _paths(value):
        if path.is_dir():
            message = f"{path} is a folder. Give the file to write with {_name(param)}."
            raise InvalidInputError(message)
    return writes_or_fills(context, param, value)


def writes_or_fills(context: typer.Context, param: typer.CallbackParam, value: Any) -> Any:
    """Note a file that a verb is to write, or a folder in which it makes some.

    Raises:
        InvalidInputError: if the verb reads it, or writes it for another option.
    """
    return _noted(context, param, value, is_written=True)


class _Given(NamedTuple):
    """A file, and what the user gave it as."""

    name: str
    path: Path
    is_written: bool


def _paths(value: Any) -> Iterable[Path]:
    if value is None:
        return ()
    return map(Path, [value] if isinstance(value, str | Path) else value)


def _name(param: typer.CallbackParam) -> str:
    """What the user knows it by."""
    return max(param.opts, key=len) if param.param_type_name == "option" else str(param.metavar)


def _noted(
    context: typer.Context, param: typer.CallbackParam, value: Any, *, is_written: bool
) -> Any:
    given: dict[str, _Given] = context.meta.setdefault(_KEY, {})
    for path in _paths(value):
        _require_apart(given, _Given(_name(param), path, is_written))
    return value


def _require_apart(given: dict[str, _Given], new: _Given) -> None:
    """Add a file to those that are given, unless it meets another."""
    # ``realpath``: two names, or a link, may lead to one file.
    old = given.setdefault(os.path.realpath(new.path), new)
    if old.name == new.name or not (old.is_written or new.is_written):
        return
    if old.is_written and new.is_written:
        message = f"{old.name} and {new.name} would write the same file, {new.path}. Give two."
    else:
        read, written = (old, new) if new.is_written else (new, old)
        message = (
            f"{written.name} would write over {written.path}, which is {read.name}. Give another "
            "file."
        )
    raise InvalidInputError(message)

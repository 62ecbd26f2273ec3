"""A state file: plain values and arrays in one ``.npz``, whole or not there, read without pickle.

What it belongs to is written beside it, field by field, and whoever reads it says what that should
be: another command's state is refused by the name of the field that differs.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.durable import written_whole
from costmodel.errors import InvalidInputError

#: Changes when what is written does.
FORMAT = 1
#: Name of the text among the arrays.
_HEAD = "head"

Arrays = Mapping[str, NDArray[Any]]
#: What a state belongs to: plain values by name.
Identity = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a state file holds.

    Attributes:
        values: plain ones, as JSON knows them.
        arrays: by name.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    arrays: Arrays = field(default_factory=dict)

    def part(self, name: str) -> dict[str, NDArray[Any]]:
        """The arrays whose name begins with ``name`` and a slash, by the rest of it."""
        begin = f"{name}/"
        return {k.removeprefix(begin): v for k, v in self.arrays.items() if k.startswith(begin)}


def write_state(path: Path, belongs: Identity, state: State) -> None:
    """Write a state file, or leave the old one as it is.

    Args:
        path: the file; its folder is made.
        belongs: what it belongs to.
        state: what to write. Arrays in other than numpy's own types are written as float32.

    Raises:
        InvalidInputError: if it cannot be written.
    """
    arrays = {name: _plain(array) for name, array in state.arrays.items()}
    head = {
        "format": FORMAT,
        "belongs": dict(belongs),
        "values": dict(state.values),
        "sums": {name: _sum(array) for name, array in arrays.items()},
    }
    text = json.dumps(head)
    held: dict[str, Any] = {f"arrays/{name}": array for name, array in arrays.items()}
    held |= {_HEAD: np.array(text), f"{_HEAD}_sum": np.array(zlib.crc32(text.encode()))}
    with written_whole(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, **held)


def read_state(path: Path, belongs: Identity) -> State:
    """Read a state file back.

    Args:
        path: the file.
        belongs: what it must belong to.

    Raises:
        InvalidInputError: if it is no whole state file, was changed, or belongs to something else;
            names the field and says what to do.
    """
    try:
        with path.open("rb") as handle, zipfile.ZipFile(handle) as whole:
            held = {name.removesuffix(".npy"): _array(whole, name) for name in whole.namelist()}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _refused(path, f"is no whole state file: {error}") from error
    if not {_HEAD, f"{_HEAD}_sum"} <= held.keys():
        raise _refused(path, f"has no field {_HEAD!r}: something else wrote it")
    text = str(held.pop(_HEAD))
    if zlib.crc32(text.encode()) != held.pop(f"{_HEAD}_sum"):
        raise _refused(path, f"was changed: field {_HEAD!r} does not agree with its sum")
    head = json.loads(text)
    missing = [name for name in ("format", "belongs", "values", "sums") if name not in head]
    if missing:
        raise _refused(path, f"has no field {missing[0]!r}: something else wrote it")
    if head["format"] != FORMAT:
        raise _refused(path, f"is of format {head['format']}, and this version reads {FORMAT}")
    _require_same(path, head["belongs"], json.loads(json.dumps(dict(belongs))))
    arrays = {name.removeprefix("arrays/"): array for name, array in held.items()}
    for name in head["sums"].keys() | arrays.keys():
        if name not in arrays or _sum(arrays[name]) != head["sums"].get(name):
            raise _refused(path, f"was changed: field {name!r} does not agree with its sum")
    return State(values=head["values"], arrays=arrays)


def _array(whole: zipfile.ZipFile, name: str) -> NDArray[Any]:
    with whole.open(name) as handle:
        return np.asarray(np.lib.format.read_array(handle, allow_pickle=False))


def damaged(path: Path, name: str, why: str) -> InvalidInputError:
    """The error for a field that does not fit."""
    return _refused(path, f"field {name!r} {why}")


def _require_same(path: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for name in {**theirs, **ours}:
        if theirs.get(name) != ours.get(name):
            message = (
                f"{path} was begun with {name}: {_shown(theirs.get(name))}, and this is "
                f"{_shown(ours.get(name))}. To go on, give the same command as before; to begin "
                f"anew, give another output folder or delete {path.parent}."
            )
            raise InvalidInputError(message)


def _shown(value: Any) -> str:
    return "nothing" if value is None else str(value)


def _refused(path: Path, why: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {why}. Delete it to do again what it holds.")


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array in a type that can be read without numpy's extensions (bfloat16 fits float32)."""
    return array if array.dtype.kind in "biufc" else array.astype(np.float32)


def _sum(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).data)

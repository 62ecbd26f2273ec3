"""Profiles that come with the package: tables of devices that somebody has measured already."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

from costmodel.errors import InvalidInputError

#: Names that an error shows.
_SHOWN = 3


def shipped_profiles() -> Mapping[str, Path]:
    """Files of the profiles that come with the package, by name ``<device>/<runtime>-<dtype>``.

    A card beside each, with the suffix ``.md``, tells how it was made.
    """
    folder = _folder()
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path in sorted(folder.glob("*/*.jsonl"))
    }


def find_profile(name: str) -> Path:
    """File of a shipped profile.

    Args:
        name: ``<device>/<runtime>-<dtype>[-tN]``, such as
            ``amd-epyc-family-25-model-17/onnxruntime-float32-t2``.

    Raises:
        InvalidInputError: if there is none of this name; names those like it.
    """
    shipped = shipped_profiles()
    if name not in shipped:
        instead = _instead(name, shipped)
        message = f"There is neither a file nor a shipped profile named {name!r}. {instead}"
        raise InvalidInputError(message)
    return shipped[name]


def _instead(name: str, shipped: Iterable[str]) -> str:
    """What may be meant: all names where they are few, else those like it."""
    names = list(shipped)
    if len(names) <= _SHOWN:
        return f"Shipped: {', '.join(names) or 'none'}."
    holding = [item for item in names if name and name in item]
    like = (holding or difflib.get_close_matches(name, names, _SHOWN))[:_SHOWN]
    told = f"Like it: {', '.join(like)}. " if like else ""
    return f"{told}'costmodel devices' lists those that are shipped."


def _folder() -> Path:
    """Where they lie: inside the installed package, beside it in a checkout."""
    package = Path(str(files("costmodel")))
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"

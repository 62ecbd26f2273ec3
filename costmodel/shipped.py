"""Profiles that come with the package: tables of devices that somebody has measured already."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from costmodel.errors import InvalidInputError


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
        InvalidInputError: if there is none of this name; lists those that there are.
    """
    shipped = shipped_profiles()
    if name not in shipped:
        message = (
            f"There is neither a file nor a shipped profile named {name!r}. "
            f"Shipped: {', '.join(shipped) or 'none'}."
        )
        raise InvalidInputError(message)
    return shipped[name]


def _folder() -> Path:
    """Where they lie: inside the installed package, beside it in a checkout."""
    package = Path(str(files("costmodel")))
    inside = package / "profiles"
    return inside if inside.is_dir() else package.parent / "profiles"

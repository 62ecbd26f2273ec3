"""Tests that hold rules against the installed runtime: it may be another than they follow."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest

from costmodel.anticipation.versions import HELD_AGAINST, is_held_against

#: Packages of the runtimes, where they are called otherwise.
PACKAGES = {"litert": "ai-edge-litert", "xla": "jax"}


def installed(runtime: str) -> str:
    """Version of a runtime; empty where it is not installed."""
    try:
        return version(PACKAGES.get(runtime, runtime))
    except PackageNotFoundError:
        return ""


def apart() -> list[str]:
    """Runtimes whose installed version is not the one that the rules follow."""
    return [name for name in HELD_AGAINST if not is_followed(name)]


def is_followed(runtime: str) -> bool:
    """Whether the installed version of a runtime is the one that the rules follow."""
    return is_held_against(runtime, installed(runtime))


def follows(runtime: str) -> pytest.MarkDecorator:
    """For tests that only the version that the rules follow has to pass."""
    return pytest.mark.xfail(
        not is_followed(runtime),
        reason=f"the rules follow {runtime} {HELD_AGAINST[runtime]}, not {installed(runtime)}",
        strict=False,
    )

"""Layers that came with later versions of Keras than the oldest that is allowed."""

from __future__ import annotations

from typing import Any

import pytest


def layer_of(keras: Any, name: str) -> Any:
    """A class of layers; skips the test where the installed Keras has none of this name."""
    found = getattr(keras.layers, name, None)
    if found is None:
        pytest.skip(f"this Keras has no {name}")
    return found


def export_quietly(model: Any, path: Any, **options: Any) -> None:
    """Export a model without a word, for LiteRT only where Keras can."""
    import keras

    if options.get("format") == "litert" and not exports_litert():
        pytest.skip("Keras before 3.13 does not export for LiteRT")
    if _version(keras) >= (3, 6):
        options["verbose"] = False
    model.export(str(path), **options)


def exports_litert() -> bool:
    """Whether the installed Keras exports for LiteRT."""
    import keras

    return _version(keras) >= (3, 13)


def before_keras_3_8(what: str) -> pytest.MarkDecorator:
    """Marks what versions of Keras before 3.8 get wrong by themselves."""
    import keras

    reason = f"Keras before 3.8 {what}"
    return pytest.mark.xfail(_version(keras) < (3, 8), reason=reason, strict=False)


def _version(keras: Any) -> tuple[int, ...]:
    return tuple(map(int, keras.__version__.split(".")[:2]))

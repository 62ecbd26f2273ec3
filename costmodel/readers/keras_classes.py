"""Classes of the user's own that a saved Keras model is made of."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

#: What Keras says of a class that it does not know, old files' wording last.
_UNKNOWN = re.compile(r"Could not locate \w+ '([^']+)'|Unknown \w+: '([^']+)'")


def make_known(module: ModuleType) -> None:
    """Let Keras find a module's own classes by their names, where they are not registered.

    Args:
        module: whatever it imports itself is left alone.
    """
    import keras

    saved = (
        keras.layers.Layer,
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.initializers.Initializer,
        keras.regularizers.Regularizer,
        keras.constraints.Constraint,
        keras.optimizers.Optimizer,
        keras.optimizers.schedules.LearningRateSchedule,
    )
    known = keras.saving.get_custom_objects()
    for value in list(vars(module).values()):
        if (
            isinstance(value, type)
            and issubclass(value, saved)
            and value.__module__ == module.__name__
            and keras.saving.get_registered_name(value) == value.__name__
        ):
            known[value.__name__] = value


def why_not_loaded(path: Path, error: Exception) -> str:
    """A sentence on why Keras could not load a file, and what to do.

    Args:
        path: of the model.
        error: what Keras raised.
    """
    said = str(error)
    if "Lambda" in said and "unsafe_deserialization" in said:
        return (
            f"{path} holds a Lambda layer with Python code of its own, which is not run: a file "
            "may hold anything. If you trust it, say so in a Python file: "
            "keras.config.enable_unsafe_deserialization(), and give that file first: --import "
            "trust.py (or call it before). Better, save the model with a registered function "
            "(keras.saving.register_keras_serializable) in its place."
        )
    missing = _missing(path) or [one or two for one, two in _UNKNOWN.findall(said)[:1]]
    if missing:
        named = ", ".join(map(repr, missing))
        return (
            f"{path} is made of {named}, which Keras does not know here. Give the Python file or "
            "module that defines it: --import layers.py (in Python, import it before). Register "
            "the class with keras.saving.register_keras_serializable before you save."
        )
    first = said.strip().splitlines()[0] if said.strip() else type(error).__name__
    return (
        f"{path} cannot be loaded as a Keras model: {first} Expected a whole model saved with "
        "model.save('name.keras')."
    )


def _missing(path: Path) -> list[str]:
    """Registered names in a ``.keras`` file that nothing is registered under."""
    import keras

    try:
        with zipfile.ZipFile(path) as file:
            config = json.loads(file.read("config.json"))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return []
    names = dict.fromkeys(_registered(config))
    return [name for name in names if keras.saving.get_registered_object(name) is None]


def _registered(config: Any) -> Iterator[str]:
    """Names of what does not come with Keras, in the order in which they are met."""
    if isinstance(config, Mapping):
        name, module = config.get("registered_name"), config.get("module") or ""
        if "class_name" in config and name and not str(module).startswith("keras"):
            yield str(name)
        for value in config.values():
            yield from _registered(value)
    elif isinstance(config, list):
        for item in config:
            yield from _registered(item)

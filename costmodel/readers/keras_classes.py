"""Classes of the user's own that a saved Keras model is made of."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from costmodel.errors import ModelFormatError

#: Bytes of a model's configuration that are looked through.
_LARGEST_CONFIG = 1 << 28
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
        return _not_run(path)
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


def require_no_code(path: Path, config: str | bytes) -> None:
    """Refuse an ``.h5`` file whose layers hold Python code, which Keras before 3.11.3 runs unasked.

    Args:
        path: of the model.
        config: its ``model_config``, as JSON.

    Raises:
        ModelFormatError: if it holds code, and Keras was not told to trust it.
    """
    from keras.src.saving.serialization_lib import in_safe_mode

    try:
        if in_safe_mode() is not False and _holds_code(json.loads(config)):
            raise ModelFormatError(_not_run(path))
    except (RecursionError, UnicodeDecodeError, json.JSONDecodeError) as error:
        message = (
            f"{path} cannot be loaded as a Keras model: its model_config is no JSON ({error})."
        )
        raise ModelFormatError(message) from error


def _holds_code(config: Any) -> bool:
    """Whether a configuration has a function as code rather than by its name."""
    if isinstance(config, Mapping):
        held = config.get("config")
        function = held.get("function") if isinstance(held, Mapping) else None
        if config.get("class_name") == "__lambda__" or isinstance(function, list):
            return True
        return any(map(_holds_code, config.values()))
    return isinstance(config, list) and any(map(_holds_code, config))


def _not_run(path: Path) -> str:
    return (
        f"{path} holds a Lambda layer with Python code of its own, which is not run: a file may "
        "hold anything. If you trust it, say so in a Python file: "
        "keras.config.enable_unsafe_deserialization(), and give that file first: --import trust.py "
        "(or call it before). Better, save the model with a registered function "
        "(keras.saving.register_keras_serializable) in its place."
    )


def _missing(path: Path) -> list[str]:
    """Registered names in a ``.keras`` file that nothing is registered under."""
    import keras

    try:
        with zipfile.ZipFile(path) as file:
            if file.getinfo("config.json").file_size > _LARGEST_CONFIG:
                return []
            config = json.loads(file.read("config.json"))
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, RecursionError):
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

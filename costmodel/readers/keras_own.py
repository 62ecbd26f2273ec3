"""Tells subclasses with mathematics of their own from those that compute what their base does.

A subclass may be read as its base where it overrides only how the layer is described. Where it
overrides what is computed, the layer itself is asked: made anew with half of its channels it must
return what the whole one returns for these, the other half read as zero.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import first_line
from costmodel.op import Shape

Array = NDArray[Any]

#: Methods that say how a layer is described, checked or stored, not what it computes.
_DESCRIBING = frozenset(
    {"build_from_config", "compute_mask", "compute_output_shape", "compute_output_spec"}
    | {"count_params", "from_config", "get_build_config", "get_config", "load_own_variables"}
    | {"save_own_variables"}
)
#: What may be put on a layer by itself, past its class.
_ON_ITSELF = ("call", "convolution_op")
#: Axis of a kernel's input and output channels, and the setting that counts the latter, by class.
_KERNELS: Mapping[str, tuple[int, int, str]] = {
    **{f"Conv{n}D": (-2, -1, "filters") for n in (1, 2, 3)},
    **{f"Conv{n}DTranspose": (-1, -2, "filters") for n in (1, 2, 3)},
    "Dense": (0, 1, "units"),
}
#: Largest difference, relative to the largest value, of what is computed alike.
_ALIKE = 1e-4
#: Layers inside a layer that are looked at; nobody nests more.
_MOST_PARTS = 64


def keras_class(layer: Any) -> Any:
    """The first class of a layer, from its own upwards, that Keras itself defines; None if none."""
    return next((cls for cls in type(layer).__mro__ if _is_keras(cls)), None)


def _is_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] in {"keras", "tf_keras"}


def overridden(layer: Any) -> tuple[str, ...]:
    """Names of what a layer's own classes compute otherwise than Keras does; empty if nothing."""
    base = keras_class(layer)
    found = [name for name in _ON_ITSELF if name in vars(layer) and hasattr(base, name)]
    for cls in type(layer).__mro__:
        if cls is base:
            break
        found += [name for name, value in vars(cls).items() if _computes(base, name, value)]
    return tuple(dict.fromkeys(found))


def _computes(base: type, name: str, value: Any) -> bool:
    """Whether an attribute of a subclass replaces a method or property by which Keras computes."""
    if name in _DESCRIBING or (name.startswith("__") and name != "__call__"):
        return False
    works = callable(value) or isinstance(value, property | classmethod | staticmethod)
    return works and hasattr(base, name)


def own_mathematics(layer: Any, size: Shape) -> str:
    """Why a layer must not be read as its Keras base; empty where it may.

    Args:
        layer: a built layer.
        size: what it reads, as the model keeps it, for a batch of 1.
    """
    names = overridden(layer)
    for part in _parts(layer):
        inside = overridden(part)
        if inside:
            return f"{type(part).__name__} inside overrides {', '.join(inside)}()"
    if not names:
        return ""
    title, base = type(layer).__name__, keras_class(layer).__name__
    listed = ", ".join(f"{name}()" for name in names)
    reason = f"{title} overrides {listed} of {base}, so that its channels may depend on each other"
    if set(_ON_ITSELF) & set(vars(layer)):
        return reason  # a layer made anew would not have it
    state = random.getstate()  # initialisers without a seed draw one
    try:
        return "" if _splits(layer, size) else reason
    except Exception as error:
        first = first_line(error)
        return f"{reason}, and it cannot be tried with fewer ({first})"
    finally:
        random.setstate(state)


def _parts(layer: Any) -> list[Any]:
    """Cells and wrapped layers, by which a layer computes."""
    found: list[Any] = []
    waiting = [layer]
    while waiting and len(found) < _MOST_PARTS:
        here = waiting.pop()
        for name in ("cell", "cells", "layer", "forward_layer", "backward_layer"):
            inner = getattr(here, name, None)
            waiting += inner if isinstance(inner, list | tuple) else [inner] if inner else []
        found.append(here)
    return found[1:]


def _splits(layer: Any, size: Shape) -> bool:
    """Whether half of a layer computes what the whole computes for these channels."""
    base = keras_class(layer).__name__
    first = getattr(layer, "data_format", None) == "channels_first"
    place = 1 if first and len(size) > 2 else len(size) - 1
    width = size[place]
    noise = np.random.default_rng(0)
    config = layer.get_config()
    if "dtype" in config:
        config["dtype"] = "float32"  # half precision could not tell
    kept = np.sort(noise.permutation(width)[: max(1, width // 2)])
    cuts: dict[str, tuple[tuple[int, Array], ...]]
    if base in _KERNELS:
        into, out, setting = _KERNELS[base]
        if getattr(layer, "groups", 1) != 1:
            return False
        written = np.sort(noise.permutation(config[setting])[: max(1, config[setting] // 2)])
        smaller = {**config, setting: len(written)}
        cuts = {"kernel": ((into, kept), (out, written)), "bias": ((0, written),)}
    else:
        written, smaller = kept, config
        names = [item.name for item in layer.weights]
        if any(tuple(item.shape) != (width,) for item in layer.weights):
            return False
        cuts = dict.fromkeys(names, ((0, kept),))
    if {item.name for item in layer.weights} - set(cuts):
        return False
    data = noise.standard_normal(size).astype(np.float32)
    masked = data.copy()
    np.moveaxis(masked, place, 0)[np.setdiff1d(np.arange(width), kept)] = 0
    whole, half = (type(layer).from_config(item) for item in (config, smaller))
    whole(data)
    half(np.take(data, kept, axis=place))
    for old, new in zip(whole.weights, half.weights, strict=True):
        value = noise.uniform(0.5, 1.5, old.shape).astype(np.float32)
        value *= noise.choice([-1.0, 1.0], old.shape) if old.name == "kernel" else 1.0
        old.assign(value)
        for axis, positions in cuts[old.name]:
            value = np.take(value, positions, axis=axis)
        new.assign(value)
    wanted = np.take(_values(whole(masked)), written, axis=place)
    got = _values(half(np.take(data, kept, axis=place)))
    if got.shape != wanted.shape:
        return False
    largest = max(float(np.abs(wanted).max(initial=0.0)), 1e-6)
    return bool(np.abs(got - wanted).max(initial=0.0) <= _ALIKE * largest)


def _values(tensor: Any) -> Array:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(tensor)).astype(np.float64)

"""Arrays in a structure: one, or lists, tuples and dictionaries of them, as Keras takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import keras
import numpy as np

from costmodel.errors import InvalidInputError

#: Inputs, targets and sample weights of one step; targets and weights may be None.
Batch = tuple[Any, Any, Any]


def as_arrays(value: Any) -> Any:
    """The structure with an array at every leaf.

    Lists of plain numbers, however deep, are one array; lists of arrays are a structure.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {key: as_arrays(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and _holds_arrays(value):
        items = [as_arrays(item) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return np.asarray(value)


def _holds_arrays(value: Any) -> bool:
    """Whether a list is a structure: has arrays, dictionaries or gaps in it at any depth."""
    if isinstance(value, list | tuple):
        return any(_holds_arrays(item) for item in value)
    return value is None or isinstance(value, Mapping) or len(getattr(value, "shape", ())) > 0


def agreeing(x: Any, y: Any, weights: Any) -> Batch:
    """Inputs, targets and weights as arrays that have as many samples each.

    A list of arrays is a structure, unless only one array of them all is as long as the rest.

    Raises:
        InvalidInputError: if they do not agree, or there are none; names what has how many.
    """
    found = tuple(as_arrays(item) for item in (x, y, weights))
    for forms in product(*(_forms(item) for item in found)):
        if len({count for _, count in _counts(*forms)}) == 1:
            found = forms
            break
    counts = list(_counts(*found))
    if len({count for _, count in counts}) != 1 or not counts[0][1]:
        listing = " with ".join(f"{count} {name}" for name, count in counts)
        message = f"{listing}. There must be as many, and at least one."
        raise InvalidInputError(message)
    return found[0], found[1], found[2]


def _forms(value: Any) -> list[Any]:
    """What a structure may mean: itself, or samples that are arrays of one size."""
    alone = isinstance(value, list | tuple) and all(isinstance(item, np.ndarray) for item in value)
    stacks = alone and len({item.shape for item in value}) == 1
    return [value, np.stack(value)] if stacks else [value]


def _counts(x: Any, y: Any, weights: Any) -> Iterator[tuple[str, int]]:
    """Samples of every leaf, with a name for it."""
    for what, value in (("inputs", x), ("targets", y), ("sample weights", weights)):
        for path, leaf in leaves(value):
            shape = np.shape(leaf)
            yield f"{what}{f' ({path})' if path else ''}", shape[0] if shape else 0


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf that is there, in Keras' order, with where it is: ``left``, ``1``, ``boxes/0``."""
    if isinstance(value, Mapping):
        items = [(str(key), value[key]) for key in sorted(value)]
    elif isinstance(value, list | tuple):
        items = [(str(place), item) for place, item in enumerate(value)]
    else:
        if value is not None:
            yield path, value
        return
    for key, item in items:
        yield from leaves(item, f"{path}/{key}" if path else key)


def num_samples(value: Any) -> int:
    """Samples of a structure whose leaves agree."""
    return int(np.shape(next(leaves(value))[1])[0])


def taken(value: Any, begin: int, end: int) -> Any:
    """Samples from ``begin`` up to ``end`` of every leaf."""
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[begin:end], value)


def spread(value: Any, count: int) -> Any:
    """At most ``count`` samples of every leaf, from its beginning to its end."""
    samples = num_samples(value)
    places = np.linspace(0, samples - 1, min(samples, count)).astype(int)
    return keras.tree.map_structure(lambda leaf: None if leaf is None else leaf[places], value)


def repeated(value: Any, count: int) -> Any:
    """The first ``count`` samples of every leaf, from the beginning again where there are fewer."""

    def first(leaf: Any) -> Any:
        return np.take(leaf, np.arange(count) % len(leaf), axis=0)

    return keras.tree.map_structure(first, value)

"""What a course's state belongs to: digests of the seed and the data, and what was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from morphnet_core.data import Data
from morphnet_core.data.nested import leaves, num_samples
from morphnet_core.data.streams import is_stream
from morphnet_core.pricing import Count
from morphnet_core.signals.source import as_numpy

#: Samples of the data that are looked at.
_SAMPLES = 64


def model_digest(model: Any) -> str:
    """A digest of a model's layers and weights; what layers are called does not matter."""
    found = blake2b(shape_digest(model).encode(), digest_size=8)
    for weight in model.weights:
        found.update(np.ascontiguousarray(as_numpy(weight)).tobytes())
    return found.hexdigest()


def shape_digest(model: Any) -> str:
    """A digest of the kinds of a model's layers and the shapes of its weights."""
    found = blake2b(digest_size=8)
    for layer in model.layers:
        shapes = [tuple(weight.shape) for weight in layer.weights]
        found.update(f"{type(layer).__name__} {shapes}\n".encode())
    return found.hexdigest()


def data_digest(data: Data) -> str:
    """A digest of the data's sizes and of samples spread over them; of a stream, its length."""
    found = blake2b(f"{data.steps} steps".encode(), digest_size=8)
    if not is_stream(data.x):
        found.update(f"of {data.batch_size}".encode())
        places = np.unique(np.linspace(0, num_samples(data.x) - 1, _SAMPLES).astype(int))
        for value in (data.x, data.y, data.weights):
            for path, leaf in leaves(value):
                found.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
                found.update(
                    np.ascontiguousarray(leaf[places]).astype("S").tobytes()
                    if leaf.dtype.kind in "OSU"
                    else leaf[places].tobytes()
                )
    return found.hexdigest()


def cost_label(cost: Any) -> str:
    """What prices are of: their name and unit, and the device if there is one."""
    device = None if isinstance(cost, Count) else cost.device
    return ", ".join([cost.name, cost.unit, *([] if device is None else [device.label])])


def plainly_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as plain values: what is none by the name of its type."""
    return {
        name: value if isinstance(value, str | int | float | bool | None) else type(value).__name__
        for name, value in options.items()
    }

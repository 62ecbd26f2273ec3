"""The last look at a shrunk network: does it compute what the masked original does?"""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError
from costmodel.readers.keras import graph_of
from morphnet_core.surgery.plan import Plan
from morphnet_core.surgery.reference import masked

#: Largest difference allowed, relative to the largest output; where anything is in 16 bits, more.
ALLOWED, ALLOWED_HALF = 1e-3, 0.1

_log = logging.getLogger("morphnet_core")


def check_exact(model: Any, small: Any, plan: Plan) -> None:
    """Run a shrunk network and the masked original on one random example.

    Whole numbers that come out are not compared, as the position of a maximum may turn on
    rounding; nor is anything where the original cannot run on random numbers, or returns
    infinities.

    Args:
        model: the original.
        small: what was made of it, its weights carried over.
        plan: what was to go.

    Raises:
        ModelFormatError: if they differ.
    """
    fed = _example(model, plan)
    try:
        wanted = [_values(item) for item in masked(model, plan.grouping, ~plan.dead)(fed)]
    except Exception as error:
        _log.info("%s is not compared with what is left of it: %s", model.name, error)
        return
    graph = graph_of(small)
    found = keras.tree.flatten(graph(keras.tree.pack_sequence_as(graph.input, fed)))
    allowed = ALLOWED_HALF if _is_half(model) else ALLOWED
    for old, new in zip(wanted, map(_values, found), strict=True):
        if old.dtype.kind != "f" or not np.isfinite(old).all():
            continue
        scale = max(float(np.abs(old).max(initial=0.0)), 1e-6)
        error = float(np.abs(new - old).max(initial=0.0)) / scale if new.shape == old.shape else 1.0
        if not error <= allowed:
            message = (
                f"Without its removed channels {model.name!r} would return something else than "
                f"with zeros for them: the difference is {error:.3g} of the largest value. Some "
                "layer depends on its channels in a way that is not known; exclude layers of its "
                "own kind (find_groups(..., exclude=[...])), or cut with check=False."
            )
            raise ModelFormatError(message)


def _example(model: Any, plan: Plan) -> list[Any]:
    """One random example of the sizes that the network was read with, in the order of inputs."""
    random = np.random.default_rng(0)
    fed = []
    for item in graph_of(model).inputs:
        size = plan.size(item.name)
        if str(item.dtype).startswith(("float", "bfloat")):
            fed.append(keras.ops.convert_to_tensor(random.standard_normal(size), dtype=item.dtype))
        else:  # ids, categories, pixels: what every table has
            fed.append(keras.ops.convert_to_tensor(random.integers(0, 2, size), dtype=item.dtype))
    return fed


def _is_half(model: Any) -> bool:
    kinds = {str(getattr(layer, "compute_dtype", "")) for layer in model._flatten_layers()}
    return any(kind.endswith("float16") for kind in kinds)


def _values(tensor: Any) -> NDArray[Any]:
    found = np.asarray(keras.ops.convert_to_numpy(tensor))
    if found.dtype.kind in "biu":
        return found
    return found.astype(np.float64)

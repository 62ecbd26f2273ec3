"""The last look at a shrunk network: does it compute what the masked original does?"""

from __future__ import annotations

import logging
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError, first_line
from costmodel.readers.keras import graph_of
from morphnet_core.surgery.plan import Plan
from morphnet_core.surgery.reference import reference

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
    fed = example(model, plan)
    run = reference(model, plan)
    try:
        wanted = [_values(item) for item in run(fed)]
    except Exception as error:
        _log.info("%s is not compared with what is left of it: %s", model.name, error)
        return
    apart = _apart(wanted, _results(small, fed))
    if not apart > (ALLOWED_HALF if _is_half(model) else ALLOWED):
        return
    if _apart(wanted, [_values(item) for item in run(fed)]) > 0.0:
        _log.info("%s is not compared: it returns something else every time", model.name)
        return
    message = (
        f"Without its removed channels {model.name!r} would return something else than with zeros "
        f"for them: the difference is {apart:.3g} of the largest value. Some layer depends on its "
        "channels in a way that is not known; exclude layers of its own kind "
        "(find_groups(..., exclude=[...])), or cut with check=False."
    )
    raise ModelFormatError(message)


def _results(small: Any, fed: list[Any]) -> list[NDArray[Any]]:
    """What the shrunk network returns.

    Raises:
        ModelFormatError: if it cannot run.
    """
    graph = graph_of(small)
    try:
        found = graph(keras.tree.pack_sequence_as(graph.input, fed), training=False)
    except Exception as error:
        first = first_line(error)
        message = (
            f"What is left of {small.name!r} cannot run, as its original can: {first} Exclude the "
            "layer named: find_groups(..., exclude=[...])."
        )
        raise ModelFormatError(message) from error
    return [_values(item) for item in keras.tree.flatten(found)]


def _apart(wanted: list[NDArray[Any]], found: list[NDArray[Any]]) -> float:
    """Largest difference of what can be compared, relative to the largest value of each result."""
    worst = 0.0
    for old, new in zip(wanted, found, strict=True):
        if old.dtype.kind != "f" or not np.isfinite(old).all():
            continue
        if new.shape != old.shape or not np.isfinite(new).all():
            return float("inf")
        scale = max(float(np.abs(old).max(initial=0.0)), 1e-6)
        worst = max(worst, float(np.abs(new - old).max(initial=0.0)) / scale)
    return worst


def example(model: Any, plan: Plan, seed: int = 0) -> list[Any]:
    """One random example of the sizes that the network was read with, in the order of inputs.

    Args:
        model: that is fed.
        plan: of its grouping, which knows the sizes.
        seed: another one is another example.
    """
    random = np.random.default_rng(seed)
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

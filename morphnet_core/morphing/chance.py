"""States of the random numbers that a training draws from beside its own variables, as arrays."""

from __future__ import annotations

import random
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from morphnet_core.morphing.statefile import Arrays


def chances() -> dict[str, NDArray[Any]]:
    """Present states: of Python's, numpy's and, where it computes, PyTorch's global numbers.

    (Layers of Keras draw from variables of their own, but for PyTorch's dropout.)
    """
    version, numbers, spare = random.getstate()
    _, keys, place, has_spare, normal = np.random.get_state()  # noqa: NPY002 - users draw from it
    found: dict[str, NDArray[Any]] = {
        "chance/python": np.array([version, *numbers], dtype=np.int64),
        "chance/python_spare": np.array([] if spare is None else [spare], dtype=np.float64),
        "chance/numpy": np.asarray(keys, dtype=np.uint32),
        "chance/numpy_place": np.array([place, has_spare], dtype=np.int64),
        "chance/numpy_spare": np.array([normal], dtype=np.float64),
    }
    if keras.backend.backend() == "torch":
        import torch

        states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
        found |= {f"chance/torch/{place}": item.numpy() for place, item in enumerate(states)}
    return found


def take_chances(arrays: Arrays) -> None:
    """Go on from states that ``chances`` gave."""
    version, *numbers = (int(item) for item in arrays["chance/python"])
    spare = arrays["chance/python_spare"].tolist()
    random.setstate((version, tuple(numbers), spare[0] if spare else None))
    place, has_spare = (int(item) for item in arrays["chance/numpy_place"])
    normal = float(arrays["chance/numpy_spare"][0])
    keys = arrays["chance/numpy"]
    np.random.set_state(("MT19937", keys, place, has_spare, normal))  # noqa: NPY002
    if keras.backend.backend() == "torch":
        import torch

        count = sum(name.startswith("chance/torch/") for name in arrays)
        states = [torch.from_numpy(arrays[f"chance/torch/{at}"].copy()) for at in range(count)]
        torch.set_rng_state(states[0])
        torch.cuda.set_rng_state_all(states[1:])

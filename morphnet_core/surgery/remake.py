"""New layers from old ones: settings, fresh seeds, and the weights carried over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import ModelFormatError
from costmodel.readers.keras_copy import remade
from morphnet_core.surgery.plan import Fold
from morphnet_core.surgery.recut import Recut, View, recut


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A new layer beside the old one.

    Attributes:
        layer: the new layer.
        view: the call of the old layer for which it was made.
        rule: the settings and cuts that made it.
    """

    layer: Any
    view: View
    rule: Recut


class Maker:
    """Makes every layer of a network once, whatever the number of its calls.

    One without weights whose settings must differ between its calls, such as a shared reshape of
    tensors that keep different channels, is made once for each of the settings.

    Args:
        seed: where the seeds of initialisers that have none of their own come from; None leaves
            them random.
        fold: what layers add besides; for ``carry_weights``.
    """

    def __init__(self, seed: int | None, fold: Fold | None = None) -> None:
        self._random = None if seed is None else np.random.default_rng(seed)
        self._fold = fold or Fold()
        self._made: dict[str, list[Made]] = {}

    def layer(self, view: View, name: Callable[[int], str]) -> Any:
        """The new layer of the old one's path.

        Args:
            view: the call of the old layer.
            name: what to call the new layer if it is made now; told how many were already made
                of the old one.

        Raises:
            ModelFormatError: if it cannot be made, or was made for other channels.
        """
        known = self._made.setdefault(view.title, [])
        for made in known:
            if made.view.read.same(view.read) and made.view.written.same(view.written):
                return made.layer
        if known and view.layer.weights:
            message = (
                f"Layer {view.title!r} is called several times and would keep other channels in "
                "one call than in another. Its calls must be in one group: find_groups ties them."
            )
            raise ModelFormatError(message)
        rule = recut(view)
        for made in known:
            if made.rule.config == rule.config:
                return made.layer
        offset = view.title in self._fold.offsets and view.title not in self._fold.means
        more = {"use_bias": True} if offset else {}
        layer = remade(
            view.layer,
            title=view.title,
            changes={**rule.config, **more, "name": name(len(known))},
            prepared=lambda config: _seeded(config, self._random),
        )
        known.append(Made(layer=layer, view=view, rule=rule))
        return layer

    def _every(self) -> list[Made]:
        return [made for several in self._made.values() for made in several]

    def carry_weights(self) -> None:
        """Fill every new layer with the surviving weights of the old one.

        Raises:
            ModelFormatError: naming the layer whose weights do not fit.
        """
        for made in self._every():
            if made.rule.weights is None:
                _copy_all(made)
            else:
                _copy_cut(made)
        for title, offset in self._fold.offsets.items():
            self._add(title, offset)

    def _add(self, title: str, offset: NDArray[np.float64]) -> None:
        """Give an offset to whoever takes it."""
        for made in self._made.get(title, ()):
            if title not in self._fold.means:
                _move(made.layer.bias, offset[made.view.written.index])
        for taker in self._fold.means.get(title, ()):
            for made in self._made.get(taker, ()):
                _move(made.layer.moving_mean, -offset[made.view.read.index])

    def carry_statistics(self) -> None:
        """Fill only what was measured on data beforehand rather than trained."""
        for made in self._every():
            if hasattr(made.layer, "adapt"):
                _copy_all(made)


def _seeded(config: Any, random: np.random.Generator | None) -> Any:
    """Settings in which every initialiser has a seed."""
    if random is None:
        return config
    if isinstance(config, list | tuple):
        return type(config)(_seeded(item, random) for item in config)
    if not isinstance(config, dict):
        return config
    found = {key: _seeded(value, random) for key, value in config.items()}
    inner = found.get("config")
    if "class_name" in found and isinstance(inner, dict) and inner.get("seed", 0) is None:
        inner["seed"] = int(random.integers(2**31 - 1))
    return found


def _copy_all(made: Made) -> None:
    old, new = made.view.layer.weights, made.layer.weights
    sizes = [[tuple(item.shape) for item in group] for group in (old, new)]
    if sizes[0] != sizes[1]:
        message = (
            f"Layer {made.view.title!r} ({type(made.layer).__name__}) has weights of sizes "
            f"{sizes[0]}, of which the new network needs {sizes[1]}, and there is no rule to cut "
            "them. Exclude the channels that it reads and writes: find_groups(..., exclude=[...])."
        )
        raise ModelFormatError(message)
    for source, target in zip(old, new, strict=True):
        target.assign(source)
    if hasattr(made.layer, "finalize_state"):
        made.layer.finalize_state()


def _copy_cut(made: Made) -> None:
    cuts = made.rule.weights or {}
    old, new = made.view.layer, made.layer
    if len(old.weights) != len(cuts):
        message = (
            f"Layer {made.view.title!r} ({type(old).__name__}) has {len(old.weights)} weights, of "
            f"which only {', '.join(cuts)} can be cut. Merge LoRA or quantised weights into the "
            "kernel first."
        )
        raise ModelFormatError(message)
    for name, cut in cuts.items():
        _found(new, name).assign(cut(_numpy(_found(old, name))))


def _move(variable: Any, by: NDArray[np.float64]) -> None:
    variable.assign(_numpy(variable) + by)


def _found(layer: Any, name: str) -> Any:
    """A weight by its path within a layer, such as ``cell.kernel`` or ``cell.cells.0.kernel``."""
    for part in name.split("."):
        layer = layer[int(part)] if part.isdigit() else getattr(layer, part)
    return layer


def _numpy(variable: Any) -> np.ndarray[Any, Any]:
    """Values of a variable; 16-bit floats of other libraries become 32-bit ones of numpy."""
    found = np.asarray(keras.ops.convert_to_numpy(variable))
    return found if found.dtype.kind in "biuf" else found.astype(np.float32)

"""What removed channels still added goes into the biases of the layers that read them.

A channel whose scale has gone still returns a constant, and its readers have learned with that;
one that is cut alive returns something on average. What a convolution or product makes of it, on
average over examples and pixels, is one number for each channel that it returns: it is added to the
bias, or taken off the mean of the BatchNormalization that follows. (Ye et al., "Rethinking the
smaller-norm-less-informative assumption in channel pruning", ICLR 2018, fold constants so.) At
padded borders a constant is read as less than it is; the mean over pixels is right on average.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import first_line
from morphnet_core.surgery.plan import Booleans, Fold, Plan
from morphnet_core.surgery.reference import Run, is_linear, linear
from morphnet_core.surgery.trace import Scope, Step, trace

#: A scale is silent below this share of the greatest of its layer: training holds those it presses
#: on near zero, not at it.
SILENT = 0.01
#: What examples may differ by, as a share of their size, where all the same is returned for them.
_ROUNDING = 1e-6
#: Layers whose bias is added to a sum over channels; subclasses may compute something else.
_READERS = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)

_log = logging.getLogger("morphnet_core")


def fold_for(model: Any, plan: Plan, examples: Sequence[Any], *, every: bool) -> Fold:
    """What the readers of dead channels need in their biases.

    Args:
        model: the original; not changed.
        plan: what is to go.
        examples: batches of what the model is fed, flat or in its own structure.
        every: whether every removed channel counts, by its mean; else only those that return the
            same for all examples once silent scales are zero. There must then be two.

    Returns:
        Nothing where the model does not run on the examples: they may be random numbers.
    """
    if not plan.dead.any() or not len(examples):
        return Fold()
    scope = trace(model, plan)
    watch = _Watch(plan, silenced=not every)
    try:
        for fed in examples:
            watch.model(scope, [keras.ops.convert_to_tensor(x) for x in keras.tree.flatten(fed)])
    except Exception as error:
        _log.info("Constants of %s are not folded: %s", model.name, first_line(error))
        return Fold()
    offsets = {origin: seen.offset(every=every) for origin, seen in watch.seen.items()}
    offsets = {origin: found for origin, found in offsets.items() if found.any()}
    return Fold(offsets=offsets, means=_means(scope, offsets))


class _Watch(Run):
    """Runs the original, and looks at what reaches its layers through channels that go.

    Args:
        plan: what goes.
        silenced: whether dead channels whose scale is silent return their shift alone.
    """

    def __init__(self, plan: Plan, *, silenced: bool) -> None:
        super().__init__(plan, frozenset())
        self._silenced = silenced
        self.seen: dict[str, _Reader] = {}

    def step(self, step: Step, operands: list[Any]) -> list[Any]:
        """Call a layer as it is."""
        layer = step.node.operation
        if type(layer) in _READERS and getattr(layer, "quantization_mode", None) is None:
            dead = self.plan.dead_channels(step.reads[0])
            if dead.any():
                axes = (self.plan.axis(step.reads[0]), self.plan.axis(step.writes[0]))
                seen = self.seen.setdefault(step.origin, _Reader(layer, dead, axes))
                seen.look(operands[0])
        results = super().step(step, operands)
        if self._silenced and isinstance(layer, keras.layers.BatchNormalization) and layer.scale:
            scales = np.abs(np.asarray(keras.ops.convert_to_numpy(layer.gamma), dtype=float))
            axis, dead = self.plan.axis(step.writes[0]), self.plan.dead_channels(step.writes[0])
            if len(scales) == len(dead):
                dead = dead & (scales <= SILENT * scales.max())
                results = [_shift_alone(layer, results[0], dead, axis)] if dead.any() else results
        return results


class _Reader:
    """What one layer reads, summed up over examples, pixel by pixel.

    Args:
        layer: it.
        dead: ``(channels,)`` which of the channels that it reads go.
        axes: of the channels that it reads, and that it returns.
    """

    def __init__(self, layer: Any, dead: Booleans, axes: tuple[int, int]) -> None:
        self._layer, self._dead, self._axes = layer, dead, axes
        self._count = 0
        self._sum: Any = 0.0
        self._least: Any = np.inf
        self._greatest: Any = -np.inf

    def look(self, tensor: Any) -> None:
        """Take one more batch into account."""
        found = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")))
        self._count += len(found)
        self._sum = self._sum + found.sum(axis=0, keepdims=True, dtype=np.float64)
        self._least = np.minimum(self._least, found.min(axis=0, keepdims=True))
        self._greatest = np.maximum(self._greatest, found.max(axis=0, keepdims=True))

    def offset(self, *, every: bool) -> NDArray[np.float64]:
        """``(channels returned,)`` what its bias lacks."""
        mean = self._sum / self._count
        others = tuple(place for place in range(mean.ndim) if place != self._axes[0])
        folded = self._dead
        if not every:
            spread = (self._greatest - self._least).max(axis=others)
            folded = folded & (spread <= _ROUNDING * np.abs(mean).max(axis=others))
        shape = [1] * mean.ndim
        shape[self._axes[0]] = len(folded)
        given = keras.ops.convert_to_tensor(mean * folded.reshape(shape), dtype="float32")
        made = np.asarray(keras.ops.convert_to_numpy(linear(self._layer, given)), dtype=float)
        return np.asarray(made.mean(axis=tuple(p for p in range(made.ndim) if p != self._axes[1])))


def _shift_alone(layer: Any, tensor: Any, channels: Booleans, axis: int) -> Any:
    """What a normalisation returns if some of its scales are zero."""
    shape = [1] * len(tensor.shape)
    shape[axis] = len(channels)
    shift = layer.beta if layer.center else keras.ops.zeros(len(channels))
    shift = keras.ops.cast(keras.ops.reshape(shift, shape), tensor.dtype)
    return keras.ops.where(channels.reshape(shape), shift, tensor)


def _means(scope: Scope, offsets: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """By layer without a bias, the normalisations that can take an offset off their mean instead.

    That is where they are all that reads it, and each is called once.
    """
    scopes = list(_scopes(scope))
    steps = [step for inner in scopes for step in inner.steps if step.inner is None]
    returned = {id(tensor) for inner in scopes for tensor in inner.graph.outputs}
    calls = Counter(step.origin for step in steps)
    found = {}
    for step in steps:
        layer = step.node.operation
        if step.origin not in offsets or layer.use_bias or calls[step.origin] > 1:
            continue
        readers = [other for other in steps if step.writes[0] in other.reads]
        kinds = {type(other.node.operation) for other in readers}
        once = all(calls[other.origin] == 1 for other in readers)
        alone = once and kinds == {keras.layers.BatchNormalization}
        if alone and is_linear(layer) and id(step.node.outputs[0]) not in returned:
            found[step.origin] = tuple(other.origin for other in readers)
    return found


def _scopes(scope: Scope) -> Iterator[Scope]:
    """A model and those nested in it."""
    yield scope
    for step in scope.steps:
        if step.inner is not None:
            yield from _scopes(step.inner)

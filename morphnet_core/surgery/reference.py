"""What a shrunk network must equal: the original, its dead channels read as zero."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from morphnet_core.groups import Grouping
from morphnet_core.surgery.plan import Plan
from morphnet_core.surgery.trace import Scope, Step, trace


def masked(model: Any, grouping: Grouping, alive: NDArray[np.bool_]) -> Callable[[Any], list[Any]]:
    """The original model, as if dead channels were zero wherever a layer mixes channels.

    Every layer is called as it is, with its own weights; the channels that it reads are masked.
    What leaves a model is always alive, and all other layers hand channels on one by one.

    Args:
        model: the original model; not changed.
        grouping: its groups.
        alive: which units are alive; apply ``cascade`` first to compare with a shrunk model.

    Returns:
        From what the model is fed, in its own structure or flat, to what it returns at inference,
        flat.
    """
    plan = Plan(grouping, np.asarray(alive).astype(np.intp))
    scope = trace(model, plan)
    mixing = frozenset(layer.origin or layer.name for layer in grouping.mixers)
    run = _Run(plan, mixing)
    return lambda fed: run.model(scope, [_tensor(item) for item in keras.tree.flatten(fed)])


def _tensor(item: Any) -> Any:
    return keras.ops.convert_to_tensor(item)


class _Run:
    """Calls the layers of a model one after the other, masks between them."""

    def __init__(self, plan: Plan, mixing: frozenset[str]) -> None:
        self._plan = plan
        self._mixing = mixing

    def model(self, scope: Scope, fed: list[Any]) -> list[Any]:
        """What the calls of one model return for what it is fed."""
        pairs = zip(scope.graph.inputs, fed, strict=True)
        values = {id(old): keras.ops.cast(value, old.dtype) for old, value in pairs}
        for step in scope.steps:
            results = self._step(step, [values[id(t)] for t in step.node.arguments.keras_tensors])
            values.update({id(t): v for t, v in zip(step.node.outputs, results, strict=True)})
        return [values[id(item)] for item in scope.graph.outputs]

    def _step(self, step: Step, operands: list[Any]) -> list[Any]:
        if step.inner is not None:
            return self.model(step.inner, operands)
        if step.origin in self._mixing:
            pairs = zip(step.reads, operands, strict=True)
            operands = [self._masked(name, value) for name, value in pairs]
        tensors = step.node.arguments.keras_tensors
        args, kwargs = step.node.arguments.fill_in(
            {id(tensor): value for tensor, value in zip(tensors, operands, strict=True)}
        )
        takes = getattr(step.node.operation, "_call_has_training_arg", False)
        if takes and kwargs.get("training") is None:
            kwargs = {**kwargs, "training": False}  # some, of images, train unless told otherwise
        return list(keras.tree.flatten(step.node.operation(*args, **kwargs)))

    def _masked(self, name: str, value: Any) -> Any:
        units = self._plan.grouping.units[name]
        dead = (units >= 0) & self._plan.dead[units]
        if not dead.any():
            return value
        shape = [1] * len(value.shape)
        shape[self._plan.axis(name)] = len(units)
        alive = keras.ops.cast(keras.ops.convert_to_tensor(~dead.reshape(shape)), value.dtype)
        result = value * alive
        with contextlib.suppress(AttributeError):  # of time steps, where layers hand one on
            result._keras_mask = value._keras_mask
        return result

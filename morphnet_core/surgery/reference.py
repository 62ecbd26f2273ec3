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

#: Layers in which a constant operand is a sum's, and may be left out.
ADDING = frozenset({"Add", "Average", "Subtract"})


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
    return reference(model, Plan(grouping, np.asarray(alive).astype(np.intp)))


def reference(model: Any, plan: Plan) -> Callable[[Any], list[Any]]:
    """As ``masked``, and with the offsets that the plan folds.

    Args:
        model: the original model; not changed.
        plan: what is to go.
    """
    scope = trace(model, plan)
    mixing = frozenset(layer.origin or layer.name for layer in plan.grouping.mixers)
    run = Run(plan, mixing)
    return lambda fed: run.model(scope, [_tensor(item) for item in keras.tree.flatten(fed)])


def _tensor(item: Any) -> Any:
    return keras.ops.convert_to_tensor(item)


def linear(layer: Any, tensor: Any) -> Any:
    """What a convolution or a product makes of a tensor, without bias and activation, in float32.

    Args:
        layer: ``Dense``, or a convolution that is not transposed.
        tensor: that it reads.
    """
    tensor, kernel = (keras.ops.cast(item, "float32") for item in (tensor, layer.kernel))
    if isinstance(layer, keras.layers.Dense):
        return keras.ops.matmul(tensor, kernel)
    return layer.convolution_op(tensor, kernel)


def is_linear(layer: Any) -> bool:
    """Whether a layer has no activation of its own."""
    return layer.activation in {None, keras.activations.linear}


def with_offset(layer: Any, tensor: Any, offset: NDArray[Any], axis: int) -> Any:
    """What a layer of ``linear`` returns with more in its bias.

    Args:
        layer: as for ``linear``.
        tensor: that it reads.
        offset: ``(channels,)`` what is added before the activation.
        axis: of the channels that it returns.
    """
    made = linear(layer, tensor)
    shape = [1] * len(made.shape)
    shape[axis] = len(offset)
    bias = np.asarray(keras.ops.convert_to_numpy(layer.bias), float) if layer.use_bias else 0.0
    made = made + keras.ops.convert_to_tensor((bias + offset).reshape(shape), dtype="float32")
    made = made if layer.activation is None else layer.activation(made)
    return keras.ops.cast(made, layer.compute_dtype)


class Run:
    """Calls the layers of a model one after the other, masks between them.

    Args:
        plan: what is to go.
        mixing: paths of the layers that read dead channels as zero.
    """

    def __init__(self, plan: Plan, mixing: frozenset[str]) -> None:
        self.plan = plan
        self._mixing = mixing
        #: Tensors that are read as zero where they would be added to others.
        self._nothing: frozenset[str] = frozenset() if plan.adds else plan.constants()

    def model(self, scope: Scope, fed: list[Any]) -> list[Any]:
        """What the calls of one model return for what it is fed."""
        pairs = zip(scope.graph.inputs, fed, strict=True)
        values = {id(old): keras.ops.cast(value, old.dtype) for old, value in pairs}
        for step in scope.steps:
            results = self.step(step, [values[id(t)] for t in step.node.arguments.keras_tensors])
            values.update({id(t): v for t, v in zip(step.node.outputs, results, strict=True)})
        return [values[id(item)] for item in scope.graph.outputs]

    def step(self, step: Step, operands: list[Any]) -> list[Any]:
        """What one call returns for its operands."""
        if step.inner is not None:
            return self.model(step.inner, operands)
        if type(step.node.operation).__name__ in ADDING and not self._nothing >= set(step.reads):
            pairs = zip(step.reads, operands, strict=True)
            operands = [v * 0 if name in self._nothing else v for name, v in pairs]
        if step.origin in self._mixing:
            pairs = zip(step.reads, operands, strict=True)
            operands = [self._masked(name, value) for name, value in pairs]
        if self._mixing and step.origin in self.plan.fold.offsets:
            offset, axis = self.plan.fold.offsets[step.origin], self.plan.axis(step.writes[0])
            return [with_offset(step.node.operation, operands[0], offset, axis)]
        tensors = step.node.arguments.keras_tensors
        args, kwargs = step.node.arguments.fill_in(
            {id(tensor): value for tensor, value in zip(tensors, operands, strict=True)}
        )
        takes = getattr(step.node.operation, "_call_has_training_arg", False)
        if takes and kwargs.get("training") is None:
            kwargs = {**kwargs, "training": False}  # some, of images, train unless told otherwise
        return list(keras.tree.flatten(step.node.operation(*args, **kwargs)))

    def _masked(self, name: str, value: Any) -> Any:
        dead = self.plan.dead_channels(name)
        if not dead.any():
            return value
        shape = [1] * len(value.shape)
        shape[self.plan.axis(name)] = len(dead)
        alive = keras.ops.cast(keras.ops.convert_to_tensor(~dead.reshape(shape)), value.dtype)
        result = value * alive
        with contextlib.suppress(AttributeError):  # of time steps, where layers hand one on
            result._keras_mask = value._keras_mask
        return result

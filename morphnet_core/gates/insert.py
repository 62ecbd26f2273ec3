"""Puts gates in front of the layers that read gated channels.

Gates stand where channels are *read*, not where they are written. That makes three things exact: a
closed gate is the same as a removed channel whatever stands between (an activation that is not zero
at zero, the offset of a normalisation, a depthwise convolution); an open gate can always be
multiplied into the reader's kernel; and a residual stream is gated once, not once per branch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import graph_of
from morphnet_core.gates.shared import ApplyGates, SharedGates

TRANSPOSED = (
    keras.layers.Conv1DTranspose,
    keras.layers.Conv2DTranspose,
    keras.layers.Conv3DTranspose,
)
SEPARABLE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
#: Layers that read every channel with a weight of its own, so that a gate can be folded into them.
READERS = (
    *TRANSPOSED,
    *SEPARABLE,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Conv3D,
    keras.layers.Dense,
)


def insert_gates(model: Any, gates: SharedGates, positions: Mapping[str, Sequence[int]]) -> Any:
    """A model of the same layers, with gates in front of those that read gated channels.

    Args:
        model: a functional or sequential model; it is not changed, its layers are shared.
        gates: draws all gates.
        positions: for each reading layer, by its path (``layer``, ``nested/layer``): the gate of
            each channel it reads, as a place in what ``gates`` returns.

    Returns:
        A functional model of the same inputs and outputs.

    Raises:
        InvalidInputError: if a path is not a layer of the model.
    """
    work = _Insertion(positions)
    inputs = keras.tree.map_structure(_fresh_input, functional(model).input)
    mask = gates(keras.tree.flatten(inputs)[0])
    outputs = work.run(functional(model), inputs, mask, "")
    missing = sorted(set(positions) - work.found)
    if missing:
        message = (
            f"Model {model.name!r} has no layer {missing[0]!r} to put gates in front of. Paths "
            "are names of layers, with the nested model's name and a slash before."
        )
        raise InvalidInputError(message)
    return keras.Model(inputs, outputs, name=model.name)


def functional(model: Any) -> Any:
    """The graph of layers of a functional or sequential model."""
    inner = getattr(model, "_functional", None)
    return model if inner is None else inner


def is_nested(layer: Any) -> bool:
    """Whether a layer is a model with a graph of its own."""
    return graph_of(layer) is not None


def _fresh_input(tensor: Any) -> Any:
    return keras.Input(
        batch_shape=tensor.shape,
        dtype=tensor.dtype,
        name=tensor.name,
        sparse=getattr(tensor, "sparse", False),
    )


class _Insertion:
    """One pass over a model's calls, nested models rebuilt with the gates as one more input."""

    def __init__(self, positions: Mapping[str, Sequence[int]]) -> None:
        self.found: set[str] = set()
        self._positions = positions
        self._rebuilt: dict[str, Any] = {}
        #: By path, so that a layer called several times is gated by one layer.
        self._appliers: dict[str, ApplyGates] = {}

    def run(self, model: Any, inputs: Any, mask: Any, prefix: str) -> Any:
        """The outputs of ``model`` on new inputs."""

        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return self._call(layer, mask, prefix, args, kwargs)

        return model._run_through_graph(inputs, operation_fn=lambda layer: layer, call_fn=call)

    def _call(
        self, layer: Any, mask: Any, prefix: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        path = f"{prefix}{layer.name}"
        if is_nested(layer):
            inner = self._nested(layer, mask, f"{path}/")
            if inner is not None:
                return inner([*keras.tree.flatten(args[0]), mask], *args[1:], **kwargs)
        elif path in self._positions:
            self.found.add(path)
            args = (self._applier(path, layer)([args[0], mask]), *args[1:])
        return layer(*args, **kwargs)

    def _applier(self, path: str, layer: Any) -> ApplyGates:
        if path not in self._appliers:
            self._appliers[path] = ApplyGates(
                self._positions[path], axis=channel_axis(layer), name=f"{layer.name}_gates"
            )
        return self._appliers[path]

    def _nested(self, layer: Any, mask: Any, prefix: str) -> Any:
        """The nested model with the gates as its last input; None where it reads none."""
        if not any(path.startswith(prefix) for path in self._positions):
            return None
        if prefix not in self._rebuilt:
            model = functional(layer)
            inputs = keras.tree.map_structure(_fresh_input, model.input)
            gates = keras.Input(batch_shape=mask.shape, dtype=mask.dtype, name="gates")
            outputs = self.run(model, inputs, gates, prefix)
            every = [*keras.tree.flatten(inputs), gates]
            self._rebuilt[prefix] = keras.Model(every, outputs, name=layer.name)
        return self._rebuilt[prefix]


def channel_axis(layer: Any) -> int:
    """The axis of its input along which a reading layer has channels."""
    return 1 if getattr(layer, "data_format", None) == "channels_first" else -1

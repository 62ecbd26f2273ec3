"""All gates of a model in one layer, drawn once a step, and applied wherever they are read.

One draw serves every layer that reads a unit of channels, so that a residual stream is gated once
and not once per branch, and a model of a hundred layers draws one vector instead of a hundred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from costmodel.errors import InvalidInputError


@keras.saving.register_keras_serializable(package="morphnet_core")
class SharedGates(keras.layers.Layer):  # type: ignore[misc]
    """Draws one gate per unit; followed by a constant 1 for what has no gate.

    It is called on any input of the model, only to stand in its graph; what it returns does not
    depend on it.
    """

    def __init__(self, gate: Any, units: int, **kwargs: Any) -> None:
        """Hold the gates of a model.

        Args:
            gate: a ``ChannelGate`` that says how gates are drawn; it must not be built.
            units: how many gates.
            **kwargs: ``name`` and the like.
        """
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        self.gate = gate
        self.units = units
        if not self.gate.built:
            self.gate.build((units,))
        #: What to charge for a draw; set where the penalty is on draws, not on probabilities.
        self.charge: Callable[[Any], Any] | None = None

    def build(self, input_shape: Any) -> None:  # noqa: ARG002 - Keras's signature
        """Nothing depends on what the layer is called on."""
        self.built = True

    def call(self, inputs: Any, training: Any = None) -> Any:  # noqa: ARG002 - see the class
        """The gates and a final 1: float32 of shape ``(units + 1,)``."""
        mask = self.gate.mask(training=training)
        if training and self.charge is not None:
            self.add_loss(self.charge(mask))
        return ops.concatenate([mask, ops.ones((1,), dtype="float32")])

    def compute_output_shape(self, input_shape: Any) -> tuple[int, ...]:  # noqa: ARG002
        """One more than gates."""
        return (self.units + 1,)

    def get_config(self) -> dict[str, Any]:
        """Settings from which ``from_config`` makes the same layer."""
        gate = keras.saving.serialize_keras_object(self.gate)
        return {**super().get_config(), "gate": gate, "units": self.units}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SharedGates:
        """Make the layer that ``get_config`` describes."""
        gate = keras.saving.deserialize_keras_object(config["gate"])
        return cls(**{**config, "gate": gate})


@keras.saving.register_keras_serializable(package="morphnet_core")
class ApplyGates(keras.layers.Layer):  # type: ignore[misc]
    """Multiplies each channel by the gate of the unit it belongs to."""

    def __init__(self, positions: Sequence[int], axis: int = -1, **kwargs: Any) -> None:
        """Say which gate belongs to which channel.

        Args:
            positions: per channel, its place in what ``SharedGates`` returns.
            axis: the channel axis.
            **kwargs: ``name``, ``dtype``.
        """
        super().__init__(**kwargs)
        self.positions = [int(item) for item in positions]
        self.axis = axis

    def build(self, input_shape: Any) -> None:
        """Check that there is one position per channel."""
        size = input_shape[0][self.axis]
        if size != len(self.positions):
            message = (
                f"{self.name!r} has gates for {len(self.positions)} channels and is called on "
                f"{tuple(input_shape[0])}, which has {size} along axis {self.axis}."
            )
            raise InvalidInputError(message)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Gate ``inputs[0]`` by ``inputs[1]``, what ``SharedGates`` returned."""
        tensor, mask = inputs
        shape = [1] * len(tensor.shape)
        shape[self.axis] = len(self.positions)
        gates = ops.reshape(ops.take(mask, self.positions, axis=0), shape)
        return tensor * ops.cast(gates, tensor.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Gating keeps the shape."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:
        """Settings from which ``from_config`` makes the same layer."""
        return {**super().get_config(), "positions": self.positions, "axis": self.axis}

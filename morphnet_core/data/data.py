"""Data: what a network is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.errors import InvalidInputError
from morphnet_core.data.nested import Batch, agreeing, num_samples, repeated, taken
from morphnet_core.data.streams import first_batches, is_stream, kept_open, length, opened, shuffles


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a network is trained on.

    Inputs and targets are arrays, or lists, tuples and dictionaries of them, as the model takes and
    returns them; or ``x`` alone is a stream of batches: a ``tf.data.Dataset``, a
    ``keras.utils.PyDataset``, a PyTorch ``DataLoader``, or a generator with ``steps_per_epoch``.

    Attributes:
        x: training inputs, or a stream of batches.
        y: training targets; None for a stream, and for models with losses of their own.
        x_val: inputs that the best epoch is chosen by, or a stream; None to take the last epoch.
        y_val: their targets.
        batch_size: samples a step; a stream has its own.
        weights: of the training samples.
        weights_val: of the others.
        steps_per_epoch: batches of a stream that make an epoch; by default all there are.
        validation_steps: likewise.

    Raises:
        InvalidInputError: (when made) if there are not as many inputs as targets, or none; or an
            endless stream has no steps.

    >>> Data(x=[[0.0]] * 100, y=[0] * 100).steps
    2
    >>> import numpy as np
    >>> Data(x={"left": np.zeros((512, 4)), "right": np.zeros((512, 2))}, y=np.zeros(512)).steps
    8
    """

    x: Any
    y: Any = None
    x_val: Any = None
    y_val: Any = None
    batch_size: int = 64
    weights: Any = None
    weights_val: Any = None
    steps_per_epoch: int | None = None
    validation_steps: int | None = None

    def __post_init__(self) -> None:
        """Bring arrays into one form, and check that they agree."""
        if self.batch_size < 1:
            message = f"batch_size must be at least 1. Received: {self.batch_size}."
            raise InvalidInputError(message)
        self._settle(("x", "y", "weights"), self.steps_per_epoch, "steps_per_epoch")
        if self.x_val is not None:
            self._settle(("x_val", "y_val", "weights_val"), self.validation_steps,
                         "validation_steps")  # fmt: skip

    def _settle(self, names: tuple[str, str, str], steps: int | None, option: str) -> None:
        values = [getattr(self, name) for name in names]
        if not is_stream(values[0]):
            found: Any = agreeing(*values)
        elif values[1] is not None or values[2] is not None:
            message = (
                f"{names[0]} is a {type(values[0]).__name__}, whose batches hold their targets: "
                f"leave {names[1]} and {names[2]} out."
            )
            raise InvalidInputError(message)
        elif steps is None and length(values[0]) is None:
            message = (
                f"{names[0]} is a {type(values[0]).__name__} of unknown length. Give {option}: how "
                "many of its batches make an epoch."
            )
            raise InvalidInputError(message)
        else:
            found = (kept_open(values[0]), None, None)
        for name, value in zip(names, found, strict=True):
            object.__setattr__(self, name, value)

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        if self.steps_per_epoch is not None:
            return self.steps_per_epoch
        if is_stream(self.x):
            return length(self.x) or 1
        return -(-num_samples(self.x) // self.batch_size)

    @property
    def fit_arguments(self) -> dict[str, Any]:
        """What Keras' ``fit`` is given to train on."""
        if is_stream(self.x):
            found = {"x": opened(self.x), "steps_per_epoch": self.steps_per_epoch}
            return found if shuffles(self.x) else {**found, "shuffle": False}
        return {
            "x": self.x,
            "y": self.y,
            "sample_weight": self.weights,
            "batch_size": self.batch_size,
        }

    @property
    def validation(self) -> Any:
        """What Keras takes as ``validation_data``; None where there is none."""
        if self.x_val is None:
            return None
        if is_stream(self.x_val):
            return opened(self.x_val)
        weights = () if self.weights_val is None else (self.weights_val,)
        return (self.x_val, self.y_val, *weights)

    @property
    def evaluate_arguments(self) -> dict[str, Any]:
        """What Keras' ``evaluate`` is given: the data that the best epoch is chosen by."""
        if is_stream(self.x_val):
            return {"x": opened(self.x_val), "steps": self.validation_steps}
        return {
            "x": self.x_val,
            "y": self.y_val,
            "sample_weight": self.weights_val,
            "batch_size": self.batch_size,
        }

    def metrics(self, model: Any) -> dict[str, float]:
        """Of a compiled model, on the data that the best epoch is chosen by; none without them."""
        if self.x_val is None:
            return {}
        found = model.evaluate(**self.evaluate_arguments, verbose=0, return_dict=True)
        return {name: float(np.mean(value)) for name, value in found.items()}

    def first(self, batches: int) -> list[Batch]:
        """The first batches at most, in the order of the data: inputs, targets, sample weights."""
        if is_stream(self.x):
            return first_batches(self.x, batches)
        ends = range(0, min(num_samples(self.x), batches * self.batch_size), self.batch_size)
        parts = (self.x, self.y, self.weights)
        return [
            (x, y, weights)
            for begin in ends
            for x, y, weights in [[taken(part, begin, begin + self.batch_size) for part in parts]]
        ]

    def samples(self, count: int = 1) -> Any:
        """Inputs of the first samples, with their batch axis, in the structure of the data."""
        x, _, _ = self.first(1)[0]
        return repeated(x, count)

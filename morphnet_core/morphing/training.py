"""Training: a ``fit`` that goes on where another process was interrupted, bit for bit.

Order of the data, weights, optimizer, random numbers and whatever callbacks remember are saved
between two steps, now and then, and taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
from numpy.typing import NDArray

from morphnet_core.data import Data
from morphnet_core.data.ordered import Change, Feed
from morphnet_core.morphing.chance import chances, take_chances
from morphnet_core.morphing.statefile import Arrays, State, damaged
from morphnet_core.morphing.unfinished import Section
from morphnet_core.regularizer.penalty import distribution_scope
from morphnet_core.signals.source import as_numpy


class Part(Protocol):
    """Something beside the model that a training changes."""

    def saved(self) -> dict[str, NDArray[Any]]:
        """What it needs to go on."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``saved`` gave."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Epochs of one model.

    Attributes:
        model: compiled.
        data: to train on.
        epochs: in all.
        seed: numbers that the order of the data follows from.
        section: where it is saved.
        callbacks: of Keras, in order.
        parts: those of them that remember something, by name.
        change: of the inputs of every batch; see ``Feed``.
        validated: whether the validation data are looked at after every epoch.
        verbose: of Keras.
    """

    model: Any
    data: Data
    epochs: int
    seed: Sequence[int]
    section: Section
    callbacks: Sequence[Any] = ()
    parts: Mapping[str, Part] = field(default_factory=dict)
    change: Change | None = None
    validated: bool = False
    verbose: int | str = "auto"

    def run(self, before: int = 0) -> None:
        """Train to the end, from where it was saved last.

        Args:
            before: batches of the data that another process used before this training.

        Raises:
            InvalidInputError: if a state cannot be written or does not fit the model.
        """
        feed, saver = Feed(self.data, self.seed, self.change), _Saver(self)
        with distribution_scope(self.model):
            self.model.optimizer.build(self.model.trainable_variables)
        epoch, step = 0, 0
        if self.section.begun:
            epoch, step = self._restore()
            saver.go_on(self.section.state)
            take_chances(self.section.state.arrays)
        elif self.section.path is not None:
            saver.save(epoch, step)  # what cannot be written is found out now
        feed.forget(before + epoch * self.data.steps + step)
        settings: dict[str, Any] = {
            "callbacks": [_Turn(feed, epoch, step), *self.callbacks, saver],
            "verbose": self.verbose,
        }
        if self.validated:
            settings |= {
                "validation_data": self.data.validation,
                "validation_steps": self.data.validation_steps,
            }
        if step:
            feed.begin(epoch, step)
            first, epoch = epoch, epoch + 1
            self.model.fit(**feed.rest(step), initial_epoch=first, epochs=epoch, **settings)
            if self.model.stop_training:
                return
        if epoch < self.epochs:
            feed.begin(epoch)
            self.model.fit(**feed.whole(), initial_epoch=epoch, epochs=self.epochs, **settings)

    def save_end(self, **more: NDArray[Any]) -> None:
        """Save that it is over, what it came to, and further arrays."""
        self.section.save({}, lambda: self._weights() | self._remembered() | more, done=True)

    def restore_end(self) -> None:
        """Take back what ``save_end`` saved.

        Raises:
            InvalidInputError: if it is of another model.
        """
        self._assign("model", self.model.variables)
        for name, part in self.parts.items():
            part.restore(self.section.state.part(name))

    def present(self) -> dict[str, NDArray[Any]]:
        """Everything that a step changes."""
        optimizer = _numbered("optimizer", self.model.optimizer.variables)
        return {**self._weights(), **optimizer, **self._remembered(), **chances()}

    def _weights(self) -> dict[str, NDArray[Any]]:
        return _numbered("model", self.model.variables)

    def _remembered(self) -> dict[str, NDArray[Any]]:
        return {
            f"{name}/{key}": value
            for name, part in self.parts.items()
            for key, value in part.saved().items()
        }

    def _restore(self) -> tuple[int, int]:
        self.restore_end()
        self._assign("optimizer", self.model.optimizer.variables)
        values = self.section.state.values
        return int(values["epoch"]), int(values["step"])

    def _assign(self, name: str, variables: Sequence[Any]) -> None:
        assert self.section.path is not None  # else there is no state
        found = self.section.state.part(name)
        if len(found) != len(variables):
            why = f"holds {len(found)} arrays, and this {name} has {len(variables)} variables"
            raise damaged(self.section.path, name, why)
        for place, variable in enumerate(variables):
            array = found[str(place)]
            if tuple(array.shape) != tuple(variable.shape):
                why = f"is {array.shape}, and {variable.path} is {tuple(variable.shape)}"
                raise damaged(self.section.path, f"{name}/{place}", why)
            variable.assign(array)


class _Turn(keras.callbacks.Callback):  # type: ignore[misc]
    """Tells the data which epoch comes, before all others hear of it."""

    def __init__(self, feed: Feed, epoch: int, step: int) -> None:
        super().__init__()
        self._feed, self._first = feed, (epoch, step)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        first, step = self._first
        self._feed.begin(epoch, step if epoch == first else 0)


class _Saver(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves between two steps when it is time, after all others have seen the step."""

    def __init__(self, training: Training) -> None:
        super().__init__()
        self._training = training
        self._epoch, self._skipped = 0, 0
        self._loss: list[NDArray[Any]] = []
        self._chances: Arrays | None = None

    def go_on(self, state: State) -> None:
        """Go on within an epoch."""
        self._skipped = int(state.values["step"])
        self._chances = state.arrays if self._skipped else None
        loss = state.part("loss")
        self._loss = [loss[str(place)] for place in range(len(loss))]

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._epoch = epoch
        # Its mean over the whole epoch is what a budget judges a collapse by.
        for variable, value in zip(self._mean(), self._loss, strict=False):
            variable.assign(value)
        self._loss = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self._chances is not None:
            take_chances(self._chances)  # again: to begin an epoch draws some
            self._chances = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        step = self._skipped + batch + 1
        if self._training.section.due and step < self._training.data.steps:
            self.save(self._epoch, step)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        self._skipped = 0
        if self._training.section.due:
            self.save(epoch + 1, 0)

    def save(self, epoch: int, step: int) -> None:
        """Save that so many steps of an epoch are done."""
        if step:
            _ = self.model  # under JAX this brings the variables up to date
        loss = self._mean() if step else []
        self._training.section.save(
            {"epoch": epoch, "step": step},
            lambda: self._training.present() | _numbered("loss", loss),
        )

    def _mean(self) -> list[Any]:
        """Variables of the mean of the loss over an epoch."""
        metrics = self._training.model.metrics
        return next((item.variables for item in metrics if item.name == "loss"), [])


def _numbered(name: str, variables: Sequence[Any]) -> dict[str, NDArray[Any]]:
    return {f"{name}/{place}": as_numpy(item) for place, item in enumerate(variables)}

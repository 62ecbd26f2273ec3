"""The penalty as part of a Keras model: its state, and the term it adds to the loss.

How it is tied to the model, and what else was tried, is in
``docs/decisions/2026-11-23-penalty-state.md``.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.gates.insert import functional
from morphnet_core.regularizer.watch import RegularizationWarning
from morphnet_core.signals import UnitSignal
from morphnet_core.signals.source import Units, as_numpy

#: Attribute of the model under which the state is found, saved and restored.
ATTRIBUTE = "morphnet_penalty"


class PenaltyState(keras.layers.Layer):  # type: ignore[misc]
    """Prices, strength and step count, and the loss that follows from them.

    Not called in the forward pass: ``model.losses`` asks every layer of the model for its losses,
    this one among them, in compiled and in custom loops. Prices and strength are variables, so that
    a compiled step sees what the host sets; the step count is the host's own, and saved with them.

    Attributes:
        prices: ``(groups,)`` price of a unit of each group, as shares of the cost of the seed.
        charged: ``(units,)`` 1 for units that pay, 0 for those left in peace; it follows from the
            rest and is not saved.
        strength: scalar.
        step: training steps begun.
        refreshed: value of ``step`` when prices were last set.
        memory: numbers of whoever steers the strength, saved and restored with the rest.
    """

    def __init__(self, signal: UnitSignal, group_of: Units, groups: int) -> None:
        """Make the state of a penalty on ``signal``.

        Args:
            signal: of all units.
            group_of: group of each unit.
            groups: how many groups there are.
        """
        super().__init__(name=ATTRIBUTE, dtype="float32")
        self.prices = self._number("prices", (groups,))
        self.strength = self._number("strength", ())
        self.charged = self._number("charged", (len(group_of),), "ones")
        self.step = 0
        self.refreshed = -1
        self.memory: NDArray[np.float64] = np.zeros(0)
        #: Whether the term comes from elsewhere in the model, with each draw of its gates.
        self.on_draws = False
        self._signal = signal
        self._group_of = np.asarray(group_of)
        self.built = True

    def _number(self, name: str, shape: tuple[int, ...], first: str = "zeros") -> Any:
        return self.add_weight(
            name=name,
            shape=shape,
            dtype="float32",
            initializer=first,
            trainable=False,
            autocast=False,
        )

    def term(self) -> Any:
        """``strength * sum_u price[u] * signal[u]``, a float32 scalar."""
        return self.strength * self.raw()

    def raw(self, prices: NDArray[np.float64] | None = None) -> Any:
        """The term without its strength.

        Args:
            prices: per group; by default those that are set.
        """
        charged = self.prices if prices is None else prices.astype(np.float32)
        return self._signal.weighted_sum(self._by_unit(charged))

    def charge(self, values: Any, units: Units) -> Any:
        """The term for given values of given units."""
        prices = ops.take(self._by_unit(self.prices), units, axis=0)
        return self.strength * ops.sum(values * prices)

    def _by_unit(self, prices: Any) -> Any:
        return ops.take(ops.convert_to_tensor(prices), self._group_of, axis=0) * self.charged

    def _get_own_losses(self) -> list[Any]:
        # Asked by Model.losses of every layer, also inside JAX's stateless call, so that the
        # variables read here are those of the step.
        return [] if self.on_draws else [self.term()]

    def set_prices(self, prices: NDArray[np.float64], strength: float) -> None:
        """Set what the next step pays."""
        self.prices.assign(prices.astype(np.float32))
        self.strength.assign(strength)
        self.refreshed = self.step

    def save_own_variables(self, store: Any) -> None:
        """Save prices, strength and step."""
        store["prices"] = as_numpy(self.prices)
        store["strength"] = as_numpy(self.strength)
        store["step"] = np.array([self.step, self.refreshed], dtype=np.int64)
        store["memory"] = self.memory

    def load_own_variables(self, store: Any) -> None:
        """Take back what ``save_own_variables`` wrote; weights saved without it leave it alone."""
        names = set(store.keys())
        if not {"prices", "strength", "step"} <= names:
            message = (
                "These weights were saved without a cost regularizer: prices, strength and step "
                "stay as they are."
            )
            warnings.warn(message, RegularizationWarning, stacklevel=2)
            return
        prices = np.asarray(store["prices"])
        if prices.shape != tuple(self.prices.shape):
            message = (
                f"The weights hold prices of {prices.size} channel groups and this model has "
                f"{self.prices.shape[0]}. Load them into the model they were saved from, grouped "
                "with the same options."
            )
            raise InvalidInputError(message)
        self.prices.assign(prices)
        self.strength.assign(np.asarray(store["strength"]))
        self.step, self.refreshed = (int(item) for item in np.asarray(store["step"]))
        if "memory" in names:
            self.memory = np.asarray(store["memory"], dtype=np.float64)


def distribution_scope(model: Any) -> Any:
    """The scope in which variables for ``model`` are to be made (TensorFlow's strategies)."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def attach(model: Any, state: PenaltyState) -> None:
    """Make ``state`` part of ``model``, so that it is trained, saved and restored with it.

    Raises:
        InvalidInputError: if the model has one already.
    """
    if getattr(model, ATTRIBUTE, None) is not None:
        message = (
            f"Model {model.name!r} has a cost regularizer already. Take it off with its detach() "
            "before you put on another, or train a copy."
        )
        raise InvalidInputError(message)
    setattr(model, ATTRIBUTE, state)
    if functional(model) is not model:
        # A sequential model saves its attributes but does not ask them for losses.
        setattr(_first(model), ATTRIBUTE, state)
    elif not any(layer is state for layer in model._layers):
        # Under older Keras TensorFlow wraps the list of a model's layers; what is tracked later
        # goes into the list that was wrapped.
        model._layers.append(state)
    forget_compiled(model)


def detach(model: Any, state: PenaltyState) -> None:
    """Undo ``attach``."""
    for owner in (model, _first(model)):
        if getattr(owner, ATTRIBUTE, None) is state:
            delattr(owner, ATTRIBUTE)
            owner._tracker.untrack(state)
            if any(layer is state for layer in owner._layers):
                owner._layers.remove(state)
    forget_compiled(model)


def _first(model: Any) -> Any:
    """The layer that feeds a model: it has no weights of its own."""
    return model.inputs[0]._keras_history.operation


def forget_compiled(model: Any) -> None:
    """Let the next ``fit`` and ``evaluate`` trace their steps anew."""
    for name in ("train_function", "test_function"):
        if getattr(model, name, None) is not None:
            setattr(model, name, None)

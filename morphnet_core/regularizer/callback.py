"""CostRegularizer: trains a Keras model under the price of its channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.groups import Grouping, cascade, find_groups
from morphnet_core.groups.convert import structure_of
from morphnet_core.pricing import ChannelPrices, Cost, Pricer
from morphnet_core.regularizer.log import RunLog, ScalarWriter, add_to_logs
from morphnet_core.regularizer.penalty import PenaltyState, attach, detach, distribution_scope
from morphnet_core.regularizer.report import Report
from morphnet_core.regularizer.schedule import Schedule
from morphnet_core.regularizer.watch import Watch
from morphnet_core.signals.choose import Gamma, Signal, choose
from morphnet_core.signals.copying import copied
from morphnet_core.signals.gamma import flush_denormals
from morphnet_core.signals.prepare import Reading, prepare
from morphnet_core.signals.source import as_numpy
from morphnet_core.structure import Structure


@dataclass(frozen=True, slots=True, kw_only=True)
class Charging:
    """Who says what units are charged.

    Attributes:
        charges: from the units alive and their prices, ``(groups,)`` what a unit is charged from
            now on, and the strength that it is multiplied by.
        strength: what to show for the strength.
    """

    charges: Callable[[NDArray[np.bool_], ChannelPrices], tuple[NDArray[np.float64], float]]
    strength: Callable[[], float]


#: Strength to begin with; see ``CostRegularizer``.
DEFAULT_STRENGTH = 1.0


class CostRegularizer(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds to a model's loss what its channels cost, and keeps the prices up to date.

    The term is ``strength * sum_g price[g] * sum_c signal[g, c] / cost_of_seed``: each unit of
    channels is charged what it would save, at the structure that is alive now, as a share of what
    the whole network costs at first. So a strength means the same for FLOPs and for milliseconds,
    for a small network and for a large one. With all channels alive and signals at 1 the term is
    about twice the strength (each kernel is charged for its inputs and for its outputs).

    >>> import keras
    >>> from keras import layers
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(),
    ...     layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ... ])
    >>> regularizer = CostRegularizer(model, "flops", strength=0.3)
    >>> regularizer.model is model, regularizer.structure().counts["conv/Conv2D"]
    (True, 8)

    Use it in compiled training::

        regularizer = CostRegularizer(model, "flops", strength=0.3)
        regularizer.model.compile("adam", "sparse_categorical_crossentropy")
        regularizer.model.fit(x, y, callbacks=[regularizer])
        structure = regularizer.structure()

    or in a loop of one's own: add ``model.losses`` to the loss and call ``begin_step()`` before
    each step.

    At the end of an epoch it puts into Keras' logs ``cost`` (``latency_ms`` too, where it is
    milliseconds), ``cost_share`` of the seed's, ``strength``, ``penalty`` and ``penalty_share`` of
    the loss, ``alive_channels`` and, for every group that may change, ``alive/GROUP``. So
    ``TensorBoard``, ``CSVLogger`` and whatever else logs what Keras logs has them, if it comes
    after the regularizer in the list of callbacks.

    Attributes:
        grouping: channels that live and die together.
        pricer: what they cost.
        state: prices, strength and step, part of the model.
    """

    def __init__(  # noqa: PLR0913 - one option per line of the training recipe
        self,
        model: Any,
        cost: Cost,
        *,
        signal: str | Signal = "gamma",
        strength: float = DEFAULT_STRENGTH,
        threshold: float | None = None,
        rule: str = "max",
        refresh_every: int = 100,
        warmup_steps: int = 0,
        grouping: Grouping | Mapping[str, Any] | None = None,
        device: Device | None = None,
        normalise: bool = True,
        seed: int | None = None,
        history: str | Path | None = None,
        writer: ScalarWriter | None = None,
        log_groups: bool = True,
        decorator: Callable[..., Any] | None = None,
        decorator_parameters: Mapping[str, Any] | None = None,
    ) -> None:
        """Put a penalty on a model.

        Under ``gamma`` and ``group_lasso`` it is put on the user's model itself. Under gates,
        ``regularizer.model`` is a new model with gates that shares the layers of the user's.

        Args:
            model: a functional or sequential Keras model.
            cost: target: ``flops``, ``params``, ``activations``, ``bytes``, the name of a
                datasheet, or any CostModel.
            signal: what is pressed on: ``gamma``, ``group_lasso``, ``logistic_sigmoid``,
                ``hard_concrete``, or one of these with settings.
            strength: begin with the default; a third and three times that are the next to try.
            threshold: above which a unit is alive; each signal has its own default.
            rule: how several members of a unit become one number: ``max``, ``sum``, ``l2``.
            refresh_every: steps between two refreshes of the prices.
            warmup_steps: steps over which the strength rises from zero.
            grouping: from ``find_groups``, or options for it (``exclude``, ``multiple``, ...).
            device: whose runtime's fusions are priced; by default the cost model's own.
            normalise: divide prices by the cost of the seed.
            seed: of the gates' noise.
            history: JSON-lines file to append to at every refresh and epoch.
            writer: takes scalars at every refresh and epoch.
            log_groups: put the channels of every group into Keras' logs; its progress line then
                shows all of them.
            decorator: changes the values of each source of the signal.
            decorator_parameters: its arguments.

        Raises:
            InvalidInputError: if nothing in the model can shrink, or an option is wrong.
            ModelFormatError: if the model has no graph of layers.
        """
        super().__init__()
        self._signal = chosen = choose(signal, threshold)
        self._schedule = Schedule(
            strength=strength, warmup_steps=warmup_steps, refresh_every=refresh_every
        )
        self._log = RunLog(history, writer)
        self._log_groups = log_groups
        if not isinstance(grouping, Grouping):
            grouping = find_groups(read_keras(model), **(grouping or {}))
        self.grouping = grouping
        self.pricer = Pricer(grouping, cost, device)
        self._base = model
        with distribution_scope(model):
            self._prepared = prepare(
                grouping,
                model,
                chosen,
                rule=rule,
                seed=seed,
                decorator=decorator,
                parameters=decorator_parameters,
            )
            self.state = PenaltyState(self._prepared.penal, grouping.group_of, len(grouping.groups))
        self._trained = self._prepared.model
        self._model = self._trained
        self._divisor = self.pricer.seed if normalise else 1.0
        self._flushes = isinstance(chosen, Gamma)
        self._watch = Watch(grouping, self._prepared.plain.signalled, chosen.threshold)
        attach(self._trained, self.state)
        self._charge_draws(on_draws=getattr(chosen, "on_draws", False))
        self._charging = Charging(
            charges=self._scheduled, strength=lambda: float(as_numpy(self.state.strength))
        )
        self.refresh()

    @property
    def model(self) -> Any:
        """The model to compile and fit; asking for it in an epoch brings its variables up to date.

        (Under JAX they are elsewhere between the steps of an epoch.)
        """
        keras.callbacks.Callback.model.fget(self)
        return self._trained

    def set_model(self, model: Any) -> None:
        """Take the model that is fitted: ours, or one that contains it.

        Raises:
            InvalidInputError: if the penalty is not part of it.
        """
        if not any(layer is self.state for layer in model._flatten_layers()):
            message = (
                f"Model {model.name!r} does not contain this regularizer's penalty. Fit "
                "regularizer.model; with gates, it is another model than the one given."
            )
            raise InvalidInputError(message)
        self._model = model

    @property
    def strength(self) -> float:
        """Strength after the warm-up; what is set here counts from the next step on."""
        return self._schedule.strength

    @strength.setter
    def strength(self, value: float) -> None:
        self._schedule = replace(self._schedule, strength=float(value))
        self._synced()
        self.state.strength.assign(self._schedule.at(self.state.step))

    def alive(self) -> NDArray[np.bool_]:
        """``(units,)`` which units stay, were training to end now.

        Those above the threshold and those without a signal; less those that nothing feeds or
        reads any more; and those that the network or the options of the grouping demand.
        """
        return self._alive(self._read())

    def scores(self) -> NDArray[np.float64]:
        """``(units,)`` how strongly each unit is used; infinite for those without a signal."""
        return self._read().scores

    def structure(self) -> Structure:
        """The network that training proposes now, with its cost."""
        alive = self.alive()
        prices = self.pricer.channel_prices(alive)
        known: dict[str, Any] = {"costs": {prices.unit: prices.total}}
        if prices.unit == "ms":
            known["predicted_ms"] = prices.total
        return structure_of(self.grouping, alive, **known)

    def report(self) -> Report:
        """Where training stands."""
        alive = self.alive()
        return self._report(alive, self.pricer.channel_prices(alive))

    def refresh(self) -> None:
        """Set prices and strength for the structure and the step that training is at."""
        self._synced()
        if self._flushes:
            self._watch.denormal(flush_denormals(self._prepared.plain.sources))
        reading = self._read()
        alive = self._alive(reading)
        prices = self.pricer.channel_prices(alive)
        step = self.state.step
        self.state.set_prices(*self._charging.charges(alive, prices))
        quiet = step - self._schedule.warmup_steps
        self._watch.look(scores=reading.scores, above=reading.above, quiet=quiet)
        if self._log.wanted:
            self._log.write(self._report(alive, prices), event="refresh")

    def _scheduled(
        self,
        alive: NDArray[np.bool_],  # noqa: ARG002 - what others steer by
        prices: ChannelPrices,
    ) -> tuple[NDArray[np.float64], float]:
        """The prices, and the strength of the schedule."""
        return prices.values / self._divisor, self._schedule.at(self.state.step)

    def begin_step(self, steps: int = 1) -> None:
        """Refresh if it is time, and count steps; call it before each step of a loop of one's own.

        Args:
            steps: how many steps are run before the next call.
        """
        if self._schedule.due(self.state.step, self.state.refreshed):
            self.refresh()
        self.state.step += steps

    def finished_model(self) -> Any:
        """A copy of the model with its weights, without penalty, and with gates folded away.

        It computes at inference what the trained model does; it still has every channel.
        """
        self._synced()
        copy = copied(self._base)
        if self._prepared.gated is not None:
            self._prepared.gated.fold_into(copy)
        return copy

    def detach(self) -> None:
        """Take the penalty off the model. Gates stay in ``regularizer.model``."""
        self._synced()
        detach(self._trained, self.state)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Refresh if it is time, and count the steps that are run at once."""
        # Before a step rather than after it: nothing then waits for the step's logs.
        self.begin_step(int(getattr(self._model, "steps_per_execution", 1) or 1))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report."""
        report = self.report()
        changing = (group.name for group in self.grouping.groups if not group.frozen)
        add_to_logs(logs, report, changing if self._log_groups else ())
        if self._log.wanted:
            self._log.write(report, event="epoch", epoch=epoch)

    def _synced(self) -> None:
        _ = self.model

    def _read(self) -> Reading:
        self._synced()
        return self._prepared.read()

    def _alive(self, reading: Reading) -> NDArray[np.bool_]:
        return self.grouping.allowed(cascade(self.grouping, reading.above), reading.scores)

    def _charge_draws(self, *, on_draws: bool) -> None:
        gated = self._prepared.gated
        if gated is None or not on_draws:
            return
        self.state.on_draws = True
        units = gated.units

        def charge(mask: Any) -> Any:
            return self.state.charge(mask, units)

        gated.gates.charge = charge

    def _report(self, alive: NDArray[np.bool_], prices: ChannelPrices) -> Report:
        counts = self.grouping.counts(alive)
        return Report(
            step=self.state.step,
            strength=self._charging.strength(),
            penalty=float(as_numpy(self.state.term())),
            unit=prices.unit,
            cost=prices.total,
            seed_cost=self.pricer.seed,
            alive={
                group.name: (int(now), group.size)
                for group, now in zip(self.grouping.groups, counts, strict=True)
            },
            silent=self._prepared.silent,
            unfollowed=self.grouping.notes,
            unpriced=prices.unpriced,
            offsets=self._prepared.offsets(),
        )

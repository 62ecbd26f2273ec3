"""LatencyBudget: trains a model towards so many milliseconds, without a strength to choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.budget.controller import Controller, Path
from morphnet_core.pricing import ChannelPrices, Cost, Pricer
from morphnet_core.projection import Projection, best_units, project
from morphnet_core.projection.device import share_of
from morphnet_core.regularizer import CostRegularizer
from morphnet_core.regularizer.callback import Charging
from morphnet_core.signals.choose import Gates
from morphnet_core.signals.source import as_numpy

#: Shares of the steps: before the first nothing is charged, so that importance can be told from
#: chance; after the second the cost should be where it is wanted, and the rest settles it.
WARM, SETTLED = 0.25, 0.8
#: Strength that a controller begins with.
FIRST_STRENGTH = 1.0
#: How far beyond the steepest charge of the cheapest group that is still pressed on a strength may
#: rise before it would only wind up.
_BEYOND = 10.0
#: A group that has shrunk below this share is pressed on no further before the path has ended.
SPARED = 0.1
#: A unit counts whole from this share of its group's greatest scale on.
EVEN = 0.5
#: Accuracy has collapsed when the task's loss has lost this share of what training had gained;
#: that must have been the second share of the loss at first to tell anything.
COLLAPSED, GAINED = 0.7, 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A further budget beside the first one.

    Attributes:
        cost: ``flops``, ``params``, ``bytes``, a datasheet's name or a cost model.
        target: in the cost's unit, or a share of the seed's such as ``"50%"``.
    """

    cost: Cost
    target: float | str


class LatencyBudget(CostRegularizer):
    """A ``CostRegularizer`` whose strength follows from a target.

    ::

        budget = LatencyBudget(model, cost, target_ms=5.0, steps=steps_per_epoch * epochs)
        budget.model.compile("adam", loss)
        budget.model.fit(x, y, epochs=epochs, callbacks=[budget])
        structure = budget.project()  # exactly within 5 ms, by the prices

    >>> import keras
    >>> from keras import layers
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(),
    ...     layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ... ])
    >>> budget = LatencyBudget(model, "flops", target="50%", steps=100)
    >>> budget.targets[0] / budget.pricer.seed
    0.5

    A quarter of the steps nothing is charged. Then the widths that the budget would pay for are
    aimed at (see ``aim``), and what is beyond them is charged. The priced latency, of the channels
    alive or of what is left of their signals if that is less, follows an exponential path from the
    seed's to the target (see ``Path``) and is held there, of the channels alive, to the end: at
    every refresh the strength moves towards that (see ``Controller``). When the loss collapses in
    an epoch, the weights of the last good epoch come back and the path waits. State is saved and
    restored with the model.

    Attributes:
        controllers: one per budget, the first one's first.
    """

    def __init__(
        self,
        model: Any,
        cost: Cost,
        *,
        steps: int,
        target_ms: float | None = None,
        target: float | str | None = None,
        also: Sequence[Limit] = (),
        refresh_every: int | None = None,
        beyond: bool = False,
        **options: Any,
    ) -> None:
        """Put a budget on a model.

        Args:
            model: a functional or sequential Keras model.
            cost: what the budget is counted in, as for ``CostRegularizer``.
            steps: training steps that there will be in all.
            target_ms: milliseconds, for costs in milliseconds.
            target: in the cost's own unit, or a share such as ``"50%"`` of the seed's cost.
            also: further budgets; all are kept.
            refresh_every: steps between two updates; by default a hundredth of ``steps``.
            beyond: whether the target may be above the seed's cost, for a network that is to grow;
                nothing is charged then.
            **options: of ``CostRegularizer``, but for ``strength`` and ``warmup_steps``.

        Raises:
            InvalidInputError: for no target or two, one that is not below the seed's cost, an
                option that the budget decides, and as ``CostRegularizer``.
        """
        for name in ("strength", "warmup_steps", "normalise"):
            if name in options:
                message = f"A budget decides the {name} by itself. Leave it out."
                raise InvalidInputError(message)
        if steps < 1:
            message = f"steps must be the training steps in all, at least 1. Received: {steps}."
            raise InvalidInputError(message)
        every = refresh_every if refresh_every is not None else max(1, steps // 100)
        super().__init__(model, cost, refresh_every=every, strength=0.0, **options)
        limits = [(self.pricer, _one_target(self.pricer, target_ms, target))]
        limits += [(Pricer(self.grouping, item.cost), item.target) for item in also]
        self._pricers = tuple(pricer for pricer, _ in limits)
        self.targets = tuple(in_unit(pricer, wanted, beyond=beyond) for pricer, wanted in limits)
        #: Training steps before anything is charged.
        self.begin = round(WARM * steps)
        end = max(self.begin + 1, round(SETTLED * steps))
        self.controllers = tuple(
            Controller(
                path=Path(target=min(1.0, wanted / pricer.seed), steps=end, begin=self.begin),
                strength=FIRST_STRENGTH,
            )
            for pricer, wanted in zip(self._pricers, self.targets, strict=True)
        )
        self._updated = -1
        self._floor: NDArray[np.float64] | None = None
        self._terms: list[float] = []
        self._first_loss: float | None = None
        self._best_loss = math.inf
        self._good: list[NDArray[Any]] | None = None
        self.recoveries = 0
        self._store()
        # What is charged per unit holds the strengths already; users want to see the first one.
        self._charging = Charging(
            charges=self._steered, strength=lambda: self.controllers[0].strength
        )
        self.refresh()

    def _steered(
        self, alive: NDArray[np.bool_], prices: ChannelPrices
    ) -> tuple[NDArray[np.float64], float]:
        self._restore()
        self._terms.append(float(as_numpy(self.state.term())))
        step = self.state.step
        if step < self.begin:
            return np.zeros(len(self.grouping.groups)), 1.0
        if self._floor is None:
            self.aim(np.maximum(self.scores(), 0.0))
        found = [prices, *(pricer.channel_prices(alive) for pricer in self._pricers[1:])]
        values = np.zeros(len(self.grouping.groups))
        steepest = self._steepest()
        assert self._floor is not None  # ``aim`` has set it
        aimed_at = best_units(self.pricer, self.scores(), self._floor.astype(np.intp))
        beyond = self.grouping.counts(alive & ~aimed_at) > 0
        for one, pricer, controller in zip(found, self._pricers, self.controllers, strict=True):
            if step > self._updated:
                cost = one.snapped
                if controller.goal(step) > controller.path.target:
                    cost = min(cost, pricer.snapped(self._soft_counts()))
                controller.update(cost / pricer.seed, step)
            values += controller.strength * one.values / pricer.seed
            pressed = one.values[beyond & (one.values > 0.0)]
            if len(pressed):
                controller.most = _BEYOND * steepest / (float(pressed.min()) / pricer.seed)
        self._updated = step
        self._store()
        self.state.charged.assign((~aimed_at).astype(np.float32))
        values[self._spared(alive, step)] = 0.0
        return np.minimum(values, steepest), 1.0

    def aim(self, importance: NDArray[np.floating]) -> None:
        """Press only on what is beyond the widths that the budget would pay for.

        Done with the signal's scores when the first charge is due; whoever knows better what units
        are worth, calls it again (``TaylorSnapshot``). Of several budgets each pays for widths of
        its own; the least of them are aimed at.

        Args:
            importance: ``(units,)``.

        Raises:
            InvalidInputError: if no widths are cheap enough for a budget.
        """
        paid_for = [
            project(pricer, importance, target).counts
            for pricer, target in zip(self._pricers, self.targets, strict=True)
        ]
        self._floor = np.min(paid_for, axis=0).astype(np.float64)
        self._store()

    def _steepest(self) -> float:
        """Greatest charge of a unit that brings its scale to zero without stepping over it.

        The penalty of a scale is its size, whose slope does not fade towards zero: a step longer
        than twice the threshold would leave a dead channel above it, on the other side.
        """
        optimizer = getattr(self._model, "optimizer", None)
        if optimizer is None or isinstance(self._signal, Gates):
            return math.inf
        rate = float(as_numpy(keras.ops.convert_to_tensor(optimizer.learning_rate)))
        momentum = float(getattr(optimizer, "momentum", 0.0) or 0.0)
        if not isinstance(optimizer, keras.optimizers.SGD):
            return math.inf  # steps of the others do not grow with the slope
        return self._signal.threshold * (1.0 - momentum) / max(rate, 1e-12)

    def _soft_counts(self) -> NDArray[np.float64]:
        """``(groups,)`` units by what is left of their signals, each at most 1.

        Scales shrink for a hundred steps and then pass the threshold nearly at once: who waits for
        that presses too hard for too long. So a unit whose scale is less than ``EVEN`` of its
        group's greatest counts in part. Compared with the group, not with what it began with: a
        normalisation that follows undoes what all scales of a group shrink by together, so that
        costs the network nothing and tells nothing.
        """
        scores = self.scores()
        counts = np.ones(len(self.grouping.groups))
        for place, group in enumerate(self.grouping.groups):
            own = scores[group.units]
            known = np.isfinite(own)
            greatest = float(own[known].max(initial=0.0))
            left = np.ones(len(own))
            if greatest > 0:
                left[known] = np.minimum(own[known] / (EVEN * greatest), 1.0)
            counts[place] = max(left.sum(), 1.0)
        return counts

    def _spared(self, alive: NDArray[np.bool_], step: int) -> NDArray[np.bool_]:
        """Groups that are nearly gone while the path still goes down."""
        nearly = self.grouping.counts(alive) < SPARED * self.grouping.full_counts
        early = any(c.goal(step) > c.path.target for c in self.controllers)
        return np.asarray(nearly & early)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Report, and recover if accuracy collapsed."""
        super().on_epoch_end(epoch, logs)
        loss = None if logs is None else logs.get("loss")
        if loss is not None:
            # Keras' loss of an epoch is a mean, penalty included, and strengths change within it.
            self._look_at_loss(float(loss) - float(np.mean(self._terms or [0.0])))
            self._terms.clear()
        if logs is not None:
            step = self.state.step
            logs["target"] = self.targets[0]
            logs["budget_goal"] = self.controllers[0].goal(step)
            logs["budget_error"] = self.controllers[0].error
            logs["budget_strength"] = self.controllers[0].strength

    def _look_at_loss(self, loss: float) -> None:
        """Keep the weights of good epochs; bring them back after a collapse."""
        if self._first_loss is None:
            self._first_loss = loss
        gained = self._first_loss - self._best_loss
        collapsed = not math.isfinite(loss) or (
            gained > GAINED * abs(self._first_loss) and loss - self._best_loss > COLLAPSED * gained
        )
        if collapsed and self._good is not None:
            self.recoveries += 1
            step = self.state.step
            self._trained.set_weights(self._good)
            for controller in self.controllers:
                controller.recover(max(1, controller.path.steps // 10))
            self.state.step = step
            self._store()
            return
        if loss <= self._best_loss or self._good is None:
            self._best_loss = min(loss, self._best_loss)
            self._good = self._trained.get_weights()

    def project(
        self,
        importance: NDArray[np.floating] | None = None,
        *,
        grow: float = 1.0,
        scale: float = 1.0,
        offset: float = 0.0,
    ) -> Projection:
        """The widths of most importance within the (first) budget.

        Args:
            importance: ``(units,)``; by default the signal's own scores.
            grow: how many times its size in the seed a group may reach.
            scale: measured over priced latency, where a device told (see ``project``).
            offset: what it costs on top.
        """
        scores = self.scores() if importance is None else importance
        return project(
            self.pricer,
            np.maximum(scores, 0.0),
            self.targets[0],
            start=self.grouping.living(self.alive()),
            grow=grow,
            scale=scale,
            offset=offset,
        )

    def saved(self) -> dict[str, NDArray[Any]]:
        """What a training needs to go on in another process, beside the model's own weights."""
        state, known = self.state, self._first_loss is not None
        found = {
            "prices": as_numpy(state.prices),
            "strength": as_numpy(state.strength),
            "charged": as_numpy(state.charged),
            "steps": np.array([state.step, state.refreshed, self._updated, self.recoveries]),
            "memory": state.memory,
            "most": np.array([item.most for item in self.controllers]),
            "terms": np.array(self._terms, dtype=np.float64),
            "losses": np.array([self._first_loss, self._best_loss] if known else [], dtype=float),
        }
        return found | {f"good/{place}": item for place, item in enumerate(self._good or ())}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``saved`` gave."""
        state = self.state
        state.prices.assign(arrays["prices"])
        state.strength.assign(arrays["strength"])
        state.charged.assign(arrays["charged"])
        state.step, state.refreshed, self._updated, self.recoveries = map(int, arrays["steps"])
        state.memory = np.array(arrays["memory"], dtype=np.float64)
        self._restore()
        for controller, most in zip(self.controllers, arrays["most"], strict=True):
            controller.most = float(most)
        self._terms = arrays["terms"].tolist()
        if len(arrays["losses"]):
            self._first_loss, self._best_loss = map(float, arrays["losses"])
        good = [arrays[f"good/{place}"] for place in range(sum("good/" in key for key in arrays))]
        self._good = good or None

    def _store(self) -> None:
        groups = len(self.grouping.groups)
        floor = np.full(groups, np.nan) if self._floor is None else self._floor
        self.state.memory = np.concatenate([*(c.state() for c in self.controllers), floor])

    def _restore(self) -> None:
        memory, count = self.state.memory, 3 * len(self.controllers)
        if memory.shape == (count + len(self.grouping.groups),):
            for controller, own in zip(
                self.controllers, memory[:count].reshape(-1, 3), strict=True
            ):
                controller.restore((own[0], own[1], own[2]))
            self._floor = None if np.isnan(memory[count:]).any() else memory[count:].copy()


def _one_target(pricer: Pricer, target_ms: float | None, target: float | str | None) -> float | str:
    if (target_ms is None) == (target is None):
        message = (
            "Give the budget either as target_ms (milliseconds) or as target (in the cost's unit, "
            f"or a share such as '50%'). Received: target_ms={target_ms}, target={target}."
        )
        raise InvalidInputError(message)
    if target is not None:
        return target
    if pricer.unit != "ms":
        message = (
            f"target_ms={target_ms} is in milliseconds, but this cost counts {pricer.unit}. Give "
            "target in that unit, or take a cost model in milliseconds."
        )
        raise InvalidInputError(message)
    assert target_ms is not None
    return target_ms


def in_unit(pricer: Pricer, target: float | str, *, beyond: bool = False) -> float:
    """A target in the pricer's unit.

    Args:
        pricer: of the network.
        target: a number in its unit, or a share of the seed's cost such as ``"50%"``.
        beyond: whether it may be above the seed's cost.

    Raises:
        InvalidInputError: if it is no such thing, or not above 0 and at most the seed's cost.
    """
    seed = pricer.seed
    wanted = share_of(target) * seed if isinstance(target, str) else float(target)
    if not 0.0 < wanted <= (math.inf if beyond else seed):
        message = (
            f"The target is {wanted:.6g} {pricer.unit}, but the seed network costs {seed:.6g} "
            f"{pricer.unit}: a budget is above 0 and at most that. To let a network grow, give "
            "morph grow=2.0, or use expand_to."
        )
        raise InvalidInputError(message)
    return wanted

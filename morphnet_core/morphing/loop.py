"""The device loop on Keras models: builds what it asks for, and lets a clock time it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphnet_core.data import Data
from morphnet_core.groups import Alive, Grouping
from morphnet_core.morphing.clock import Clock
from morphnet_core.morphing.sample import examples_for
from morphnet_core.pricing import Pricer
from morphnet_core.projection import Projection, project
from morphnet_core.projection.device import (
    ROUNDS,
    LoopResult,
    LoopRound,
    by_clock,
    corrected_rounds,
    milliseconds,
    require_milliseconds,
    told,
)
from morphnet_core.surgery import expand, rebuild, reestimate, shrink, widen


def build(model: Any, pricer: Pricer, found: Projection, seed: int | None) -> Any:
    """The network of a projection with fresh weights; wider than the seed where it grew."""
    grouping = pricer.grouping
    if found.grew(grouping):
        return expand(model, found.counts, grouping=grouping, seed=seed)
    return rebuild(model, found.alive, grouping=grouping, seed=seed)


def cut(model: Any, kept: Any, grouping: Grouping, data: Data, *, constants: bool = True) -> Any:
    """The network without what goes, and as right as data make it without training.

    Args:
        model: trained; not changed.
        kept: ``(units,)`` what stays.
        grouping: of the model.
        data: means and statistics are of its training samples.
        constants: whether branches that go still add what they did on average.
    """
    examples = examples_for(model, data)
    small = shrink(model, kept, grouping=grouping, examples=examples, constants=constants)
    reestimate(small, examples)
    return small


def grown(model: Any, found: Projection, grouping: Grouping, data: Data) -> Any:
    """The network of a projection that is wider in places, as right as data make it.

    It returns what the trained one does but for what was removed, and learns from there.

    Args:
        model: trained; not changed.
        found: its widths, of which some are more than the model has.
        grouping: of the model.
        data: as for ``cut``.
    """
    examples = examples_for(model, data)
    wide = widen(model, found.counts, alive=found.alive, grouping=grouping, examples=examples)
    reestimate(wide, examples)
    return wide


def fit_to_device(  # noqa: PLR0913 - what a loop over projections passes on
    model: Any,
    pricer: Pricer,
    importance: NDArray[np.floating],
    target: float | str,
    *,
    clock: Clock | None,
    start: Alive | None = None,
    grow: float = 1.0,
    seed: int | None = 0,
    rounds: int = ROUNDS,
    tell: Callable[[str], None] | None = None,
    choose: Callable[..., Projection] = project,
) -> LoopResult:
    """Widths whose network takes the target when it is timed.

    The first projection is corrected by what the seed network takes over what it is priced at;
    every timed network then corrects the next. Latency does not depend on the weights' values, so
    all this is done before anything is retrained.

    Args:
        model: the seed network.
        pricer: of it, in milliseconds.
        importance: ``(units,)`` what each unit is worth.
        target: milliseconds by the clock, or a share of the seed's such as ``"50%"``; then the seed
            is timed again beside every network, so that a machine that has become slower in the
            meantime changes nothing.
        clock: times models; None to rely on the prices.
        start: units alive now.
        grow: how many times its size in the seed a group may reach.
        seed: of the fresh weights.
        rounds: networks timed at most.
        tell: who is told of each round.
        choose: chooses widths; takes what ``project`` takes.

    Raises:
        InvalidInputError: if no widths are cheap enough, or a clock is to keep a number of
            something else than milliseconds.
    """

    def projected(target_ms: float, scale: float) -> Projection:
        return choose(pricer, importance, target_ms, start=start, grow=grow, scale=scale)

    if clock is None:
        seed_ms = pricer.seed
        target_ms = milliseconds(target, seed_ms)
        found = projected(target_ms, 1.0)
        only = LoopRound(projection=found, predicted_ms=found.cost, measured_ms=None, scale=1.0)
        if tell is not None:
            tell(told(only, target_ms, pricer.unit))
        return LoopResult(
            rounds=(only,),
            best=only,
            target_ms=target_ms,
            seed_ms=seed_ms,
            hit=None,
            unit=pricer.unit,
        )
    require_milliseconds(pricer, target)
    loop = device_rounds(model, pricer, target, projected, seed=seed, rounds=rounds, tell=tell)
    return by_clock(loop, clock)


def device_rounds(
    model: Any,
    pricer: Pricer,
    target: float | str,
    projected: Callable[[float, float], Projection],
    *,
    seed: int | None = 0,
    rounds: int = ROUNDS,
    tell: Callable[[str], None] | None = None,
) -> Generator[Sequence[Any], Sequence[float], LoopResult]:
    """The loop without its clock: yields models to be timed, and is sent their milliseconds.

    So that somebody may time the networks of several loops side by side.

    Args:
        model: the seed network.
        pricer: of it, in milliseconds.
        target: as for ``fit_to_device``.
        projected: gets milliseconds and the correction of prices, and chooses widths.
        seed: of the fresh weights.
        rounds: networks timed at most.
        tell: who is told of each round.

    Returns:
        (by ``StopIteration.value``) what the loop ended with.
    """

    def made(found: Projection) -> Any:
        return build(model, pricer, found, seed)

    return corrected_rounds(model, made, pricer, target, projected, rounds=rounds, tell=tell)

"""The device loop: project, time, correct, until the clock agrees with the budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.figures import ms, quantity, signed_percent
from morphnet_core.data import Data
from morphnet_core.groups import Alive, Grouping
from morphnet_core.morphing.clock import Clock
from morphnet_core.morphing.sample import examples_for
from morphnet_core.pricing import Pricer
from morphnet_core.projection import Projection, project
from morphnet_core.surgery import expand, rebuild, reestimate, shrink, widen

#: Measured and wanted latency may differ by this share.
CLOSE = 0.02
#: Networks built and timed at most.
ROUNDS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopRound:
    """One network of the loop.

    Attributes:
        projection: its widths.
        predicted_ms: what it should cost by the prices, with the correction of the round.
        measured_ms: what the clock says; None without a device.
        scale: the correction: measured over priced latency, as known before the round.
    """

    projection: Projection
    predicted_ms: float
    measured_ms: float | None
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """What the loop ended with.

    Attributes:
        rounds: in order.
        best: the round that was taken.
        target_ms: what was wanted, in the clock's milliseconds.
        seed_ms: the seed network by the same clock; by the prices without one.
        hit: whether the best round is within 2 % of the target, or below it with nothing wider
            that fits; None where nothing was timed.
        unit: of all these, where it is not milliseconds: budgets may be in FLOPs, too.
    """

    rounds: tuple[LoopRound, ...]
    best: LoopRound
    target_ms: float
    seed_ms: float
    hit: bool | None
    unit: str = "ms"

    @property
    def predicted_only(self) -> bool:
        """Whether no clock was at hand."""
        return self.best.measured_ms is None

    def to_json(self) -> dict[str, Any]:
        """Everything as plain values."""
        own = {name: getattr(self, name) for name in ("target_ms", "seed_ms", "hit", "unit")}
        best = next(place for place, item in enumerate(self.rounds) if item is self.best)
        return own | {"best": best, "rounds": [_plain(item) for item in self.rounds]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LoopResult:
        """Take back what ``to_json`` gave."""
        rounds = tuple(_round_of(item) for item in data["rounds"])
        own = {name: data[name] for name in ("target_ms", "seed_ms", "hit", "unit")}
        return cls(rounds=rounds, best=rounds[data["best"]], **own)

    def __str__(self) -> str:
        target, seed = (quantity(cost, self.unit) for cost in (self.target_ms, self.seed_ms))
        lines = [f"target {target} of {seed}"]
        for number, item in enumerate(self.rounds, 1):
            measured = (
                "predicted only"
                if item.measured_ms is None
                else f"measured {ms(item.measured_ms)} ms "
                f"({signed_percent(item.measured_ms / self.target_ms - 1)})"
            )
            taken = "  <- taken" if item is self.best else ""
            predicted = f"predicted {quantity(item.predicted_ms, self.unit)}"
            lines.append(f"  round {number}: {predicted}, {measured}{taken}")
        return "\n".join(lines)


def _plain(item: LoopRound) -> dict[str, Any]:
    """A round as plain values."""
    found = dataclasses.asdict(item)
    chosen = found["projection"]
    return found | {
        "projection": {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in chosen.items()}
    }


def _round_of(data: Mapping[str, Any]) -> LoopRound:
    chosen = {
        **data["projection"],
        "counts": np.array(data["projection"]["counts"], dtype=np.intp),
        "alive": np.array(data["projection"]["alive"], dtype=np.bool_),
    }
    return LoopRound(**{**data, "projection": Projection(**chosen)})


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
        target_ms = _milliseconds(target, seed_ms)
        found = projected(target_ms, 1.0)
        only = LoopRound(projection=found, predicted_ms=found.cost, measured_ms=None, scale=1.0)
        if tell is not None:
            tell(_told(only, target_ms, pricer.unit))
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
    asked = next(loop)
    while True:
        try:
            asked = loop.send(clock(asked))
        except StopIteration as end:
            result: LoopResult = end.value
            return result


def require_milliseconds(pricer: Pricer, target: float | str) -> None:
    """Refuse a target that no clock can keep.

    Args:
        pricer: in whose unit a number is.
        target: a number, or a share of the seed's milliseconds.

    Raises:
        InvalidInputError: for a number of something else.
    """
    if pricer.unit != "ms" and not isinstance(target, str):
        message = (
            f"A clock cannot keep a target of {target:.6g} {pricer.unit}. Give a share such as "
            "'50%', which is then of the seed's milliseconds, or no clock."
        )
        raise InvalidInputError(message)


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
    (seed_ms,) = yield [model]
    target_ms = _milliseconds(target, seed_ms)
    beside = [model] if isinstance(target, str) else []
    scale = seed_ms / pricer.seed
    done: list[LoopRound] = []
    tried: set[bytes] = set()
    for _ in range(rounds):
        try:
            found = projected(target_ms, scale)
        except InvalidInputError:
            if not done:
                raise
            break  # by what the clock says now, no widths are cheap enough: the best stays
        if found.counts.tobytes() in tried:
            break  # no candidate is nearer
        tried.add(found.counts.tobytes())
        *again, measured = yield [*beside, build(model, pricer, found, seed)]
        measured *= seed_ms / again[0] if again else 1.0
        done.append(
            LoopRound(projection=found, predicted_ms=found.cost, measured_ms=measured, scale=scale)
        )
        if tell is not None:
            tell(_told(done[-1], target_ms))
        if abs(measured / target_ms - 1.0) <= CLOSE:
            break
        scale = measured / pricer.at_counts(found.counts)
    best = min(done, key=lambda item: _distance(item, target_ms))
    hit = best.measured_ms is not None and abs(best.measured_ms / target_ms - 1.0) <= CLOSE
    return LoopResult(rounds=tuple(done), best=best, target_ms=target_ms, seed_ms=seed_ms, hit=hit)


def _milliseconds(target: float | str, seed_ms: float) -> float:
    return seed_ms * float(target.removesuffix("%")) / 100.0 if isinstance(target, str) else target


def _distance(item: LoopRound, target_ms: float) -> float:
    """How far a round is from the target; what is above it by more than the tolerance is worst."""
    if item.measured_ms is None:
        return 0.0
    error = item.measured_ms / target_ms - 1.0
    return abs(error) + (1.0 if error > CLOSE else 0.0)


def _told(item: LoopRound, target_ms: float, unit: str = "ms") -> str:
    measured = "" if item.measured_ms is None else f", measured {ms(item.measured_ms)} ms"
    predicted, wanted = (quantity(cost, unit) for cost in (item.predicted_ms, target_ms))
    return f"predicted {predicted}{measured}, wanted {wanted}"

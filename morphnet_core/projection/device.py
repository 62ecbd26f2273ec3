"""The device loop: project, time, correct, until the clock agrees with the budget.

Nothing here knows what a network is made of: whoever runs the loop builds and times them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.errors import InvalidInputError
from costmodel.figures import ms, quantity, signed_percent
from morphnet_core.pricing import Pricer
from morphnet_core.projection.project import Projection

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


def corrected_rounds(
    network: Any,
    made: Callable[[Projection], Any],
    pricer: Pricer,
    target: float | str,
    projected: Callable[[float, float], Projection],
    *,
    rounds: int = ROUNDS,
    above: float = CLOSE,
    tell: Callable[[str], None] | None = None,
) -> Generator[Sequence[Any], Sequence[float], LoopResult]:
    """The loop without its clock: yields networks to be timed, and is sent their milliseconds.

    So that somebody may time the networks of several loops side by side. With a share for target
    the seed is timed again beside every network, so that a machine that has become slower in the
    meantime changes nothing.

    Args:
        network: the seed, in whatever form the clock takes.
        made: builds the network of a projection in that form.
        pricer: of the seed, in milliseconds.
        target: milliseconds by the clock, or a share of the seed's such as ``"50%"``.
        projected: gets milliseconds and the correction of prices, and chooses widths.
        rounds: networks timed at most.
        above: share by which a network may be above the target: a clock's noise, and none for what
            stands in for a clock.
        tell: who is told of each round.

    Returns:
        (by ``StopIteration.value``) what the loop ended with.
    """
    (seed_ms,) = yield [network]
    target_ms = milliseconds(target, seed_ms)
    beside = [network] if isinstance(target, str) else []
    scale = seed_ms / pricer.seed
    done: list[LoopRound] = []
    tried: set[bytes] = set()
    settled = False
    for _ in range(rounds):
        try:
            found = projected(target_ms, scale)
        except InvalidInputError:
            if not done:
                raise
            break  # by what the clock says now, no widths are cheap enough: the best stays
        if found.counts.tobytes() in tried:
            # No candidate is nearer; by its own time the last one is the widest that fits.
            settled = bool((found.counts == done[-1].projection.counts).all())
            break
        tried.add(found.counts.tobytes())
        *again, measured = yield [*beside, made(found)]
        measured *= seed_ms / again[0] if again else 1.0
        done.append(
            LoopRound(projection=found, predicted_ms=found.cost, measured_ms=measured, scale=scale)
        )
        if tell is not None:
            tell(told(done[-1], target_ms))
        if -CLOSE <= measured / target_ms - 1.0 <= above:
            break
        scale = measured / pricer.at_counts(found.counts)
    best = min(done, key=lambda item: _distance(item, target_ms, above))
    off = math.inf if best.measured_ms is None else best.measured_ms / target_ms - 1.0
    hit = -CLOSE <= off <= above or (settled and best is done[-1] and off <= above)
    return LoopResult(rounds=tuple(done), best=best, target_ms=target_ms, seed_ms=seed_ms, hit=hit)


def by_clock(
    loop: Generator[Sequence[Any], Sequence[float], LoopResult],
    clock: Callable[[Sequence[Any]], Sequence[float]],
) -> LoopResult:
    """Run a loop with one clock.

    Args:
        loop: of ``corrected_rounds``.
        clock: milliseconds of each network, timed side by side.
    """
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


def milliseconds(target: float | str, seed_ms: float) -> float:
    """A target in milliseconds, of which it may be a share of the seed's.

    Raises:
        InvalidInputError: for a text that is no share.
    """
    return seed_ms * share_of(target) if isinstance(target, str) else target


def share_of(target: str) -> float:
    """What a text such as ``"50%"`` says.

    Raises:
        InvalidInputError: for any other text.

    >>> share_of("60%")
    0.6
    """
    try:
        share = float(target.strip().removesuffix("%")) / 100.0
    except ValueError:
        share = math.nan
    if not target.strip().endswith("%") or math.isnan(share):
        message = f"The target {target!r} is neither a number nor a share such as '50%'."
        raise InvalidInputError(message)
    return share


def _distance(item: LoopRound, target_ms: float, above: float) -> float:
    """How far a round is from the target; what is above it by more than allowed is worst."""
    if item.measured_ms is None:
        return 0.0
    error = item.measured_ms / target_ms - 1.0
    return abs(error) + (1.0 if error > above else 0.0)


def told(item: LoopRound, target_ms: float, unit: str = "ms") -> str:
    """One round in a line."""
    measured = "" if item.measured_ms is None else f", measured {ms(item.measured_ms)} ms"
    predicted, wanted = (quantity(cost, unit) for cost in (item.predicted_ms, target_ms))
    return f"predicted {predicted}{measured}, wanted {wanted}"

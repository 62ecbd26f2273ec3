"""project: from importances and a budget to the widths that it pays for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.groups import Alive, Grouping
from morphnet_core.pricing import Pricer
from morphnet_core.projection.chain import order_of_chain, solve_chain
from morphnet_core.projection.integer import solve_integer
from morphnet_core.projection.problem import (
    Choice,
    Counts,
    Floats,
    Problem,
    Returns,
    Worth,
    build,
    candidates,
)
from morphnet_core.projection.removal import Removal, conflict, implied, lost_by_group

Method = Literal["auto", "chain", "integer"]
#: Rounds of solving around the last answer, each against what the answer really costs.
ROUNDS = 5
#: A cost this close below the target, as a share, is not improved further.
CLOSE = 0.003
#: Costs whose difference is a smaller share of the target are the same.
_SAME = 1e-6
#: Single steps at the end, and how many groups are tried for each, priced as executed.
MOVES, _TRIED = 60, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Projection:
    """Widths chosen for a budget.

    Attributes:
        counts: ``(groups,)`` channels of each group; may be more than the seed has.
        alive: ``(units,)`` the most important units of each group, as far as the seed has them.
        cost: what the network costs with these counts, in the pricer's unit, corrections included.
        target: what it should cost at most.
        value: importance kept, as a share of all importance of the seed; above 1 where it grew.
        method: how widths were chosen: ``chain`` or ``integer``.
        rounds: how often the problem was solved.
        moves: single steps that were taken afterwards.
    """

    counts: Counts
    alive: Alive
    cost: float
    target: float
    value: float
    method: str
    rounds: int
    moves: int

    def grew(self, grouping: Grouping) -> bool:
        """Whether any group has more channels than the seed, whose groups these are."""
        return bool((self.counts > grouping.full_counts).any())


def project(  # noqa: PLR0913 - one option per decision of the search
    pricer: Pricer,
    importance: NDArray[np.floating],
    target: float,
    *,
    start: Alive | None = None,
    grow: float = 1.0,
    scale: float = 1.0,
    offset: float = 0.0,
    method: Method = "auto",
    returns: Returns = "diminishing",
    removals: Sequence[Removal] = (),
    refill: bool = False,
) -> Projection:
    """The widths of most importance whose cost is at most ``target``.

    Costs come from the pricer's tables at first, where every kernel is alone; each answer is then
    priced as it would be executed, conversions between layouts included, and the budget of the next
    round is corrected by the difference. What is left over at the end is spent, or saved, by single
    steps. The same call shrinks and, with ``grow`` above 1, expands.

    Args:
        pricer: of the network.
        importance: ``(units,)`` what each unit is worth, at least 0; infinite where it cannot go.
        target: greatest cost, in the pricer's unit.
        start: units alive now: groups that have none are gone; by default all.
        grow: how many times its size in the seed a group may reach.
        scale: what a measured network costs, as a multiple of the priced one (device loop).
        offset: what it costs on top.
        method: ``chain`` is exact where groups form chains, ``integer`` anywhere.
        returns: of further channels of a group, ``diminishing`` or ``constant`` (see
            ``problem.kept_value``).
        removals: what may go as a whole; then the method is ``integer``.
        refill: whether what removals leave of the budget, where all else is as wide as it may be,
            goes into narrow layers in the place of what went.

    Raises:
        InvalidInputError: if no choice of widths is cheap enough, or an argument is out of range.
    """
    scores = _checked(pricer, importance, target, grow, scale)
    grouping = pricer.grouping
    begin = grouping.full() if start is None else start
    counts = grouping.counts(begin)
    worth = Worth(groups=grouping.groups, importance=scores, returns=returns)
    whole = sum(float(worth.of(place, counts[[place]])[0]) for place in range(len(counts)))
    lost = lost_by_group(removals, counts)
    search = _Search(
        pricer=pricer,
        worth=replace(worth, lost={group: share * whole for group, share in lost.items()}),
        target=target,
        scale=scale,
        offset=offset,
        wanted=method,
        implied=implied(removals, lost),
    )
    widths = candidates(pricer, counts, grow, lost)
    found = search.run(widths, np.asarray(counts))
    if found is None:
        least = search.price(search.least(widths))
        message = (
            f"Even at the least widths the network costs {least:.6g} {pricer.unit}, "
            f"above the target {target:.6g}. Raise the target, or take a smaller network."
        )
        raise InvalidInputError(message)
    if refill and search.leaves(found):
        search = search.refilling(found)
        filled = search.run(_at_least(widths, found), found)
        found = found if filled is None else filled
    return Projection(
        counts=found,
        alive=best_units(pricer, scores, found),
        cost=search.price(found),
        target=target,
        value=search.value(found) / max(whole, 1e-300),
        method=search.method,
        rounds=search.rounds,
        moves=search.moves,
    )


def best_units(pricer: Pricer, importance: Floats, counts: Counts) -> Alive:
    """The ``counts`` most important units of each group; all where it has no more."""
    alive = pricer.grouping.full()
    for group, count in zip(pricer.grouping.groups, counts, strict=True):
        order = np.argsort(-importance[group.units], kind="stable")
        alive[group.start + order[int(count) :]] = False
    return alive


def _checked(
    pricer: Pricer, importance: NDArray[np.floating], target: float, grow: float, scale: float
) -> Floats:
    scores = np.asarray(importance, dtype=float)
    if scores.shape != (pricer.grouping.num_units,) or np.isnan(scores).any() or scores.min() < 0:
        message = (
            f"importance must be {pricer.grouping.num_units} numbers of at least 0, one per unit. "
            f"Received an array of shape {scores.shape}."
        )
        raise InvalidInputError(message)
    if not (target > 0 and grow >= 1 and scale > 0):
        message = (
            "A projection needs target > 0, grow >= 1 and scale > 0. "
            f"Received: target={target}, grow={grow}, scale={scale}."
        )
        raise InvalidInputError(message)
    finite = scores[np.isfinite(scores)]
    return np.where(np.isfinite(scores), scores, finite.max(initial=1.0))


@dataclass(slots=True, kw_only=True)
class _Search:
    """Solves, prices and steps."""

    pricer: Pricer
    worth: Worth
    target: float
    scale: float
    offset: float
    wanted: Method
    implied: tuple[tuple[int, int], ...]
    clashes: tuple[tuple[int, ...], ...] = ()
    known: dict[bytes, float] = field(default_factory=dict)
    method: str = ""
    rounds: int = 0
    moves: int = 0

    def price(self, counts: Counts) -> float:
        """What the network costs with these counts, as executed and corrected."""
        key = np.asarray(counts, dtype=np.intp).tobytes()
        if key not in self.known:
            priced = self.pricer.at_counts(np.asarray(counts, dtype=np.intp))
            self.known[key] = self.scale * priced + self.offset
        return self.known[key]

    def value(self, counts: Counts) -> float:
        """Importance kept with these counts."""
        each = (self.worth.of(place, counts[[place]])[0] for place in range(len(counts)))
        return float(sum(each))

    def least(self, widths: tuple[Counts, ...]) -> Counts:
        """The least widths with which something reaches every output."""
        gone = [place for place in self.worth.lost if widths[place][0] == 0]
        found = np.array([own[0] for own in widths], dtype=np.intp)
        if conflict(self.pricer.grouping, gone, found):
            for place in gone:
                found[place] = widths[place][1]
        return found

    def leaves(self, counts: Counts) -> bool:
        """Whether something went and there is budget left."""
        gone = any(not counts[place] for place in self.worth.lost)
        return gone and self.price(counts) < self.target * (1 - CLOSE)

    def refilling(self, counts: Counts) -> _Search:
        """The search for what goes back to where something went."""
        lost = {place: lost for place, lost in self.worth.lost.items() if not counts[place]}
        return replace(
            self,
            worth=replace(self.worth, lost=lost, parts=True),
            implied=tuple(pair for pair in self.implied if lost.keys() >= set(pair)),
            clashes=(),  # what comes back cuts nothing off
        )

    def run(self, widths: tuple[Counts, ...], around: Counts) -> Counts | None:
        """The best counts found; None if nothing is cheap enough."""
        best: Counts | None = None
        budget = (self.target - self.offset) / self.scale
        ask = budget
        around = _nearest(widths, around)
        for _ in range(ROUNDS):
            problem = build(self.pricer, self.worth, widths, around)
            choice = self._solve(problem, ask)
            self.rounds += 1
            least = self.least(widths)
            around = least if choice is None else problem.counts(choice)
            cost = self.price(around)
            if cost <= self.target and (best is None or self.value(around) > self.value(best)):
                best = around
            if self.target * (1 - CLOSE) <= cost <= self.target:
                break
            if cost > self.target and np.array_equal(around, least):
                break
            if choice is not None and ask >= budget and self._exact(problem.cost(choice), cost):
                break  # the best there is: what is left pays for nothing more
            # What kernels alone do not tell: conversions, and kernels of many groups.
            ask = min(ask * self.target / cost, 4 * budget)
        start = best if best is not None else around
        return self._step(widths, start)

    def _exact(self, by_kernel: float, cost: float) -> bool:
        """Whether a choice was made with all costs as they are: it costs what its kernels do."""
        same = abs(self.scale * by_kernel + self.offset - cost) <= _SAME * self.target
        return same and self.method == "integer"

    def _solve(self, problem: Problem, target: float) -> Choice | None:
        if self.worth.lost:
            self.method = "integer"
            return self._with_removals(problem, target)
        order = order_of_chain(problem) if self.wanted in {"auto", "chain"} else None
        if order is None and self.wanted == "chain":
            message = (
                "This network's groups form no chain: a group shares kernels with more than two "
                "others. Use method='integer'."
            )
            raise InvalidInputError(message)
        self.method = "chain" if order is not None else "integer"
        if order is not None:
            return solve_chain(problem, order, target)
        return solve_integer(problem, target)

    def _with_removals(self, problem: Problem, target: float) -> Choice | None:
        """A choice that cuts nothing off; what may not go together is learned by trying."""
        while True:
            ruled = replace(problem, implied=self.implied, clashes=self.clashes)
            choice = solve_integer(ruled, target)
            if choice is None:
                return None
            counts = problem.counts(choice)
            gone = [place for place in self.worth.lost if not counts[place]]
            clash = conflict(self.pricer.grouping, gone, counts)
            if not clash:
                return choice
            self.clashes += (clash,)

    def _step(self, widths: tuple[Counts, ...], counts: Counts) -> Counts | None:
        """Single steps: down while too dear, then up while something fits."""
        counts = counts.copy()
        left = MOVES
        while self.price(counts) > self.target and left:
            moved = self._best_move(widths, counts, up=False)
            left -= 1
            if moved is None:
                return None
            counts = moved
            self.moves += 1
        if self.price(counts) > self.target:
            return None
        while left and self.price(counts) < self.target * (1 - CLOSE):
            moved = self._best_move(widths, counts, up=True)
            left -= 1
            if moved is None:
                break
            counts = moved
            self.moves += 1
        return counts

    def _best_move(self, widths: tuple[Counts, ...], counts: Counts, *, up: bool) -> Counts | None:
        """The step of one group of best value per cost; the first that holds as executed."""
        here, cost = self.value(counts), self.price(counts)
        for moved in self._ranked(widths, counts, here, up=up)[:_TRIED]:
            extra = self.price(moved) - cost
            if (cost + extra <= self.target) if up else extra < 0:
                return moved
        return None

    def _ranked(
        self, widths: tuple[Counts, ...], counts: Counts, here: float, *, up: bool
    ) -> list[Counts]:
        """Steps of one group by what the tables say: those that fit first, then the best."""
        left = self.target - self.price(counts)
        problem = build(self.pricer, self.worth, widths, counts)
        choice = np.array([int(np.searchsorted(o, c)) for o, c in zip(widths, counts, strict=True)])
        found: list[tuple[bool, float, int, Counts]] = []
        for group, own in enumerate(widths):
            place = choice[group] + (1 if up else -1)
            if not 0 <= place < len(own) or not own[place] or not counts[group]:
                continue  # what goes as a whole is no single step
            moved = counts.copy()
            moved[group] = own[place]
            gain = self.value(moved) - here
            extra = float(problem.changes(choice, group)[place])
            if up and gain <= 0:
                continue
            # Up: most value per cost, free steps first. Down: least value lost per cost saved;
            # steps that save nothing by the tables come last.
            least = 1e-6 * self.target
            rate = gain / max(extra, least) if up else gain / max(-extra, least)
            fits = not up or self.scale * extra <= left
            found.append((fits, rate, -group, moved))
        found.sort(key=lambda item: item[:3], reverse=True)
        return [item[-1] for item in found]


def _at_least(widths: tuple[Counts, ...], counts: Counts) -> tuple[Counts, ...]:
    """The candidates from present widths on."""
    return tuple(own[own >= count] for own, count in zip(widths, counts, strict=True))


def _nearest(widths: tuple[Counts, ...], counts: Counts) -> Counts:
    """The candidates nearest to present widths."""
    return np.array(
        [
            own[int(np.argmin(np.abs(own - count)))]
            for own, count in zip(widths, counts, strict=True)
        ]
    )

"""The exact choice for networks whose groups form chains: a dynamic programme over the budget."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from morphnet_core.projection.problem import Choice, Floats, Problem

#: Parts into which the budget is divided; costs are rounded to whole parts.
BUCKETS = 2000


def order_of_chain(problem: Problem) -> list[int] | None:
    """Groups in such an order that only neighbours share kernels; None where there is none."""
    neighbours: dict[int, list[int]] = {g: [] for g in range(len(problem.widths))}
    for g, h in problem.pairs:
        neighbours[g].append(h)
        neighbours[h].append(g)
    if any(len(others) > 2 for others in neighbours.values()):
        return None
    order: list[int] = []
    seen: set[int] = set()
    for start in (g for g, others in neighbours.items() if len(others) < 2):
        here: int | None = start
        while here is not None and here not in seen:
            seen.add(here)
            order.append(here)
            here = next((h for h in neighbours[here] if h not in seen), None)
    return order if len(order) == len(neighbours) else None  # what is left over is a ring


def solve_chain(problem: Problem, order: list[int], target: float) -> Choice | None:
    """The choice of most value that costs at most ``target``, up to the rounding of costs.

    Args:
        problem: whose groups form chains.
        order: of ``order_of_chain``.
        target: greatest cost.

    Returns:
        The choice; None where even the cheapest costs more.
    """
    budget = target - problem.constant
    if budget <= 0:
        return None
    allowed = BUCKETS
    for _ in range(40):
        choice = _solve(problem, order, budget / BUCKETS, allowed)
        if choice is None or problem.cost(choice) <= target * (1 + 1e-9):
            return choice
        over = (problem.cost(choice) - target) / budget * BUCKETS
        allowed -= max(1, int(np.ceil(over)))  # costs had been rounded down
    return None


def _solve(problem: Problem, order: list[int], part: float, allowed: int) -> Choice | None:
    """``best[place, spent]``: most value up to here; the way back is kept for every group."""
    if allowed < 0:
        return None
    first = order[0]
    costs = _parts(problem.singles[first], part)
    best = np.full((len(problem.widths[first]), allowed + 1), -np.inf)
    for place, spent in enumerate(costs):
        if spent <= allowed:
            best[place, spent] = problem.values[first][place]
    back: list[np.ndarray] = []
    for before, group in pairwise(order):
        best, came = _step(problem, before, group, best, part)
        back.append(came)
    if not np.isfinite(best).any():
        return None
    end = np.unravel_index(int(np.argmax(best)), best.shape)
    return _way_back(order, back, int(end[0]), int(end[1]))


def _step(
    problem: Problem, before: int, group: int, best: Floats, part: float
) -> tuple[Floats, np.ndarray]:
    """One group further: values by its place and what is spent, and where each came from."""
    pair = _pair(problem, before, group) + problem.singles[group][None, :]
    costs = _parts(pair, part)
    places, allowed = len(problem.widths[group]), best.shape[1] - 1
    found = np.full((places, allowed + 1), -np.inf)
    came = np.zeros((places, allowed + 1, 2), dtype=np.int32)
    spent_now = np.arange(allowed + 1)
    for place in range(places):
        for source in range(best.shape[0]):
            cost = int(costs[source, place])
            if not 0 <= cost <= allowed:
                continue
            values = best[source, : allowed + 1 - cost] + problem.values[group][place]
            target = found[place, cost:]
            better = values > target
            target[better] = values[better]
            came[place, cost:][better] = np.stack(
                [np.full(int(better.sum()), source), spent_now[: allowed + 1 - cost][better]],
                axis=1,
            )
    return found, came


def _way_back(order: list[int], back: list[np.ndarray], place: int, spent: int) -> Choice:
    choice = np.zeros(len(order), dtype=np.intp)
    choice[order[-1]] = place
    for group, came in zip(reversed(order[:-1]), reversed(back), strict=True):
        place, spent = (int(value) for value in came[place, spent])
        choice[group] = place
    return choice


def _pair(problem: Problem, g: int, h: int) -> Floats:
    """Costs of two groups together, ``g`` first; zeros for the ends of two chains."""
    if (g, h) in problem.pairs:
        return problem.pairs[g, h]
    if (h, g) in problem.pairs:
        return problem.pairs[h, g].T
    return np.zeros((len(problem.widths[g]), len(problem.widths[h])))


def _parts(costs: Floats, part: float) -> np.ndarray:
    # A group's own costs may be negative where kernels of many groups are taken as differences.
    return np.maximum(np.rint(costs / part), 0).astype(np.int64)

"""Yes or no beside the widths: what is worth least goes, together, and never everything."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from costmodel.errors import InvalidInputError
from morphnet_core.groups import find_blocks, find_groups
from morphnet_core.pricing import Pricer
from morphnet_core.projection import Removal, integer, project
from morphnet_core.projection.integer import solve_integer
from morphnet_core.projection.problem import Problem, candidates
from morphnet_core.projection.removal import conflict, implied, lost_by_group


@pytest.fixture
def pricer(tools: Any) -> Pricer:
    return Pricer(find_groups(tools.networks["residual"]()), "flops")


def removals_of(pricer: Pricer, lost: float) -> list[Removal]:
    return [Removal(groups=b.groups, lost=lost) for b in find_blocks(pricer.grouping)]


def test_what_loses_little_goes_and_what_loses_much_stays(pricer: Pricer) -> None:
    importance = np.ones(pricer.grouping.num_units)
    cheap, dear = (
        project(pricer, importance, 0.6 * pricer.seed, removals=removals_of(pricer, lost))
        for lost in (1e-4, 10.0)
    )
    plain = project(pricer, importance, 0.6 * pricer.seed)
    assert removals_of(pricer, 0.0), "the network has a block"
    for removal in removals_of(pricer, 0.0):
        assert not cheap.counts[list(removal.groups)].any()
        assert dear.counts[list(removal.groups)].all()
    assert cheap.cost <= 0.6 * pricer.seed
    assert cheap.value > plain.value
    assert dear.counts.sum() == pytest.approx(plain.counts.sum(), rel=0.2)
    assert (pricer.grouping.counts(cheap.alive) == cheap.counts).all()
    assert pricer.at_counts(cheap.counts) == pytest.approx(cheap.cost)


def test_a_budget_that_widths_alone_cannot_keep(pricer: Pricer) -> None:
    importance = np.ones(pricer.grouping.num_units)
    removals = removals_of(pricer, 0.1)
    least = np.array([own[0] for own in candidates(pricer, pricer.grouping.full_counts, 1.0)])
    with pytest.raises(InvalidInputError, match="Even at the least widths"):
        project(pricer, importance, 0.98 * pricer.at_counts(least))
    found = project(pricer, importance, 0.98 * pricer.at_counts(least), removals=removals)
    assert any(not found.counts[list(removal.groups)].any() for removal in removals)
    with pytest.raises(InvalidInputError, match="Even at the least widths"):
        project(pricer, importance, 1e-6 * pricer.seed, removals=removals)


def test_what_lies_in_another_loses_its_own() -> None:
    inner, outer = Removal(groups=(2,), lost=0.1), Removal(groups=(1, 2), lost=0.3)
    apart = Removal(groups=(3, 4), lost=0.2)
    removals, alive = [outer, inner, apart], np.array([8, 8, 8, 8, 8])
    assert lost_by_group(removals, alive) == pytest.approx({1: 0.2, 2: 0.1, 3: 0.1, 4: 0.1})
    assert implied(removals, lost_by_group(removals, alive)) == ((1, 2), (3, 4), (4, 3))
    alive[3:] = 0
    assert lost_by_group(removals, alive) == pytest.approx({1: 0.2, 2: 0.1})


def test_branches_beside_each_other_do_not_all_go(tools: Any) -> None:
    pricer = Pricer(find_groups(tools.networks["concat"]()), "flops")
    importance = np.ones(pricer.grouping.num_units)
    removals = removals_of(pricer, 1e-6)
    assert len(removals) > 1
    found = project(pricer, importance, 0.3 * pricer.seed, removals=removals)
    assert found.cost <= 0.3 * pricer.seed
    gone = sorted({group for removal in removals for group in removal.groups})
    none_left = pricer.grouping.full_counts
    none_left[gone] = 0
    clash = conflict(pricer.grouping, gone, none_left)
    assert not clash or found.counts[list(clash)].any()


@pytest.mark.parametrize("seed", range(6))
def test_the_programme_keeps_to_what_goes_together(seed: int) -> None:
    rng = np.random.default_rng(seed)
    widths = tuple(np.array([0, 4, 8]) for _ in range(4))
    problem = Problem(
        widths=widths,
        values=tuple(np.sort(rng.random(3)) for _ in widths),
        singles=tuple(rng.random() * own for own in widths),
        pairs={(g, g + 1): rng.random() * np.outer(widths[g], widths[g + 1]) for g in range(3)},
        constant=0.0,
        implied=((0, 1), (1, 0)),
        clashes=((2, 3),),
    )
    every = [np.array(choice) for choice in product(range(3), repeat=4)]
    right = [c for c in every if (c[0] == 0) == (c[1] == 0) and (c[2] or c[3])]
    target = float(np.quantile([problem.cost(choice) for choice in every], 0.3))
    choice = solve_integer(problem, target)
    assert choice is not None
    assert any(np.array_equal(choice, other) for other in right)
    best = max(problem.value(c) for c in right if problem.cost(c) <= target * (1 - 1e-7))
    assert problem.value(choice) >= best - 2e-3


def test_a_block_that_must_stay_does_not_hide_what_widths_are_worth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The solver stops at a share of what there is to win: of widths, not of what never goes."""
    asked: list[np.ndarray] = []

    def watched(cost: np.ndarray, **options: Any) -> Any:
        asked.append(cost)
        return milp(cost, **options)

    milp = scipy.optimize.milp
    monkeypatch.setattr(integer, "milp", watched)
    widths = (np.array([0, 4, 8]), np.array([4, 8]))
    problem = Problem(
        widths=widths,
        values=(np.array([-1000.0, 0.5, 1.0]), np.array([0.5, 1.0])),
        singles=tuple(own.astype(float) for own in widths),
        pairs={},
        constant=0.0,
    )
    choice = solve_integer(problem, 12.0)
    assert choice is not None
    assert problem.value(choice) == 1.5
    (cost,) = asked
    assert float(cost[1:3] @ [1, 0]) == 0.0, "the least widths win nothing"
    assert float(cost[3]) == 0.0


def test_where_kernels_tell_all_the_problem_is_solved_once(pricer: Pricer) -> None:
    importance = np.random.default_rng(0).random(pricer.grouping.num_units)
    for share in (0.3, 0.5, 0.7):
        found = project(pricer, importance, share * pricer.seed, method="integer")
        assert found.rounds == 1
        assert found.cost <= share * pricer.seed


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_what_removals_leave_goes_into_narrow_layers(pricer: Pricer, share: float) -> None:
    """All else is at its full width: without anything in its place, budget would be left."""
    importance = np.ones(pricer.grouping.num_units)
    target = share * pricer.seed
    given: dict[str, Any] = {"removals": removals_of(pricer, 1e-4)}
    without, filled = (
        project(pricer, importance, target, refill=refill, **given) for refill in (False, True)
    )
    assert without.cost < 0.6 * target
    assert 0.85 * target < filled.cost <= target
    assert (filled.counts >= without.counts).all()
    assert filled.value > without.value
    assert pricer.at_counts(filled.counts) == pytest.approx(filled.cost)

"""A budget is met, nothing better is left out, and both ways of solving agree."""

from __future__ import annotations

import os
import sys
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from morphnet_core.groups import ChannelGroup, find_groups
from morphnet_core.pricing import Pricer
from morphnet_core.projection import integer, project
from morphnet_core.projection.chain import order_of_chain, solve_chain
from morphnet_core.projection.integer import solve_integer
from morphnet_core.projection.problem import FALL, Problem, candidates, kept_value

#: The function has its name.
module: Any = sys.modules["morphnet_core.projection.project"]


@pytest.fixture(params=["chain", "residual", "concat", "depthwise", "gated"])
def network(request: pytest.FixtureRequest, tools: Any) -> Any:
    return tools.networks[request.param]()


@pytest.fixture
def law(tools: Any) -> Any:
    return tools.law()


def random_problem(rng: np.random.Generator, groups: int, *, ring: bool = False) -> Problem:
    """Groups in a row, each with a few widths, costs that grow with both."""
    widths = tuple(
        np.sort(rng.choice(np.arange(1, 20), rng.integers(1, 5), replace=False))
        for _ in range(groups)
    )
    edges = [(g, g + 1) for g in range(groups - 1)] + ([(0, groups - 1)] if ring else [])
    return Problem(
        widths=widths,
        values=tuple(np.cumsum(rng.random(len(own))) for own in widths),
        singles=tuple(rng.random() * own for own in widths),
        pairs={
            (g, h): rng.random() * np.outer(widths[g], widths[h])
            + rng.random((len(widths[g]), len(widths[h])))
            for g, h in edges
        },
        constant=float(rng.random()),
    )


def best_by_trial(problem: Problem, target: float) -> float:
    """Value of the best choice of all; minus infinity where none is cheap enough."""
    places = [range(len(own)) for own in problem.widths]
    choices = (np.array(c) for c in product(*places))
    return max((problem.value(c) for c in choices if problem.cost(c) <= target), default=-np.inf)


def middle_cost(problem: Problem, share: float) -> float:
    least = problem.cost(np.zeros(len(problem.widths), dtype=int))
    most = problem.cost(np.array([len(own) - 1 for own in problem.widths]))
    return least + share * (most - least)


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 10_000), groups=st.integers(3, 5), ring=st.booleans(), share=st.floats(0, 1)
)
def test_the_integer_programme_finds_the_best_choice(
    *, seed: int, groups: int, ring: bool, share: float
) -> None:
    problem = random_problem(np.random.default_rng(seed), groups, ring=ring)
    target = middle_cost(problem, share)
    choice = solve_integer(problem, target)
    best = best_by_trial(problem, target * (1 - 1e-7))
    if choice is None:
        assert best == -np.inf
        return
    assert problem.cost(choice) <= target * (1 + 1e-6)
    assert problem.value(choice) >= best * (1 - 2e-3)


def test_what_the_solver_prints_is_no_output(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """HiGHS prints a line of its own now and then, whatever its options say."""

    def talkative(*arguments: Any, **options: Any) -> Any:
        os.write(1, b"HighsMipSolverData::transformNewIntegerFeasibleSolution")
        return milp(*arguments, **options)

    milp = scipy.optimize.milp
    monkeypatch.setattr(integer, "milp", talkative)
    problem = random_problem(np.random.default_rng(0), 3)
    assert solve_integer(problem, middle_cost(problem, 0.5)) is not None
    os.write(1, b"{}")
    printed = capfd.readouterr()
    assert printed.out == "{}"
    assert "HighsMip" in printed.err


@settings(deadline=None, max_examples=25, derandomize=True)
@given(seed=st.integers(0, 10_000), groups=st.integers(1, 5), share=st.floats(0.05, 1))
def test_the_dynamic_programme_finds_nearly_the_best_choice(
    seed: int, groups: int, share: float
) -> None:
    problem = random_problem(np.random.default_rng(seed), groups)
    order = order_of_chain(problem)
    assert order is not None
    assert sorted(order) == list(range(groups))
    target = middle_cost(problem, share)
    choice = solve_chain(problem, order, target)
    best = best_by_trial(problem, problem.constant + (target - problem.constant) * 0.995)
    if choice is None:
        assert best == -np.inf
        return
    assert problem.cost(choice) <= target * (1 + 1e-6)
    assert problem.value(choice) >= best - 1e-9


def test_a_ring_is_no_chain() -> None:
    assert order_of_chain(random_problem(np.random.default_rng(0), 4, ring=True)) is None


@pytest.mark.parametrize("share", [0.3, 0.8])
@pytest.mark.parametrize("cost", ["flops", "law"])
def test_a_network_meets_its_budget(
    network: Any, tools: Any, law: Any, cost: str, share: float
) -> None:
    pricer = Pricer(find_groups(network), law if cost == "law" else cost, tools.blocked)
    importance = np.random.default_rng(1).random(pricer.grouping.num_units)
    widths = candidates(pricer, pricer.grouping.counts(pricer.grouping.full()), 1.0)
    least = pricer.at_counts(np.array([own[0] for own in widths]))
    target = least + share * (pricer.seed - least)
    found = project(pricer, importance, target)
    assert found.cost <= target
    assert found.cost == pytest.approx(pricer.at_counts(found.counts))
    assert np.array_equal(pricer.grouping.counts(found.alive), found.counts)
    assert pricer.total(found.alive) <= target
    assert 0 < found.value < 1
    # Nothing that fits is left out: one step up of any group is too dear or worth nothing.
    assert found.cost >= target * 0.7


def test_the_most_important_units_are_kept(network: Any) -> None:
    pricer = Pricer(find_groups(network), "flops")
    importance = np.random.default_rng(1).random(pricer.grouping.num_units)
    found = project(pricer, importance, 0.5 * pricer.seed)
    for group in pricer.grouping.groups:
        kept = found.alive[group.units]
        if kept.any() and not kept.all():
            assert importance[group.units][kept].min() >= importance[group.units][~kept].max()


def test_important_groups_keep_more(network: Any) -> None:
    pricer = Pricer(find_groups(network), "flops")
    free = [place for place, group in enumerate(pricer.grouping.groups) if not group.frozen]
    kept = {}
    for favoured in free[:2]:
        importance = np.full(pricer.grouping.num_units, 0.1)
        importance[pricer.grouping.groups[favoured].units] = 10.0
        kept[favoured] = project(pricer, importance, 0.5 * pricer.seed).counts
    first, second = free[:2]
    assert kept[first][first] >= kept[second][first]
    assert kept[second][second] >= kept[first][second]


def test_a_further_channel_is_worth_the_less_the_more_there_are(network: Any) -> None:
    group = max(find_groups(network).groups, key=lambda item: item.size)
    importance = np.ones(group.start + group.size)
    widths = np.array([0, 1, group.size // 2, group.size, 2 * group.size])
    values = kept_value(importance, group, widths)
    assert values[0] == 0
    assert values[1] == pytest.approx(group.size**FALL)
    # The integral of width ** -1.5, from a half to 1 and from 1 to 2.
    assert values[3] - values[2] == pytest.approx(group.size * 2 * (2**0.5 - 1), rel=0.2)
    assert values[4] - values[3] == pytest.approx(group.size * 2 * (1 - 0.5**0.5))
    constant = kept_value(importance, group, widths, "constant")
    assert constant[:4] == pytest.approx(widths[:4])


def test_with_diminishing_returns_a_budget_is_shared_by_importance() -> None:
    groups = [ChannelGroup(name=name, start=40 * n, size=40) for n, name in enumerate("ab")]
    importance = np.repeat([1.0, 3.0], 40)
    widths = tuple(np.arange(1, 41) for _ in groups)
    chosen = {}
    for returns in ("diminishing", "constant"):
        values = tuple(kept_value(importance, group, widths[0], returns) for group in groups)
        singles = tuple(w.astype(float) for w in widths)
        problem = Problem(widths=widths, values=values, singles=singles, pairs={}, constant=0.0)
        choice = solve_integer(problem, 40.0)
        assert choice is not None
        chosen[returns] = problem.counts(choice).tolist()
    assert chosen["constant"] == [1, 39]
    first = 40 / (1 + 3 ** (1 / FALL))
    assert chosen["diminishing"] == pytest.approx([first, 40 - first], abs=1)


def test_slack_is_spent_beyond_the_seed(network: Any) -> None:
    pricer = Pricer(find_groups(network), "flops")
    importance = np.ones(pricer.grouping.num_units)
    target = 1.5 * pricer.seed
    found = project(pricer, importance, target, grow=2.0)
    sizes = np.array([group.size for group in pricer.grouping.groups])
    assert (found.counts > sizes).any()
    assert 1.2 * pricer.seed < found.cost <= target
    assert found.value > 1


def test_groups_that_are_gone_stay_gone(tools: Any) -> None:
    grouping = tools.grouping("residual")
    pricer = Pricer(grouping, "flops")
    start = grouping.full()
    inner = next(group for group in grouping.groups if group.name == "b1")
    start[inner.units] = False
    importance = np.ones(grouping.num_units)
    found = project(pricer, importance, 0.8 * pricer.seed, start=start)
    assert not found.alive[inner.units].any()


def test_a_correction_moves_the_budget(network: Any) -> None:
    pricer = Pricer(find_groups(network), "flops")
    importance = np.ones(pricer.grouping.num_units)
    plain = project(pricer, importance, 0.6 * pricer.seed)
    dearer = project(pricer, importance, 0.6 * pricer.seed, scale=1.5)
    assert dearer.cost <= 0.6 * pricer.seed
    assert pricer.at_counts(dearer.counts) < pricer.at_counts(plain.counts)


def test_an_impossible_budget_says_what_is_possible(network: Any) -> None:
    pricer = Pricer(find_groups(network), "flops")
    importance = np.ones(pricer.grouping.num_units)
    with pytest.raises(InvalidInputError, match="Even at the least widths the network costs"):
        project(pricer, importance, 1e-6 * pricer.seed)


@pytest.mark.parametrize(
    "wrong", [{"target": 0.0}, {"target": 1.0, "grow": 0.5}, {"target": 1.0, "scale": -1.0}]
)
def test_wrong_arguments_are_named(network: Any, wrong: dict[str, Any]) -> None:
    pricer = Pricer(find_groups(network), "flops")
    importance = np.ones(pricer.grouping.num_units)
    with pytest.raises(InvalidInputError, match="A projection needs target > 0"):
        project(pricer, importance, **wrong)
    with pytest.raises(InvalidInputError, match="importance must be"):
        project(pricer, importance[1:], 1.0)


def test_what_is_left_is_spent_on_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that are worth more for their cost, and cost too much, are not all that is tried."""
    price = np.array([10.0] * 8 + [1.0])
    worth = np.array([100.0] * 8 + [1.0])
    widths = tuple(np.array([1, 2]) for _ in price)
    search = module._Search(
        pricer=SimpleNamespace(at_counts=lambda counts: float(price @ counts)),
        worth=SimpleNamespace(of=lambda place, counts: worth[place] * counts),
        target=86.0, scale=1.0, offset=0.0, wanted="auto", implied=(),
    )  # fmt: skip
    problem = SimpleNamespace(changes=lambda _, group: price[group] * np.array([0.0, 1.0]))
    monkeypatch.setattr(module, "build", lambda *_: problem)
    found = search._step(widths, np.ones(9, dtype=np.intp))
    assert found is not None
    assert found.tolist() == [1] * 8 + [2]

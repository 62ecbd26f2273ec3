from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.profiler import Plan
from costmodel.profiler.budget import Budget


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_without_a_budget_visits_are_as_long_as_planned() -> None:
    budget = Budget(Plan(visit_ms=60.0), clock=Clock())
    assert budget.visit_ms(1_000_000) == 60.0
    assert budget.remaining_ms == float("inf")


def test_time_runs_out() -> None:
    clock = Clock()
    budget = Budget(Plan(budget_ms=5_000.0), clock=clock)
    clock.seconds += 2.0
    assert budget.elapsed_ms == pytest.approx(2_000.0)
    assert budget.remaining_ms == pytest.approx(3_000.0)


@given(
    visits=st.integers(1, 5_000),
    budget_ms=st.floats(100.0, 1e7),
    seen=st.lists(st.tuples(st.floats(0.0, 50.0), st.floats(5.0, 500.0)), max_size=20),
)
def test_visits_fit_into_the_budget_or_are_the_shortest(
    visits: int, budget_ms: float, seen: list[tuple[float, float]]
) -> None:
    plan = Plan(visit_ms=60.0, block_ms=1.0, budget_ms=budget_ms)
    budget = Budget(plan, clock=Clock())
    for overhead_ms, timed_ms in seen:
        budget.note(60.0, overhead_ms + timed_ms, timed_ms)
    visit_ms = budget.visit_ms(visits)
    assert 5.0 <= visit_ms <= 120.0
    assert visit_ms <= 60.0 or budget.cost_ms(visits, visit_ms) <= budget_ms / 1.25
    assert visit_ms == 5.0 or budget.cost_ms(visits, visit_ms) <= budget_ms


def test_time_to_spare_makes_visits_longer() -> None:
    budget = Budget(Plan(visit_ms=60.0, budget_ms=1e6), clock=Clock())
    assert budget.visit_ms(1_000) == 120.0
    assert 60.0 < budget.visit_ms(8_000) < 120.0
    assert budget.visit_ms(12_000) == 60.0


def test_jobs_that_wait_get_what_can_be_spared() -> None:
    budget = Budget(Plan(visit_ms=60.0, budget_ms=1e5), clock=Clock())
    assert budget.visit_ms(500) == 120.0
    assert budget.visit_ms(500, 1_000) == budget.visit_ms(1_500)
    assert budget.visit_ms(500, 100_000) == 30.0 > budget.visit_ms(100_500)


def test_good_visits_cost_what_visits_were_seen_to_cost() -> None:
    budget = Budget(Plan(visit_ms=60.0, budget_ms=1e5), clock=Clock())
    before = budget.good_visits
    budget.note(60.0, wall_ms=66.0, timed_ms=60.0)
    assert budget.good_visits == pytest.approx(0.95e5 / 36.0)
    assert before < budget.good_visits
    assert Budget(Plan(visit_ms=60.0), clock=Clock()).good_visits == float("inf")


def test_long_workloads_are_known_not_to_shrink() -> None:
    budget = Budget(Plan(visit_ms=60.0, budget_ms=1e6), clock=Clock())
    budget.note(60.0, wall_ms=905.0, timed_ms=900.0)
    budget.note(60.0, wall_ms=65.0, timed_ms=60.0)
    assert budget.cost_ms(2, 60.0) == pytest.approx(970.0)
    assert budget.cost_ms(2, 10.0) == pytest.approx(920.0)

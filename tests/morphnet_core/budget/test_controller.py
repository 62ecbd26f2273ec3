"""A strength finds its way to a target that nobody knows the strength for."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from morphnet_core.budget.controller import Controller, Path


@settings(deadline=None, max_examples=60, derandomize=True)
@given(
    target=st.floats(0.1, 0.95),
    sensitivity=st.floats(0.03, 30.0),
    delay=st.floats(0.02, 1.0),
)
def test_any_plant_is_brought_to_its_target(
    target: float, sensitivity: float, delay: float
) -> None:
    """A cost that falls with the strength, slowly, at a scale that differs by a thousand."""
    controller = Controller(path=Path(target=target, steps=300), strength=0.1)
    share = 1.0
    for step in range(600):
        strength = controller.update(share, step)
        resting = 1.0 / (1.0 + sensitivity * strength)
        share += delay * (resting - share)
    assert abs(share / target - 1.0) < 0.1


def test_nothing_builds_up_while_the_penalty_cannot_act() -> None:
    controller = Controller(path=Path(target=0.5, steps=10), most=10.0)
    for step in range(1000):
        controller.update(1.0, step)
    assert controller.strength == 10.0
    for step in range(1000, 1012):
        controller.update(0.3, step)
    assert controller.strength < 1.0


def test_recovery_presses_less_and_waits() -> None:
    controller = Controller(path=Path(target=0.25, steps=100), strength=1.0)
    before = controller.goal(60)
    controller.recover(20)
    assert controller.strength == 0.25
    assert controller.goal(60) > before
    assert controller.goal(120) == 0.25


def test_state_survives() -> None:
    controller = Controller(path=Path(target=0.5, steps=10))
    controller.update(0.9, 5)
    controller.recover(3)
    other = Controller(path=controller.path)
    other.restore(controller.state())
    assert other == controller


@pytest.mark.parametrize("wrong", [{"target": 0.0}, {"target": 1.5}, {"steps": 0}, {"begin": -1}])
def test_impossible_paths_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInputError, match="A path needs a target"):
        Path(**{"target": 0.5, "steps": 10, **wrong})  # type: ignore[arg-type]


def test_the_goal_never_rises() -> None:
    path = Path(target=0.3, steps=50, begin=10)
    goals = [path.at(step) for step in range(100)]
    assert goals[:11] == [1.0] * 11
    assert all(a >= b for a, b in pairwise(goals))
    assert math.isclose(goals[-1], 0.3)

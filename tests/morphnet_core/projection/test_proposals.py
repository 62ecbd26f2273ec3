"""Proposals are within the budget, differ, and begin with what the importances say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from morphnet_core.groups import find_groups
from morphnet_core.pricing import Pricer
from morphnet_core.projection import project, proposals


@pytest.fixture
def pricer(tools: Any) -> Pricer:
    return Pricer(find_groups(tools.networks["residual"]()), "flops")


def test_they_are_different_networks_within_the_budget(pricer: Pricer) -> None:
    importance = np.random.default_rng(1).random(pricer.grouping.num_units)
    target = 0.5 * pricer.seed
    found = list(proposals(pricer, importance, target, count=12, seed=0))
    assert len(found) > 1
    assert len({item.projection.counts.tobytes() for item in found}) == len(found)
    assert all(item.projection.cost <= target for item in found)
    plain = project(pricer, importance, target)
    np.testing.assert_array_equal(found[0].projection.alive, plain.alive)
    np.testing.assert_array_equal(found[0].importance, importance)


def test_only_what_groups_are_worth_beside_each_other_changes(pricer: Pricer) -> None:
    importance = np.random.default_rng(1).random(pricer.grouping.num_units)
    *_, last = proposals(pricer, importance, 0.5 * pricer.seed, count=12, seed=0)
    ratios = last.importance / importance
    for group in pricer.grouping.groups:
        assert np.ptp(ratios[group.units]) == pytest.approx(0.0)
    assert len(set(np.round(ratios, 6))) == len(pricer.grouping.groups)


def test_the_same_seed_proposes_the_same(pricer: Pricer) -> None:
    importance = np.random.default_rng(1).random(pricer.grouping.num_units)
    one, two, other = (
        [
            item.projection.counts.tolist()
            for item in proposals(pricer, importance, 0.5 * pricer.seed, count=6, seed=seed)
        ]
        for seed in (0, 0, 1)
    )
    assert one == two
    assert one != other


def test_where_there_is_no_choice_there_is_one_proposal(pricer: Pricer) -> None:
    importance = np.ones(pricer.grouping.num_units)
    assert len(list(proposals(pricer, importance, pricer.seed, count=5, seed=0))) == 1

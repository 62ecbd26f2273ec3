"""Expansion: consistent widths, multiples, and the widest network within a cost."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_models import MODELS

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.expansion import copies_of, expand_to, scaled_counts
from morphnet_core.groups import Grouping, find_groups

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def grouping() -> Grouping:
    return find_groups(read_keras(MODELS["residual"](keras)))


def seed_counts(grouping: Grouping) -> Any:
    return grouping.counts(grouping.full())


def test_widths_are_scaled_and_rounded(grouping: Grouping) -> None:
    names = [group.name for group in grouping.groups]
    assert names == ["image", "stem", "a1", "b1", "project", "head"]
    counts = scaled_counts(grouping, seed_counts(grouping), 1.25)
    assert counts.tolist() == [3, 8, 5, 6, 9, 3]  # 7.5, 5, 6.25, 8.75; in- and outputs stay
    counts = scaled_counts(grouping, seed_counts(grouping), 1.25, multiple=4)
    assert counts.tolist() == [3, 8, 4, 8, 8, 3]
    counts[2] = 0
    assert scaled_counts(grouping, counts, 3.0)[2] == 0


def test_copies_are_spread_evenly(grouping: Grouping) -> None:
    counts = seed_counts(grouping)
    assert copies_of(grouping, counts).tolist() == [1] * grouping.num_units
    counts[1] = 9
    copies = copies_of(grouping, counts)[grouping.groups[1].units]
    assert copies.sum() == 9
    assert sorted(set(copies.tolist())) == [1, 2]


@given(multiple=st.integers(1, 8), target=st.floats(300.0, 5000.0))
def test_the_widest_within_the_target(grouping: Grouping, multiple: int, target: float) -> None:
    counts = seed_counts(grouping)

    def price(widths: Any) -> float:
        return float((widths[1:5] ** 2).sum())

    found = expand_to(grouping, counts, price, target, multiple=multiple)
    assert found.cost == price(np.array(found.counts)) <= target
    widths = scaled_counts(grouping, counts, found.multiplier, multiple=multiple)
    assert tuple(widths.tolist()) == found.counts
    # The next wider structure costs too much.
    factors = np.linspace(found.multiplier, found.multiplier * 3, 4000)
    wider = (scaled_counts(grouping, counts, f, multiple=multiple) for f in factors)
    first = next(item for item in wider if tuple(item.tolist()) != found.counts)
    assert price(first) > target


def test_a_staircase_is_looked_beyond(grouping: Grouping) -> None:
    def price(widths: Any) -> float:
        return float(widths[1]) + (30.0 if widths[1] % 4 else 0.0)

    found = expand_to(grouping, seed_counts(grouping), price, 12.5)
    assert found.counts[1] == 12


def test_what_cannot_be_reached_is_said(grouping: Grouping) -> None:
    counts = seed_counts(grouping)
    with pytest.raises(InvalidInputError, match="above the target 1"):
        expand_to(grouping, counts, lambda widths: float(widths.sum()), 1.0)
    with pytest.raises(InvalidInputError, match="still costs 1, within the target 2"):
        expand_to(grouping, counts, lambda _: 1.0, 2.0)
    with pytest.raises(InvalidInputError, match="cannot be scaled by 0"):
        scaled_counts(grouping, counts, 0.0)
    with pytest.raises(InvalidInputError, match="one count from 0 for each of 6 groups"):
        copies_of(grouping, counts[1:])

"""Counts of layers become counts of the groups that they hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from written_networks import Builder

from costmodel.errors import InvalidInputError
from morphnet_core.groups import Grouping, find_groups
from morphnet_core.groups.counted import group_counts

LEFT, RIGHT = 8, 24


def joined() -> Grouping:
    """Two branches of one network that are concatenated."""
    net = Builder()
    parts = [net.block("left", "image", LEFT), net.block("right", "image", RIGHT)]
    return find_groups(net.head(net.block("tail", net.merge("join", "concat", *parts), 16)))


GROUPING = joined()
INDEX = {group.name: number for number, group in enumerate(GROUPING.groups)}


@given(st.integers(0, LEFT), st.integers(0, RIGHT))
def test_a_layer_of_one_group_tells_it_and_the_rest_follows(left: int, right: int) -> None:
    layers = {"join": ("join", left + right), "left": ("left", left)}
    found = group_counts(GROUPING, layers, {})
    assert found == {INDEX["left"]: left, INDEX["right"]: right}


@given(st.integers(0, LEFT + RIGHT))
def test_what_nobody_tells_is_shared_by_size(count: int) -> None:
    found = group_counts(GROUPING, {"join": ("join", count)}, {})
    assert sum(found.values()) == count
    assert abs(found[INDEX["left"]] - count * LEFT / (LEFT + RIGHT)) < 1


def test_what_is_known_is_not_told_again() -> None:
    known = {INDEX["left"]: (3, "elsewhere")}
    assert group_counts(GROUPING, {"join": ("join", 10)}, known) == {INDEX["right"]: 7}
    assert known == {INDEX["left"]: (3, "elsewhere")}


@pytest.mark.parametrize("count", [2, 3 + RIGHT + 1])
def test_a_count_that_contradicts_another_names_both(count: int) -> None:
    known = {INDEX["left"]: (3, "elsewhere")}
    with pytest.raises(InvalidInputError, match=r"layer 'join'.*'elsewhere' says otherwise"):
        group_counts(GROUPING, {"join": ("join", count)}, known)


def test_more_channels_than_there_are_do_not_fit() -> None:
    with pytest.raises(InvalidInputError, match="The count 9 of layer 'left' does not fit its 1"):
        group_counts(GROUPING, {"left": ("left", LEFT + 1)}, {})

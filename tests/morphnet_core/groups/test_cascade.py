"""What dies along: in front of dead channels, and behind them."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.network import Layer, Network
from costmodel.op import Op
from morphnet_core.groups import cascade, find_groups, resize

SIZE = (1, 4, 2, 2)


def wired(*names_and_reads):
    """Convolutions of four channels, and additions where two tensors are read."""
    layers = []
    for name, *reads in names_and_reads:
        weights = ((4, 4, 1, 1),) if len(reads) == 1 else ()
        kind = "conv" if weights else "add"
        op = Op(kind=kind, inputs=(SIZE,) * len(reads), outputs=(SIZE,), weights=weights)
        layers.append(Layer(name=name, op=op, inputs=tuple(reads), outputs=(name,)))
    head = layers[-1].name
    return Network(name="n", layers=tuple(layers), inputs={"x": SIZE}, outputs=(head,))


def test_death_spreads_both_ways_within_a_branch():
    chain = [("a", "stem"), ("b", "a"), ("c", "b"), ("d", "c")]
    network = wired(("stem", "x"), *chain, ("sum", "stem", "d"), ("head", "sum"))
    grouping = find_groups(network)
    alive = grouping.full()
    alive[grouping.by_name["b"].units] = False
    after = cascade(grouping, alive)
    dead = [group.name for group in grouping.groups if not after[group.units].any()]
    assert dead == ["a", "b", "c"]
    assert [layer.name for layer in resize(grouping, after).layers] == ["stem", "head"]


def test_one_live_channel_keeps_what_reads_and_feeds_it():
    branch = [("a", "stem"), ("b", "a"), ("c", "b")]
    network = wired(("stem", "x"), *branch, ("sum", "stem", "c"), ("head", "sum"))
    grouping = find_groups(network)
    alive = grouping.full()
    alive[grouping.by_name["a"].units] = [False, True, False, False]
    assert (cascade(grouping, alive) == alive).all()


def test_a_choice_of_widths_begins_with_every_unit_of_groups_that_live():
    grouping = find_groups(wired(("stem", "x"), ("a", "stem"), ("b", "a"), ("head", "b")))
    alive = grouping.full()
    alive[grouping.by_name["a"].units] = [False, True, False, False]
    alive[grouping.by_name["b"].units] = False
    living = grouping.living(alive)
    assert living[grouping.by_name["a"].units].all()
    assert not living[grouping.by_name["b"].units].any()
    assert living[grouping.by_name["stem"].units].all()


def test_frozen_channels_stay_whatever_feeds_them():
    network = wired(("stem", "x"), ("a", "stem"), ("b", "a"), ("sum", "stem", "b"), ("head", "sum"))
    grouping = find_groups(network, exclude=["^a$"])
    alive = np.zeros(grouping.num_units, dtype=bool)
    after = cascade(grouping, alive)
    names = {group.name for group in grouping.groups if after[group.units].all()}
    assert names == {group.name for group in grouping.groups if group.frozen}
    assert "a" in names


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_a_starved_branch_vanishes(share):
    size, weights = (1, 4, 2, 2), ((4, 4, 1, 1),)
    op = Op(kind="conv", inputs=(size,), outputs=(size,), weights=weights)
    layers = [
        Layer(name=name, op=op, inputs=(read,), outputs=(name,))
        for name, read in (("stem", "x"), ("a", "stem"), ("b", "a"))
    ]
    total = Op(kind="add", inputs=(size, size), outputs=(size,))
    layers += [
        Layer(name="sum", op=total, inputs=("stem", "b"), outputs=("sum",)),
        Layer(name="head", op=op, inputs=("sum",), outputs=("head",)),
    ]
    network = Network(name="n", layers=tuple(layers), inputs={"x": size}, outputs=("head",))
    grouping = find_groups(network)
    alive = grouping.full()
    alive[grouping.by_name["a"].units] = np.arange(4) < 4 * share
    small = resize(grouping, alive)
    assert [layer.name for layer in small.layers] == (
        ["stem", "head"] if not share else ["stem", "a", "b", "sum", "head"]
    )

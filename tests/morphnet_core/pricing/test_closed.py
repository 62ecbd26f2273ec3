"""Counts have a closed form: totals are exact, prices are MorphNet's."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.costs.counts import Activations, Bytes, Flops, Params
from costmodel.op import SESSION, Op
from morphnet_core.groups import find_groups, resize
from morphnet_core.pricing import Pricer
from morphnet_core.pricing.executed import executed

NAMES = ("chain", "residual", "concat", "depthwise")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("cost", [Flops(), Params(), Activations(), Bytes()], ids=lambda c: c.name)
def test_a_count_equals_that_of_the_resized_network(tools, name, cost) -> None:
    grouping = tools.grouping(name)
    pricer = Pricer(grouping, cost)
    for seed in range(5):
        alive = tools.alive_of(grouping, tools.random_counts(grouping, seed))
        network = resize(grouping, alive)
        if cost.name == "bytes":
            network = executed(network, None)
        exact = cost.price([op for op in network.ops if op.kind != SESSION]).values.sum()
        assert pricer.channel_prices(alive).total == pytest.approx(exact, rel=1e-12)
        assert pricer.total(alive) == pricer.snapped(alive) == pricer.channel_prices(alive).snapped


@pytest.mark.parametrize("name", NAMES)
def test_named_counts_are_those_of_the_layers_that_the_original_counts(tools, name) -> None:
    grouping = tools.grouping(name)
    alive = tools.alive_of(grouping, tools.random_counts(grouping, 7))
    ops = [op for op in resize(grouping, alive).ops if op.kind in {"conv", "gemm"}]
    expected = {
        "flops": sum(2 * op.macs for op in ops),
        "params": sum(np.prod(op.weights[0]) for op in ops),
        "activations": sum(op.out_channels for op in ops),
    }
    for unit, count in expected.items():
        prices = Pricer(grouping, unit).channel_prices(alive)
        assert prices.unit == unit
        assert prices.total == pytest.approx(count, rel=1e-12)


@pytest.mark.parametrize("name", ["chain", "residual", "concat"])
@pytest.mark.parametrize(
    "cost",
    ["flops", "params", "bytes", Flops(), Params()],
    ids=lambda c: c if isinstance(c, str) else c.name,
)
def test_a_price_is_what_the_next_channel_costs_when_others_are_held(tools, name, cost) -> None:
    """Away from depthwise layers; a group on both sides of a layer is charged for each side."""
    grouping = tools.grouping(name)
    pricer = Pricer(grouping, cost)
    counts = tools.random_counts(grouping, 3, least=2)
    alive = tools.alive_of(grouping, counts)
    prices = pricer.channel_prices(alive)
    for index, group in enumerate(grouping.groups):
        if group.frozen:
            continue
        less = tools.alive_of(grouping, {**counts, group.name: counts[group.name] - 1})
        saved = prices.total - pricer.total(less)
        assert prices.values[index] == pytest.approx(saved, rel=1e-9)


def test_a_depthwise_channel_is_charged_as_input_and_as_output(tools) -> None:
    """The original's rule for FLOPs and size; bytes and whole counts charge it once."""
    grouping = tools.grouping("depthwise")
    full = grouping.full()
    group = next(i for i, g in enumerate(grouping.groups) if g.name == "expand")
    per_channel = 2 * 16 * 16 * 9
    twice = Pricer(grouping, "flops").channel_prices(full).values[group]
    once = Pricer(grouping, Flops()).channel_prices(full).values[group]
    relus = 2 * 16 * 16
    assert twice - (once - relus) == pytest.approx(per_channel, rel=1e-12)


def test_depthwise_bytes_have_one_filter_per_channel(tools) -> None:
    net = tools.builder(channels=512, side=14)
    network = net.network(net.depthwise("deep", "image"))
    total = Pricer(find_groups(network), "bytes").seed
    assert total == 4 * (2 * 14 * 14 * 512 + 9 * 512 + 512)


def test_grouped_convolutions_divide_by_their_groups(tools) -> None:
    net = tools.builder()
    stem = net.conv("stem", "image", 16)
    grouped = net.conv("grouped", stem, 32, groups=4)
    grouping = find_groups(net.head(grouped))
    prices = Pricer(grouping, "flops").channel_prices(grouping.full())
    assert prices.total == 2 * 256 * 9 * (3 * 16 + 16 * 32 // 4) + 2 * 32 * 10


def test_what_cannot_be_counted_is_named(tools) -> None:
    net = tools.builder()
    first = net.conv("stem", "image", 8)
    odd = Op(kind="quantum", inputs=(net.sizes[first],), outputs=(net.sizes[first],))
    grouping = find_groups(net.network(net.put("odd", odd, first)))
    prices = Pricer(grouping, Flops()).channel_prices(grouping.full())
    assert "'quantum'" in prices.unpriced["odd"]
    assert prices.total == 2 * 256 * 9 * 3 * 8


def test_flattened_channels_count_once_per_pixel(tools) -> None:
    net = tools.builder(side=4)
    conv = net.conv("conv", "image", 8)
    flat = Op(kind="reshape", inputs=((1, 8, 4, 4),), outputs=((1, 128),), constants=((1, 128),))
    gemm = Op(kind="matmul", inputs=((1, 128),), outputs=((1, 5),), weights=((128, 5),))
    grouping = find_groups(net.network(net.put("fc", gemm, net.put("flat", flat, conv))))
    group = next(i for i, g in enumerate(grouping.groups) if g.name == "conv")
    prices = Pricer(grouping, "params").channel_prices(grouping.full())
    assert prices.values[group] == 9 * 3 + 16 * 5
    assert prices.total == 9 * 3 * 8 + 128 * 5

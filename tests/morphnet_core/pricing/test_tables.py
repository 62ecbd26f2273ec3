"""Cost tables and secants: the truth at the widths worth having, MorphNet's price without steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.costs.counts import Params
from costmodel.errors import InvalidInputError
from costmodel.op import Op
from costmodel.runners.fake import law_ms
from morphnet_core.groups import find_groups
from morphnet_core.pricing import Pricer
from morphnet_core.pricing.terms import mixes_channels

NAMES = ("chain", "residual", "concat", "depthwise")


def product_law(op: Op) -> float:
    """Proportional to the product of widths: MorphNet's assumption."""
    return 2e-6 * op.macs if mixes_channels(op) else 0.0


def index_of(grouping, name: str) -> int:
    return next(i for i, group in enumerate(grouping.groups) if group.name == name)


@pytest.mark.parametrize("name", ["chain", "residual", "concat"])
@pytest.mark.parametrize("width", [6, 13, 60])
def test_without_steps_prices_are_those_of_morphnet(tools, name, width) -> None:
    grouping = tools.grouping(name, width)
    tabled, closed = Pricer(grouping, tools.law(product_law)), Pricer(grouping, "flops")
    for seed in range(4):
        alive = tools.alive_of(grouping, tools.random_counts(grouping, seed))
        found, wanted = tabled.channel_prices(alive), closed.channel_prices(alive)
        np.testing.assert_allclose(found.values, 1e-6 * wanted.values, rtol=1e-9)
        assert found.total == pytest.approx(1e-6 * wanted.total, rel=1e-9)
        assert found.snapped == pytest.approx(found.total, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("device", "tolerance"), [("blocked", 0.005), (None, 0.03)])
def test_at_candidate_widths_tables_hold_the_truth(tools, name, device, tolerance) -> None:
    """The truth is the resized network, as the runtime's rules execute it.

    Where the block is not known, the joint width of a concatenation may lie between priced ones.
    """
    grouping = tools.grouping(name)
    pricer = Pricer(grouping, tools.law(), tools.blocked if device else None)
    choices = [pricer.candidate_widths(i) for i in range(len(grouping.groups))]
    for seed in range(6):
        rng = np.random.default_rng(seed)
        counts = {
            group.name: int(rng.choice(widths))
            for group, widths in zip(grouping.groups, choices, strict=True)
        }
        prices = pricer.channel_prices(tools.alive_of(grouping, counts))
        assert prices.snapped == pytest.approx(prices.total, rel=tolerance)


@pytest.mark.parametrize("name", [*NAMES, "gated", "dropped", "repeated"])
@pytest.mark.parametrize("width", [44, 64])
def test_the_seed_is_priced_exactly(tools, name, width) -> None:
    """Kernels in stand-ins for their surroundings sum up to the network, conversions included."""
    grouping = tools.grouping(name, width)
    prices = Pricer(grouping, tools.law(), tools.blocked).channel_prices(grouping.full())
    assert prices.snapped == pytest.approx(prices.total, rel=1e-12)
    assert prices.total > 0.05


def test_a_step_is_worth_what_it_saves(tools) -> None:
    """48 to 32 channels of c1: both totals come from resized networks, not from tables."""
    grouping = tools.grouping("chain")
    pricer = Pricer(grouping, tools.law(), tools.blocked)
    group = index_of(grouping, "c1")
    assert pricer.candidate_widths(group) == [16, 32, 48]
    totals = {n: pricer.total(tools.alive_of(grouping, {"c1": n})) for n in (48, 32)}
    price = pricer.channel_prices(grouping.full()).values[group]
    assert price == pytest.approx((totals[48] - totals[32]) / 16, rel=1e-9)


def test_inside_a_plateau_the_price_is_not_zero(tools) -> None:
    grouping = tools.grouping("chain")
    pricer = Pricer(grouping, tools.law(), tools.blocked)
    group = index_of(grouping, "c1")
    inside = pricer.channel_prices(tools.alive_of(grouping, {"c1": 40}))
    edge = pricer.channel_prices(grouping.full())
    assert inside.snapped == edge.snapped
    assert inside.values[group] == pytest.approx(2 * edge.values[group], rel=1e-9)


def test_leaving_the_fast_path_is_charged_in_the_total_and_free_to_undo(tools) -> None:
    grouping = tools.grouping("chain")
    pricer = Pricer(grouping, tools.law(), tools.blocked)
    off, on = (pricer.channel_prices(tools.alive_of(grouping, {"c1": n})) for n in (46, 48))
    assert off.total > 1.5 * on.total
    assert off.snapped == on.snapped == pytest.approx(on.total)


def test_small_savings_are_stepped_over(tools) -> None:
    """A staircase of 1 % steps down to 40, then one of half: the secant reaches 40."""

    def law(op: Op) -> float:
        if op.kind != "conv" or op.in_channels != 3:
            return 0.0
        return 1.0 - 0.001 * (60 - op.out_channels) if op.out_channels > 40 else 0.5

    grouping = tools.grouping("chain", 60)
    pricer = Pricer(grouping, tools.law(law))
    price = pricer.channel_prices(grouping.full()).values[index_of(grouping, "c1")]
    assert price == pytest.approx((1.0 - 0.5) / 20)


def test_a_dead_group_is_priced_by_its_first_step_back(tools) -> None:
    grouping = tools.grouping("concat", 12)
    pricer = Pricer(grouping, tools.law(product_law))
    closed = Pricer(grouping, "flops")
    alive = tools.alive_of(grouping, {"left": 0})
    group = index_of(grouping, "left")
    price = pricer.channel_prices(alive).values[group]
    assert price > 0
    assert price == pytest.approx(1e-6 * closed.channel_prices(alive).values[group])


def test_everything_goes_to_the_cost_model_at_once_and_late(tools) -> None:
    grouping = tools.grouping("residual")
    law = tools.law()
    pricer = Pricer(grouping, law, tools.blocked)
    before = len(law.asked)
    pricer.channel_prices(grouping.full())
    assert len(law.asked) == before + 1
    ops = law.asked[-1]
    assert len(ops) == len(set(ops))
    pricer.channel_prices(tools.alive_of(grouping, {"b1": 40}))
    pricer.candidate_widths(2)
    # Only what the resized network executes and was not known yet.
    assert sum(map(len, law.asked[before + 1 :])) < 8


def test_kernels_that_are_alike_share_prices(tools) -> None:
    net = tools.builder()
    x = net.block("stem", "image", 48)
    for number in range(6):
        x = net.block(f"same{number}", x, 48)
    law = tools.law()
    pricer = Pricer(find_groups(net.head(x)), law, tools.blocked)
    pricer.channel_prices(pricer.grouping.full())
    convs = [op for op in law.asked[-1] if op.kind == "conv" and op.kernel == (3, 3)]
    assert len(convs) <= 3 + 9 + 9


def test_prices_are_never_negative_whatever_the_law(tools) -> None:
    def law(op: Op) -> float:
        return float(int(op.digest, 16) % 1000)

    grouping = tools.grouping("residual", 14)
    pricer = Pricer(grouping, tools.law(law), tools.blocked)
    for seed in range(5):
        alive = tools.alive_of(grouping, tools.random_counts(grouping, seed))
        assert (pricer.channel_prices(alive).values >= 0).all()


def test_kinds_without_a_price_are_named(tools) -> None:
    def law(op: Op) -> float:
        return math.nan if op.kind == "reshape" else law_ms(op)

    grouping = tools.grouping("chain")
    prices = Pricer(grouping, tools.law(law)).channel_prices(grouping.full())
    assert prices.unpriced == {"flat": "no law for reshape"}
    assert np.isfinite(prices.total)


def test_a_cost_model_that_lacks_too_much_is_refused(tools) -> None:
    def law(op: Op) -> float:
        return math.nan if op.kind == "conv" else law_ms(op)

    with pytest.raises(InvalidInputError, match=r"cannot price about 9\d% .* c2: no law for conv"):
        Pricer(tools.grouping("chain"), tools.law(law))


@pytest.mark.parametrize("name", ["gated", "dropped", "repeated"])
def test_conversions_between_layouts_are_priced(tools, name) -> None:
    grouping = tools.grouping(name, 64)
    pricer = Pricer(grouping, tools.law(), tools.blocked)
    first = next(group.name for group in grouping.groups if not group.frozen)
    for width in (64, 48, 16):
        prices = pricer.channel_prices(tools.alive_of(grouping, {first: width}))
        assert prices.snapped == pytest.approx(prices.total, rel=0.02)


def test_alive_must_have_one_entry_per_unit(tools) -> None:
    grouping = tools.grouping("chain")
    with pytest.raises(InvalidInputError, match="one per unit"):
        Pricer(grouping, tools.law()).channel_prices(np.ones(3, dtype=bool))


def test_counts_per_group_may_exceed_the_seed(tools) -> None:
    """Twice the width: exact where it is executed, drawn out in a straight line by the tables."""
    grouping = tools.grouping("chain")
    pricer = Pricer(grouping, tools.law(), tools.blocked)
    counts = np.array([group.size * (1 if group.frozen else 2) for group in grouping.groups])
    assert pricer.total(counts) > 2.5 * pricer.seed - 2.5 * 0.05
    assert pricer.snapped(counts) == pytest.approx(pricer.total(counts), rel=0.25)
    same = grouping.counts(grouping.full())
    assert pricer.channel_prices(same).total == pricer.seed == pricer.total(grouping.full())


def test_beyond_the_seed_kernels_cost_in_proportion_to_their_widths(tools) -> None:
    pricer = Pricer(tools.grouping("chain", 24), tools.law(), tools.blocked)
    kernels = pricer.kernels
    rows = np.arange(len(kernels.rows[0]))
    full = [pricer.wiring.full.tensors[row] for row in kernels.rows]
    once = kernels.look_up(rows, *full)
    np.testing.assert_allclose(kernels.look_up(rows, full[0], 2 * full[1]), 2 * once)
    assert (kernels.look_up(rows, full[0], full[1] + 1) >= once).all()


@pytest.mark.parametrize("cost", ["flops", "bytes", "T4", "params"])
def test_a_batch_multiplies_work_but_not_weights(tools, cost) -> None:
    grouping = tools.grouping("residual")
    one, four = (Pricer(grouping, cost, batch=n) for n in (1, 4))
    low, high = {"flops": (4, 4), "params": (1, 1)}.get(cost, (1, 4))
    assert low * (1 - 1e-12) <= four.seed / one.seed <= high * (1 + 1e-12)
    if cost == "bytes":
        weights = 4 * Pricer(grouping, Params()).seed
        assert four.seed == pytest.approx(4 * one.seed - 3 * weights)
    with pytest.raises(InvalidInputError, match="batch=0"):
        Pricer(grouping, cost, batch=0)


def test_counts_have_no_tables(tools) -> None:
    with pytest.raises(InvalidInputError, match="closed form"):
        _ = Pricer(tools.grouping("chain"), "flops").tables


def test_frozen_groups_have_one_width(tools) -> None:
    grouping = tools.grouping("chain")
    pricer = Pricer(grouping, tools.law())
    for index, group in enumerate(grouping.groups):
        if group.frozen:
            assert pricer.candidate_widths(index) == [group.size]


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_the_tables_grow_with_every_width(tools, data) -> None:
    grouping = tools.grouping("residual", 14)
    pricer = _MONOTONE.setdefault("pricer", Pricer(grouping, tools.law(), tools.blocked))
    names = [group.name for group in grouping.groups if not group.frozen]
    counts = {name: data.draw(st.integers(1, 14), label=name) for name in names}
    more = dict(counts)
    grown = data.draw(st.sampled_from(names))
    more[grown] = data.draw(st.integers(counts[grown], 14))
    less, most = (pricer.snapped(tools.alive_of(grouping, c)) for c in (counts, more))
    assert less <= most * (1 + 1e-12)


_MONOTONE: dict[str, Pricer] = {}

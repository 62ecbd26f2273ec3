from __future__ import annotations

import pytest

from costmodel.costs.counts import Bytes, Flops
from costmodel.costs.roofline import DATASHEETS, ORIGINAL_DEVICES, Roofline
from costmodel.errors import InvalidInputError
from costmodel.op import SESSION
from morphnet_core.groups import resize
from morphnet_core.pricing import COUNTS, Pricer, target
from morphnet_core.pricing.executed import executed


@pytest.mark.parametrize(("name", "unit"), [("flops", "flops"), ("Params", "params")])
def test_counts_by_name(name: str, unit: str) -> None:
    assert target(name) is COUNTS[unit]
    assert target(COUNTS[unit]) is COUNTS[unit]


def test_bytes_and_cost_models() -> None:
    assert isinstance(target("bytes"), Bytes)
    cost = Flops()
    assert target(cost) is cost


@pytest.mark.parametrize("name", [*ORIGINAL_DEVICES, *DATASHEETS])
def test_every_device_prices_a_network(tools, name: str) -> None:
    cost = target(name)
    assert isinstance(cost, Roofline)
    grouping = tools.grouping("depthwise", 8)
    prices = Pricer(grouping, cost).channel_prices(grouping.full())
    assert prices.unit == "ms"
    assert prices.total > 0
    assert (prices.values >= 0).all()
    assert set(prices.unpriced) <= {"session"}


def test_capitals_mean_the_originals_numbers() -> None:
    tensor_cores, plain = target("V100"), target("v100")
    assert isinstance(tensor_cores, Roofline)
    assert isinstance(plain, Roofline)
    assert tensor_cores.datasheet.peak_flops["float32"] == 125e12
    assert plain.datasheet.peak_flops["float32"] == 15.7e12


def test_unknown_names_list_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"'K81'.*flops, params.*K80.*raspberry-pi-5"):
        target("K81")
    with pytest.raises(InvalidInputError, match=r"no price\(\)"):
        target(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["FLOP_LATENCY", "MEMORY_LATENCY"])
def test_simulated_devices_are_bound_by_one_side(tools, name: str) -> None:
    """At 1 GFLOP/s, or 1 GB/s, milliseconds are millionths of the count."""
    grouping = tools.grouping("concat", 8)
    alive = tools.alive_of(grouping, {"left": 5})
    count = Flops() if name == "FLOP_LATENCY" else Bytes()
    folded = Pricer(grouping, name)
    ops = [op for op in executed(resize(grouping, alive), None).ops if op.kind != SESSION]
    assert folded.total(alive) == pytest.approx(1e-6 * count.price(ops).values.sum())

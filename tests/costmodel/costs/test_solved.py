"""The law of a solved table: intervals that hold, and are narrow where networks tell."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from timed_networks import drawn_networks, law_of

from costmodel.costs.beliefs import HELPED_BY, NOBODY
from costmodel.costs.lookup import Lookup
from costmodel.costs.solved import leeway_of, solved_networks, told_of
from costmodel.costs.solver import USUAL
from costmodel.costs.work import work_of
from costmodel.device import Device
from costmodel.errors import TableFormatError
from costmodel.model_rows import model_op
from costmodel.network import Layer, Network
from costmodel.prediction import price_network
from costmodel.protocols import NetworkLaw
from costmodel.readers.timings import Timing
from costmodel.table import LatencyTable
from costmodel.uses.listed import Listed
from costmodel.uses.solving import solve_networks

PHONE = Device(name="phone", runtime="litert", provenance="imported", state={HELPED_BY: NOBODY})


@pytest.fixture(scope="module")
def found():
    """Sixty networks and their times, two of a hundred off at most."""
    work = work_of(drawn_networks(60, seed=3))
    times = work.counts @ (work.amounts @ law_of(work.things, 2.0))
    times = times * np.random.default_rng(0).normal(1.0, 0.01, len(times))
    return [
        Listed(
            timing=Timing(model=f"net{i}", latency_ms=float(times[i]), spread=math.nan, line=i),
            network=Network(
                name=f"net{i}", layers=tuple(Layer(name=str(j), op=op) for j, op in enumerate(ops))
            ),
            row=model_op(f"net{i}", str(i), tuple(ops)),
        )
        for i, ops in enumerate(drawn_networks(60, seed=3))
    ]


def predictions(found, timed):
    kernels = [op for item in found for op in item.network.ops]
    table = solve_networks(found[:timed], [], PHONE, kernels)
    cost = Lookup(table)
    law = solved_networks(table, cost)
    assert isinstance(law, NetworkLaw)
    return [price_network(item.network, cost, law) for item in found[timed:]]


def test_nine_of_ten_lie_in_their_intervals(found):
    told = predictions(found, 15)
    inside = [
        item.low <= other.timing.latency_ms <= item.high
        for item, other in zip(told, found[15:], strict=True)
    ]
    assert np.mean(inside) > 0.8
    assert "15 whole networks" in told[0].calibration


def test_more_networks_make_narrower_intervals(found):
    few, many = (
        np.median([(item.high - item.low) / item.total for item in predictions(found, timed)])
        for timed in (5, 40)
    )
    assert many < 0.7 * few


def test_noisy_times_make_wider_intervals(found):
    draw = np.random.default_rng(4).normal(size=len(found))
    noisy = [
        replace(
            item, timing=replace(item.timing, latency_ms=item.timing.latency_ms * np.exp(0.1 * off))
        )
        for item, off in zip(found, draw, strict=True)
    ]
    exact, wide = (
        np.median([(item.high - item.low) / item.total for item in predictions(those, 20)])
        for those in (found, noisy)
    )
    assert wide > 1.5 * exact


def test_a_table_says_how_far_its_device_was_from_what_was_believed(found):
    table = solve_networks(found[:15], [], PHONE)
    leeway = leeway_of(table)
    assert leeway != USUAL
    assert told_of(leeway).items() <= table.device.state.items()
    assert leeway_of(LatencyTable(PHONE)) == USUAL


@pytest.mark.parametrize("text", ["0,2", "", "0", "-1", "nan", "inf"])
def test_a_state_edited_by_hand_is_named(found, tmp_path, text):
    path = tmp_path / "phone.jsonl"
    table = solve_networks(found[:5], [], PHONE)
    state = {**table.device.state, "kernels_off": text}
    LatencyTable(replace(PHONE, state=state), table.rows.values()).save(path)
    loaded = LatencyTable.load(path)
    with pytest.raises(TableFormatError, match=r"kernels_off` is .*no number above 0") as raised:
        solved_networks(loaded, Lookup(loaded))
    assert str(path) in str(raised.value)


def test_without_networks_there_is_no_law(found):
    table = solve_networks(found[:5], [], PHONE)
    kernels = LatencyTable(PHONE, table.kernels())
    assert solved_networks(kernels, Lookup(kernels)) is None

"""What a table's rows say about networks that it never saw."""

from __future__ import annotations

import random

import pytest

from costmodel.device import Device
from costmodel.learning import learning_curve, left_out_networks
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.op import Op, conv_op
from costmodel.runners.fake import law_ms
from costmodel.table import LatencyTable


def row(op: Op, latency_ms: float) -> Measurement:
    return Measurement(op=op, latency_ms=latency_ms, median_ms=latency_ms, spread=0.0)


def convs(count: int, seed: int) -> list[Op]:
    draw = random.Random(seed)
    found = {
        conv_op(
            in_channels=draw.randint(8, 256), out_channels=draw.randint(8, 256),
            size=(side, side), kernel=(3, 3),
        ): None
        for side in draw.choices((7, 14, 28, 56), k=count)
    }  # fmt: skip
    return list(found)


def table_of(networks: int, factor: float = 1.1) -> LatencyTable:
    """Kernels by the fake device's law, networks of their own kernels, and a factor on sums."""
    rows = {op: row(op, law_ms(op)) for op in convs(160, seed=0)}
    for number in range(networks):
        ops = convs(6, seed=1 + number)
        rows |= {op: row(op, law_ms(op)) for op in ops}
        whole = model_op(f"net{number}", "0" * 16, tuple(ops))
        rows[whole] = row(whole, factor * sum(map(law_ms, ops)))
    return LatencyTable(Device(name="board", runtime="fake"), rows.values())


def test_networks_are_predicted_without_their_own_kernels() -> None:
    table = table_of(networks=12)
    found = left_out_networks(table)
    assert found is not None
    assert found.networks.rows == 12
    # 6 kernels of 3 of 12 networks are left out of each turn.
    assert found.rows == len(table.kernels()) - 18
    assert found.networks.within_10 == 1.0
    # What sums do not say is learned from the other networks.
    assert abs(found.networks.bias) < 0.03


def test_a_curve_grows_towards_the_whole_table() -> None:
    points = learning_curve(table_of(networks=12))
    assert [point.rows for point in points] == sorted({point.rows for point in points})
    assert len(points) >= 3
    assert points[-1].networks.median <= points[0].networks.median
    assert points[-1] == left_out_networks(table_of(networks=12))


@pytest.mark.parametrize("networks", [0, 3, 7])
def test_too_few_networks_have_no_curve(networks: int) -> None:
    assert left_out_networks(table_of(networks)) is None
    assert learning_curve(table_of(networks)) == ()

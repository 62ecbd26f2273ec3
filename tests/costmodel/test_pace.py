"""The pace of a device: rows of its table timed again, held against what they took then."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rows import ADD, conv, law_table, row

from costmodel.clocking import witness_jobs
from costmodel.comparison import compare_files
from costmodel.costs.lookup import Lookup
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.network import model_digest
from costmodel.op import Op
from costmodel.pace import (
    LEAST_MS,
    LEAST_NETWORK_MS,
    MOST_MS,
    NETWORKS,
    WITNESSES,
    Pace,
    witness_networks,
    witnesses,
)
from costmodel.profiler import Plan
from costmodel.registry import load_runner
from costmodel.runners.fake import FakeRunner, law_ms, write_model
from costmodel.sampling.networks import own_network
from costmodel.table import LatencyTable

QUICK = Plan(rounds=2, min_rounds=2, visit_ms=1.0, block_ms=0.1)
CONVS = tuple(conv(width) for width in range(64, 320, 8))
TIMES = st.floats(1e-4, 1e3)


def table(*rows: object) -> LatencyTable:
    return LatencyTable(FakeRunner().device, rows)  # type: ignore[arg-type]


@given(times=st.lists(TIMES, min_size=1, max_size=len(CONVS)), ratio=st.floats(0.2, 5.0))
def test_a_device_that_changes_evenly_has_that_pace(times: list[float], ratio: float) -> None:
    ops = CONVS[: len(times)]
    then = table(*(row(op, t, t) for op, t in zip(ops, times, strict=True)))
    now = {op: row(op, t * ratio, t * ratio) for op, t in zip(ops, times, strict=True)}
    pace = Pace.of(then, now)
    assert pace is not None
    assert (pace.low, pace.ratio, pace.high) == pytest.approx((ratio,) * 3)
    assert pace.rows == len(times)


@given(times=st.lists(TIMES, max_size=len(CONVS)), noisy=st.sets(st.integers(0, len(CONVS) - 1)))
def test_witnesses_are_quiet_rows_of_a_middle_size_each_once(
    times: list[float], noisy: set[int]
) -> None:
    rows = [
        row(CONVS[n], t, t * 2) if n in noisy else row(CONVS[n], t, t) for n, t in enumerate(times)
    ]
    found = witnesses(table(*rows))
    good = {r.op for r in rows if r.status == "ok" and LEAST_MS <= r.latency_ms <= MOST_MS}
    assert set(found) <= good
    assert len(found) == len(set(found)) == min(WITNESSES, len(good))


def test_witnesses_are_of_every_kind_and_of_small_and_large() -> None:
    adds = [Op(kind="add", inputs=((1, 8, 8, n),) * 2, outputs=((1, 8, 8, n),)) for n in range(9)]
    rows = [row(op, 0.1 * (n + 1), 0.1 * (n + 1)) for n, op in enumerate([*CONVS, *adds])]
    found = witnesses(table(*rows))
    assert [op.kind for op in found] == ["conv", "add"] * 4
    places = sorted(CONVS.index(op) for op in found if op.kind == "conv")
    assert places[0] < len(CONVS) // 3
    assert places[-1] >= len(CONVS) // 2


def timed_network(name: str, latency_ms: float) -> Measurement:
    return row(model_op(name, "0" * 16, CONVS[:2]), latency_ms, latency_ms)


def test_networks_are_believed_before_kernels() -> None:
    networks = [timed_network(f"own-mobile-{n}", 1.0 + n) for n in range(4)]
    then = table(row(CONVS[0], 1.0, 1.0), *networks)
    now = {item.op: timed_network("", 1.1 * item.latency_ms) for item in networks}
    now[CONVS[0]] = row(CONVS[0], 1.0, 1.0)
    pace = Pace.of(then, now)
    assert pace is not None
    assert pace.ratio == pytest.approx(1.1)
    assert (pace.networks, pace.rows) == (True, 4)
    assert str(pace).startswith("4 networks of the table timed again took +10.0 %")
    few = {op: item for op, item in now.items() if op in {networks[0].op, CONVS[0]}}
    alone = Pace.of(then, few)
    assert alone is not None
    assert (alone.networks, alone.rows) == (False, 2)


def test_witnesses_among_networks_are_own_ones_of_a_middle_time() -> None:
    own = [timed_network(f"own-mobile-{n}", 0.1 * 2**n) for n in range(9)]
    then = table(timed_network("resnet", 2.0), *own)
    found = witness_networks(then, "own-")
    assert len(found) == NETWORKS
    times = sorted(then[op].latency_ms for op in found)
    assert times[0] >= LEAST_NETWORK_MS
    assert times[-1] <= MOST_MS
    assert witness_networks(table(timed_network("resnet", 2.0)), "own-") == ()


def test_own_networks_of_a_table_are_timed_again(tmp_path: Path) -> None:
    runner = load_runner("ort")
    network = own_network(3)
    path = tmp_path / f"{network.name}.onnx"
    path.write_bytes(network.model.SerializeToString())
    lowered = runner.lower(path, {})
    mine = model_op(network.name, model_digest(path, {}), lowered.ops)
    other = model_op("own-residual-1", "0" * 16, lowered.ops)  # of another version
    rows = [row(mine, 1.0, 1.0), row(other, 1.0, 1.0), row(CONVS[0], 1.0, 1.0)]
    with witness_jobs(LatencyTable(runner.device, rows)) as jobs:
        assert [job.op for job in jobs] == [CONVS[0], mine]
        assert jobs[1].model is not None
        assert jobs[1].model.read_bytes() == path.read_bytes()
    with witness_jobs(None) as jobs:
        assert jobs == ()


def test_nothing_timed_again_is_no_pace() -> None:
    assert Pace.of(table(row(ADD, 1.0, 1.0)), {}) is None
    assert Pace.of(table(row(ADD, 1.0, 1.0)), {CONVS[0]: row(CONVS[0], 1.0, 1.0)}) is None
    assert witnesses(table()) == ()


@pytest.mark.parametrize("ratio", [0.8, 1.0, 1.25])
def test_an_error_is_told_from_a_device_that_changed(tmp_path: Path, ratio: float) -> None:
    """The table was made when the device took ``1 / ratio`` of what it takes now."""
    net = write_model(tmp_path / "net.json", [conv(), conv(128, 64), ADD])
    ops = {*FakeRunner().lower(net, {}).ops, *CONVS}
    then = table(*(row(op, law_ms(op) / ratio, law_ms(op) / ratio) for op in ops))
    (found,) = compare_files([net], runner="fake", cost=Lookup(then), table=then, plan=QUICK)
    assert found.pace is not None
    assert found.pace.ratio == pytest.approx(ratio)
    assert found.pace.steady == (ratio == 1.0)
    assert found.error == pytest.approx(1 / ratio - 1)
    assert found.error_at_pace == pytest.approx(0.0, abs=1e-9)
    assert found.to_json()["pace"] == found.pace.to_json()


def test_rows_of_another_device_say_nothing_of_this_one(tmp_path: Path) -> None:
    net = write_model(tmp_path / "net.json", [conv(), ADD])
    path = law_table(tmp_path / "t.jsonl", FakeRunner().lower(net, {}).ops, name="board")
    other = LatencyTable.load(path)
    (found,) = compare_files([net], runner="fake", cost=Lookup(other), table=other, plan=QUICK)
    assert (found.pace, found.error_at_pace) == (None, None)

"""Profiling a device whose numbers are computed: one visit each, at once, and resumed."""

from __future__ import annotations

from pathlib import Path

from costmodel.device import Device
from costmodel.op import Op, conv_op
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.profiler.plan import is_computed
from costmodel.runners.tpu_aot.ops import kernel_op
from costmodel.runners.tpu_aot.runner import TpuAotRunner
from costmodel.table import LatencyTable


def kernel(width: int, dtype: str = "bfloat16") -> Op:
    op = conv_op(in_channels=64, out_channels=width, size=(7, 7), kernel=(1, 1), batch=8)
    return kernel_op(op, dtype)


def test_each_op_is_visited_once(cache: Path, tmp_path: Path) -> None:
    ops = [kernel(128), kernel(129)]
    runner = TpuAotRunner(cache=str(cache), jobs=1)
    known = runner.estimate_all(ops)
    runner.close()
    options: dict[str, str | int | float | bool] = {"cache": str(cache), "jobs": 1}
    out = tmp_path / "t.jsonl"
    report = time_jobs([Job(op=op) for op in ops], runner="tpu-aot", options=options, out=out)
    assert (report.ok, report.noisy, report.failed, report.visits) == (2, 0, 0, 2)
    assert report.drift.probes == 0
    table = LatencyTable.load(out)
    assert table.device.provenance == "estimated"
    for op in ops:
        cycles = known[op].cycles  # type: ignore[union-attr]
        assert table[op].latency_ms == runner.milliseconds(cycles)
        assert len(table[op].rounds) == 1
    again = time_jobs([Job(op=op) for op in ops], runner="tpu-aot", options=options, out=out)
    assert (again.ok, again.visits) == (2, 0)


def test_an_emulated_device_is_timed_like_any_other() -> None:
    device = Device(name="board", runtime="onnxruntime", provenance="estimated")
    assert not is_computed(device)
    assert is_computed(TpuAotRunner().device)


def test_a_plan_for_estimates_waits_longer_and_visits_once() -> None:
    plan = Plan(timeout_ms=5.0, budget_ms=1e6).for_estimates()
    assert (plan.rounds, plan.min_rounds, plan.anchor) == (1, 1, None)
    assert plan.timeout_ms > 60_000.0
    assert plan.budget_ms == 1e6
    assert plan == plan.for_estimates()

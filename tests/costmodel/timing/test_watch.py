from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from costmodel.protocols import Block
from costmodel.timing import watch as interference
from costmodel.timing.watch import Sample, Watch


def block(wall_ms: float) -> Block:
    return Block(latency_ms=1.0, wall_ms=wall_ms, runs=1)


def test_the_share_lost_decides() -> None:
    assert Sample(block=block(1.0), lost_ms=0.2).disturbed
    assert not Sample(block=block(100.0), lost_ms=0.2).disturbed


def test_an_impossible_time_is_disturbed() -> None:
    assert Sample(block=Block(latency_ms=0.0, wall_ms=1.0, runs=1)).disturbed


def stat(path: Path, steal_0: int, steal_1: int) -> None:
    idle = "1 0 1 900 0 0 0"
    path.write_text(
        f"cpu  {idle} {steal_0 + steal_1} 0 0\ncpu0 {idle} {steal_0} 0 0\n"
        f"cpu1 {idle} {steal_1} 0 0\nintr 5\n",
        encoding="ascii",
    )


def test_stolen_time_is_charged_to_all_blocks_since_the_last_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stat"
    stat(path, 3, 5)
    monkeypatch.setattr(interference, "_STAT", path)
    monkeypatch.setattr(interference, "STEAL_EVERY_MS", float("inf"))
    watch = Watch(cores=(1,))
    samples = []
    for steal in (5, 6):
        stat(path, 30, steal)
        watch.begin()
        samples.append(watch.end(block(100.0)))
    lost_before = [sample.lost_ms for sample in samples]
    watch.settle()
    tick_ms = 1000.0 / os.sysconf("SC_CLK_TCK")
    grown = [sample.lost_ms - lost for sample, lost in zip(samples, lost_before, strict=True)]
    assert grown == pytest.approx([tick_ms, tick_ms])
    watch.settle()
    assert [sample.lost_ms for sample in samples] == pytest.approx(
        [lost + tick_ms for lost in lost_before]
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs processor affinity")
def test_a_competitor_on_our_processor_is_noticed() -> None:
    former = os.sched_getaffinity(0)
    core = min(former)
    os.sched_setaffinity(0, {core})
    try:
        spin = "print(flush=True)\nwhile True: pass"
        with subprocess.Popen([sys.executable, "-c", spin], stdout=subprocess.PIPE) as rival:
            assert rival.stdout is not None
            rival.stdout.readline()
            watch = Watch(cores=(core,))
            watch.begin()
            until = time.perf_counter() + 0.3
            while time.perf_counter() < until:
                pass
            sample = watch.end(block(300.0))
            rival.kill()
    finally:
        os.sched_setaffinity(0, former)
    assert sample.disturbed

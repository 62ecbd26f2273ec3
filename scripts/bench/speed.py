"""Figure e: the profiler's timed share, and how quick pricing and loading are.

What importing takes is among the figures of ``front_door.py``.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ledger
import place

from costmodel.costs.regression import fit_regression
from costmodel.measurement import Measurement, Round
from costmodel.op import Op, conv_op
from costmodel.prediction import price_network
from costmodel.registry import load_runner
from costmodel.table import LatencyTable

MANY = 100_000


def seconds(run: Callable[[], object], repeats: int) -> list[float]:
    """Wall seconds of each of some runs, after one that does not count."""
    run()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return found


def many_ops(count: int) -> list[Op]:
    """Distinct convolutions as the runtime executes them, blocked and not."""
    found = []
    for index in range(count):
        wide = 16 * (1 + index % 40)
        base = conv_op(
            in_channels=wide,
            out_channels=16 * (1 + index // 40 % 40),
            size=(7 + index // 1600 % 8, 7 + index // 12800 % 16),
            kernel=((1, 1), (3, 3))[index % 2],
        )
        blocked = index % 3 > 0
        found.append(
            replace(
                base,
                implementation="com.microsoft.nchwc:Conv" if blocked else "com.microsoft:FusedConv",
                layout="nchw16c" if blocked else "nchw",
            )
        )
    return list(dict.fromkeys(found))


def main() -> None:
    report = json.loads(place.table_path("plain", 1).with_suffix(".report.json").read_text())
    table = LatencyTable.load(place.table_path("plain", 1))
    cost = fit_regression(table)
    runner = load_runner("ort", {"threads": 1})
    network = runner.lower(place.MODELS / "light_resnet50.onnx", {})
    warm = seconds(lambda: price_network(network, cost), 21)
    ops = many_ops(MANY)
    priced = seconds(lambda: cost.price(ops), 5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "big.jsonl"
        big = [
            Measurement.from_rounds(
                op, [Round(number=n, quiet_ms=1.0 + n * 1e-3, median_ms=1.1) for n in range(4)]
            )
            for op in ops
        ]
        LatencyTable(table.device, big).save(path)
        loaded = seconds(lambda: LatencyTable.load(path), 5)

    def line(key: str, what: str, times: list[float], limit: float) -> ledger.Figure:
        middle = statistics.median(times)
        return ledger.figure(
            f"e-{key}",
            what,
            middle,
            "s",
            at_most=limit,
            repeatability={"min": min(times), "max": max(times)},
        )

    timed = report["shares"]["timed"]
    figures = [
        ledger.figure(
            "e-timed",
            f"share of a {report['rows']}-row profile's wall time inside timed runs",
            timed,
            "share",
            at_least=0.70,
        ),
        line("predict", "warm predict of ResNet50 beyond lowering", warm, 0.020),
        line("price", f"{len(ops)} distinct Ops priced", priced, 2.0),
        line("load", f"a {len(ops)}-row table loaded", loaded, 1.5),
    ]
    ledger.write("speed", topic="main-job", figures=figures, detail={"profile": report})


if __name__ == "__main__":
    main()

"""Figure d: a table measured with a busy neighbour half the time against a quiet table.

Both tables hold the same kernels. While the noisy one is measured, another process keeps one
core busy for half of the rounds (on for five seconds, off for five, at random phase).
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import threading

import ledger
import place

from costmodel.measurement import Measurement
from costmodel.op import CONV_KINDS
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.table import LatencyTable

ROWS = 60
PLAN = Plan(rounds=12, min_rounds=8, settled=0.0, budget_ms=70e3)
_PHASE_S = 5.0
_BUSY = "import os\nos.sched_setaffinity(0, {%d})\nwhile True: pass"


class Neighbour:
    """A busy loop on one core, on and off."""

    def __init__(self, core: int, seed: int) -> None:
        self._core = core
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        self._stop.wait(self._random.uniform(0, _PHASE_S))
        while not self._stop.is_set():
            loop = subprocess.Popen([sys.executable, "-c", _BUSY % self._core])
            self._stop.wait(_PHASE_S)
            loop.kill()
            loop.wait()
            self._stop.wait(_PHASE_S)


def measure(name: str, jobs: list[Job]) -> LatencyTable:
    out = place.WORK / f"noise-{name}.jsonl"
    out.unlink(missing_ok=True)
    return time_jobs(jobs, runner="ort", options={"threads": 1}, out=out, plan=PLAN).table


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    source = LatencyTable.load(place.table_path("plain", 1))
    rows = [row for row in source.kernels() if row.op.kind in CONV_KINDS]
    chosen: list[Measurement] = random.Random(options.seed).sample(rows, ROWS)
    jobs = [Job(op=row.op) for row in chosen]
    quiet = measure("quiet", jobs)
    again = measure("again", jobs)
    with Neighbour(min(os.sched_getaffinity(0)), options.seed):
        noisy = measure("noisy", jobs)
    figures, detail = [], {}
    for field, label in (("median_ms", "medians"), ("latency_ms", "quiet estimates")):
        shifts = [getattr(noisy[j.op], field) / getattr(quiet[j.op], field) - 1.0 for j in jobs]
        base = [getattr(again[j.op], field) / getattr(quiet[j.op], field) - 1.0 for j in jobs]
        middle = statistics.median(shifts)
        within = sum(abs(s) <= 0.10 for s in shifts) / len(shifts)
        ceiling = sum(abs(s) <= 0.10 for s in base) / len(base)
        detail[field] = {"shifts": shifts, "quiet_against_quiet": base}
        figures += [
            ledger.figure(
                f"d-{field}-shift",
                f"median shift of the table's {label}, busy neighbour against quiet",
                middle,
                "share",
                target="|shift| <= 0.03",
                passed=abs(middle) <= 0.03,
                seed=options.seed,
                repeatability=statistics.median(base),
            ),
            ledger.figure(
                f"d-{field}-within",
                f"rows whose {label} are within 10 %, busy neighbour against quiet",
                within,
                "share",
                at_least=0.95,
                seed=options.seed,
                repeatability=ceiling,
            ),
        ]
    note = "The repeatability of each figure is that of a second quiet table against the first."
    ledger.write("noise", topic="main-job", figures=figures, detail=detail, notes=[note])


if __name__ == "__main__":
    main()

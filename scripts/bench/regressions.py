"""Figure e of People: how often ``compare --baseline`` cries wolf, and how often it sees one.

Three small networks are timed together again and again: ``other``; ``net``, nearly all of which is
one convolution; and ``net`` with a tenth more of that convolution's output channels, whole blocks
of them. Every run is held against the one of ``APART`` runs before, twice: as it is, where nothing
may be called slower, and with the third network in the place of ``net``, which must be. That is
what ``compare --baseline`` does once it has timed, on the files that ``compare --json`` writes.

The table whose rows tell the pace of the machine is measured first, in ``TABLE_BUDGET``. Runs are
kept in the benchmarks' folder: what ends the script ends one run, and the same command goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from statistics import median

import ledger
import numpy as np
import onnx
import place
from onnx import TensorProto, helper, numpy_helper

import costmodel as cm
from costmodel.baseline import Change, Hour, changes, quiet_level, read_baseline
from costmodel.cli.output import note, progress

REPEATS, APART = 50, 5
#: Output channels of the convolution that changes: ten blocks of 16, and eleven.
BEFORE, AFTER = 160, 176
NET, SLOWER, OTHER = "net", "slower", "other"
TABLE_BUDGET = "90s"
SIDE = 28


def write_network(path: Path, widths: tuple[int, ...]) -> Path:
    """Convolutions of 3x3 and ReLUs over ``widths`` channels, then an average of the map."""
    random = np.random.default_rng(0)
    nodes, weights, tensor = [], [], "x"
    for number, (into, out) in enumerate(pairwise(widths)):
        kernel = random.normal(0.0, 0.05, (out, into, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"w{number}"))
        nodes.append(
            helper.make_node("Conv", [tensor, f"w{number}"], [f"c{number}"], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"c{number}"], [f"r{number}"]))
        tensor = f"r{number}"
    nodes.append(helper.make_node("GlobalAveragePool", [tensor], ["y"]))
    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, widths[0], SIDE, SIDE))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, widths[-1], 1, 1))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


class Runs:
    """The runs of one setting, in a folder."""

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.models = [
            write_network(folder / f"{NET}.onnx", (64, BEFORE)),
            write_network(folder / f"{SLOWER}.onnx", (64, AFTER)),
            write_network(folder / f"{OTHER}.onnx", (32, 64, 64)),
        ]
        self.table = folder / "table.jsonl"

    def path(self, number: int) -> Path:
        """Where a run is kept."""
        return self.folder / f"run{number}-rounds{self.rounds}.json"

    def measure(self, count: int) -> None:
        """Time the networks until there are so many runs."""
        if not self.table.exists():
            unfinished = self.table.with_name("unfinished.jsonl")
            cm.profile(
                unfinished, samples=60, budget=TABLE_BUDGET, threads=1,
                progress=progress("Profiling"),
            )  # fmt: skip
            unfinished.rename(self.table)
        for number in range(count):
            if self.path(number).exists():
                continue
            begin = time.perf_counter()
            found = cm.compare(
                self.models, self.table, cost="lookup", rounds=self.rounds, seed=number
            )
            self.path(number).write_text(json.dumps([item.to_json() for item in found], indent=1))
            note(f"run {number + 1} of {count}: {time.perf_counter() - begin:.1f} s")

    def pairs(self) -> Iterator[tuple[Hour, Hour]]:
        """Every run with the one that is its baseline."""
        for number in range(APART, APART + REPEATS):
            yield read_baseline(self.path(number - APART)), read_baseline(self.path(number))


def as_timed(hour: Hour, net: str) -> Hour:
    """An hour of two networks, ``net`` in the place of the one that may change."""
    networks = {NET: hour.networks[net], OTHER: hour.networks[OTHER]}
    return Hour(device=hour.device, networks=networks, witnesses=hour.witnesses)


def slower(found: dict[str, Change]) -> list[str]:
    return [name for name, change in found.items() if change.slower]


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="visits to each network in a run")
    parser.add_argument("--runs", type=int, help="only take so many runs; writes no figures")
    options = parser.parse_args()
    runs = Runs(place.folder("regressions"), options.rounds)
    if options.runs is not None:
        runs.measure(options.runs)
        return
    ledger.require_clean_tree()
    runs.measure(APART + REPEATS)
    report(runs)


def report(runs: Runs) -> None:
    """Judge all runs and write the figures."""
    quiet, changed, drifts, truths = [], [], [], []
    for before, now in runs.pairs():
        earlier = as_timed(before, NET)
        quiet.append(changes(earlier, as_timed(now, NET)))
        changed.append(changes(earlier, as_timed(now, SLOWER)))
        drifts.append(quiet[-1][NET].drift - 1.0)
        truths.append(quiet_level(now.networks[SLOWER]) / quiet_level(now.networks[NET]) - 1.0)
    wolves = [slower(found) for found in quiet]
    seen = [slower(found) for found in changed]
    what = f"of {REPEATS} repeats of `compare --baseline` on 2 networks, {runs.rounds} rounds each"
    figures = [
        ledger.figure("e-false", f"{what}: nothing changed, and one is called slower",
                      sum(map(bool, wolves)), "repeats", at_most=1),
        ledger.figure("e-found", f"{what}: one has a slower kernel, and is called slower",
                      sum(NET in names for names in seen), "repeats", at_least=48),
        ledger.figure("e-beside", f"{what}: one has a slower kernel, and the other is called so",
                      sum(OTHER in names for names in seen), "repeats"),
        ledger.figure("e-truth", "what the network with the slower kernel takes more, median",
                      100 * median(truths), "%", repeatability=sorted(truths)),
        ledger.figure("e-drift", "largest change of the machine's pace between a run and its "
                      "baseline", 100 * max(map(abs, drifts)), "%"),
        ledger.figure("e-noise", "standard error of a network's slowdown, median",
                      100 * median(found[NET].noise for found in quiet), "%"),
    ]  # fmt: skip
    detail = {
        "unchanged": [{name: item.to_json() for name, item in found.items()} for found in quiet],
        "changed": [{name: item.to_json() for name, item in found.items()} for found in changed],
    }
    note_text = (
        f"The slower kernel: a 3x3 convolution of {AFTER} output channels instead of {BEFORE}, "
        f"nearly all of its network. Each run is held against the one {APART} runs before it. A "
        "network is called slower beyond 5 % and beyond the noise, as the docstring of "
        "`costmodel.baseline.changes` says."
    )
    ledger.write("regressions", topic="people", figures=figures, detail=detail, notes=[note_text])


if __name__ == "__main__":
    main()

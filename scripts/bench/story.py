"""Networks that a pruner made slower, made fast again, and planned for the device instead.

    python scripts/bench/story.py                            # run again to resume
    python scripts/bench/story.py --table cpu.jsonl          # with a table of this device
    python scripts/bench/story.py --only resnet18 --rounds 3 # a trial, no ledger

Where the machine is quiet for a few minutes only, in parts, each of which may be stopped:

    python scripts/bench/story.py --prepare   # any time, before and after the next: no clock
    python scripts/bench/story.py --choose    # quiet: widths to align to, and plans by the clock
    python scripts/bench/story.py             # quiet: the five of each network in turns

Needs the extra ``pruning``. Networks of torchvision with random weights, at 160 pixels: as they
are; pruned by Torch-Pruning (magnitude, 20 % of the channels); that, padded by ``morphnet align``;
planned by ``morphnet plan`` to 60 % of the milliseconds and cut so by Torch-Pruning; and pruned by
Torch-Pruning's own ratio to as many multiply-adds as the plan has. The five are timed in turns on
ONNX Runtime, one thread. Wants the machine to itself.

Without a table one of this processor is taken from those that come with the package, or made in ten
minutes.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import log
from pathlib import Path
from statistics import median
from typing import Any

import ledger
import onnx
import place
from development import torchvision_package

import costmodel as cm
import morphnet_core as mc
from costmodel.clocking import DEFAULT_PLAN, measure
from costmodel.plots.canvas import BLUE, GREEN, GREY, ORANGE, new_figure, plain_grid, save
from costmodel.registry import load_runner
from costmodel.shipped import shipped_profiles
from costmodel.table import LatencyTable
from costmodel.uses.matching import difference
from morphnet_core.alignment import TOLERANCE, agreement

sys.path.insert(0, str(ledger.ROOT / "examples"))
from torch_pruning_plan import apply

#: Of torchvision; one that some step fails on is left out, with the reason.
NETWORKS = (
    *("mobilenet_v2", "resnet18", "efficientnet_b0", "mnasnet1_0"),
    *("mobilenet_v3_small", "squeezenet1_1", "regnet_y_400mf", "densenet121"),
)
#: Networks without which no figure has passed.
ENOUGH = 6
SIDE, CLASSES = 160, 1000
#: What the pruner takes away of every layer, and what the plan leaves of the time.
CUT, TARGET = 0.20, 0.60
#: Random inputs on which results are compared, beyond those that ``align`` itself tries.
SEEDS = range(1, 4)
#: How near multiply-adds must be to those of the plan, and how often a ratio is tried.
SAME_MACS, TRIES = 0.02, 4
#: Visits to a network while it is planned: each of its rounds is checked by the last timing anyway.
VISITS = 6
#: Measured shares may be off the target by this.
NEAR = 0.03
KINDS = ("seed", "pruned", "aligned", "planned", "equal-macs")
SHOWN = {"pruned": ORANGE, "aligned": BLUE, "planned": GREEN, "equal-macs": GREY}
LABELS = {
    "pruned": "pruned by 20 %",
    "aligned": "the same, aligned",
    "planned": "planned to 60 % of the time",
    "equal-macs": "pruned to the plan's multiply-adds",
}
PICTURE = "story.svg"


def network(name: str) -> Any:
    """A network of torchvision with random weights, whose statistics are those of random images."""
    import torch

    torch.manual_seed(0)
    made = torchvision_package().models.get_model(name, weights=None)
    norms = [item for item in made.modules() if isinstance(item, torch.nn.BatchNorm2d)]
    for item in norms:
        item.momentum = None  # the mean over all batches, instead of one that moves
    with torch.no_grad():
        for _ in range(2):
            made.train()(torch.randn(4, 3, SIDE, SIDE))
    return made.eval()


def image() -> Any:
    import torch

    return torch.zeros(1, 3, SIDE, SIDE)


def export(model: Any, path: Path) -> None:
    """As PyTorch's users do; whole or not at all."""
    import torch

    half = path.with_suffix(".half.onnx")
    torch.onnx.export(model, (image(),), str(half), dynamo=True, external_data=False, verbose=False)
    half.replace(path)


def pruned(model: Any, ratio: float) -> Any:
    """A copy without this share of every layer's channels, those of least magnitude."""
    import torch_pruning as tp

    made = copy.deepcopy(model)
    last = [
        item
        for item in made.modules()
        if CLASSES in {getattr(item, "out_features", 0), getattr(item, "out_channels", 0)}
    ]
    tp.pruner.BasePruner(
        made,
        image(),
        importance=tp.importance.MagnitudeImportance(p=2),
        pruning_ratio=ratio,
        ignored_layers=last,
    ).step()
    return made


def macs(model: Any) -> float:
    """Multiply-adds as Torch-Pruning counts them."""
    import torch_pruning as tp

    return float(tp.utils.count_ops_and_params(model, image())[0])


def of_as_many_macs(model: Any, wanted: float) -> tuple[Any, float]:
    """The network pruned to a number of multiply-adds, and the ratio that does it.

    They fall about with a power of what is left of every layer, which each try tells better.
    """
    whole = macs(model)
    power, tried = 2.0, []  # both sides of a layer are pruned
    for _ in range(TRIES):
        ratio = 1.0 - (wanted / whole) ** (1.0 / power)
        made = pruned(model, ratio)
        found = macs(made)
        tried.append((abs(found / wanted - 1.0), ratio, made))
        if tried[-1][0] <= SAME_MACS:
            break
        power = log(found / whole) / log(1.0 - ratio)
    _, ratio, made = min(tried, key=lambda item: item[0])
    return made, ratio


class Case:
    """One network: its files, and what is known of it; each step is done once."""

    def __init__(self, name: str, table: LatencyTable, rounds: int | None) -> None:
        self.name, self.table, self.rounds = name, table, rounds
        # Another table gives other widths, and a trial other times.
        of = f"{table.device.fingerprint}-{len(table)}{'-trial' if rounds else ''}"
        self.folder = place.folder(f"story/{of}/{name}")
        self._record = self.folder / "record.json"
        self.known: dict[str, Any] = {"name": name}
        if self._record.exists():
            self.known = json.loads(self._record.read_text(encoding="utf-8"))
        self.left_out = ""
        self._model: Any = None
        self._structure = self.folder / "plan.json"

    def file(self, kind: str) -> Path:
        """Where a kind of it is exported to."""
        return self.folder / f"{kind}.onnx"

    @property
    def model(self) -> Any:
        """The network itself, made when it is first asked for."""
        if self._model is None:
            self._model = network(self.name)
        return self._model

    def go(self, step: Callable[[], None]) -> None:
        """Do a step, or be left out: a pruner fails on some networks."""
        try:
            step()
        except Exception as error:
            self.left_out = f"{type(error).__name__}: {f'{error} '.splitlines()[0][:200]}"
            print(f"{self.name} is left out: {self.left_out}", flush=True)

    def prepare(self) -> None:
        """What needs no clock."""
        self._once("seed", lambda: export(self.model, self.file("seed")))
        self._once("pruned", lambda: export(pruned(self.model, CUT), self.file("pruned")))
        if self._structure.exists():
            self._once("planned", self._apply)
            self._once("equal-macs", self._prune_as_far)

    def choose(self) -> None:
        """Widths to align to, and those of the plan, which is timed."""
        self._once("aligned", self._align)
        if not self._structure.exists():
            self._plan()

    def measure(self) -> None:
        """The five in turns."""
        if "ms" not in self.known:
            runner, options = "ort", {"threads": self.table.device.threads}
            files = [self.file(kind) for kind in KINDS]
            plan = DEFAULT_PLAN.with_rounds(self.rounds)
            rows = measure(files, runner=runner, options=options, plan=plan)
            self._keep(
                ms={kind: row.latency_ms for kind, row in zip(KINDS, rows, strict=True)},
                repeatability=max(row.spread for row in rows),
                load=ledger.machine()["load"],
            )

    def _once(self, kind: str, make: Callable[[], None]) -> None:
        if not self.file(kind).exists():
            begun = time.perf_counter()
            make()
            print(f"{self.name}: {kind}, {time.perf_counter() - begun:.1f} s", flush=True)

    def _keep(self, **found: Any) -> None:
        self.known |= found
        self._record.write_text(json.dumps(self.known, indent=1) + "\n", encoding="utf-8")

    def _align(self) -> None:
        begun = time.perf_counter()
        found = mc.align(self.file("pruned"), self.table, predict_only=True)
        spent = time.perf_counter() - begun
        path, pair = self.file("pruned"), (found.original, found.model)
        apart = [agreement(path, *pair, {}, seed=seed).difference for seed in SEEDS]
        self._keep(
            aligned_in_s=round(spent, 1),
            groups=len(found.groups),
            padded=sum(group.before != group.after for group in found.groups),
            difference=max(found.difference, *apart),
            telling=found.telling,
        )
        found.save(self.file("aligned"))

    def _plan(self) -> None:
        begun = time.perf_counter()
        share = f"{round(100 * TARGET)}%"
        visits = min(self.rounds or VISITS, VISITS)
        found = mc.plan(self.file("seed"), self.table, target=share, rounds=visits)
        spent = time.perf_counter() - begun
        self._keep(planned_in_s=round(spent, 1), seen_share=found.measured_share)
        found.save_model(self.file("cut"))
        found.save(self._structure)
        print(f"{self.name}: plan, {spent:.1f} s", flush=True)

    def _apply(self) -> None:
        made = copy.deepcopy(self.model)
        apply(mc.Structure.load(self._structure), made, image())
        export(made, self.file("planned"))
        cut, left = (widths(self.file(kind)) for kind in ("cut", "planned"))
        self._keep(macs=macs(self.model), planned_macs=macs(made), same_widths=cut == left)

    def _prune_as_far(self) -> None:
        made, ratio = of_as_many_macs(self.model, self.known["planned_macs"])
        self._keep(equal_ratio=round(ratio, 3), equal_macs=macs(made))
        export(made, self.file("equal-macs"))


def widths(file: Path) -> list[tuple[int, ...]]:
    """Sizes of kernels: of what was planned, and of what the pruner made of it."""
    constants = onnx.load(file).graph.initializer
    return sorted(tuple(item.dims) for item in constants if len(item.dims) > 1)


def own_table() -> LatencyTable:
    """A table of this processor, one thread: one that comes with the package, else a new one."""
    device = load_runner("ort", {"threads": 1}).device
    for path in shipped_profiles().values():
        table = LatencyTable.load(path)
        if not difference(device, table.device):
            return table
    path = place.folder("story") / "cpu.jsonl"
    print(f"No profile that comes with the package is of {device.label}: making {path}.")
    return cm.profile(path, threads=1, budget="10m").table


COLUMNS = (
    "network | seed | pruned | aligned | planned | equal multiply-adds | plan's share | "
    "multiply-adds left | padded | searched | difference"
)


def line(found: dict[str, Any]) -> str:
    """A row of the page; times in ms."""
    ms = found["ms"]
    cells = [found["name"], *(f"{ms[kind]:.2f}" for kind in KINDS)]
    cells.append(f"{ms['planned'] / ms['seed']:.0%}")
    cells.append(f"{found['planned_macs'] / found['macs']:.0%}")
    cells.append(f"{found['padded']} of {found['groups']}")
    cells.append(f"{found['aligned_in_s']:.0f} s")
    return " | ".join([*cells, f"{found['difference']:.1e}"])


def figures(found: Sequence[dict[str, Any]]) -> list[ledger.Figure]:
    """The lines of the ledger."""
    ms = [item["ms"] for item in found]
    count, whole = len(found), len(found) >= ENOUGH
    slower = sum(item["pruned"] > item["seed"] for item in ms)
    off = max(abs(item["planned"] / item["seed"] - TARGET) for item in ms)
    repeat = max(item["repeatability"] for item in found)
    common: dict[str, Any] = {"seed": 0, "repeatability": repeat}
    return [
        ledger.figure(
            "f-slower", f"of {count} networks, pruned by 20 %: slower than before",
            slower, "networks", **common,
        ),
        ledger.figure(
            "f-pruned", f"median time of {count} pruned networks over the seed's",
            median(item["pruned"] / item["seed"] for item in ms), "x", **common,
        ),
        ledger.figure(
            "f-aligned", f"median time of {count} pruned and aligned networks over the seed's",
            median(item["aligned"] / item["seed"] for item in ms), "x", **common,
        ),
        ledger.figure(
            "f-never-slower", f"least speed-up of {count} pruned networks by aligning",
            min(item["pruned"] / item["aligned"] for item in ms), "x", at_least=0.99, sound=whole,
            target=">= 1, within what timing repeats to (0.99)", **common,
        ),
        ledger.figure(
            "f-equal", f"largest relative difference of results, {count} networks aligned",
            max(item["difference"] for item in found), at_most=TOLERANCE, seed=0,
            sound=whole and all(item["telling"] for item in found),
        ),
        ledger.figure(
            "f-minute", "longest search for widths to align to, check included",
            max(item["aligned_in_s"] for item in found), "s", at_most=60.0, sound=whole,
        ),
        ledger.figure(
            "f-planned", f"farthest of {count} planned networks from {TARGET:.0%} of the seed's ms",
            off, "share", at_most=NEAR, sound=whole, **common,
        ),
        ledger.figure(
            "f-plan-applied", f"of {count} plans, widths that Torch-Pruning cut exactly so",
            sum(item["same_widths"] for item in found), "networks", exactly=count, sound=whole,
        ),
        ledger.figure(
            "f-equal-macs", "median time of Torch-Pruning's own ratio at the plan's multiply-adds, "
            "over the plan's", median(item["equal-macs"] / item["planned"] for item in ms), "x",
            **common,
        ),
    ]  # fmt: skip


def draw(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Times of every network, as shares of the seed's."""
    figure = new_figure(9.0, 4.2)
    axes = figure.subplots()
    width = 0.8 / len(SHOWN)
    for number, (kind, colour) in enumerate(SHOWN.items()):
        shares = [100 * item["ms"][kind] / item["ms"]["seed"] for item in found]
        spots = [place + (number - 1.5) * width for place in range(len(found))]
        axes.bar(spots, shares, width=width, color=colour, label=LABELS[kind])
    axes.axhline(100.0, color="black", linewidth=0.8)
    axes.axhline(100.0 * TARGET, color="black", linewidth=0.8, linestyle="--")
    axes.set_xticks(range(len(found)), [item["name"] for item in found], rotation=20, fontsize=8)
    axes.set_ylabel("time in % of the network as it was")
    plain_grid(axes, "y")
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=8)
    save(figure, path)


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--table", help="of ONNX Runtime on this processor, one thread, float32")
    parser.add_argument("--only", help="one network; no ledger then")
    parser.add_argument("--rounds", type=int, help="fewer visits; no ledger then")
    part = parser.add_mutually_exclusive_group()
    part.add_argument("--prepare", action="store_true", help="only what needs no clock")
    part.add_argument("--choose", action="store_true", help="only what chooses widths")
    options = parser.parse_args()
    trial = bool(options.only or options.rounds)
    whole = not (options.prepare or options.choose)
    if whole and not trial:
        ledger.require_clean_tree()
    table = LatencyTable.load(options.table) if options.table else own_table()
    names = [options.only] if options.only else NETWORKS
    cases = [Case(name, table, options.rounds) for name in names]
    stages: list[Callable[[Case], None]] = []
    if whole or options.prepare:
        stages.append(Case.prepare)
    if whole or options.choose:
        stages.append(Case.choose)
    if whole:
        stages += [Case.prepare, Case.measure]  # what follows from the plan, and the five in turns
    for stage in stages:
        for case in cases:
            if not case.left_out:
                case.go(partial(stage, case))
    done = [case for case in cases if "ms" in case.known]
    found = [case.known for case in done]
    print("\n".join(line(item) for item in found))
    if trial or not (whole and found):
        return
    draw(found, ledger.RESULTS / PICTURE)
    notes = [
        f"ONNX Runtime, {table.device.threads} thread, {SIDE} pixels, random weights; times in ms, "
        "of interleaved rounds, each in a process of its own. Widths of `align` and `plan` from "
        f"{Path(table.path or 'a new table').name} ({len(table)} rows).",
        f"![Time of each network as a share of the seed's]({PICTURE})",
        ledger.table(COLUMNS, [line(item) for item in found]),
        *(f"{case.name} is left out: {case.left_out}." for case in cases if case.left_out),
    ]
    detail = {"cases": found, "plan": str(DEFAULT_PLAN)}
    ledger.write("story", topic="people", figures=figures(found), detail=detail, notes=notes)


if __name__ == "__main__":
    main()

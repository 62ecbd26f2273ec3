"""Figure c of the devices: TPU estimates repeat exactly, and kernels add up to networks.

Networks of keras.applications with random weights and variants with fewer channels, batch 8, are
compiled whole and kernel by kernel. Nothing is timed, so anything else may run beside it. Every
compilation is kept in the user's cache: run again to resume.

    python scripts/bench/tpu_aot.py [--networks 42] [--generation v5e] [--jobs 2]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import exports
import ledger
import place
from scipy.stats import spearmanr

from costmodel.errors import CostModelError
from costmodel.op import SESSION, Op
from costmodel.runners.tpu_aot.runner import TpuAotRunner

BATCH = 8
#: Name, class of keras.applications, image size and further settings; the quickest first.
NETWORKS: tuple[tuple[str, str, int, dict[str, float]], ...] = (
    ("MobileNetV2", "MobileNetV2", 96, {}),
    ("MobileNet", "MobileNet", 96, {}),
    ("MobileNet-0.5", "MobileNet", 128, {"alpha": 0.5}),
    ("MobileNetV2-0.5", "MobileNetV2", 128, {"alpha": 0.5}),
    ("MobileNetV2-1.4", "MobileNetV2", 96, {"alpha": 1.4}),
    ("VGG19", "VGG19", 64, {}),
    ("VGG16", "VGG16", 96, {}),
    ("ResNet50", "ResNet50", 96, {}),
    ("EfficientNetV2B0", "EfficientNetV2B0", 96, {}),
    ("EfficientNetB0", "EfficientNetB0", 96, {}),
    ("MobileNetV3Small", "MobileNetV3Small", 96, {}),
    ("MobileNetV3Large", "MobileNetV3Large", 96, {}),
    ("ResNet50V2", "ResNet50V2", 96, {}),
    ("EfficientNetB1", "EfficientNetB1", 96, {}),
    ("Xception", "Xception", 96, {}),
    ("InceptionV3", "InceptionV3", 96, {}),
    ("DenseNet121", "DenseNet121", 96, {}),
)
#: Kernels compiled anew in several processes, and in how many.
REPEATED, PROCESSES = 12, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One network.

    Attributes:
        name: with ``-thin`` and a number where channels were cut.
        whole_ms: compiled at once.
        summed_ms: its Ops, each compiled alone.
        optimal_ms: XLA's own roofline of the whole; None where XLA gives none.
        ops: executed Ops, the session excepted.
        distinct: different ones among them.
        refused: Ops without an estimate.
    """

    name: str
    whole_ms: float
    summed_ms: float
    optimal_ms: float | None
    ops: int
    distinct: int
    refused: int

    @property
    def error(self) -> float:
        """Sum over whole, less 1."""
        return self.summed_ms / self.whole_ms - 1.0


def exported(folder: Path, count: int) -> list[Path]:
    """Each network as ONNX with two thinned variants, in rounds, the first ``count`` of them."""
    kinds = [(row, seed) for seed in (None, 0, 1) for row in NETWORKS][:count]
    found = []
    for (name, kind, size, more), seed in kinds:
        whole = exports.application(folder / f"{name}.onnx", kind, size, batch=BATCH, **more)
        found.append(whole if seed is None else exports.thinned(whole, folder, seed))
    return found


def held_against_whole(runner: TpuAotRunner, path: Path) -> Result:
    """One network both ways."""
    whole = runner.estimate_model(path, {})
    assert whole.network is not None
    ops = [op for op in whole.network.ops if op.kind != SESSION]
    found = runner.estimate_all(ops)
    cycles = {op: 0 if isinstance(f, CostModelError) else f.cycles for op, f in found.items()}
    return Result(
        name=path.stem,
        whole_ms=runner.milliseconds(whole.cycles),
        summed_ms=runner.milliseconds(sum(cycles[op] for op in ops)),
        optimal_ms=whole.optimal_ms,
        ops=len(ops),
        distinct=len(found),
        refused=sum(isinstance(f, CostModelError) for f in found.values()),
    )


def repeats(ops: Sequence[Op], generation: str, jobs: int) -> tuple[int, int]:
    """How many of some Ops get the same cycles from several processes that know of no other."""
    seen: dict[Op, set[int]] = {op: set() for op in ops}
    for _ in range(PROCESSES):
        with TemporaryDirectory(prefix="costmodel-") as folder:
            runner = TpuAotRunner(generation=generation, cache=folder, jobs=jobs)
            for op, found in runner.estimate_all(ops).items():
                seen[op].add(-1 if isinstance(found, CostModelError) else found.cycles)
            runner.close()
    return sum(len(cycles) == 1 and -1 not in cycles for cycles in seen.values()), len(ops)


def write(results: Sequence[Result], same: tuple[int, int], generation: str) -> None:
    """Write the page."""
    errors = [abs(item.error) for item in results]
    whole = [item.whole_ms for item in results]
    order = float(spearmanr([item.summed_ms for item in results], whole).statistic)
    optimal = [(i.optimal_ms, i.whole_ms) for i in results if i.optimal_ms is not None]
    figures = [
        ledger.figure(
            "c-repeat",
            f"of {same[1]} kernels the same cycles in {PROCESSES} separate compilations",
            same[0],
            "kernels",
            exactly=same[1],
        ),
        ledger.figure(
            "c-order",
            f"Spearman of {len(results)} networks, summed from Ops against compiled whole",
            order,
            "rank correlation",
            at_least=0.98,
            sound=len(results) >= 40,
            target=">= 0.98 on >= 40 networks",
            seed=0,
        ),
        ledger.figure(
            "c-error",
            "median error of the sum of Ops, each compiled alone, against the whole",
            median(errors),
            "share",
            at_most=0.10,
            sound=len(results) >= 40,
            target="<= 10 %",
            seed=0,
        ),
        ledger.figure("c-worst", "worst error of the same", round(max(errors), 5), "share", seed=0),
    ]
    notes = [
        f"TPU {generation}, bfloat16, batch {BATCH}. Relative static estimates: nothing was run on "
        "a TPU. XLA's roofline (`optimal_seconds`) stands beside; `-` where it has none.",
        ledger.table(
            "network | Ops | distinct | sum of Ops ms | whole ms | error | optimal_seconds ms",
            (
                f"{i.name} | {i.ops} | {i.distinct} | {i.summed_ms:.4f} | {i.whole_ms:.4f} | "
                f"{i.error:+.2%} | {'-' if i.optimal_ms is None else f'{i.optimal_ms:.4f}'}"
                for i in sorted(results, key=lambda item: item.whole_ms)
            ),
        ),
    ]
    if len(optimal) > 2:
        rank = float(spearmanr([a for a, _ in optimal], [b for _, b in optimal]).statistic)
        notes.append(
            f"Spearman of `optimal_seconds` against the cycles of the whole: {rank:.3f} over the "
            f"{len(optimal)} networks that have it."
        )
    ledger.write(
        "tpu-aot",
        figures=figures,
        detail={"generation": generation, "networks": [asdict(item) for item in results]},
        notes=notes,
        topic="devices",
    )


def main() -> int:
    parser = ledger.parser(__doc__)
    parser.add_argument("--networks", type=int, default=42)
    parser.add_argument("--generation", default="v5e")
    parser.add_argument("--jobs", type=int, default=0)
    chosen = parser.parse_args()
    started = time.perf_counter()
    models = exported(place.folder("tpu-aot"), chosen.networks)
    runner = TpuAotRunner(generation=chosen.generation, jobs=chosen.jobs)
    results, kernels = [], dict[Op, None]()
    for path in models:
        results.append(held_against_whole(runner, path))
        network = runner.estimate_model(path, {}).network
        assert network is not None
        kernels.update(dict.fromkeys(op for op in network.ops if op.kind != SESSION))
        last = results[-1]
        print(f"{last.name}: {last.error:+.2%}, {time.perf_counter() - started:.0f} s", flush=True)
    runner.close()
    step = max(1, len(kernels) // REPEATED)
    same = repeats([*kernels][::step][:REPEATED], chosen.generation, chosen.jobs)
    write(results, same, chosen.generation)
    return 0


if __name__ == "__main__":
    sys.exit(main())

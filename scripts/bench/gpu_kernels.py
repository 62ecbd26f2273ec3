"""Kernels of other people's GPUs that a table has not seen, beside the common ways to price them.

Phones: 70 % of the distinct shapes of each device and runtime are learned from, the rest priced.
Cards: 1,000 rows of each device, back end and element type, of any batch or of one image alone
(70 % where there are fewer), 4,000 others at most priced. Three seeds each; choices were made with
other seeds.

COSTMODEL_SHARED=../shared python scripts/bench/gpu_kernels.py phones
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import ledger
import numpy as np
from gpu_baselines import BASELINES, NN_METER
from ledger import Figure
from numpy.typing import NDArray

from costmodel.costs.regression import Fitted, Regression
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.op import Op
from costmodel.table import LatencyTable
from costmodel.uses.importing import import_file

SEEDS = (0, 1, 2)
LATENCY = Path(os.environ.get("COSTMODEL_SHARED", ledger.ROOT.parent / "shared")) / "data/latency"
LEARNED_SHARE, LEARNED, PRICED = 0.7, 1_000, 4_000
#: Fewer rows are no table.
FEWEST = 300
OURS = "regression"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Errors of every method on one table.

    Attributes:
        name: of the table.
        learned: rows learned from.
        priced: rows priced, of all seeds.
        inside: share within 10 %, by method.
        mape: mean relative error, by method.
    """

    name: str
    learned: int
    priced: int
    inside: dict[str, float]
    mape: dict[str, float]

    def others(self, scores: dict[str, float]) -> list[float]:
        """What the baselines reached."""
        return [scores[name] for name in BASELINES]


def label(device: Device) -> str:
    return " ".join(
        filter(
            None, (device.name.partition(" (")[0], device.runtime, device.provider, device.dtype)
        )
    )


def is_plain(op: Op) -> bool:
    return op.kind == "conv" and op.groups == 1


def shape_of(op: Op) -> tuple[object, ...]:
    """What a convolution calculates, whatever is folded into it."""
    return op.inputs[0], op.outputs[0], op.weights[0], op.stride, op.pads, op.groups


Split = tuple[list[Measurement], list[Measurement]]


def by_shape(rows: Sequence[Measurement], seed: int) -> Split:
    shapes = sorted({shape_of(row.op) for row in rows}, key=repr)
    order = np.random.default_rng(seed).permutation(len(shapes))
    learned = {shapes[i] for i in order[: int(LEARNED_SHARE * len(shapes))]}
    train = [row for row in rows if shape_of(row.op) in learned]
    return train, [row for row in rows if shape_of(row.op) not in learned]


def by_count(rows: Sequence[Measurement], seed: int) -> Split:
    count = min(LEARNED, int(LEARNED_SHARE * len(rows)))
    order = np.random.default_rng(seed).permutation(len(rows))
    picked = [rows[i] for i in order[: count + PRICED]]
    return picked[:count], picked[count:]


def errors_of(
    name: str, device: Device, rows: Sequence[Measurement], split: Callable[..., Split]
) -> Result:
    found: dict[str, list[NDArray[np.float64]]] = {}
    learned = 0
    for seed in SEEDS:
        train, test = split(rows, seed)
        learned = len(train)
        ops = [row.op for row in test]
        truth = np.array([row.latency_ms for row in test])
        # Intervals are not asked for here, so no fold is held out for them.
        model = Regression(train, device=device, fitted=Fitted(rows=""))
        prices = {OURS: model.price(ops).values}
        prices |= {key: learn(train, ops) for key, learn in BASELINES.items()}
        for key, values in prices.items():
            found.setdefault(key, []).append(np.abs(values / truth - 1.0))
    errors = {key: np.concatenate(parts) for key, parts in found.items()}
    result = Result(
        name=name,
        learned=learned,
        priced=len(errors[OURS]),
        inside={key: 100.0 * float(np.mean(error <= 0.1)) for key, error in errors.items()},
        mape={key: 100.0 * float(error.mean()) for key, error in errors.items()},
    )
    print(row_of(result), flush=True)
    return result


def row_of(result: Result) -> str:
    cells = (f"{result.inside[key]:.1f} ({result.mape[key]:.1f})" for key in (OURS, *BASELINES))
    return " | ".join((result.name, str(result.learned), str(result.priced), *cells))


def page(results: Sequence[Result]) -> str:
    columns = " | ".join(("table", "rows learned", "priced", OURS, *BASELINES))
    return ledger.table(columns, map(row_of, results))


def tables(*names: str) -> Iterator[LatencyTable]:
    for name in names:
        yield from import_file(LATENCY / f"{name}.parquet").tables


def usable(table: LatencyTable) -> list[Measurement]:
    return [row for row in table.rows.values() if row.has_number and row.op.kind == "conv"]


def phones() -> None:
    plain: list[Result] = []
    grouped: list[Result] = []
    for table in tables("mobile_gpu_ops"):
        rows = usable(table)
        name = label(table.device)
        plain.append(errors_of(name, table.device, [r for r in rows if is_plain(r.op)], by_shape))
        rest = [row for row in rows if not is_plain(row.op)]
        grouped.append(errors_of(f"{name}, grouped", table.device, rest, by_shape))
    inside = [result.inside[OURS] for result in plain]
    ahead = sum(r.inside[OURS] > max(r.others(r.inside)) for r in plain)
    figures = [
        ledger.figure(
            "a-mean", "convolutions of unseen shapes on phones' GPUs within 10 %, mean of devices",
            float(np.mean(inside)), "%", at_least=85.0,
        ),
        ledger.figure(
            "a-least", "the same, the device and runtime of least",
            min(inside), "%", at_least=75.0,
        ),
        ledger.figure(
            "a-ahead", f"of {len(plain)} devices and runtimes, those ahead of every baseline",
            ahead, exactly=len(plain),
        ),
        *(
            ledger.figure(f"a-{at}", f"{r.name} within 10 %", r.inside[OURS], "%", at_least=75.0)
            for at, r in enumerate(plain)
        ),
        *(
            ledger.figure(f"a-grouped-{at}", f"{r.name} within 10 %", r.inside[OURS], "%")
            for at, r in enumerate(grouped)
        ),
    ]  # fmt: skip
    notes = (
        f"Share within 10 % (mean relative error), both in %, of seeds {SEEDS}. Shapes are split, "
        "so that no shape is learned from with other operators folded in.",
        page([*plain, *grouped]),
    )
    ledger.write("gpu-kernels-phones", topic="other-devices", figures=figures, notes=notes)


def cards() -> None:
    results: list[Result] = []
    for table in tables("nvidia_gpu_conv", "amd_gpu_conv"):
        rows = usable(table)
        for what, part in (("", rows), (", one image", [r for r in rows if r.op.batch == 1])):
            if len(part) >= FEWEST:
                results.append(
                    errors_of(f"{label(table.device)}{what}", table.device, part, by_count)
                )
    figures: list[Figure] = []
    for at, result in enumerate(results):
        below = 100.0 * (1.0 - result.mape[OURS] / result.mape[NN_METER])
        best = min(result.others(result.mape))
        figures += [
            ledger.figure(
                f"c-{at}", f"{result.name}: mean relative error below that of the {NN_METER}",
                below, "%", at_least=30.0,
            ),
            ledger.figure(
                f"c-{at}-best", f"{result.name}: mean relative error over the best baseline's",
                result.mape[OURS] / best, at_most=1.0,
            ),
        ]  # fmt: skip
    notes = (
        f"Share within 10 % (mean relative error), both in %, of seeds {SEEDS}.",
        page(results),
    )
    ledger.write("gpu-kernels-cards", topic="other-devices", figures=figures, notes=notes)


def main() -> None:
    parser = ledger.parser(__doc__)
    parts = {"phones": phones, "cards": cards}
    parser.add_argument("part", choices=parts)
    ledger.require_clean_tree()
    parts[parser.parse_args().part]()


if __name__ == "__main__":
    main()

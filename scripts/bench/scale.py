"""What choosing rows, a fit and a price cost, from hundreds of rows to a hundred thousand.

Rows are of the fake device, whose law is known: random convolutions and products of two paths, as
the largest public tables hold them. Beside time and memory, how well fresh kernels are priced.
"""

from __future__ import annotations

import random
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import ledger
import numpy as np

from costmodel.costs.regression import Regression
from costmodel.measurement import Measurement
from costmodel.op import Op, conv_op
from costmodel.registry import load_runner
from costmodel.runners.fake import law_ms
from costmodel.sampling.select import sample_ops
from costmodel.uses.profiling import own_files

SIZES = (300, 1_000, 3_000, 10_000, 100_000)
PRICED = 100_000
SEED = 0


def kernels(count: int, seed: int) -> list[Op]:
    """Random convolutions of two paths, no two alike."""
    draw = random.Random(seed)
    found: dict[Op, None] = {}
    while len(found) < count:
        side = draw.choice((7, 10, 14, 20, 28, 40, 56, 80, 112))
        kernel = draw.choice((1, 3))
        op = conv_op(
            in_channels=draw.randint(3, 512),
            out_channels=draw.randint(3, 512),
            size=(side, side),
            kernel=(kernel, kernel),
        )
        found[op] = None
    return list(found)


def chosen_s(samples: int) -> float:
    """Seconds that choosing the rows of a profile takes, own networks included."""
    runner = load_runner("ort", {"threads": 1})
    with TemporaryDirectory() as folder:
        started = time.perf_counter()
        own = own_files(runner, "ort", samples, SEED, Path(folder))
        sample_ops(runner, samples, SEED, own=own)
        return time.perf_counter() - started


def main() -> None:
    choosing = chosen_s(1_000)
    fresh = kernels(PRICED, SEED + 1)
    truth = np.array([law_ms(op) for op in fresh])
    figures = [
        ledger.figure("g-choose", "choosing 1000 rows", choosing, "s", at_most=15.0, seed=SEED)
    ]
    rows_of_page: list[str] = []
    everything = kernels(max(SIZES), SEED)
    for count in SIZES:
        noise = np.random.default_rng(SEED).normal(1.0, 0.02, count)
        rows = [
            Measurement(op=op, latency_ms=law_ms(op) * n, median_ms=law_ms(op) * n, spread=0.02)
            for op, n in zip(everything[:count], noise, strict=True)
        ]
        started = time.perf_counter()
        model = Regression(rows)
        fitted_s = time.perf_counter() - started
        started = time.perf_counter()
        prices = model.price(fresh)
        priced_s = time.perf_counter() - started
        inside = float(np.mean(np.abs(prices.values / truth - 1.0) <= 0.1))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0
        rows_of_page.append(
            f"{count} | {fitted_s:.1f} | {priced_s:.2f} | {inside:.1%} | {peak:.0f}"
        )
        print(rows_of_page[-1], flush=True)
        limits = {1_000: 20.0, 100_000: 120.0}
        if count in limits:
            figures += [
                ledger.figure(
                    f"g-fit-{count}", f"fit of {count} rows", fitted_s, "s",
                    at_most=limits[count], seed=SEED,
                ),
                ledger.figure(
                    f"g-price-{count}", f"{PRICED} Ops priced from {count} rows", priced_s, "s",
                    at_most=2.0, seed=SEED,
                ),
            ]  # fmt: skip
    columns = "rows | fit s | 100,000 prices s | fresh within 10 % | peak MiB"
    ledger.write(
        "scale", topic="any-network", figures=figures,
        notes=[ledger.table(columns, rows_of_page)],
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Figure d of MorphNet: what the regularizer costs per training step, and what pricing costs once.

The same network is trained with and without the regularizer, in turns of a few steps each, so that
whatever else the machine does hits both; ratios are of neighbouring turns.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import ledger
import numpy as np
import place

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import networks

from costmodel.costs.regression import Regression, fit_regression
from costmodel.readers.keras import read_keras
from costmodel.table import LatencyTable
from morphnet_core.groups import find_groups
from morphnet_core.pricing import Pricer
from morphnet_core.regularizer import CostRegularizer

STEPS, TURNS = 6, 11
REFRESHES = 15


def resnet20() -> Any:
    return networks.small_resnet((32, 32, 3), blocks=3, stem_stride=1)


def mobilenet() -> Any:
    return keras.applications.MobileNetV2(
        weights=None, input_shape=(96, 96, 3), classes=10, classifier_activation=None
    )


def prepared(build: Any, cost: Regression | None) -> tuple[Any, list[Any]]:
    """A compiled model and its callbacks, with the regularizer if there is a cost."""
    keras.utils.set_random_seed(0)
    model = build()
    callbacks = [CostRegularizer(model, cost)] if cost is not None else []
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model, callbacks


def overhead(build: Any, batch: int, cost: Regression) -> tuple[float, Sequence[float], float]:
    """Median ratio of step times with and without, the ratios, and milliseconds of a plain step."""
    plain, no_callbacks = prepared(build, None)
    priced, callbacks = prepared(build, cost)
    x = np.random.default_rng(0).normal(size=(batch * STEPS, *plain.inputs[0].shape[1:]))
    y = np.zeros(len(x))
    times: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(TURNS + 1):
        order = (False, True) if turn % 2 else (True, False)
        for with_price in order:
            model, used = (priced, callbacks) if with_price else (plain, no_callbacks)
            started = time.perf_counter()
            model.fit(x, y, batch_size=batch, epochs=1, verbose=0, callbacks=used, shuffle=False)
            if turn:  # the first one compiles
                times[with_price].append((time.perf_counter() - started) * 1e3 / STEPS)
    ratios = [one / two for one, two in zip(times[True], times[False], strict=True)]
    return median(ratios), ratios, median(times[False])


def pricing(cost: Regression) -> tuple[float, float]:
    """Seconds to group and price ResNet50 once, and median milliseconds of a price refresh."""
    model = keras.applications.ResNet50(weights=None)
    started = time.perf_counter()
    grouping = find_groups(read_keras(model))
    pricer = Pricer(grouping, cost)
    pricer.channel_prices(grouping.full())
    once = time.perf_counter() - started
    random = np.random.default_rng(0)
    times = []
    for _ in range(REFRESHES):
        alive = grouping.allowed(random.random(grouping.num_units) > 0.3)
        started = time.perf_counter()
        pricer.channel_prices(alive)
        times.append((time.perf_counter() - started) * 1e3)
    return once, median(times)


def main() -> None:
    ledger.parser(__doc__).parse_args()
    cost = fit_regression(LatencyTable.load(place.table_path("models", 1)))
    once, refresh = pricing(cost)
    figures, lines = [], []
    for name, build, batch in (("ResNet20", resnet20, 128), ("MobileNetV2", mobilenet, 32)):
        ratio, ratios, plain = overhead(build, batch, cost)
        low, high = np.quantile(ratios, [0.25, 0.75])
        lines.append(f"{name} | {batch} | {plain:.0f} | {ratio:.3f} | {low:.3f} to {high:.3f}")
        figures.append(
            ledger.figure(
                f"d-{name.lower()}",
                f"training overhead per step, {name}, batch {batch}, priced by a table",
                round(ratio - 1, 4),
                "share",
                at_most=0.05,
                seed=0,
                repeatability={"quartiles_of_ratio": [round(low, 4), round(high, 4)]},
            )
        )
    figures += [
        ledger.figure(
            "d-once",
            "grouping and pricing of ResNet50, once",
            once,
            "s",
            at_most=5,
        ),
        ledger.figure(
            "d-refresh",
            f"price refresh of ResNet50, median of {REFRESHES} new structures",
            refresh,
            "ms",
            at_most=50,
        ),
    ]
    ledger.write(
        "morphnet-overhead",
        figures=figures,
        notes=[ledger.table("network | batch | plain step ms | ratio | of turns", lines)],
        topic="morphnet",
    )


if __name__ == "__main__":
    main()

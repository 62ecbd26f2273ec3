"""Two further figures of the Pareto benchmark: what a search costs, and structures crossed over."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median

import recipes
from pareto_grid import (
    DEVICES,
    SEARCH_EPOCHS,
    SEARCH_RATE,
    WORK,
    Case,
    elsewhere,
    images_of,
    prices,
    seed_network,
)

TURNS = 3


def time_searches() -> None:
    """A whole search and a plain training of the same steps, in turns, on each network."""
    found = {}
    for network in ("resnet", "mobilenet"):
        case = Case(data="cifar10", network=network, budget=50, method="ours", seed=0)
        pairs = [(_seconds(case, plain=True), _seconds(case, plain=False)) for _ in range(TURNS)]
        for kind, unit in enumerate(("wall", "processor")):
            ratios = [searched[kind] / plain[kind] for plain, searched in pairs]
            found[f"{network}-{unit}"] = {
                "ratio": median(ratios),
                "ratios": ratios,
                "seconds": [[plain[kind], searched[kind]] for plain, searched in pairs],
            }
        print(network, found, flush=True)
        (WORK / "overhead.json").write_text(json.dumps(found, indent=1))


def _seconds(case: Case, *, plain: bool) -> tuple[float, float]:
    """Seconds of one training, by the clock and of the processor.

    A search's preparations and importances are part of it. Both are told, as the clock also counts
    what others do on a shared machine.
    """
    from pareto_search import callbacks_of

    data = images_of(case.data)
    model = seed_network(case)
    batches = recipes.augmented(data, case.seed)
    prices(case.device)
    begin = time.perf_counter(), time.process_time()
    steps = SEARCH_EPOCHS * len(batches)
    callbacks = [] if plain else callbacks_of(case, model, data, steps)
    recipes.compiled(callbacks[0].model if callbacks else model, SEARCH_RATE).fit(
        batches, epochs=SEARCH_EPOCHS, callbacks=callbacks, verbose=0
    )
    return time.perf_counter() - begin[0], time.process_time() - begin[1]


def cross(devices: Sequence[str]) -> None:
    """Time the structures made for two devices on both."""
    from pareto import exported

    from costmodel.clocking import measure
    from costmodel.profiler import Plan

    cases = {
        device: [case for case in elsewhere(device) if case.read("trained") is not None]
        for device in devices
    }
    plan = Plan(rounds=16, min_rounds=10, visit_ms=30.0, restart_every=1)
    cells, spreads = [], []
    times: dict[tuple[str, str], float] = {}
    for timed_on in devices:
        runner, options, _ = DEVICES[timed_on]
        paths: list[Path] = [
            path
            for device in devices
            for case in cases[device]
            if (path := exported(case, "counts")) is not None
        ]
        rows = iter(measure(paths, runner=runner, options=options, plan=plan))
        for made_for in devices:
            mine = [next(rows) for _ in cases[made_for]]
            spreads += [row.spread or 0.0 for row in mine]
            times[made_for, timed_on] = mean(row.latency_ms for row in mine)
            trained = [case.read("trained") or {} for case in cases[made_for]]
            cells.append(
                {
                    "made_for": made_for,
                    "timed_on": timed_on,
                    "ms": [row.latency_ms for row in mine],
                    "accuracy": 100 * mean(record["accuracy"] for record in trained),
                }
            )
    one, other = devices
    ratios = {
        one: times[one, one] / times[other, one],
        other: times[other, other] / times[one, other],
    }
    record = {"cells": cells, "ratios": ratios, "spread": median(spreads)}
    (WORK / f"cross-{one}-{other}.json").write_text(json.dumps(record, indent=1))
    print(json.dumps(record, indent=1), flush=True)

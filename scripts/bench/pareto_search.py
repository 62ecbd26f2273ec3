"""Searches of the Pareto benchmark: training under a cost, and what it says of every unit."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import recipes
from numpy.typing import NDArray
from pareto_grid import (
    SEARCH_EPOCHS,
    SEARCH_RATE,
    TUNED,
    WORK,
    Case,
    images_of,
    prices,
    seed_network,
)  # fmt: skip

#: Images that Taylor importances are averaged over.
SAMPLE, SAMPLE_BATCH = 2048, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a search left.

    Attributes:
        scores: ``(units,)`` signals at its end.
        alive: ``(units,)`` those above the threshold.
        taylor: ``(units,)`` Taylor importances: under a budget those before it pressed, else those
            of the trained network.
    """

    scores: NDArray[np.float64]
    alive: NDArray[np.bool_]
    taylor: NDArray[np.float64]


def search(case: Case) -> Found:
    """Train a case's network under its cost, or read what an earlier run left."""
    assert case.search is not None
    path = WORK / f"{case.search}.search.npz"
    if not path.exists():
        _run(case, path)
    with np.load(path, allow_pickle=False) as file:
        return Found(scores=file["scores"], alive=file["alive"], taylor=file["taylor"])


def kept_model(case: Case) -> Path:
    """Where the trained network of a search lies whose weights are trained on."""
    return WORK / f"{case.search}.search.keras"


def callbacks_of(case: Case, model: Any, data: Any, steps: int) -> list[Any]:
    """What a case trains under: a cost, and a look at importance where there is a budget."""
    from morphnet_core.budget import LatencyBudget
    from morphnet_core.budget.taylor import TaylorSnapshot
    from morphnet_core.regularizer import CostRegularizer

    kind = case.search.split("-")[3] if case.search else ""
    if kind == "plain":
        return []
    if kind in {"flops", "latency"}:
        return [CostRegularizer(model, "flops" if kind == "flops" else prices(case.device))]

    class Free(LatencyBudget):
        """Nothing says how far a group may shrink: the signals alone decide."""

        def aim(self, importance: Any) -> None:
            del importance
            self._floor = np.zeros(len(self.grouping.groups))

    kind_of = Free if case.method == "no-projection" else LatencyBudget
    # The gates of a unit's members are grouped by their L2 norm.
    options: dict[str, Any] = {}
    if case.method == "hard-concrete":
        options = {"signal": "hard_concrete", "rule": "l2"}
    target = f"{case.budget}%"
    budget = kind_of(model, prices(case.device), steps=steps, target=target, **options)
    return [budget, TaylorSnapshot(budget, _sample(data))]


def _sample(data: Any) -> Any:
    from morphnet_core.data import Data

    return Data(x=data.x_train[:SAMPLE], y=data.y_train[:SAMPLE], batch_size=SAMPLE_BATCH)


def _run(case: Case, path: Path) -> None:
    import keras

    from costmodel.readers.keras import read_keras
    from morphnet_core.budget.taylor import in_order_of, taylor_importance
    from morphnet_core.groups import find_groups

    data = images_of(case.data)
    model = seed_network(case)
    batches = recipes.augmented(data, case.seed)
    steps = SEARCH_EPOCHS * len(batches)
    begin = time.perf_counter()
    with _prices_of(case.method):
        callbacks = callbacks_of(case, model, data, steps)
        trained = callbacks[0].model if callbacks else model
        prepared = time.perf_counter()
        schedule = keras.optimizers.schedules.CosineDecay(SEARCH_RATE, steps, alpha=0.2)
        history = recipes.compiled(trained, schedule).fit(
            batches, epochs=SEARCH_EPOCHS, callbacks=callbacks, verbose=0
        )
    end = time.perf_counter()
    finished = callbacks[0].finished_model() if callbacks else model
    grouping = callbacks[0].grouping if callbacks else find_groups(read_keras(model))
    if len(callbacks) > 1:
        taylor = in_order_of(grouping, callbacks[1].importance, callbacks[0].scores())
    else:
        taylor = taylor_importance(grouping, finished, _sample(data), loss=trained.loss)
    if case.method in TUNED:
        finished.save(kept_model(case))
    scores = callbacks[0].scores() if callbacks else taylor
    alive = callbacks[0].alive() if callbacks else grouping.full()
    np.savez(path, scores=scores, alive=alive, taylor=taylor)
    report = str(callbacks[0].report()) if callbacks else "plain training"
    record = {
        "search": case.search,
        "prepare_seconds": prepared - begin,
        "train_seconds": end - prepared,
        "accuracy": recipes.accuracy(trained, data),
        "report": report,
        "recoveries": getattr(callbacks[0], "recoveries", 0) if callbacks else 0,
        "history": {name: [float(v) for v in values] for name, values in history.history.items()},
    }
    path.with_suffix(".json").write_text(json.dumps(record, indent=1))
    print(case.search, f"{end - begin:.0f} s", report, flush=True)


@contextmanager
def _prices_of(method: str) -> Iterator[None]:
    """Prices of channels without the envelope of costs, or without secants to the next step."""
    from morphnet_core import regularizer

    callback: Any = importlib.import_module(f"{regularizer.__name__}.callback")
    whole = callback.Pricer
    replaced = {"no-envelope": without_envelope, "no-secant": with_local_slopes}.get(method)
    try:
        if replaced is not None:
            callback.Pricer = replaced()
        yield
    finally:
        callback.Pricer = whole


def without_envelope() -> Any:
    """Prices from costs as the model has them: a wider kernel may be cheaper."""
    from morphnet_core.pricing import Pricer
    from morphnet_core.pricing.secant import Secants

    class Raw(Secants):
        def now(self, widths: Any, *, raw: bool = False) -> Any:
            del raw
            return super().now(widths, raw=True)

        def _savings(self, widths: Any, now: Any, *, raw: bool = False) -> Any:
            del raw
            return super()._savings(widths, now, raw=True)

        def edges(self, group: int, widths: Any) -> tuple[int, ...]:
            del widths
            return tuple(self._tables.grids[group])

    return _with(Pricer, Raw, {})


def with_local_slopes() -> Any:
    """Prices from the next width that is priced, whether or not it saves time."""
    from morphnet_core.pricing import Pricer
    from morphnet_core.pricing.secant import Secants

    return _with(Pricer, Secants, {"tolerance": -1e9})


def _with(base: Any, secants: Any, options: dict[str, Any]) -> Any:
    from functools import cached_property

    class Changed(base):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more, **options)

        @cached_property
        def _secants(self) -> Any:
            return secants(self.tables, self._options[0])

    return Changed

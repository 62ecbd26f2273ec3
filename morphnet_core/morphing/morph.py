"""morph: one call from a seed network to a trained one that keeps a budget."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.readers.keras import as_keras
from morphnet_core.budget import LatencyBudget
from morphnet_core.budget.taylor import TaylorSnapshot, in_order_of
from morphnet_core.groups import Grouping
from morphnet_core.groups.convert import structure_of
from morphnet_core.morphing.clock import Clock, as_onnx, device_clock
from morphnet_core.morphing.data import Data
from morphnet_core.morphing.loop import LoopResult, build, fit_to_device
from morphnet_core.morphing.recipe import standard
from morphnet_core.morphing.verify import same_outputs, write_litert
from morphnet_core.plots import plot_breakdown, plot_widths
from morphnet_core.pricing import Cost
from morphnet_core.structure import Structure
from morphnet_core.surgery import shrink

Finish = Literal["retrain", "finetune", "none"]
Importance = Literal["signal", "taylor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Morphed:
    """What ``morph`` made.

    Attributes:
        model: the trained network.
        structure: which channels of the seed it keeps; None where it grew beyond the seed.
        loop: how its widths were found: predicted and measured per round.
        grouping: the seed's groups, in the order of the loop's counts.
        metrics: of the trained network on the validation data, by name.
        seconds: wall time by step.
        files: what was written, by kind: ``keras``, ``onnx``, ``litert``, ``structure``, and the
            pictures ``widths`` and ``layers``.
        difference: by exported kind, largest relative difference from the Keras model's outputs.
    """

    model: Any
    structure: Structure | None
    loop: LoopResult
    grouping: Grouping
    metrics: dict[str, float]
    seconds: dict[str, float]
    files: dict[str, Path] = field(default_factory=dict)
    difference: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [str(self.loop)]
        lines += [f"  {name}: {value:.4g}" for name, value in self.metrics.items()]
        lines += [f"  {name}: {seconds:.1f} s" for name, seconds in self.seconds.items()]
        lines += [f"  {kind}: {path}" for kind, path in self.files.items()]
        return "\n".join(lines)


def morph(  # noqa: PLR0913 - one option per decision of the recipe
    model: Any,
    data: Data,
    cost: Cost,
    *,
    compiled: Callable[[Any, int], Any] = standard,
    target_ms: float | None = None,
    target: float | str | None = None,
    clock: Clock | Literal["auto"] | None = "auto",
    search_epochs: int = 5,
    finish: Finish = "retrain",
    finish_epochs: int = 10,
    importance: Importance = "taylor",
    grow: float = 1.0,
    seed: int = 0,
    out: str | Path | None = None,
    exports: Sequence[str] = ("onnx",),
    callbacks: Sequence[Any] = (),
    verbose: int | str = "auto",
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> Morphed:
    """Train under a budget, choose widths, check them on the device, and train the result.

    ::

        def compiled(model, steps):
            schedule = keras.optimizers.schedules.CosineDecay(0.1, steps)
            model.compile(keras.optimizers.SGD(schedule, momentum=0.9), "sparse_categorical...")
            return model

        done = morph(model, Data(x=x, y=y), "cpu.jsonl", compiled=compiled, target_ms=5.0,
                     out="fast")
        print(done)

    Args:
        model: the seed network, functional or sequential, or its file; its weights are where the
            search begins.
        data: to train on.
        cost: a latency table, its file, a shipped profile's name or a cost model in milliseconds;
            or another cost for budgets in another unit.
        compiled: gets a model and the steps it will be trained for, and compiles it; by default
            the ``standard`` recipe for classifiers.
        target_ms: milliseconds by the clock (by the prices without one).
        target: instead, a share of the seed's cost such as ``"50%"``, or in the cost's unit.
        clock: times networks; ``auto`` for the device that the prices are of, where it is at hand
            (see ``device_clock``); None for ``predicted only``.
        search_epochs: epochs under the budget.
        finish: ``retrain`` from fresh weights, as MorphNet does, ``finetune`` the surviving ones,
            which is better while epochs are few, or ``none``.
        finish_epochs: epochs of that.
        importance: of channels for the last choice: ``taylor``, of the loss before anything was
            charged, or the ``signal`` that was pressed on, as it is in the end.
        grow: how many times its size in the seed a group may reach.
        seed: of fresh weights and shuffling.
        out: folder for files; None to write none.
        exports: ``onnx``, ``litert``.
        callbacks: of Keras, for both trainings.
        verbose: of Keras.
        tell: who is told what happens.
        **options: of ``LatencyBudget``: ``signal``, ``threshold``, ``grouping`` ...

    Raises:
        InvalidInputError: for an option that means nothing, or a budget that cannot be kept.
        CostModelError: if the result cannot be exported, or computes something else.

    >>> import keras
    >>> from keras import layers
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(),
    ...     layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ... ])
    >>> data = Data(x=np.zeros((64, 8, 8, 3)), y=np.arange(64) % 2)
    >>> done = morph(
    ...     model, data, "flops", target="60%", search_epochs=1, finish="none", verbose=0
    ... )
    >>> done.structure.counts["conv/Conv2D"] <= 5
    True
    """
    if finish not in {"retrain", "finetune", "none"} or importance not in {"signal", "taylor"}:
        message = (
            "finish is retrain, finetune or none, and importance signal or taylor. "
            f"Received: finish={finish!r}, importance={importance!r}."
        )
        raise InvalidInputError(message)
    say = tell or (lambda _: None)
    model = as_keras(model)
    seconds: dict[str, float] = {}
    keras.utils.set_random_seed(seed)
    with _timed(seconds, "search"):
        budget, units = _search(
            model, data, cost, compiled, search_epochs, importance, callbacks, verbose,
            target_ms=target_ms, target=target, **options,
        )  # fmt: skip
    say(f"searched: {budget.report()}")
    timer = device_clock(budget.pricer.cost) if clock == "auto" else clock
    with _timed(seconds, "device"):
        wanted = budget.targets[0] if target is None or timer is None else target
        loop = fit_to_device(
            model,
            budget.pricer,
            units,
            wanted,
            clock=timer,
            start=budget.grouping.living(budget.alive()),
            grow=grow,
            seed=seed,
            tell=tell,
        )
    with _timed(seconds, "finish"):
        found = loop.best.projection
        if finish == "retrain":
            small = build(model, budget.pricer, found, seed)
        else:
            small = shrink(budget.finished_model(), found.alive, grouping=budget.grouping)
        metrics = _finish(small, data, compiled, finish, finish_epochs, callbacks, verbose)
    grew = (found.counts > budget.grouping.full_counts).any()
    structure = None if grew else _structure(budget, loop)
    files: dict[str, Path] = {}
    difference: dict[str, float] = {}
    if out is not None:
        files, difference = _write(small, structure, Path(out), exports, data)
        files |= _draw(budget, loop, Path(out), say)
    return Morphed(
        model=small,
        structure=structure,
        loop=loop,
        grouping=budget.grouping,
        metrics=metrics,
        seconds=seconds,
        files=files,
        difference=difference,
    )


def _search(
    model: Any,
    data: Data,
    cost: Cost,
    compiled: Callable[[Any, int], Any],
    epochs: int,
    importance: Importance,
    callbacks: Sequence[Any],
    verbose: int | str,
    **options: Any,
) -> tuple[LatencyBudget, NDArray[np.float64]]:
    """A model trained under its budget, and what each unit is worth."""
    steps = max(1, epochs) * data.steps
    budget = LatencyBudget(model, cost, steps=steps, **options)
    snapshot = TaylorSnapshot(budget, data.x, data.y, batch=data.batch_size)
    compiled(budget.model, steps)
    if epochs:
        budget.model.fit(
            data.x,
            data.y,
            batch_size=data.batch_size,
            epochs=epochs,
            callbacks=[budget, *([snapshot] if importance == "taylor" else []), *callbacks],
            verbose=verbose,
        )
    scores = np.maximum(budget.scores(), 0.0)
    if importance == "signal":
        return budget, scores
    worth = snapshot.importance if snapshot.importance is not None else snapshot.take()
    return budget, in_order_of(budget.grouping, worth, scores)


class _Best(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights of the best epoch: by accuracy where there is one, else by loss."""

    def __init__(self) -> None:
        super().__init__()
        self._score = -np.inf
        self._weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        values = {k: v for k, v in (logs or {}).items() if k.startswith("val_")}
        accuracy = next((v for k, v in values.items() if "accuracy" in k), None)
        score = accuracy if accuracy is not None else -values.get("val_loss", np.inf)
        if score > self._score:
            self._score = float(score)
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        if self._weights is not None:
            self.model.set_weights(self._weights)


def _finish(
    model: Any,
    data: Data,
    compiled: Callable[[Any, int], Any],
    finish: Finish,
    epochs: int,
    callbacks: Sequence[Any],
    verbose: int | str,
) -> dict[str, float]:
    model = compiled(model, max(1, epochs) * data.steps)
    if finish != "none" and epochs:
        kept = [_Best()] if data.validation else []
        model.fit(
            data.x,
            data.y,
            batch_size=data.batch_size,
            epochs=epochs,
            validation_data=data.validation,
            callbacks=[*kept, *callbacks],
            verbose=verbose,
        )
    if data.validation is None:
        return {}
    found = model.evaluate(*data.validation, batch_size=500, verbose=0, return_dict=True)
    return {name: float(value) for name, value in found.items()}


def _structure(budget: LatencyBudget, loop: LoopResult) -> Structure:
    pricer, best = budget.pricer, loop.best
    known: dict[str, Any] = {"costs": {pricer.unit: best.predicted_ms}}
    if pricer.unit == "ms":
        known |= {"predicted_ms": best.predicted_ms, "measured_ms": best.measured_ms}
        known["device"] = pricer.device.label if pricer.device is not None else ""
    return structure_of(budget.grouping, best.projection.alive, **known)


def _write(
    model: Any, structure: Structure | None, out: Path, exports: Sequence[str], data: Data
) -> tuple[dict[str, Path], dict[str, float]]:
    """Everything a deployment needs, each checked against the Keras model."""
    out.mkdir(parents=True, exist_ok=True)
    files = {"keras": out / "model.keras"}
    model.save(files["keras"])
    if structure is not None:
        files["structure"] = out / "structure.json"
        structure.save(files["structure"])
    difference: dict[str, float] = {}
    if "onnx" in exports:
        files["onnx"] = as_onnx(model, out / "model.onnx")
    if "litert" in exports:
        files["litert"] = write_litert(model, out / "model.tflite")
    for kind in ("onnx", "litert"):
        if kind in files:
            difference[kind] = same_outputs(model, files[kind], np.asarray(data.x[:1]))
    return files, difference


def _draw(
    budget: LatencyBudget, loop: LoopResult, out: Path, say: Callable[[str], None]
) -> dict[str, Path]:
    """Pictures of widths and, for a cost model, of where the time goes."""
    counts, files = loop.best.projection.counts, {}
    try:
        files["widths"] = plot_widths(budget.pricer, counts, out / "widths.svg")
        if budget.pricer.unit == "ms":
            files["layers"] = plot_breakdown(budget.pricer, counts, out / "layers.svg")
    except MissingDependencyError as error:
        say(f"no pictures: {error}")
    return files


@contextlib.contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Adds what its body took to a dictionary, in seconds."""
    begin = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - begin

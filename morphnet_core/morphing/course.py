"""Course: everything that ``morph`` does to a model, with all that was decided about it."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import MissingDependencyError
from costmodel.readers.keras import read_keras
from costmodel.sizes import Sizes
from morphnet_core.budget import LatencyBudget
from morphnet_core.budget.taylor import TaylorSnapshot, in_order_of
from morphnet_core.data import Data
from morphnet_core.groups import Grouping, find_groups
from morphnet_core.groups.convert import structure_of
from morphnet_core.morphing.clock import Clock, DeviceClock, as_onnx, device_clock
from morphnet_core.morphing.keeping import Kept
from morphnet_core.morphing.loop import LoopResult, build, fit_to_device
from morphnet_core.morphing.sample import sample_for
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
        differences: by exported kind and output, largest difference from the Keras model, as a
            share of the largest value of the output.
    """

    model: Any
    structure: Structure | None
    loop: LoopResult
    grouping: Grouping
    metrics: dict[str, float]
    seconds: dict[str, float]
    files: dict[str, Path] = field(default_factory=dict)
    differences: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def difference(self) -> dict[str, float]:
        """By exported kind, the largest of its outputs' differences."""
        return {kind: max(found.values()) for kind, found in self.differences.items()}

    def __str__(self) -> str:
        lines = [str(self.loop)]
        lines += [f"  {name}: {value:.4g}" for name, value in self.metrics.items()]
        lines += [f"  {name}: {seconds:.1f} s" for name, seconds in self.seconds.items()]
        lines += [f"  {kind}: {path}" for kind, path in self.files.items()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is decided before a model is morphed; see ``morph``.

    Attributes:
        sizes: values of all open dimensions.
        pictures: whether any are drawn.
        at: the steps begun so far, for messages.
    """

    data: Data
    cost: Cost
    compiled: Callable[[Any, int], Any]
    target_ms: float | None
    target: float | str | None
    clock: Clock | Literal["auto"] | None
    search_epochs: int
    finish: Finish
    finish_epochs: int
    importance: Importance
    grow: float
    seed: int
    sizes: Sizes
    out: Path | None
    exports: Sequence[str]
    callbacks: Sequence[Any]
    verbose: int | str
    say: Callable[[str], None]
    options: Mapping[str, Any]
    pictures: bool = True
    at: list[str] = field(default_factory=list)

    def run(self, model: Any) -> Morphed:
        """Search, choose widths, train the result and write it.

        Args:
            model: the seed, with a graph of layers; it is trained.
        """
        seconds: dict[str, float] = {}
        keras.utils.set_random_seed(self.seed)
        with Kept(self.out, self.say) as kept:
            with self._timed(seconds, "search"):
                budget, units = self._search(model)
            self.say(f"searched: {budget.report()}")
            if self.search_epochs:
                with _undisturbed():
                    kept.keep("searched.keras", budget.finished_model(), spare=True)
            with self._timed(seconds, "device"):
                loop = self._fitted(model, budget, units)
            with self._timed(seconds, "finish"):
                small = self._built(model, budget, loop)
                metrics = self._trained(small, kept)
            grew = (loop.best.projection.counts > budget.grouping.full_counts).any()
            structure = None if grew else _structure(budget, loop)
            self.at.append("writing and checking the result")
            files, differences = self._written(small, structure)
            files |= self._drawn(budget, loop)
        return Morphed(
            model=small,
            structure=structure,
            loop=loop,
            grouping=budget.grouping,
            metrics=metrics,
            seconds=seconds,
            files=files,
            differences=differences,
        )

    @contextlib.contextmanager
    def _timed(self, seconds: dict[str, float], name: str) -> Iterator[None]:
        """Adds what its body took to a dictionary, in seconds."""
        self.at.append(_STEPS[name])
        begin = time.perf_counter()
        yield
        seconds[name] = time.perf_counter() - begin

    def _search(self, model: Any) -> tuple[LatencyBudget, NDArray[np.float64]]:
        """A model trained under its budget, and what each unit is worth."""
        steps = max(1, self.search_epochs) * self.data.steps
        options = dict(self.options)
        grouping = options.pop("grouping", None)
        if not isinstance(grouping, Grouping):
            grouping = find_groups(read_keras(model, self.sizes), **(grouping or {}))
        budget = LatencyBudget(
            model,
            self.cost,
            steps=steps,
            target_ms=self.target_ms,
            target=self.target,
            grouping=grouping,
            **options,
        )
        snapshot = TaylorSnapshot(budget, self.data)
        self.compiled(budget.model, steps)
        if self.search_epochs:
            watching = [snapshot] if self.importance == "taylor" else []
            budget.model.fit(
                **self.data.fit_arguments,
                epochs=self.search_epochs,
                callbacks=[budget, *watching, *self.callbacks],
                verbose=self.verbose,
            )
        scores = np.maximum(budget.scores(), 0.0)
        if self.importance == "signal":
            return budget, scores
        worth = snapshot.importance if snapshot.importance is not None else snapshot.take()
        return budget, in_order_of(budget.grouping, worth, scores)

    def _fitted(self, model: Any, budget: LatencyBudget, units: NDArray[np.float64]) -> LoopResult:
        """Widths that the budget pays for, by the clock where there is one."""
        timer = device_clock(budget.pricer.cost) if self.clock == "auto" else self.clock
        if isinstance(timer, DeviceClock):
            timer = replace(timer, sizes={**self.sizes, **timer.sizes})
        return fit_to_device(
            model,
            budget.pricer,
            units,
            budget.targets[0] if self.target is None or timer is None else self.target,
            clock=timer,
            start=budget.grouping.living(budget.alive()),
            grow=self.grow,
            seed=self.seed,
            tell=self.say,
        )

    def _built(self, model: Any, budget: LatencyBudget, loop: LoopResult) -> Any:
        found = loop.best.projection
        if self.finish == "retrain":
            return build(model, budget.pricer, found, self.seed)
        return shrink(budget.finished_model(), found.alive, grouping=budget.grouping)

    def _trained(self, model: Any, kept: Kept) -> dict[str, float]:
        """Train the chosen network; its metrics on the validation data."""
        model = self.compiled(model, max(1, self.finish_epochs) * self.data.steps)
        validation = self.data.validation
        if self.finish != "none" and self.finish_epochs:
            best = [_Best()] if validation else []
            model.fit(
                **self.data.fit_arguments,
                epochs=self.finish_epochs,
                validation_data=validation,
                validation_steps=self.data.validation_steps,
                callbacks=[*best, *self.callbacks],
                verbose=self.verbose,
            )
        kept.keep("model.keras", model, spare=False)
        if self.data.x_val is None:
            return {}
        found = model.evaluate(**self.data.evaluate_arguments, verbose=0, return_dict=True)
        return {name: float(np.mean(value)) for name, value in found.items()}

    def _written(
        self, model: Any, structure: Structure | None
    ) -> tuple[dict[str, Path], dict[str, dict[str, float]]]:
        """Everything a deployment needs, each checked against the Keras model."""
        if self.out is None:
            return {}, {}
        files = {"keras": self.out / "model.keras"}
        if structure is not None:
            files["structure"] = self.out / "structure.json"
            structure.save(files["structure"])
        if "onnx" in self.exports:
            files["onnx"] = as_onnx(model, self.out / "model.onnx", self.sizes)
        if "litert" in self.exports:
            files["litert"] = write_litert(model, self.out / "model.tflite")
        sample = sample_for(model, self.data, self.sizes)
        differences = {
            kind: same_outputs(model, path, sample)
            for kind, path in files.items()
            if kind in {"onnx", "litert"}
        }
        return files, differences

    def _drawn(self, budget: LatencyBudget, loop: LoopResult) -> dict[str, Path]:
        """Pictures of widths and, for a cost model, of where the time goes."""
        files: dict[str, Path] = {}
        if self.out is None or not self.pictures:
            return files
        counts = loop.best.projection.counts
        try:
            files["widths"] = plot_widths(budget.pricer, counts, self.out / "widths.svg")
            if budget.pricer.unit == "ms":
                files["layers"] = plot_breakdown(budget.pricer, counts, self.out / "layers.svg")
        except MissingDependencyError as error:
            self.say(f"no pictures: {error}")
        return files


#: What goes on in each step that is timed.
_STEPS = {
    "search": "training under the budget and rating channels",
    "device": "choosing widths",
    "finish": "building and training the smaller network",
}


class _Best(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights of the best epoch: by accuracy where one output has one, else by loss."""

    def __init__(self) -> None:
        super().__init__()
        self._score = -np.inf
        self._weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        values = {k: v for k, v in (logs or {}).items() if k.startswith("val_")}
        accuracy = next((v for k, v in values.items() if "accuracy" in k), None)
        if len(self.model.outputs) > 1:
            accuracy = None  # of one output among several
        score = accuracy if accuracy is not None else -values.get("val_loss", np.inf)
        if score > self._score:
            self._score = float(score)
            self._weights = self.model.get_weights()

    def on_train_end(self, logs: Any = None) -> None:  # noqa: ARG002
        if self._weights is not None:
            self.model.set_weights(self._weights)


def _structure(budget: LatencyBudget, loop: LoopResult) -> Structure:
    pricer, best = budget.pricer, loop.best
    known: dict[str, Any] = {"costs": {pricer.unit: best.predicted_ms}}
    if pricer.unit == "ms":
        known |= {"predicted_ms": best.predicted_ms, "measured_ms": best.measured_ms}
        known["device"] = pricer.device.label if pricer.device is not None else ""
    return structure_of(budget.grouping, best.projection.alive, **known)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """The body draws from Python's and numpy's global random numbers without moving them on."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - layers draw seeds from it
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002

"""Course: everything that ``morph`` does to a model, with all that was decided about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from costmodel.errors import MissingDependencyError
from costmodel.figures import METRIC_NOISE, digits
from costmodel.protocols import CostModel
from costmodel.readers.keras import read_keras
from costmodel.sizes import Sizes
from morphnet_core.budget import LatencyBudget
from morphnet_core.budget.taylor import TaylorSnapshot, in_order_of, losses_of
from morphnet_core.data import Data
from morphnet_core.data.augmented import flipped_and_shifted
from morphnet_core.data.ordered import Change
from morphnet_core.data.streams import Replayed
from morphnet_core.groups import Alive, Grouping, find_groups
from morphnet_core.groups.convert import structure_of
from morphnet_core.morphing.answers import KeptClock
from morphnet_core.morphing.clock import Clock, DeviceClock, as_onnx, device_clock
from morphnet_core.morphing.distilling import taught
from morphnet_core.morphing.identity import cost_label, data_digest, model_digest, plainly_given
from morphnet_core.morphing.keeping import Kept
from morphnet_core.morphing.looking import Looking, loss_of_cut
from morphnet_core.morphing.loop import build, cut, fit_to_device, grown
from morphnet_core.morphing.record import save_record
from morphnet_core.morphing.sample import judged_by, sample_for
from morphnet_core.morphing.training import Part, Training
from morphnet_core.morphing.unfinished import SAVE_EVERY_S, Section, Unfinished
from morphnet_core.morphing.verify import same_outputs, write_litert
from morphnet_core.plots import plot_breakdown, plot_widths
from morphnet_core.pricing import Cost, Count
from morphnet_core.projection import Projection, project
from morphnet_core.projection.device import LoopResult, require_milliseconds
from morphnet_core.signals.copying import copied
from morphnet_core.structure import Structure

Finish = Literal["retrain", "finetune", "none"]
Importance = Literal["signal", "taylor"]
#: Options of a budget that only say who is told: what is trained does not hang on them.
WRITING = ("history", "writer", "log_groups")


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
        files: what was written, by kind: ``keras``, ``onnx``, ``litert``, ``structure``, the
            pictures ``widths`` and ``layers``, and ``record`` for ``costmodel report``.
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
        lines += [
            f"  {name}: {digits(value, METRIC_NOISE)}" for name, value in self.metrics.items()
        ]
        lines += [f"  {name}: {seconds:.1f} s" for name, seconds in self.seconds.items()]
        lines += [f"  {kind}: {path}" for kind, path in self.files.items()]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What is decided before a model is morphed; see ``morph``.

    Attributes:
        distil: share of the loss that is the seed's, while its weights are trained on.
        augment: whether images are mirrored and shifted in every training.
        looks: how many choices of widths are tried without training; 0 to go by importances.
        blocks: how many blocks may be rated, to go as a whole; 0 to keep all of them.
        sizes: values of all open dimensions.
        save_every_s: seconds between two saves of a training, at least.
        resized: whether the images are of another resolution than the target is a share of.
        pictures: whether any are drawn.
        resumes: whether its state is saved, and taken up where it is found.
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
    distil: float
    augment: bool
    importance: Importance
    looks: int
    blocks: int
    grow: float
    seed: int
    sizes: Sizes
    out: Path | None
    exports: Sequence[str]
    callbacks: Sequence[Any]
    verbose: int | str
    say: Callable[[str], None]
    options: Mapping[str, Any]
    save_every_s: float = SAVE_EVERY_S
    resized: bool = False
    pictures: bool = True
    resumes: bool = True
    at: list[str] = field(default_factory=list)

    def run(self, model: Any) -> Morphed:
        """Search, choose widths, train the result and write it.

        What was done before by the same course, and saved, is not done again.

        Args:
            model: the seed, with a graph of layers; it is trained.

        Raises:
            InvalidInputError: if a saved state is damaged or of another course, or cannot be
                written; and as for the parts.
        """
        seconds: dict[str, float] = {}
        unfinished = Unfinished.of(self.out if self.resumes else None, self.save_every_s)
        with unfinished.held(), Kept(self.out, self.say) as kept, unfinished.told(self.say):
            seed = model_digest(model)
            teacher = copied(model) if self.distil else None  # as it is before the search
            keras.utils.set_random_seed(self.seed)
            budget = self._budget(model)
            belongs = self._belongs(budget, seed)
            search = unfinished.section("search", belongs)
            chosen = belongs | {"grow": self.grow, "looks": self.looks} | self._without_blocks
            device = unfinished.section("device", chosen)
            looking = self._looking(budget, unfinished.section("looks", chosen))
            skipped = self.search_epochs * self.data.steps if search.done else 0
            timer = self._timer(model, budget, search, device)
            with self._timed(seconds, search):
                units = self._searched(budget, search)
            self.say(f"searched: {budget.report()}")
            if self.search_epochs:
                kept.keep("searched.keras", budget.finished_model(), spare=True)
            with self._timed(seconds, device):
                loop = self._fitted(model, budget, units, timer, device, looking)
            finish = unfinished.section("finish", self._finish_of(belongs, loop))
            with self._timed(seconds, finish):
                small = self._built(model, budget, loop)
                small = self.compiled(small, max(1, self.finish_epochs) * self.data.steps)
                if not finish.begun:
                    self._compare(budget, small)
                metrics = self._trained(small, teacher, kept, finish, before=skipped)
            grew = loop.best.projection.grew(budget.grouping)
            structure = None if grew else _structure(budget, loop)
            self.at.append("writing and checking the result")
            files, differences = self._written(small, structure)
            files |= self._drawn(budget, loop)
            if self.out is not None:
                files["record"] = save_record(self.out, budget.pricer, loop, metrics, seconds)
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
    def _timed(self, seconds: dict[str, float], section: Section) -> Iterator[None]:
        """One stage; adds what it took, in all processes, to a dictionary."""
        self.at.append(_STEPS[section.name])
        if section.begun and not section.done:
            self.say(f"going on from {section.path}: {_STEPS[section.name]}{section.where}")
        section.begin()
        keras.utils.set_random_seed(self.seed)  # whatever was done before, and in which process
        yield
        seconds[section.name] = section.seconds

    def _belongs(self, budget: LatencyBudget, seed: str) -> dict[str, Any]:
        """What the state of this course is known by."""
        return {
            "seed network": seed,
            "data": data_digest(self.data),
            "cost": cost_label(budget.pricer.cost),
            "target": self.target if self.target is not None else self.target_ms,
            "search_epochs": self.search_epochs,
            "importance": self.importance,
            "augment": self.augment,
            "seed": self.seed,
            "sizes": dict(self.sizes),
            "backend": keras.backend.backend(),
            **plainly_given({k: v for k, v in self.options.items() if k not in WRITING}),
        }

    def _finish_of(self, belongs: Mapping[str, Any], loop: LoopResult) -> dict[str, Any]:
        counts = loop.best.projection.counts
        own = {"finish": self.finish, "finish_epochs": self.finish_epochs, "distil": self.distil}
        return {**belongs, **own, **self._without_blocks, "widths": counts.tolist()}

    @property
    def _without_blocks(self) -> dict[str, bool]:
        return {"remove_blocks": True} if self.blocks else {}

    def _budget(self, model: Any) -> LatencyBudget:
        """The model under its budget, not yet trained."""
        options = dict(self.options)
        grouping = options.pop("grouping", None)
        if not isinstance(grouping, Grouping):
            grouping = find_groups(read_keras(model, self.sizes), **(grouping or {}))
        return LatencyBudget(
            model,
            self.cost,
            steps=self._search_steps,
            target_ms=self.target_ms,
            target=self.target,
            grouping=grouping,
            beyond=self.grow > 1.0 or self.resized,
            # Where nobody else reads the logs, groups would only crowd the progress line.
            **{"log_groups": bool(self.callbacks), **options},
        )

    @property
    def _search_steps(self) -> int:
        return max(1, self.search_epochs) * self.data.steps

    def _timer(
        self, model: Any, budget: LatencyBudget, search: Section, device: Section
    ) -> KeptClock | None:
        """The clock, after it has timed the seed once: what it cannot do fails before the search.

        Raises:
            InvalidInputError: if the budget is a number of something else than milliseconds.
            CostModelError: if the seed cannot be timed.
            LockedError: if another profiler holds the device, and nobody wants to wait.
        """
        if device.done:
            return None
        timer = self.timer(budget.pricer.cost)
        if timer is None:
            return None
        require_milliseconds(budget.pricer, self._wanted(budget, clocked=True))
        kept = KeptClock(timer, device)
        if not search.done:
            self.at.append("timing the seed network")
            kept.try_out(model)
        return kept

    def timer(self, cost: Count | CostModel) -> Clock | None:
        """What times networks; None to go by the prices.

        Raises:
            LockedError: if another profiler holds the device, and nobody wants to wait.
        """
        found = device_clock(cost) if self.clock == "auto" else self.clock
        if isinstance(found, DeviceClock):
            return replace(found, sizes={**self.sizes, **found.sizes})
        return found

    def _searched(self, budget: LatencyBudget, section: Section) -> NDArray[np.float64]:
        """What each unit is worth after training under the budget."""
        snapshot = TaylorSnapshot(budget, self.data)
        self.compiled(budget.model, self._search_steps)
        rated = self.importance == "taylor"
        parts: dict[str, Part] = {"budget": budget}
        if rated:
            parts["taylor"] = snapshot
        training = Training(
            model=budget.model,
            data=self.data,
            epochs=self.search_epochs,
            seed=(self.seed, 0),
            section=section,
            callbacks=[budget, *([snapshot] if rated else []), *self.callbacks],
            parts=parts,
            change=self._change,
            verbose=self.verbose,
        )
        if section.done:
            training.restore_end()
            return section.state.arrays["units"]
        if self.search_epochs:
            training.run()
        units = np.maximum(budget.scores(), 0.0)
        if rated:
            worth = snapshot.importance if snapshot.importance is not None else snapshot.take()
            units = in_order_of(budget.grouping, worth, units)
        training.save_end(units=units)
        return units

    def _wanted(self, budget: LatencyBudget, *, clocked: bool) -> float | str:
        """The target of the device loop: a share is one of the clock's milliseconds."""
        return self.target if self.target is not None and clocked else budget.targets[0]

    def _looking(self, budget: LatencyBudget, section: Section) -> Callable[..., Projection]:
        """How widths are chosen."""
        if not (self.looks or self.blocks):
            return project
        data, finished = judged_by(self.data), cache(budget.finished_model)

        def judge(kept: Alive) -> float:
            losses = losses_of(budget.model)
            return loss_of_cut(
                finished(), kept, budget.grouping, data, losses, constants=not self.blocks
            )

        return Looking(
            judge=judge,
            count=max(1, self.looks),
            seed=self.seed,
            section=section,
            say=self.say,
            blocks=self.blocks,
        )

    def _fitted(
        self,
        model: Any,
        budget: LatencyBudget,
        units: NDArray[np.float64],
        timer: KeptClock | None,
        section: Section,
        choose: Callable[..., Projection],
    ) -> LoopResult:
        """Widths that the budget pays for, by the clock where there is one."""
        if section.done:
            return LoopResult.from_json(section.state.values["loop"])
        loop = fit_to_device(
            model,
            budget.pricer,
            units,
            self._wanted(budget, clocked=timer is not None),
            clock=timer,
            start=budget.grouping.living(budget.alive()),
            grow=self.grow,
            seed=self.seed,
            tell=self.say,
            choose=choose,
        )
        timed = [] if timer is None else timer.timed
        section.save({"timed": timed, "loop": loop.to_json()}, done=True)
        return loop

    def _built(self, model: Any, budget: LatencyBudget, loop: LoopResult) -> Any:
        found = loop.best.projection
        if self.finish == "retrain":
            return build(model, budget.pricer, found, self.seed)
        if found.grew(budget.grouping):
            return grown(budget.finished_model(), found, budget.grouping, self.data)
        return cut(
            budget.finished_model(),
            found.alive,
            budget.grouping,
            self.data,
            constants=not self.blocks,
        )

    @property
    def _change(self) -> Change | None:
        return flipped_and_shifted if self.augment else None

    def _trained(
        self, model: Any, teacher: Any, kept: Kept, section: Section, before: int
    ) -> dict[str, float]:
        """Train the chosen network, by a teacher or without; its metrics on validation data."""
        best = _Best() if self.data.validation else None
        training = Training(
            model=model,
            data=self.data,
            epochs=0 if self.finish == "none" else self.finish_epochs,
            seed=(self.seed, 1),
            section=section,
            callbacks=[*([] if best is None else [best]), *self.callbacks],
            parts={} if best is None else {"best": best},
            change=self._change,
            validated=best is not None,
            verbose=self.verbose,
        )
        if section.done:
            training.restore_end()
        elif training.epochs:
            with taught(model, teacher, self.distil, self.say):
                training.run(before)
            if best is not None:
                best.give_back(model)
        kept.keep("model.keras", model, spare=False)
        if not section.done:
            training.save_end()
        return self.data.metrics(model)

    def _compare(self, budget: LatencyBudget, small: Any) -> None:
        """Say what cutting alone has changed."""
        if self.finish != "retrain" and not isinstance(self.data.x_val, Replayed | None):
            before = self.data.metrics(budget.model)
            after = self.data.metrics(small)
            changes = [
                f"{name} {digits(after[name], METRIC_NOISE)} ({digits(value, METRIC_NOISE)} before)"
                for name, value in before.items()
                if name in after and (name != "loss" or len(before) == 1)  # it holds the penalty
            ]
            self.say(f"right after shrinking: {', '.join(changes)}")

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

    def give_back(self, model: Any) -> None:
        """Give a model, after training, the weights of its best epoch."""
        if self._weights is not None:
            model.set_weights(self._weights)

    def saved(self) -> dict[str, NDArray[Any]]:
        """What a training needs to go on in another process."""
        weights = {f"weights/{place}": item for place, item in enumerate(self._weights or ())}
        return {"score": np.array(self._score), **weights}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``saved`` gave."""
        self._score = float(arrays["score"])
        self._weights = [arrays[f"weights/{place}"] for place in range(len(arrays) - 1)] or None


def _structure(budget: LatencyBudget, loop: LoopResult) -> Structure:
    pricer, best = budget.pricer, loop.best
    known: dict[str, Any] = {"costs": {pricer.unit: best.predicted_ms}}
    if pricer.unit == "ms":
        known |= {"predicted_ms": best.predicted_ms, "measured_ms": best.measured_ms}
        known["device"] = pricer.device.label if pricer.device is not None else ""
    return structure_of(budget.grouping, best.projection.alive, **known)

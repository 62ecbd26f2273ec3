"""The dry run: the whole way with a copy of the model on two batches, before anything is trained.

What cannot work, of the model, the data, the recipe, the budget or the exports, fails here, in
seconds. It is the very code of the real run. The model, the files and the random numbers of the
real run are left as they are.
"""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras

from costmodel.errors import CostModelError, InvalidInputError
from morphnet_core.morphing.clock import DeviceClock
from morphnet_core.morphing.course import WRITING, Course
from morphnet_core.morphing.sample import two_batches
from morphnet_core.signals.copying import copied


def rehearsed(course: Course, model: Any) -> None:
    """Raise what would go wrong with a course.

    Args:
        course: of the real run.
        model: the seed, not changed.

    Raises:
        InvalidInputError: for what Keras, the data or the recipe raises: says at which step, and
            why.
        CostModelError: for what cannot be read, cut, priced, exported or is exported wrongly.
    """
    exports = course.exports
    if _needs_onnx(course.clock) and "onnx" not in exports:
        exports = (*exports, "onnx")
    with tempfile.TemporaryDirectory(prefix="morphnet-") as folder:
        trial = replace(
            course,
            data=two_batches(course.data),
            compiled=_quickly(course.compiled),
            clock=None,
            search_epochs=min(1, course.search_epochs),
            finish_epochs=min(1, course.finish_epochs),
            looks=min(1, course.looks),
            blocks=min(1, course.blocks),
            out=Path(folder) if course.out is not None or _needs_onnx(course.clock) else None,
            exports=exports,
            callbacks=(),
            verbose=0,
            say=lambda _: None,
            options={k: v for k, v in course.options.items() if k not in WRITING},
            pictures=False,
            resumes=False,
            at=[],
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the real run will say what is worth it
                trial.run(copied(model))
        except (CostModelError, MemoryError):
            raise
        except Exception as error:
            message = (
                f"Tried on two batches before training, {trial.at[-1] if trial.at else 'copying'} "
                f"failed: {plainly(error)}. Nothing has been trained. Mend the model, load() or "
                "compiled(model, steps); dry_run=False leaves this out."
            )
            raise InvalidInputError(message) from error


def _needs_onnx(clock: Any) -> bool:
    """Whether a course times networks through files."""
    return isinstance(clock, DeviceClock)


def _quickly(compiled: Callable[[Any, int], Any]) -> Callable[[Any, int], Any]:
    """The same recipe, step by step where that saves the time of tracing."""

    def compiled_quickly(model: Any, steps: int) -> Any:
        model = compiled(model, steps)
        if keras.backend.backend() == "tensorflow" and getattr(model, "compiled", False):
            model.jit_compile = False
            model.run_eagerly = True
        return model

    return compiled_quickly


def plainly(error: Exception) -> str:
    """What an error says in one line: without colours, and without what its cause repeats."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip().rstrip(".") for line in text.splitlines() if line.strip()]
    kept = []
    for line in lines:
        if line.startswith("Arguments received by"):
            break
        kept.append(line)
    said = ". ".join(kept)[:400] or "no reason given"
    return f"{type(error).__name__}: {said}"

"""morph: one call from a seed network to a trained one that keeps a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import as_keras
from costmodel.sizes import Sizes
from morphnet_core.data import Data
from morphnet_core.data.augmented import are_images
from morphnet_core.morphing.clock import Clock
from morphnet_core.morphing.course import Course, Finish, Importance, Morphed
from morphnet_core.morphing.looking import MOST_BLOCKS
from morphnet_core.morphing.recipe import standard
from morphnet_core.morphing.rehearsal import rehearsed
from morphnet_core.morphing.resolving import at_best_resolution, at_least_resolution
from morphnet_core.morphing.sample import sizes_like
from morphnet_core.morphing.unfinished import SAVE_EVERY_S, Unfinished
from morphnet_core.pricing import Cost


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
    distil: float = 0.0,
    augment: bool = False,
    importance: Importance = "taylor",
    looks: int = 0,
    remove_blocks: bool = False,
    resolutions: Sequence[int] = (),
    grow: float = 1.0,
    seed: int = 0,
    sizes: Sizes | None = None,
    out: str | Path | None = None,
    exports: Sequence[str] = ("onnx",),
    callbacks: Sequence[Any] = (),
    verbose: int | str = "auto",
    tell: Callable[[str], None] | None = None,
    dry_run: bool = True,
    save_every_s: float = SAVE_EVERY_S,
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
        distil: share of the loss, from 0 to 1, that is how the smaller network differs from the
            seed as it was given, while its surviving weights are trained on. Each step then costs a
            forward pass of the seed more.
        augment: whether the ``standard`` recipe mirrors every second image, left to right, and
            shifts all of them by up to an eighth. Not for images that then show something else,
            such as digits.
        importance: of channels for the last choice: ``taylor``, of the loss before anything was
            charged, or the ``signal`` that was pressed on, as it is in the end.
        looks: how many choices of widths within the budget are tried: cut, statistics of batch
            normalisation taken anew, and judged by the loss on up to 1,024 validation samples
            (training samples where there are no others). The best is taken. 0 goes by importances
            alone. Not with ``grow``: new channels know nothing yet.
        remove_blocks: whether whole branches may go, such as the one of a residual block, where
            that loses less than narrower layers at the same cost. Each is rated by the loss
            without it, on the samples that ``looks`` judges by, statistics taken anew. Not with
            ``grow``.
        resolutions: heights in pixels that its images may have, beside one another and the data's
            own if that is named. At each the seed is cut to the budget, which stays what it is at
            the data's own, and judged as by ``looks``; the best is trained. The result takes images
            of that size.
        grow: how many times its size in the seed a group may reach. With ``finetune`` the wider
            network goes on from the weights there are; new channels change nothing at first.
        seed: of fresh weights and shuffling.
        sizes: values of open dimensions that it is deployed with; by default the data's.
        out: folder for files; None to write none.
        exports: ``onnx``, ``litert``.
        callbacks: of Keras, for both trainings.
        verbose: of Keras.
        tell: who is told what happens.
        dry_run: go the whole way with a copy on two batches first, so that what cannot work fails
            before training rather than after it; changes nothing.
        save_every_s: seconds between two saves of what has been done, at least, in the folder
            ``unfinished`` of ``out``. The same call goes on from there, after whatever ended it,
            and comes to the same network; when it has succeeded, the folder is removed.
        **options: of ``LatencyBudget``: ``signal``, ``threshold``, ``grouping`` ...

    Raises:
        InvalidInputError: for an option that means nothing, data that do not fit, a budget that
            cannot be kept, or an ``out`` that holds what another call has begun.
        LockedError: if another profiler holds the clock's device and ``clock`` does not wait.
        CostModelError: if the result cannot be exported, or computes something else. What had been
            trained by then is on disk, and a note of the error says where.

    >>> import keras
    >>> import numpy as np
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
    if not 0.0 <= distil <= (1.0 if finish == "finetune" else 0.0):
        message = (
            "distil is a share of the loss, from 0 to 1, and for finish='finetune' alone. "
            f"Received: distil={distil!r}, finish={finish!r}."
        )
        raise InvalidInputError(message)
    if looks < 0 or ((looks or remove_blocks) and grow > 1.0):
        message = (
            "looks is a number of choices to try, of 0 or more; it and remove_blocks are without "
            f"grow. Received: looks={looks!r}, remove_blocks={remove_blocks!r}, grow={grow!r}."
        )
        raise InvalidInputError(message)
    if augment and not (compiled is standard and are_images(data)):
        message = (
            "augment is for the standard recipe, and for arrays of images of at least 16 pixels a "
            "side with 1 or 3 channels last. A recipe of your own changes its data in load()."
        )
        raise InvalidInputError(message)
    model = as_keras(model, data.samples())
    course = Course(
        data=data,
        cost=cost,
        compiled=compiled,
        target_ms=target_ms,
        target=target,
        clock=clock,
        search_epochs=search_epochs,
        finish=finish,
        finish_epochs=finish_epochs,
        distil=distil,
        augment=augment,
        importance=importance,
        looks=looks,
        blocks=MOST_BLOCKS if remove_blocks else 0,
        grow=grow,
        seed=seed,
        sizes=sizes_like(data, model, sizes),
        out=None if out is None else Path(out),
        exports=tuple(exports),
        callbacks=tuple(callbacks),
        verbose=verbose,
        say=tell or (lambda _: None),
        options=options,
        save_every_s=save_every_s,
    )
    if dry_run and not Unfinished.of(course.out).begun:
        least = (course, model)
        if resolutions:
            least = at_least_resolution(course, model, resolutions)
        rehearsed(*least)
    if resolutions:
        course, model = at_best_resolution(course, model, resolutions)
    return course.run(model)

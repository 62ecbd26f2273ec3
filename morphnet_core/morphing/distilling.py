"""Distilling: a smaller network learns from what its seed returns, beside the labels.

What a trained network holds likely beside the right class says more of an image than its label
does (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from morphnet_core.budget.taylor import losses_of
from morphnet_core.gates.insert import functional
from morphnet_core.regularizer.penalty import forget_compiled

#: What logits are divided by, so that unlikely classes are heard.
TEMPERATURE = 4.0
#: Where probabilities stand for logits, those below are taken for this.
_LEAST = 1e-7
#: Losses of Keras by name, in small letters: of classes of which one is right; of classes each
#: right or not; and those that say how far any two outputs are apart.
_ONE_RIGHT = {
    "categoricalcrossentropy",
    "categoricalfocalcrossentropy",
    "kldivergence",
    "sparsecategoricalcrossentropy",
}
_EACH_RIGHT = {"binarycrossentropy", "binaryfocalcrossentropy"}
_DISTANCES = {
    "huber": keras.losses.Huber,
    "logcosh": keras.losses.LogCosh,
    "meanabsoluteerror": keras.losses.MeanAbsoluteError,
    "meansquarederror": keras.losses.MeanSquaredError,
}


@contextlib.contextmanager
def taught(
    model: Any, teacher: Any, share: float, say: Callable[[str], None] = lambda _: None
) -> Iterator[None]:
    """While the body trains a model, a share of its loss is how it differs from a teacher.

    Outputs with a cross-entropy are softened on both sides and compared by their divergence; those
    with another difference, such as the squared one, by that difference. Outputs count as heavily
    as ``compile`` has been told, and regularisers as before. The loss of validation stays that of
    the labels. A step costs a forward pass of the teacher more.

    Args:
        model: compiled, functional or sequential.
        teacher: another model of the same inputs and outputs; its weights are no longer trained.
        share: of the loss that is the teacher's, from 0 to 1.
        say: who is told that a loss of an own kind says nothing to a teacher, which then teaches
            nothing.
    """
    lessons = _lessons(model, say) if share else []
    if not any(lessons):
        yield
        return
    teacher.trainable = False
    plain = model.compute_loss

    def compute_loss(
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,  # noqa: FBT001, FBT002 - as Keras calls it
    ) -> Any:
        own = plain(x, y, y_pred, sample_weight, training=training)
        if not training:
            return own
        shown, made = (keras.tree.flatten(item) for item in (teacher(x, training=False), y_pred))
        heavy = _of_each(sample_weight, len(made))
        parts = zip(lessons, shown, made, heavy, strict=True)
        apart = [lesson.loss(*both) for lesson, *both in parts if lesson is not None]
        # Regularisers are in the loss of the labels, of which only a part counts.
        apart += [ops.sum(item) for item in model.losses]
        return (1.0 - share) * own + share * sum(ops.cast(item, own.dtype) for item in apart)

    model.compute_loss = compute_loss
    forget_compiled(model)
    try:
        yield
    finally:
        del model.compute_loss
        forget_compiled(model)


def _as_they_are(outputs: Any) -> Any:
    return outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class _Lesson:
    """How one output is compared with the teacher's.

    Attributes:
        compare: a loss of Keras.
        weight: what its result counts.
        soften: from logits, at a temperature of 1, to what ``compare`` takes for the truth; None
            where outputs are compared as they are.
        logits: from the outputs.
    """

    compare: Any
    weight: float
    soften: Callable[[Any], Any] | None = None
    logits: Callable[[Any], Any] = _as_they_are

    def loss(self, shown: Any, made: Any, heavy: Any) -> Any:
        """Of what the teacher has shown and what was made of it, by weights of the samples."""
        mask = getattr(made, "_keras_mask", None)  # of time steps
        shown, made = ops.stop_gradient(ops.cast(shown, "float32")), ops.cast(made, "float32")
        if self.soften is None:
            return self.weight * self.compare(shown, _masked(made, mask), heavy)
        theirs, ours = self.logits(shown) / TEMPERATURE, self.logits(made) / TEMPERATURE
        truth = self.soften(theirs)
        # What the teacher itself would get is taken off: who does as it does has nothing to learn.
        ours, theirs = _masked(ours, mask), _masked(theirs, mask)
        lacking = self.compare(truth, ours, heavy) - self.compare(truth, theirs, heavy)
        return self.weight * TEMPERATURE**2 * lacking


def _lessons(model: Any, say: Callable[[str], None]) -> list[_Lesson | None]:
    """One for each output of a model, None where it has no loss; none at all if one is unknown."""
    known = losses_of(model)
    weights = [1.0 if item is None else item for item in _by_output(model, known["loss_weights"])]
    lessons: list[_Lesson | None] = []
    for loss, weight in zip(_by_output(model, known["loss"]), weights, strict=True):
        if loss is None:
            lessons.append(None)
            continue
        lesson = _lesson(loss, weight)
        if lesson is None:
            say(f"not distilled: only losses of Keras' own say how to, not {_title(loss)}")
            return []
        lessons.append(lesson)
    return lessons


def _lesson(given: Any, weight: float) -> _Lesson | None:
    """How to compare what was compiled with one loss; None for a loss of an unknown kind."""
    try:
        loss = keras.losses.get(given)
    except ValueError:  # a name that means one of several losses
        return None
    own = isinstance(loss, keras.losses.Loss)
    kind: Any = type(loss) if own else loss
    name = str(getattr(kind, "__name__", ""))
    if getattr(keras.losses, name, None) is not kind:
        return None
    name = name.replace("_", "").lower()
    settings = loss.get_config() if own else {}
    common = {"reduction": settings.get("reduction", "sum_over_batch_size")}
    if name in _DISTANCES:
        return _Lesson(compare=loss if own else _DISTANCES[name](**common), weight=weight)
    axis, logits = settings.get("axis", -1), settings.get("from_logits", False)
    common |= {"from_logits": True, "axis": axis}
    if name in _ONE_RIGHT:
        return _Lesson(
            compare=keras.losses.CategoricalCrossentropy(**common),
            weight=weight,
            soften=lambda found: ops.softmax(found, axis=axis),
            logits=_as_they_are if logits else _log,
        )
    if name in _EACH_RIGHT:
        return _Lesson(
            compare=keras.losses.BinaryCrossentropy(**common),
            weight=weight,
            soften=ops.sigmoid,
            logits=_as_they_are if logits else _log_odds,
        )
    return None


def _log(outputs: Any) -> Any:
    return ops.log(ops.clip(outputs, _LEAST, 1.0))


def _log_odds(outputs: Any) -> Any:
    return _log(outputs) - _log(1.0 - outputs)


def _masked(tensor: Any, mask: Any) -> Any:
    """A tensor of whose time steps some do not count."""
    if mask is not None:
        with contextlib.suppress(AttributeError):
            tensor._keras_mask = mask
    return tensor


def _by_output(model: Any, given: Any) -> list[Any]:
    """What ``compile`` was given, for each output: one for all, in order, or by name."""
    graph = functional(model)
    count = len(graph.outputs)
    if not keras.tree.is_nested(given):
        return [given] * count
    if isinstance(given, Mapping):
        names = list(graph.output_names)
        if isinstance(graph.output, Mapping):
            places = keras.tree.pack_sequence_as(graph.output, list(range(count)))
            names = sorted(places, key=places.__getitem__)
        return [given.get(name) for name in names]
    return _of_each(keras.tree.flatten(given), count)


def _of_each(given: Any, count: int) -> list[Any]:
    """One for each output, or the same for all of them."""
    flat: list[Any] = list(keras.tree.flatten(given))
    return flat if len(flat) == count else flat[:1] * count


def _title(loss: Any) -> str:
    return str(getattr(loss, "__name__", "") or getattr(loss, "name", "") or type(loss).__name__)

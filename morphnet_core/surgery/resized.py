"""Shrinks, rebuilds and expands Keras models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.readers.keras import as_keras, read_keras
from morphnet_core.expansion import copies_of, scaled_counts
from morphnet_core.groups import ChannelGroup, Grouping, cascade, find_groups
from morphnet_core.groups.convert import alive_of, checked_alive
from morphnet_core.structure import Structure
from morphnet_core.surgery.exactness import check_exact, example
from morphnet_core.surgery.folding import fold_for
from morphnet_core.surgery.plan import Integers, Plan
from morphnet_core.surgery.remake import Maker
from morphnet_core.surgery.values import FlattenError, ReviveError
from morphnet_core.surgery.walk import Walk


def shrink(
    model: Any,
    structure: Structure | str | Path | NDArray[np.bool_],
    *,
    grouping: Grouping | None = None,
    examples: Sequence[Any] | None = None,
    constants: bool = True,
    check: bool = True,
) -> Any:
    """The model without the channels that a structure leaves out, with its surviving weights.

    Removed channels are read as zero; what those that training has silenced still return, a
    constant, goes into the biases of the layers that read them (see ``surgery.folding``), and with
    examples so does the mean of all others. Layers of which nothing is left vanish, so do branches;
    what a dead branch still adds is added by one Rescaling layer. Layers keep names, settings and
    ``trainable``; the result is not compiled. A model of a subclass of ``keras.Model`` becomes a
    plain one.

    Both networks are run on one random example before this returns, and must agree.

    Args:
        model: a functional or sequential Keras model, not changed; or the path of its file.
        structure: what to keep, or its file; or one truth value for each unit of ``grouping``.
        grouping: groups of the model, where it has been grouped with options or with open sizes.
        examples: batches of what the model is fed; a hundred samples in all tell enough. An empty
            sequence folds nothing: removed channels are zero.
        constants: False leaves out what dead branches still add to sums: one layer less each, and
            the network takes what prices say.
        check: False leaves out the comparison, which takes as long as two predictions.

    Returns:
        A new Keras model.

    Raises:
        InvalidInputError: if the structure is of another network.
        ModelFormatError: naming the layer that cannot be rebuilt, and what to do; or if the
            result computes something else than the masked original.

    >>> import keras
    >>> from keras import layers
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(),
    ...     layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ... ])
    >>> grouping = find_groups(read_keras(model))
    >>> alive = grouping.full()
    >>> alive[next(group.units for group in grouping.groups if group.name == "conv")][::2] = False
    >>> shrink(model, alive, grouping=grouping).get_layer("conv").filters
    4
    """
    model = as_keras(model)
    grouping = grouping or find_groups(read_keras(model))
    plan = _plan(grouping, structure)
    return _carried(model, plan, examples, constants=constants, check=check)


def rebuild(
    model: Any,
    structure: Structure | str | Path | NDArray[np.bool_],
    *,
    grouping: Grouping | None = None,
    seed: int | None = None,
) -> Any:
    """The shrunk model's topology with fresh weights, to be trained from scratch.

    Weights come from the layers' own initialisers; what preprocessing layers measured on data
    beforehand is kept. What a dead branch still added is left out.

    Args:
        model: as for ``shrink``.
        structure: as for ``shrink``.
        grouping: as for ``shrink``.
        seed: makes initialisers reproducible that have no seed of their own.

    Returns:
        A new Keras model.

    Raises:
        InvalidInputError: as for ``shrink``.
        ModelFormatError: as for ``shrink``.

    >>> import keras
    >>> from keras import layers
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(),
    ...     layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ... ])
    >>> grouping = find_groups(read_keras(model))
    >>> rebuild(model, grouping.full(), seed=0).get_layer("conv").filters
    8
    """
    model = as_keras(model)
    grouping = grouping or find_groups(read_keras(model))
    return _resized(model, _plan(grouping, structure), seed=seed, carry=False)


def expand(
    model: Any,
    widths: float | Mapping[str, int] | NDArray[np.intp],
    *,
    grouping: Grouping | None = None,
    multiple: int = 1,
    seed: int | None = None,
) -> Any:
    """The model at other widths with fresh weights.

    Tied layers get one width whatever the factor, so that 1.3 times a residual network is a
    residual network.

    Args:
        model: as for ``shrink``.
        widths: a factor of every width, e.g. ``expand_to(...).multiplier``; or channels of each
            group, by its name or in the order of the grouping.
        grouping: as for ``shrink``.
        multiple: with a factor, every width that changes is a multiple of it.
        seed: as for ``rebuild``.

    Returns:
        A new Keras model.

    Raises:
        InvalidInputError: if a width is given for no group, or for one that may not change.
        ModelFormatError: as for ``shrink``.

    >>> import keras
    >>> from keras import layers
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(),
    ...     layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ... ])
    >>> expand(model, 2.0).get_layer("conv").filters
    16
    """
    model = as_keras(model)
    grouping = grouping or find_groups(read_keras(model))
    counts = grouping.full_counts
    if isinstance(widths, Mapping):
        counts = _named_counts(grouping, counts, widths)
    elif np.ndim(widths):
        counts = np.asarray(widths, dtype=np.intp)
    else:
        counts = scaled_counts(grouping, counts, float(np.asarray(widths)), multiple=multiple)
    plan = Plan(grouping, copies_of(grouping, counts))
    return _resized(model, plan, seed=seed, carry=False)


def widen(
    model: Any,
    counts: Sequence[int] | NDArray[np.intp],
    *,
    alive: NDArray[np.bool_] | None = None,
    grouping: Grouping | None = None,
    examples: Sequence[Any] | None = None,
    constants: bool = True,
    check: bool = True,
) -> Any:
    """The model at other widths, wider ones among them, that goes on from the weights it has.

    It computes what it did, but for what is removed. New channels of a layer have the weights of
    those that are there, in another order, and whoever reads them begins with weights of zero: they
    count as soon as these have been trained a step. (Chen et al., "Net2Net", ICLR 2016, keep the
    function by copies that share their readers' weights; copies must first grow apart.) Statistics
    of batch normalisation are then to be taken anew (``reestimate``), those of new channels above
    all.

    Args:
        model: as for ``shrink``.
        counts: channels of each group, in the order of the grouping.
        alive: one truth value for each unit of the grouping: which of those stay whose groups do
            not grow; all by default.
        grouping: as for ``shrink``.
        examples: as for ``shrink``.
        constants: as for ``shrink``.
        check: as for ``shrink``.

    Returns:
        A new Keras model.

    Raises:
        InvalidInputError: if counts or units do not fit the groups.
        ModelFormatError: as for ``shrink``.

    >>> import keras
    >>> from keras import layers
    >>> model = keras.Sequential([
    ...     keras.Input((8, 8, 3)), layers.Conv2D(8, 3, name="conv"), layers.BatchNormalization(),
    ...     layers.ReLU(), layers.GlobalAveragePooling2D(), layers.Dense(2),
    ... ])
    >>> grouping = find_groups(read_keras(model))
    >>> counts = [16 if group.name == "conv" else group.size for group in grouping.groups]
    >>> widen(model, counts, grouping=grouping).get_layer("conv").filters
    16
    """
    model = as_keras(model)
    grouping = grouping or find_groups(read_keras(model))
    wanted = np.asarray(counts, dtype=np.intp)
    kept = checked_alive(grouping, grouping.full() if alive is None else alive)
    for group, count in zip(grouping.groups, scaled_counts(grouping, wanted, 1.0), strict=True):
        if group.frozen and count != group.size:
            raise InvalidInputError(_frozen(group))
        if count <= group.size and kept[group.units].sum() != count:
            message = (
                f"{group.name!r} is to have {count} channels, but {kept[group.units].sum()} of its "
                "units are alive. Give those that stay."
            )
            raise InvalidInputError(message)
    copies = cascade(grouping, kept).astype(np.intp)
    grown = (wanted > grouping.full_counts)[grouping.group_of]
    copies[grown] = copies_of(grouping, wanted)[grown]
    return _carried(model, Plan(grouping, copies), examples, constants=constants, check=check)


def _plan(grouping: Grouping, structure: Structure | str | Path | NDArray[np.bool_]) -> Plan:
    if isinstance(structure, str | Path):
        structure = Structure.load(structure)
    if isinstance(structure, Structure):
        alive = alive_of(grouping, structure)
    else:
        alive = checked_alive(grouping, structure)
    return Plan(grouping, cascade(grouping, alive).astype(np.intp))


def _carried(
    model: Any, plan: Plan, examples: Sequence[Any] | None, *, constants: bool, check: bool
) -> Any:
    """The model of a plan, with its weights; see ``shrink``."""
    plan.adds = constants
    given = [example(model, plan, seed) for seed in (1, 2)] if examples is None else examples
    plan.fold = fold_for(model, plan, given, every=examples is not None)
    made = _resized(model, plan, seed=None, carry=True)
    # Where channels change under a normalisation over them, the result is not the masked original.
    if check and not plan.grouping.normalisations:
        check_exact(model, made, plan)
    return made


def _named_counts(grouping: Grouping, counts: Integers, widths: Mapping[str, int]) -> Integers:
    places = {group.name: place for place, group in enumerate(grouping.groups)}
    counts = counts.copy()
    for name, width in widths.items():
        if name not in places:
            message = (
                f"There is no group of channels {name!r}; there are "
                f"{', '.join(list(places)[:8])}... Give widths by the names of grouping.groups."
            )
            raise InvalidInputError(message)
        group = grouping.groups[places[name]]
        if group.frozen and width != group.size:
            raise InvalidInputError(_frozen(group))
        counts[places[name]] = width
    return counts


def _frozen(group: ChannelGroup) -> str:
    return f"The {group.size} channels of {group.name!r} cannot change: {group.frozen}."


def _resized(model: Any, plan: Plan, *, seed: int | None, carry: bool) -> Any:
    """Walk until every constant has its layer and every nested model its place.

    Each round keeps one more unit or opens one more nested model, so it ends.

    Raises:
        ModelFormatError: if a round could do neither.
    """
    flat: frozenset[str] = frozenset()
    while True:
        maker = Maker(seed, plan.fold)
        walk = Walk(plan, maker, carry=carry, flat=flat)
        try:
            made = walk.build(model)
        except ReviveError as need:
            _revive(plan, need, warn=carry)
        except FlattenError as need:
            if need.path in flat:
                raise _stuck(need) from need
            flat |= {need.path}
        else:
            if carry:
                maker.carry_weights()
            else:
                maker.carry_statistics()
            return made


def _stuck(need: Exception) -> ModelFormatError:
    message = (
        f"The network cannot be rebuilt with these widths ({need}), and there is no channel that "
        "could be kept to help it. Keep more channels, or exclude the layers named: "
        "find_groups(..., exclude=[...])."
    )
    return ModelFormatError(message)


def _revive(plan: Plan, need: ReviveError, *, warn: bool) -> None:
    """Keep a channel of each tensor that is needed.

    Raises:
        ModelFormatError: if none of them has one that was to go.
    """
    revived = sum(plan.revive(tensor) for tensor in need.tensors)
    if not revived:
        raise _stuck(need) from need
    if warn:
        names = ", ".join(repr(name) for name in need.tensors)
        message = (
            f"All channels of {names} were to go, but then {need.title} would need a constant that "
            "no single layer returns. One channel each is kept, with weights of zero behind it, so "
            "that the network stays exact."
        )
        warnings.warn(message, stacklevel=4)

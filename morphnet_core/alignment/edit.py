"""The same ONNX graph with other numbers of channels: padded, or cut as pruning cuts it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.network import Network
from morphnet_core.alignment.freeze import misfits
from morphnet_core.alignment.places import Places, UnfitError, kept_places, wider_places
from morphnet_core.alignment.rewrite import all_changes, rewritten, sizes_of
from morphnet_core.alignment.source import Source
from morphnet_core.groups import Alive, Grouping, Units, resize


def pad(source: Source, grouping: Grouping, counts: Units) -> onnx.ModelProto:
    """The network with more units per group, all new ones silent; not yet run and compared.

    Args:
        source: the network as it is.
        grouping: its groups, from ``paddable``.
        counts: units per group, at least as many as now.

    Raises:
        ModelFormatError: naming the layer whose constants cannot follow.
        InvalidInputError: if a group would shrink, or a frozen one change.
    """
    try:
        network, places = resize(grouping, counts), wider_places(grouping, counts)
    except UnfitError as error:
        raise _failure(source, source.network.name, str(error)) from error
    return _edited(source, grouping, network, places)


def cut(source: Source, grouping: Grouping, alive: Alive) -> onnx.ModelProto:
    """The network with only some units, as a structural pruner leaves it.

    Args:
        source: the network as it is.
        grouping: its groups.
        alive: one truth value per unit; every group keeps one.

    Raises:
        ModelFormatError: naming the layer whose constants cannot follow.
        InvalidInputError: if a group would lose all units, or a frozen one any.
    """
    empty = np.flatnonzero(grouping.counts(alive) == 0)
    if len(empty):
        name = grouping.groups[empty[0]].name
        message = f"Group {name!r} would lose all its channels. Keep at least one."
        raise InvalidInputError(message)
    return _edited(source, grouping, resize(grouping, alive), kept_places(grouping, alive))


def _edited(
    source: Source, grouping: Grouping, network: Network, places: Mapping[str, Places]
) -> onnx.ModelProto:
    for name, reason in misfits(source, grouping, network, places).items():
        raise _failure(source, name, reason)
    changes, _ = all_changes(source, grouping, network, places)
    try:
        return rewritten(source, changes, sizes_of(grouping, network))
    except UnfitError as error:
        raise _failure(source, source.network.name, str(error)) from error


def _failure(source: Source, layer: str, reason: str) -> ModelFormatError:
    return ModelFormatError(f"{source.path}: its channels cannot change at {layer}: {reason}.")

"""From alive units to the Structure that is written to a file, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.network import Network
from morphnet_core.groups.blocks import vanished
from morphnet_core.groups.counted import group_counts
from morphnet_core.groups.grouping import Grouping
from morphnet_core.structure import Structure, match_names
from morphnet_core.structure_fields import LayerWidth

Booleans = NDArray[np.bool_]


def structure_of(grouping: Grouping, alive: Booleans, **known: Any) -> Structure:
    """What every producing layer and every group keeps.

    Args:
        grouping: the groups.
        alive: which units are alive.
        **known: further fields of the Structure: ``device``, ``costs``, ``predicted_ms`` ...
    """
    alive = checked_alive(grouping, alive)
    layers = {}
    for origin, tensor in _producers(grouping).items():
        kept = grouping.kept(tensor, alive)
        layers[origin] = LayerWidth(
            count=len(kept),
            of=len(grouping.units[tensor]),
            kept=tuple(int(index) for index in kept),
            operation=_operation(grouping.network, origin),
        )
    groups = {group.name: int(alive[group.units].sum()) for group in grouping.groups}
    removed = vanished(grouping, grouping.counts(alive))
    return Structure(layers=layers, groups=groups, removed=removed, **known)


def alive_of(grouping: Grouping, structure: Structure) -> Booleans:
    """Which units of the network a structure keeps.

    Layers that the structure does not name stay whole. Of a layer of which only the number of
    channels is known, as from a file of the original MorphNet, the first ones are kept.

    Raises:
        InvalidInputError: naming the layer, if the structure is of another network, contradicts
            the groups, or removes channels that cannot go.
    """
    producers = _producers(grouping)
    names = match_names(tuple(structure.layers), tuple(producers))
    strange = [name for name in structure.layers if name not in names]
    if strange:
        message = (
            f"The structure has a layer {strange[0]!r}, but the network's layers are called "
            f"{', '.join(list(producers)[:4])}... Use the structure with the model it was made for."
        )
        raise InvalidInputError(message)
    alive = np.ones(grouping.num_units, dtype=np.bool_)
    counted: dict[str, int] = {}
    decided: dict[int, str] = {}
    for name, width in structure.layers.items():
        tensor = producers[names[name]]
        size = len(grouping.units[tensor])
        if width.count > size or width.of not in {0, size}:
            message = (
                f"The structure keeps {width.count} of {width.of or '?'} channels of layer "
                f"{name!r}, which has {size} here. Use it with the model it was made for."
            )
            raise InvalidInputError(message)
        if width.kept is None:
            counted[name] = width.count
        else:
            _keep(grouping, tensor, name, width, alive, decided)
    known = _group_counts(grouping, structure, alive, decided)
    by_position = {int(grouping.group_of[unit]) for unit in decided}
    layers = {name: (producers[names[name]], count) for name, count in counted.items()}
    found = group_counts(grouping, layers, known)
    found.update({index: count for index, (count, _) in known.items() if index not in by_position})
    for index, count in found.items():
        group = grouping.groups[index]
        alive[group.start + count : group.start + group.size] = False
    return checked_alive(grouping, alive)


def _group_counts(
    grouping: Grouping, structure: Structure, alive: Booleans, decided: Mapping[int, str]
) -> dict[int, tuple[int, str]]:
    """Kept channels of groups by what positions, or else the structure's groups, say; and who."""
    known = {
        index: (structure.groups[group.name], group.name)
        for index, group in enumerate(grouping.groups)
        if group.name in structure.groups
    }
    for unit, name in decided.items():
        index = int(grouping.group_of[unit])
        known[index] = int(alive[grouping.groups[index].units].sum()), name
    return known


def checked_alive(grouping: Grouping, alive: Booleans) -> Booleans:
    """``alive`` as booleans.

    Raises:
        InvalidInputError: unless there is one for each unit and what cannot go is alive.
    """
    alive = np.asarray(alive, dtype=np.bool_)
    grouping.check_alive(alive)
    for group in grouping.groups:
        if group.frozen and not alive[group.start : group.start + group.size].all():
            message = (
                f"Channels of {group.name!r} cannot be removed: {group.frozen}. Keep all "
                f"{group.size} of them; grouping.allowed(alive) does."
            )
            raise InvalidInputError(message)
    return alive


def _producers(grouping: Grouping) -> dict[str, str]:
    """Tensor of each layer that writes fresh channels, in the order of the network."""
    found: dict[str, str] = {}
    for layer in grouping.mixers:
        if layer.call == 0:
            found[layer.origin or layer.name] = layer.outputs[0]
    return found


def _operation(network: Network, origin: str) -> str:
    """The operation that TensorFlow 1 ran for a layer, by which the original named it."""
    steps = [layer for layer in network.layers if (layer.origin or layer.name) == origin]
    kinds = {layer.op.kind for layer in steps}
    first = steps[0].op
    three = len(first.inputs[0]) == 5
    if "conv_transpose" in kinds:
        return "Conv3DBackpropInputV2" if three else "Conv2DBackpropInput"
    if "conv" in kinds:
        if sum(layer.op.kind == "conv" and not layer.call for layer in steps) > 1:
            return "separable_conv2d"
        return "Conv3D" if three else "Conv2D"
    return "MatMul" if kinds & {"matmul", "gemm"} else ""


def _keep(
    grouping: Grouping,
    tensor: str,
    name: str,
    width: LayerWidth,
    alive: Booleans,
    decided: dict[int, str],
) -> None:
    """Apply the kept positions of one layer, which other layers of its groups must agree with."""
    units = grouping.units[tensor]
    kept = np.zeros(len(units), dtype=np.bool_)
    kept[list(width.kept or ())] = True
    for position, unit in enumerate(units.tolist()):
        if unit < 0:
            continue
        other = decided.setdefault(unit, name)
        if (other != name or not alive[unit]) and alive[unit] != kept[position]:
            message = (
                f"The structure {'keeps' if kept[position] else 'removes'} channel {position} of "
                f"layer {name!r}, which lives and dies with one of layer {other!r}, and that says "
                "the opposite. Save the structure again from one grouping."
            )
            raise InvalidInputError(message)
        alive[unit] = kept[position]

"""Which channel groups of a file can be padded: all but those that a trial shows cannot.

Groups are frozen where a padded channel could be infinite or not a number (which times zero is not
zero), where a caller may replace the weights, and where the trial, a copy padded everywhere, does
not have the sizes that it should: some constant in the graph then means channels in a way that is
not understood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from costmodel.errors import CostModelError, ModelFormatError
from costmodel.network import Layer, Network
from costmodel.readers.onnx import OVERRIDABLE
from costmodel.readers.onnx_sizes import BoundModel, bind
from morphnet_core.alignment.places import Places, UnfitError, wider_places
from morphnet_core.alignment.rewrite import all_changes, rewritten, sizes_of
from morphnet_core.alignment.source import Source
from morphnet_core.groups import Grouping, Units, find_groups, resize

#: Kinds whose result may be infinite or not a number for a constant that weights of zero leave.
_SHARP = frozenset({"acos", "asin", "atan", "log", "reciprocal", "rsqrt", "sqrt", "tan"})
#: The trial pads the n-th group by 1 + n modulo this.
_TRIAL = 7


def paddable(source: Source) -> Grouping:
    """Groups of a network; those that cannot be padded are frozen, each with its reason.

    Raises:
        ModelFormatError: if no trial succeeds, whatever is frozen.
    """
    grouping = find_groups(source.network)
    reasons = {
        layer.name: reason
        for layer in source.network.layers
        if (reason := _reason_beforehand(source, layer))
    }
    for _ in range(len(grouping.groups) + 2):  # every trial but the last freezes some group
        grouping = _frozen(grouping, reasons)
        reasons = _reasons_found(source, grouping)
        if not reasons:
            return grouping
        if _touched(grouping, reasons):
            continue
        if all(group.frozen for group in grouping.groups):
            break
        # The cause lies before what shows it: then nothing is safe.
        layer, reason = next(iter(reasons.items()))
        reasons = {item.name: f"{layer}: {reason}" for item in grouping.network.layers}
    layer, reason = next(iter(reasons.items()))
    message = f"{source.path}: even a plain copy of it fails at {layer}: {reason}."
    raise ModelFormatError(message)


def _reason_beforehand(source: Source, layer: Layer) -> str:
    """Why channels around a layer must stay; empty if they need not."""
    op = layer.op
    if op.attribute(OVERRIDABLE) is not None:
        return "its weights are inputs too, so that others may be fed (fix them first)"
    if op.kind in _SHARP:
        return f"the {op.kind} of a padded channel may not be finite"
    if op.kind == "div" and not _is_constant(source, layer, 1):
        return "a padded channel may be divided by zero"
    if op.kind == "mod" and not _is_constant(source, layer, 1):
        return "a padded channel may be divided by zero"
    if op.kind == "group_norm":
        return "a group of channels that share statistics is not padded"
    if op.kind == "pow" and not _is_gentle(source, layer):
        return "a power of a padded channel may not be finite"
    pads = op.attribute("pads", ())
    if op.kind == "pad" and pads and op.inputs[0] != op.outputs[0]:
        axis = 1
        if pads[axis] or pads[axis + len(pads) // 2]:
            return "it adds channels by an attribute"
    return ""


def _operand(source: Source, layer: Layer, place: int) -> str:
    return str(source.model.graph.node[source.nodes[layer.outputs[0]]].input[place])


def _is_constant(source: Source, layer: Layer, place: int) -> bool:
    return _operand(source, layer, place) in source.bound.constants


def _is_gentle(source: Source, layer: Layer) -> bool:
    """Whether an exponent is a known constant from 0 up."""
    value = source.bound.constants.get(_operand(source, layer, 1))
    return value is not None and bool(np.all(np.asarray(value, dtype=float) >= 0))


def _touched(grouping: Grouping, reasons: Mapping[str, str]) -> set[int]:
    """Groups that are not frozen yet around some layers."""
    layers = [layer for layer in grouping.network.layers if layer.name in reasons]
    found = {group for layer in layers for group in grouping.groups_at(layer)}
    return {group for group in found if not grouping.groups[group].frozen}


def _frozen(grouping: Grouping, reasons: Mapping[str, str]) -> Grouping:
    """The grouping with all groups around some layers frozen."""
    groups = list(grouping.groups)
    for layer in grouping.network.layers:
        if layer.name not in reasons:
            continue
        for group in grouping.groups_at(layer):
            if not groups[group].frozen:
                reason = f"{layer.name}: {reasons[layer.name]}"
                groups[group] = replace(groups[group], frozen=reason)
    return replace(grouping, groups=tuple(groups))


def _reasons_found(source: Source, grouping: Grouping) -> dict[str, str]:
    """What a copy padded everywhere stumbles over, by name of a layer."""
    counts = np.array(
        [
            group.size + (0 if group.frozen else 1 + index % _TRIAL)
            for index, group in enumerate(grouping.groups)
        ],
        dtype=np.intp,
    )
    try:
        places = wider_places(grouping, counts)
    except UnfitError as error:
        # Which channels lie elsewhere is found by padding one group at a time.
        return _one_by_one(grouping, counts) or {
            layer.name: str(error) for layer in grouping.network.layers
        }
    return misfits(source, grouping, resize(grouping, counts), places)


def _one_by_one(grouping: Grouping, counts: Units) -> dict[str, str]:
    sizes = grouping.full_counts
    for index in np.flatnonzero(counts != sizes).tolist():
        single = sizes.copy()
        single[index] = counts[index]
        try:
            wider_places(grouping, single)
        except UnfitError as error:
            for layer in grouping.network.layers:
                if index in grouping.groups_at(layer):
                    return {layer.name: str(error)}
    return {}


def misfits(
    source: Source, grouping: Grouping, network: Network, places: Mapping[str, Places]
) -> dict[str, str]:
    """Layers at which a network of other widths would not hold together, and why.

    Only sizes are looked at; no weight is read or written.

    Args:
        source: the network as it is.
        grouping: its groups.
        network: the same layers at their new sizes.
        places: what becomes of every channel axis.
    """
    changes, unfit = all_changes(source, grouping, network, places)
    if unfit:
        return unfit
    sizes = sizes_of(grouping, network)
    try:
        model = rewritten(source, changes, sizes, hollow=True)
        bound = bind(source.path, model, source.network.inputs)
    except CostModelError as error:
        return {layer.name: str(error) for layer in grouping.network.layers}
    # What nobody reads is not written again.
    kept = {name for node in model.graph.node for name in node.output}
    wanted = {
        name: size
        for layer in network.layers
        for name, size in zip(layer.outputs, layer.op.outputs, strict=True)
        if name in kept
    }
    return _first_difference(grouping, wanted, source.bound, bound)


def _first_difference(
    grouping: Grouping,
    wanted: Mapping[str, tuple[int, ...]],
    before: BoundModel,
    after: BoundModel,
) -> dict[str, str]:
    """The first layer whose result has another size than it should."""
    for layer in grouping.network.layers:
        for name in layer.outputs:
            found = after.tensors.get(name)
            if name not in before.tensors or name not in wanted:
                continue
            if found is None or found.shape != wanted[name]:
                shown = found.shape if found else after.note or "unknown"
                reason = f"padded, its size would be {shown} and not {wanted[name]}"
                return {layer.name: reason}
    return {}

"""Writes a network with other channel axes: every constant that follows channels, every setting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from costmodel.network import Layer, Network
from costmodel.op import Shape
from costmodel.sampling.constants import read_constants, write_constants
from morphnet_core.alignment.fits import Attribute, Change, Fit, Setting, Situation, changes_at
from morphnet_core.alignment.places import Places, UnfitError
from morphnet_core.alignment.source import Source
from morphnet_core.groups import Grouping

Array = NDArray[np.generic]


def all_changes(
    source: Source, grouping: Grouping, network: Network, places: Mapping[str, Places]
) -> tuple[dict[int, list[Change]], dict[str, str]]:
    """What has to change, node by node.

    Args:
        source: the network as it is.
        grouping: its groups.
        network: the same layers at their new sizes.
        places: of every tensor.

    Returns:
        Changes by position of the node; and by name of a layer that cannot follow, why.
    """
    after = {layer.name: layer for layer in network.layers}
    changes: dict[int, list[Change]] = {}
    unfit: dict[str, str] = {}
    for layer in grouping.network.layers:
        node = source.nodes[layer.outputs[0]]
        try:
            found = _changes_of(source, grouping, layer, after.get(layer.name), places)
        except UnfitError as error:
            unfit[layer.name] = str(error)
            continue
        if found:
            changes[node] = found
    return changes, unfit


def _changes_of(
    source: Source,
    grouping: Grouping,
    layer: Layer,
    resized: Layer | None,
    places: Mapping[str, Places],
) -> list[Change]:
    if resized is None or resized.inputs != layer.inputs:
        message = "nothing would be left of it"
        raise UnfitError(message)
    node = source.model.graph.node[source.nodes[layer.outputs[0]]]
    situation = Situation(
        node=node,
        layer=layer,
        op=resized.op,
        places=places,
        tensors=source.bound.tensors,
        axes=grouping.axes,
    )
    found = []
    for change in changes_at(situation):
        if isinstance(change, Setting) and change.operand < len(node.input):
            name = node.input[change.operand]
            told = change if name not in source.measured else _told(source, layer, change)
            if told is None:
                continue  # the network computes it anew; the trial sees whether that is right
            change = told
        if isinstance(change, Fit):
            _check_fit(source, node.input[change.operand], change)
        found.append(change)
    return found


def _told(source: Source, layer: Layer, change: Setting) -> Setting | None:
    """What to say instead of a size that the network computes; None to let it compute.

    Exporters write ``x.view(len(x), 256)`` as a batch read from ``x`` beside a plain 256. A target
    copies what it can from the front, so that an open batch stays open.
    """
    sizes = layer.op.inputs[0]
    values = list(change.values)
    copied = 0
    if layer.op.kind == "reshape" and layer.op.attribute("allowzero") is None:
        pairs = zip(values, sizes, layer.op.outputs[0], strict=False)
        while (pair := next(pairs, None)) and pair[0] == pair[1] == pair[2]:
            values[copied] = 0
            copied += 1
    before = layer.op.constants[0] if len(layer.op.constants) == 1 else ()
    rest = zip(values[copied:], before[copied:], strict=False)
    # Sizes that do not follow channels may follow what is open.
    sure = bool(copied and before) and all(value != old or value == -1 for value, old in rest)
    return Setting(operand=change.operand, values=tuple(values)) if sure or source.static else None


def _check_fit(source: Source, name: str, fit: Fit) -> None:
    """Raise ``UnfitError`` unless a constant's axis really runs over the channels."""
    info = source.bound.tensors.get(name)
    if name not in source.bound.constants or name in source.measured or info is None:
        message = f"its operand {name!r} is computed rather than constant"
        raise UnfitError(message)
    if len(info.shape) <= fit.axis or info.shape[fit.axis] != fit.places.before:
        message = (
            f"axis {fit.axis} of its operand {name!r} {info.shape} does not run over its "
            f"{fit.places.before} channels"
        )
        raise UnfitError(message)


def rewritten(
    source: Source,
    changes: Mapping[int, Sequence[Change]],
    sizes: Mapping[str, Shape],
    *,
    hollow: bool = False,
) -> onnx.ModelProto:
    """A copy of the source's model in which changes are made.

    Constants that nodes compute become stored ones where they change. A constant that several
    nodes read is kept once for each way in which it changes.

    Args:
        source: what is copied.
        changes: by position of the node.
        sizes: new sizes of tensors.
        hollow: write zeros of the right sizes and read no value, to look at sizes only.

    Raises:
        UnfitError: if a constant's value cannot be read.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    graph = model.graph
    _keep_foreign_sizes(graph, sizes)
    constants = _Constants(source, hollow=hollow)
    names = _Names(graph)
    values: dict[str, Array] = {}
    for index, found in changes.items():
        node = graph.node[index]
        for change in found:
            if isinstance(change, Attribute):
                _set_attribute(node, change)
            elif isinstance(change, Setting):
                dtype = constants.dtype_of(node, change.operand)
                key = (change.operand, change.values)
                name = names.new(_operand(node, change.operand), (index, key))
                values[name] = np.array(change.values, dtype=dtype)
                _read(node, change.operand, name)
        for operand, fits in _by_operand(found).items():
            old = node.input[operand]
            name = names.new(old, tuple(_key(fit) for fit in fits))
            if name not in values:
                values[name] = constants.fitted(old, fits)
            _read(node, operand, name)
    write_constants(model, values)
    return model


def _keep_foreign_sizes(graph: onnx.GraphProto, sizes: Mapping[str, Shape]) -> None:
    """Drop inferred sizes, which would be stale; results of foreign kernels cannot be inferred."""
    foreign = {name for node in graph.node if node.domain for name in node.output}
    kept = [item for item in graph.value_info if item.name in foreign]
    for item in kept:
        dims = item.type.tensor_type.shape.dim
        for dim, size in zip(dims, sizes.get(item.name, ()), strict=False):
            if dim.dim_value and dim.dim_value != size:
                dim.dim_value = size
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _by_operand(changes: Sequence[Change]) -> dict[int, list[Fit]]:
    found: dict[int, list[Fit]] = {}
    for change in changes:
        if isinstance(change, Fit):
            found.setdefault(change.operand, []).append(change)
    return found


def _key(fit: Fit) -> tuple[object, ...]:
    places = fit.places
    return fit.axis, places.after, places.old.tobytes(), places.new.tobytes(), fit.fill


def _operand(node: onnx.NodeProto, place: int) -> str:
    return str(node.input[place]) if len(node.input) > place else ""


def _read(node: onnx.NodeProto, place: int, name: str) -> None:
    while len(node.input) <= place:
        node.input.append("")
    node.input[place] = name


def _set_attribute(node: onnx.NodeProto, change: Attribute) -> None:
    kept = [item for item in node.attribute if item.name != change.name]
    if change.value is not None:
        kept.append(helper.make_attribute(change.name, change.value))
    del node.attribute[:]
    node.attribute.extend(kept)


class _Names:
    """Names for changed constants: one for each way in which a constant changes."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._taken = {item.name for item in (*graph.initializer, *graph.input)}
        self._taken.update(name for node in graph.node for name in (*node.input, *node.output))
        self._given: dict[tuple[str, object], str] = {}

    def new(self, old: str, key: object) -> str:
        """The name of ``old`` changed as ``key`` says."""
        if (old, key) not in self._given:
            stem = f"{old or 'sizes'}_aligned"
            name, number = stem, 1
            while name in self._taken:
                number += 1
                name = f"{stem}_{number}"
            self._taken.add(name)
            self._given[old, key] = name
        return self._given[old, key]


class _Constants:
    """Values of a model's constants, read at first use."""

    def __init__(self, source: Source, *, hollow: bool) -> None:
        self._source = source
        self._hollow = hollow
        self._stored: Mapping[str, Array] | None = None

    def dtype_of(self, node: onnx.NodeProto, operand: int) -> str:
        """Type of a node's operand that names sizes; int64 where there was none."""
        info = self._source.bound.tensors.get(_operand(node, operand))
        return info.dtype if info else "int64"

    def fitted(self, name: str, fits: Sequence[Fit]) -> Array:
        """A constant whose axes follow channels."""
        if self._hollow:
            info = self._source.bound.tensors[name]
            sizes = list(info.shape)
            for fit in fits:
                sizes[fit.axis] = fit.places.after
            return np.zeros(sizes, dtype=info.dtype)
        value = self._value(name)
        for fit in fits:
            value = _moved(value, fit)
        return value

    def _value(self, name: str) -> Array:
        if self._stored is None:
            self._stored = read_constants(self._source.model.graph)
        found = self._stored.get(name)
        return found if found is not None else _computed(self._source.model, name)


def _moved(value: Array, fit: Fit) -> Array:
    sizes = list(value.shape)
    sizes[fit.axis] = fit.places.after
    result = np.full(sizes, fit.fill, dtype=value.dtype)
    place: list[slice | NDArray[np.intp]] = [slice(None)] * value.ndim
    place[fit.axis] = fit.places.new
    result[tuple(place)] = np.take(value, fit.places.old, axis=fit.axis)
    return result


def _computed(model: onnx.ModelProto, name: str) -> Array:
    """A constant that nodes make out of stored ones.

    Raises:
        UnfitError: if they cannot be run here.
    """
    wanted, nodes = {name}, []
    for node in reversed(model.graph.node):
        if not wanted.isdisjoint(node.output):
            nodes.append(node)
            wanted.update(node.input)
    stored = [item for item in model.graph.initializer if item.name in wanted]
    graph = helper.make_graph(
        nodes[::-1], "constant", [], [onnx.ValueInfoProto(name=name)], initializer=stored
    )
    single = helper.make_model(graph, opset_imports=model.opset_import)
    try:
        (value,) = ReferenceEvaluator(single).run(None, {})
    except Exception as error:
        message = f"the constant {name!r} cannot be computed ({error})"
        raise UnfitError(message) from error
    return np.asarray(value)


def sizes_of(grouping: Grouping, network: Network) -> dict[str, Shape]:
    """Sizes of all tensors of a resized network."""
    sizes = dict(grouping.sizes)
    for layer in network.layers:
        sizes.update(zip(layer.outputs, layer.op.outputs, strict=True))
    return sizes

"""Costs of clusters at many widths: all of them go through the runtime's rules at once.

A cluster is put between stand-ins for its surroundings (a blocked or plain producer, a reader that
enters the blocked layout), resized to every wanted pair of widths, and everything together is one
network for ``anticipate`` and one list of Ops for the cost model. So a width that leaves a fast
path, splits a fused sum or needs a reorder is charged for it by the same rules that decide in
the runtime, and none of them is written down a second time here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from costmodel.collector import no_garbage_collection
from costmodel.device import Device
from costmodel.network import Layer, Network
from costmodel.op import Op, Shape, conv_op
from costmodel.protocols import CostModel
from morphnet_core.pricing.clusters import Cluster
from morphnet_core.pricing.executed import block_of, executed
from morphnet_core.pricing.resized import channels, op_at, size_at
from morphnet_core.pricing.wiring import Floats

#: Points that go through the rules together; more at once keep more objects alive for nothing.
_CHUNK = 256
#: Separates a fragment's number from the names inside it.
_TAG = "|"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A cluster at one pair of widths.

    Attributes:
        cluster: what is resized.
        input: channels of the input axis; unused where there is one axis.
        output: channels of the output axis.
    """

    cluster: Cluster
    input: int
    output: int


@dataclass(slots=True)
class _Batch:
    """One network of many fragments."""

    layers: list[Layer] = field(default_factory=list)
    inputs: dict[str, Shape] = field(default_factory=dict)
    outputs: list[str] = field(default_factory=list)
    stubs: set[str] = field(default_factory=set)
    #: Tensors whose conversion back to the plain layout is others' business.
    others: set[str] = field(default_factory=set)
    #: Stand-ins' tensors: their conversion counts if the cluster reads it.
    sources: set[str] = field(default_factory=set)
    #: Part of a tensor's conversion that is this cluster's, by the conversion's result.
    parts: dict[str, float] = field(default_factory=dict)


def costs_of(
    points: Sequence[Point], cost: CostModel, device: Device | None
) -> tuple[Floats, dict[str, str]]:
    """What each fragment costs, stand-ins left out.

    Args:
        points: clusters and widths.
        cost: prices the kernels.
        device: whose runtime decides what is executed.

    Returns:
        One cost per point, and by kind of kernel why some kernels are not in it.
    """
    with no_garbage_collection():
        counted = [
            (start + number, op, part)
            for start in range(0, len(points), _CHUNK)
            for number, op, part in _kernels(points[start : start + _CHUNK], device)
        ]
    unique = list(dict.fromkeys(op for _, op, _ in counted))
    prices = cost.price(unique)
    place = {op: row for row, op in enumerate(unique)}
    costs = np.zeros(len(points))
    rows = np.array([number for number, _, _ in counted], dtype=int)
    parts = np.array([part for _, _, part in counted], dtype=float)
    values = prices.values[[place[op] for _, op, _ in counted]] if counted else np.zeros(0)
    np.add.at(costs, rows, np.nan_to_num(values, nan=0.0) * parts)
    unpriced = {unique[row].kind: reason for row, reason in sorted(prices.reasons.items())}
    return costs, unpriced


def _kernels(points: Sequence[Point], device: Device | None) -> list[tuple[int, Op, float]]:
    """Every kernel that points of one batch need: position of the point, Op and its part of it."""
    batch = _Batch()
    block = block_of(device)
    for number, point in enumerate(points):
        _add_fragment(batch, f"{number}{_TAG}", point, block)
    network = Network(
        name="fragments",
        layers=tuple(batch.layers),
        inputs=batch.inputs,
        outputs=tuple(batch.outputs),
    )
    return _counted(executed(network, device), batch)


def _add_fragment(batch: _Batch, tag: str, point: Point, block: int) -> None:
    cluster = point.cluster
    widths = _tensor_widths(point, block)
    names = {tensor: f"{tag}{tensor}" for tensor in widths}
    sizes = {
        tensor: size_at(size, cluster.axes[tensor], widths[tensor])
        for tensor, size in _sizes(cluster).items()
    }
    reads = zip(cluster.reads, cluster.sources, cluster.sharers, strict=True)
    for tensor, source, sharers in reads:
        converted = names[tensor] if source == "blocked" else f"{names[tensor]}/reordered"
        batch.parts[converted] = 1.0 / sharers
        if source == "input" or len(sizes[tensor]) != 4:
            batch.inputs[names[tensor]] = sizes[tensor]
        else:
            _add_source(batch, names[tensor], sizes[tensor], blocked=source == "blocked")
    for layer in cluster.layers:
        read = [sizes[name] for name in layer.inputs]
        written = [sizes[name] for name in layer.outputs]
        batch.layers.append(
            Layer(
                name=f"{tag}{layer.name}",
                op=op_at(layer.op, read, written, cluster.axes[layer.outputs[0]]),
                inputs=tuple(names[name] for name in layer.inputs),
                outputs=tuple(names[name] for name in layer.outputs),
            )
        )
    for tensor in cluster.writes:
        _add_reader(batch, cluster, names[tensor], sizes[tensor])


def _add_source(batch: _Batch, tensor: str, size: Shape, *, blocked: bool) -> None:
    """A stand-in for whatever writes ``tensor``: a blocked convolution, or a kernel that is plain.

    It is returned by the network too, so that nothing is folded into it.
    """
    origin = f"{tensor}<"
    if blocked:
        batch.inputs[origin] = (size[0], 1, *size[2:])
        op = conv_op(
            in_channels=1, out_channels=size[1], size=size[2:], kernel=(1, 1), batch=size[0]
        )
    else:
        batch.inputs[origin] = size
        op = Op(kind="elu", inputs=(size,), outputs=(size,))
    batch.layers.append(Layer(name=origin, op=op, inputs=(origin,), outputs=(tensor,)))
    batch.stubs.add(origin)
    batch.sources.add(tensor)
    batch.outputs.append(tensor)


def _add_reader(batch: _Batch, cluster: Cluster, tensor: str, size: Shape) -> None:
    """A stand-in for a reader that wants ``tensor`` in the blocked layout, where there is one."""
    batch.outputs.append(tensor)
    if not cluster.returned:
        batch.others.add(tensor)
    if not cluster.feeds_blocked or len(size) != 4:
        return
    name = f"{tensor}>"
    op = conv_op(in_channels=size[1], out_channels=16, size=size[2:], kernel=(1, 1), batch=size[0])
    batch.layers.append(Layer(name=name, op=op, inputs=(tensor,), outputs=(name,)))
    batch.stubs.add(name)
    batch.outputs.append(name)
    batch.others.add(name)


def _counted(network: Network, batch: _Batch) -> list[tuple[int, Op, float]]:
    """Fragment number, Op and part of every kernel that belongs to a cluster."""
    wanted: list[tuple[int, Layer]] = []
    for layer in network.layers:
        number, tagged, _ = layer.name.partition(_TAG)
        if not tagged or (layer.covers and batch.stubs.issuperset(layer.covers)):
            continue
        if layer.op.kind == "reorder_output" and layer.outputs[0] in batch.others:
            continue
        wanted.append((int(number), layer))
    read = {
        tensor
        for _, layer in wanted
        if layer.op.kind != "reorder_output"
        for tensor in layer.inputs
    }
    return [
        (number, layer.op, batch.parts.get(layer.outputs[0], 1.0) if layer.outputs else 1.0)
        for number, layer in wanted
        if layer.op.kind != "reorder_output"
        or layer.outputs[0] not in batch.sources
        or layer.outputs[0] in read
    ]


def _sizes(cluster: Cluster) -> dict[str, Shape]:
    """Sizes of all tensors of a cluster at the seed's widths."""
    sizes: dict[str, Shape] = {}
    for layer in cluster.layers:
        sizes.update(zip(layer.inputs, layer.op.inputs, strict=True))
        sizes.update(zip(layer.outputs, layer.op.outputs, strict=True))
    return sizes


def _tensor_widths(point: Point, block: int) -> dict[str, int]:
    """Channels of every tensor of the cluster at the wanted widths."""
    cluster = point.cluster
    full_in, full_out = axis_sizes(cluster)
    full = {name: channels(size, cluster.axes[name]) for name, size in _sizes(cluster).items()}
    widths: dict[str, int] = {}

    def scaled(tensor: str) -> int:
        before = tensor in cluster.before
        wanted, whole = (point.input, full_in) if before else (point.output, full_out)
        return _scaled(full[tensor], wanted, whole, block)

    for tensor in cluster.reads:
        widths[tensor] = scaled(tensor)
    for layer in cluster.layers:
        op = layer.op
        first = layer.inputs[0] if layer.inputs else ""
        for tensor in layer.outputs:
            if op.kind == "concat" and op.attribute("axis") == cluster.axes[tensor]:
                widths[tensor] = sum(widths[name] for name in layer.inputs)
            elif layer not in cluster.mixers and first and full[tensor] == full[first]:
                widths[tensor] = widths[first]
            else:
                widths[tensor] = scaled(tensor)
    return widths


def _scaled(full: int, wanted: int, whole: int, block: int) -> int:
    """``full`` channels in proportion; parts of whole blocks stay whole blocks."""
    if full == 1 or wanted == whole:
        return full
    if full == whole:
        return wanted
    step = block if full % block == 0 and (full * wanted) % whole else 1
    return max(step, round(full * wanted / whole / step) * step)


def axis_sizes(cluster: Cluster) -> tuple[int, int]:
    """Full channels of the input and output axes; the input's is 1 where there is one axis."""
    sizes = _sizes(cluster)
    wide = [
        channels(sizes[name], cluster.axes[name]) if name else 1
        for name in (cluster.input, cluster.output)
    ]
    return wide[0], wide[1]

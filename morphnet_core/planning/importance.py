"""What channels are worth, as far as their weights alone tell.

The norm of what writes a channel and of what reads it, each beside the other channels of its layer,
summed over all layers that it goes through: the group magnitude of Fang et al., "DepGraph", CVPR
2023. It tells channels of one group apart. What a group is worth beside others norms do not tell:
a channel counts as many times as there are layers on it, so that one that a residual sum carries
through a stage is worth more than one that a single block uses. Whoever has data rates channels
with them instead (``morphnet shrink``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from costmodel.network import Layer
from costmodel.op import CONV_KINDS
from costmodel.sampling.constants import read_constants
from morphnet_core.alignment import Source
from morphnet_core.groups import Grouping, Units

Floats = NDArray[np.float64]


def weight_importance(source: Source, grouping: Grouping) -> Floats:
    """Norms of weights, relative to those of the other channels of each layer.

    Args:
        source: the network.
        grouping: its groups.

    Returns:
        ``(units,)`` of at least 0: on average as many as convolutions and products write or read
        a channel; 1 where no weight is known.
    """
    stored = read_constants(source.model.graph)
    total, seen, layers = (np.zeros(grouping.num_units) for _ in range(3))
    for layer in grouping.network.layers:
        reads = source.model.graph.node[source.nodes[layer.outputs[0]]].input
        weight = stored.get(reads[1]) if len(reads) > 1 else None
        if weight is None or not np.issubdtype(weight.dtype, np.floating):
            continue
        power = np.nan_to_num(weight.astype(float)) ** 2
        for axis, units in _sides(grouping, layer, power.ndim):
            if axis < power.ndim and power.shape[axis] == len(units):
                others = tuple(i for i in range(power.ndim) if i != axis)
                norms, there = _relative(units, power.sum(axis=others), len(total))
                total += norms
                seen += there
                # A normalisation is no layer of its own: it may have been folded into one.
                layers += there if layer.op.kind != "batch_norm" else 0
    return np.where(seen > 0, total / np.maximum(seen, 1) * np.maximum(layers, 1), 1.0)


def _sides(grouping: Grouping, layer: Layer, rank: int) -> Iterator[tuple[int, Units]]:
    """Axes of a layer's weight that run over channels, each with their units."""
    op = layer.op
    read, written = grouping.units[layer.inputs[0]], grouping.units[layer.outputs[0]]
    if op.kind == "batch_norm":
        yield 0, written
    elif op.kind in CONV_KINDS:
        turned = op.kind == "conv_transpose"
        yield (0, read) if turned else (0, written)
        if op.groups == 1:
            yield (1, written) if turned else (1, read)
    elif op.kind in {"gemm", "matmul"} and rank == 2:
        rows = int(bool(op.attribute("transB", 0)))
        yield 1 - rows, written
        yield rows, read


def _relative(units: Units, power: Floats, count: int) -> tuple[Floats, NDArray[np.bool_]]:
    """The norm of each unit beside the mean of all of a layer, and which units these are.

    Args:
        units: at each position of an axis.
        power: sum of squares at each position.
        count: of all units.
    """
    own = units >= 0
    there = np.bincount(units[own], minlength=count) > 0
    norms = np.sqrt(np.bincount(units[own], weights=power[own], minlength=count))
    mean = norms[there].mean() if there.any() else 0.0
    return np.where(there, norms / mean if mean > 0 else 1.0, 0.0), there

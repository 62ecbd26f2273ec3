"""What channels are worth, as far as their weights alone tell.

The norm of what writes a channel and of what reads it, each beside the other channels of its layer,
averaged over all layers that it goes through: the group magnitude of Fang et al., "DepGraph", CVPR
2023. It tells channels of one group apart. What a group is worth beside others it does not tell, so
that every channel counts 1 on average; whoever has data rates channels with them instead
(``morphnet shrink``).
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
        ``(units,)`` of at least 0 and about 1 on average; 1 where no weight is known.
    """
    stored = read_constants(source.model.graph)
    total = np.zeros(grouping.num_units)
    layers = np.zeros(grouping.num_units)
    for layer in grouping.network.layers:
        reads = source.model.graph.node[source.nodes[layer.outputs[0]]].input
        weight = stored.get(reads[1]) if len(reads) > 1 else None
        if weight is None or not np.issubdtype(weight.dtype, np.floating):
            continue
        power = np.nan_to_num(weight.astype(float)) ** 2
        for axis, units in _sides(grouping, layer, power.ndim):
            if axis < power.ndim and power.shape[axis] == len(units):
                others = tuple(i for i in range(power.ndim) if i != axis)
                _add(total, layers, units, power.sum(axis=others))
    return np.where(layers > 0, total / np.maximum(layers, 1), 1.0)


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


def _add(total: Floats, layers: Floats, units: Units, power: Floats) -> None:
    """Count one layer in: the norm of each unit, beside the mean of all."""
    own = units >= 0
    if not own.any():
        return
    found = np.bincount(units[own], weights=power[own], minlength=len(total))
    there = np.bincount(units[own], minlength=len(total)) > 0
    norms = np.sqrt(found)
    mean = norms[there].mean()
    total += np.where(there, norms / mean if mean > 0 else 1.0, 0.0)
    layers += there

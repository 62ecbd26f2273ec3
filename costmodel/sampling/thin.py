"""thin: a network with fewer channels, cut as pruning cuts them, odd counts included."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping

import numpy as np
import onnx
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from costmodel.op import Shape
from costmodel.sampling.channel_rules import RULES
from costmodel.sampling.channels import FROZEN, Edit, Ids, Tracer
from costmodel.sampling.constants import (
    Array,
    captured_names,
    is_uniform,
    read_constants,
    write_constants,
)

Mask = NDArray[np.bool_]


def thin(model: onnx.ModelProto, *, keep: tuple[float, float], seed: int) -> onnx.ModelProto:
    """A copy of ``model`` in which every convolution keeps a random share of its output channels.

    Channels that live and die together (residual sums, depthwise convolutions ...) are cut
    together, and all weights, biases and sizes follow. Channels that reach the model's outputs, or
    a node that mixes channels in a way that is not followed, stay.

    Args:
        model: with fixed sizes, but for the batch.
        keep: least and greatest share of channels to keep.
        seed: same seed, same network.

    Raises:
        InvalidInputError: if ``keep`` is not a range within (0, 1].
    """
    plan = _Plan(model, keep, seed)
    thinned = onnx.ModelProto()
    thinned.CopyFrom(model)
    del thinned.graph.value_info[:]
    values: dict[str, Array] = {}
    for (name, uses), edits in plan.operands().items():
        value = plan.constants[name]
        for edit in edits:
            value = _apply(value, edit, plan.mask(edit.ids))
        target = plan.name_for(name, uses)
        values[target] = value
        for node, operand in uses:
            thinned.graph.node[node].input[operand] = target
    for edit in plan.tracer.edits:
        if edit.form == "groups":
            _set_groups(thinned.graph.node[edit.node], int(plan.mask(edit.ids).sum()))
    write_constants(thinned, values)
    return thinned


class _Plan:
    """What is cut: the ties of a model and the choice of channels that stay."""

    def __init__(self, model: onnx.ModelProto, keep: tuple[float, float], seed: int) -> None:
        if not 0 < keep[0] <= keep[1] <= 1:
            message = (
                "keep is the least and the greatest share of channels that stay, "
                f"0 < least <= greatest <= 1. Received: {keep}."
            )
            raise InvalidInputError(message)
        graph = model.graph
        self.constants = read_constants(graph)
        self.tracer = Tracer(graph, self.constants, _shapes(model))
        self.tracer.walk(RULES)
        self.tracer.freeze(*(item.name for item in graph.output), *captured_names(graph))
        self._readers = Counter(name for node in graph.node for name in node.input)
        self._readers.update(item.name for item in graph.output)
        self._gone = self._choose(keep, np.random.default_rng(seed))

    def _choose(self, keep: tuple[float, float], rng: np.random.Generator) -> set[int]:
        """Elements to cut: a share for each set of producers whose channels are tied."""
        find = self.tracer.find
        roots = {name: find(ids) for name, ids in self.tracer.producers.items()}
        gone: set[int] = set()
        for names in _tied(roots):
            free = np.unique(np.concatenate([roots[name] for name in names]))
            free = free[free != FROZEN]
            stay = max(1, round(rng.uniform(*keep) * len(free)))
            cut = set(rng.permutation(free)[stay:].tolist())
            for name in names:  # nobody loses all
                if cut.issuperset(roots[name].tolist()):
                    cut.discard(int(rng.choice(roots[name])))
            gone |= cut
        return gone

    def mask(self, ids: Ids) -> Mask:
        """Which of ``ids`` stay."""
        return np.array([root not in self._gone for root in self.tracer.find(ids).tolist()])

    def operands(self) -> dict[tuple[str, tuple[tuple[int, int], ...]], list[Edit]]:
        """Edits by constant tensor and the uses, as (node, operand), that share them."""
        by_use: dict[tuple[int, int], list[Edit]] = defaultdict(list)
        for edit in self.tracer.edits:
            if edit.form != "groups" and not self.mask(edit.ids).all():
                by_use[edit.node, edit.operand].append(edit)
        same: dict[tuple[str, tuple[object, ...]], list[tuple[int, int]]] = defaultdict(list)
        for use, edits in by_use.items():
            name = self.tracer.operand_name(*use)
            key = tuple((e.form, e.axis, self.mask(e.ids).tobytes()) for e in edits)
            same[name, key].append(use)
        return {(name, tuple(uses)): by_use[uses[0]] for (name, _), uses in same.items()}

    def name_for(self, name: str, uses: tuple[tuple[int, int], ...]) -> str:
        """The constant's own name when all its readers see the same cut, else a new one."""
        if len(uses) == self._readers[name]:
            return name
        node, operand = uses[0]
        return f"{name}__{node}_{operand}"


def _tied(roots: Mapping[str, Ids]) -> list[list[str]]:
    """Producers in sets that share channels, directly or through others; frozen ones left out."""
    sets: list[tuple[set[int], list[str]]] = []
    for name, ids in roots.items():
        elements, names = set(ids[ids != FROZEN].tolist()), [name]
        for other in [item for item in sets if not elements.isdisjoint(item[0])]:
            sets.remove(other)
            elements |= other[0]
            names = other[1] + names
        if elements:
            sets.append((elements, names))
    return [names for _, names in sets]


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Sizes of activations; an unknown leading size is taken for a batch of one."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes: dict[str, Shape] = {}
    for item in (*inferred.value_info, *inferred.input, *inferred.output):
        dims = item.type.tensor_type.shape.dim
        sizes = [dim.dim_value for dim in dims]
        if sizes and sizes[0] == 0:
            sizes[0] = 1
        if sizes and min(sizes) > 0:
            shapes[item.name] = tuple(sizes)
    return shapes


def _apply(value: Array, edit: Edit, mask: Mask) -> Array:
    if edit.form == "count":
        changed = value.copy()
        changed[edit.axis] = mask.sum()
        return changed
    if is_uniform(value) and value.size:
        sizes = list(value.shape)
        sizes[edit.axis] = int(mask.sum())
        return np.broadcast_to(value.flat[0], sizes)
    return np.compress(mask, value, axis=edit.axis)


def _set_groups(node: onnx.NodeProto, groups: int) -> None:
    for item in node.attribute:
        if item.name == "group":
            item.i = groups

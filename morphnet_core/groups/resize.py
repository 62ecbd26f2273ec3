"""The same network at other widths: what pricing and export plan with, without any weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from costmodel.errors import InvalidInputError
from costmodel.network import Layer, Network
from costmodel.op import Op, Shape, as_operands
from morphnet_core.groups.flow import constant_tensors, cut_off
from morphnet_core.groups.grouping import Alive, Grouping, Units
from morphnet_core.groups.resize_ops import resized_op

#: Layers from which an operand that has become a constant vanishes. What it added, if anything,
#: is an offset that runtimes fold into a neighbour.
_ADDING = frozenset({"add", "sum", "concat"})
#: Layers that change nothing the second time: behind a sum that vanished they read each other.
_ONCE = frozenset({"clip", "relu"})


def resize(grouping: Grouping, widths: Alive | Units | Sequence[int]) -> Network:
    """The network with other numbers of channels.

    Layers that write nothing any more, or only constants, are left out; a constant operand of an
    addition or concatenation vanishes, that of any other layer becomes a weight. Where a layer is
    left with one operand and nothing to do, readers of its result read that operand.

    Args:
        grouping: of the network as written.
        widths: one truth value per unit, or the number of units per group, which may be more than
            there are now.

    Returns:
        A network with the same names; equal to the grouping's if nothing changes.

    Raises:
        InvalidInputError: if the number of values is wrong, a frozen group would change, or
            nothing would reach an output of the network.
    """
    counts = _counts(grouping, widths)
    network = grouping.network
    lost = cut_off(network, grouping.members, counts)
    if lost:
        message = (
            f"Nothing would reach {lost[0]!r} of the network {network.name!r}: all channels on "
            "every way to it are dead. Keep some; grouping.allowed(alive) does."
        )
        raise InvalidInputError(message)
    return _Rebuild(grouping, counts).network()


def _counts(grouping: Grouping, widths: Alive | Units | Sequence[int]) -> Units:
    """Units per group, checked."""
    values = np.asarray(widths)
    groups = grouping.groups
    if values.dtype == np.bool_:
        counts = grouping.counts(values)
    elif values.shape == (len(groups),) and np.issubdtype(values.dtype, np.integer):
        counts = values.astype(np.intp)
    else:
        message = (
            f"Give {grouping.num_units} truth values, one per unit, or {len(groups)} whole "
            f"numbers, one per group. Received: {values.shape} of {values.dtype}."
        )
        raise InvalidInputError(message)
    for group, count in zip(groups, counts.tolist(), strict=True):
        if count < 0 or (group.frozen and count != group.size):
            message = (
                f"Group {group.name!r} has {group.size} channels and cannot have {count}: "
                f"{group.frozen or 'a width is at least 0'}."
            )
            raise InvalidInputError(message)
    return counts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Operand:
    """A tensor that a layer reads: its name, its size now, and whether it is a constant now."""

    name: str
    size: Shape
    constant: bool


class _Rebuild:
    """One pass over the layers at new widths."""

    def __init__(self, grouping: Grouping, counts: Units) -> None:
        self._grouping = grouping
        self._counts = counts
        self._constant = constant_tensors(grouping.network, grouping.members, counts)
        #: What to read instead of the result of a layer that vanished.
        self._alias: dict[str, str] = {}
        #: What wrote each tensor that is still there.
        self._wrote: dict[str, Op] = {}

    def network(self) -> Network:
        """The resized network."""
        old = self._grouping.network
        layers = [found for layer in old.layers if (found := self._layer(layer)) is not None]
        opaque = {
            name: replace(item, inputs=tuple(self._alias.get(n, n) for n in item.inputs))
            for name, item in old.opaque.items()
        }
        outputs = tuple(self._alias.get(name, name) for name in old.outputs)
        wanted = {*outputs, *(name for item in opaque.values() for name in item.inputs)}
        return replace(
            old, layers=self._read_layers(layers, wanted), opaque=opaque, outputs=outputs
        )

    def _read_layers(self, layers: Sequence[Layer], wanted: set[str]) -> tuple[Layer, ...]:
        """Layers whose result is still read, as the pooling of a gate that died is not."""
        before = {name for layer in self._grouping.network.layers for name in layer.inputs}
        kept = []
        for layer in reversed(layers):
            if wanted.intersection(layer.outputs) or before.isdisjoint(layer.outputs):
                kept.append(layer)
                wanted.update(layer.inputs)
        return tuple(reversed(kept))

    def _layer(self, layer: Layer) -> Layer | None:
        found = self._resized(layer)
        if found is not None:
            self._wrote.update(dict.fromkeys(found.outputs, found.op))
        return found

    def _resized(self, layer: Layer) -> Layer | None:
        outputs = [name for name in layer.outputs if not self._constant[name]]
        if not outputs:
            return None
        if len(layer.inputs) != len(layer.op.inputs):  # its channels were not followed
            read = tuple(self._alias.get(name, name) for name in layer.inputs)
            return replace(layer, inputs=read)
        operands = [
            _Operand(name=name, size=self._size(name, size), constant=self._constant[name])
            for name, size in zip(layer.inputs, layer.op.inputs, strict=True)
        ]
        kept = [item for item in operands if not item.constant]
        op = self._op(layer, outputs)
        if len(kept) < len(operands):
            if self._vanishes(layer, op, kept):
                self._pass_on(kept[0].name, outputs[0])
                return None
            op = _without(op, operands)
        elif op == layer.op and not self._alias:
            return layer
        elif self._repeats(op, kept):
            self._pass_on(kept[0].name, outputs[0])
            return None
        names = tuple(self._alias.get(item.name, item.name) for item in kept)
        return replace(layer, op=op, inputs=names, outputs=tuple(outputs))

    def _pass_on(self, read: str, written: str) -> None:
        """A layer that vanishes: what it reads is read in place of what it wrote."""
        self._alias[written] = self._alias.get(read, read)

    def _repeats(self, op: Op, kept: Sequence[_Operand]) -> bool:
        """Whether a layer reads, since another vanished, what the very same one has returned."""
        if op.kind not in _ONCE or len(kept) != 1 or kept[0].name not in self._alias:
            return False
        return self._wrote.get(self._alias[kept[0].name]) == op

    def _vanishes(self, layer: Layer, op: Op, kept: Sequence[_Operand]) -> bool:
        """Whether a layer passes its only operand on unchanged."""
        alone = len(kept) == 1 and not op.weights and op.kind in _ADDING
        return alone and kept[0].size == op.outputs[0] and len(layer.outputs) == 1

    def _size(self, name: str, size: Shape) -> Shape:
        axis = self._grouping.axes[name]
        if len(size) <= axis or not self._grouping.members[name]:
            return size
        return (*size[:axis], self._grouping.width(name, self._counts), *size[axis + 1 :])

    def _op(self, layer: Layer, outputs: Sequence[str]) -> Op:
        """The layer's Op with all its operands at their new sizes."""
        old = layer.op
        inputs = tuple(self._size(n, s) for n, s in zip(layer.inputs, old.inputs, strict=True))
        sizes = dict(zip(layer.outputs, old.outputs, strict=True))
        written = tuple(self._size(name, sizes[name]) for name in outputs)
        if inputs == old.inputs and written == old.outputs:
            return old
        return resized_op(self._grouping, self._counts, layer, inputs, written)


def _without(op: Op, operands: Sequence[_Operand]) -> Op:
    """``op`` once some operands are constants."""
    kept = tuple(item.size for item in operands if not item.constant)
    if op.kind in _ADDING:
        left = [
            item for item in operands if not item.constant or (op.kind == "concat" and _has(item))
        ]
    else:
        left = list(operands)
    fixed = tuple(item.size for item in left if item.constant)
    if not fixed:
        return replace(op, inputs=kept, operands="" if not op.weights else op.operands)
    letters = "".join("w" if item.constant else "d" for item in left)
    order = letters + "w" * len(op.weights)
    return replace(op, inputs=kept, weights=fixed + op.weights, operands=as_operands(order))


def _has(item: _Operand) -> bool:
    """Whether anything is left of a constant."""
    return 0 not in item.size

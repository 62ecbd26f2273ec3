"""Cuts a network along what its compiled program executes: each piece can be compiled alone.

The compiler fuses convolutions with what stands before and behind them, sometimes two convolutions
into one kernel, and adds a bias wherever it likes. A piece is the layers that one executed
instruction carries out. Where a layer's own steps are spread over several instructions, these
are one piece; a cheap layer that was copied into several instructions is part of several pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from costmodel.hlo_model.module import Module
from costmodel.network import Layer, Network
from costmodel.op import CONV_KINDS, Op, Shape
from costmodel.runners.tpu_aot.groups import Group, group, merged
from costmodel.runners.xla.program import Program, build_program, slots_of

#: What the bias of a convolution is called once it is a layer of its own.
BIAS = ":bias"
#: What a tensor is called in the order of its array in the program.
STORED_SUFFIX = ":stored"
#: Layers that move values and compute nothing: the compiler joins and repeats them as it likes.
_MOVING = frozenset(
    {"concat", "flatten", "identity", "pad", "reshape", "slice", "split", "squeeze", "transpose"}
    | {"unsqueeze"}
)
#: How a tensor is stored that the program is fed or returns: as it comes, outside the fast memory.
OUTSIDE: tuple[int, ...] = (-1,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Layers that are executed together.

    Attributes:
        layers: in the network's order, biases apart.
        inputs: sizes as written of the tensors read, by name, in order of first use.
        outputs: names of the tensors that others read.
        stored: by tensor name, for inputs and outputs: the major-to-minor axes in which the program
            keeps it, or ``OUTSIDE``; nothing where that cannot be told.
        cycles: the estimate in the program that it was cut from.
    """

    layers: tuple[Layer, ...]
    inputs: Mapping[str, Shape]
    outputs: tuple[str, ...]
    stored: Mapping[str, tuple[int, ...]]
    cycles: int


def split_biases(network: Network) -> Network:
    """The same network with every convolution's bias as a layer of its own.

    The compiler adds it there or in a later kernel, so a piece may end between the two.
    """
    layers: list[Layer] = []
    for layer in network.layers:
        layers.extend(_split(layer) if _has_bias(layer.op) else (layer,))
    return replace(network, layers=tuple(layers))


def _has_bias(op: Op) -> bool:
    return (
        op.kind in CONV_KINDS
        and len(op.weights) == 2
        and len(op.inputs) == 1
        and op.operands in {"", "dww"}
    )


def _split(layer: Layer) -> Iterator[Layer]:
    op, (written, *_) = layer.op, layer.outputs
    raw = written + ":raw"
    yield replace(layer, op=replace(op, weights=op.weights[:1], operands=""), outputs=(raw,))
    bias = bias_op(op.outputs[0], op.dtype)
    yield Layer(name=layer.name + BIAS, op=bias, inputs=(raw,), outputs=(written,))


def bias_op(shape: Shape, dtype: str) -> Op:
    """The addition of one constant per channel (the second axis) to a tensor of ``shape``."""
    bias = (shape[1], *(1,) * (len(shape) - 2))
    return Op(
        kind="add", inputs=(shape,), outputs=(shape,), weights=(bias,), dtype=dtype, operands="dw"
    )


def cut(network: Network, program: Program, module: Module) -> tuple[Piece, ...]:
    """Cut ``network`` along the entry computation of its compiled program.

    Args:
        network: with biases split off; what ``program`` was built from.
        program: the JAX program.
        module: what became of it.

    Returns:
        The pieces, each after those whose tensors it reads.
    """
    orders = _orders(network, program)
    groups = [item for item in group(module, program.layer_of) if item.layers]
    while True:
        draft = _Draft(network, groups, orders)
        components = draft.components()
        if len(components) == len(groups):
            pieces = [draft.piece(index) for (index,) in components]
            return tuple(_as_stored(piece, orders, program.dtype) for piece in pieces)
        # Two groups that read each other's tensors cannot be run one after the other.
        groups = [merged(groups[i] for i in some) for some in components]


def _orders(network: Network, program: Program) -> dict[str, tuple[int, ...]]:
    """For every tensor the written axis that each axis of its array in the program is."""
    names = [name for layer in network.layers for name in layer.outputs]
    every = build_program(replace(network, outputs=tuple(names)), dtype=program.dtype)
    return {**every.input_orders, **every.output_orders}


def _as_stored(piece: Piece, orders: Mapping[str, tuple[int, ...]], dtype: str) -> Piece:
    """The piece with its inputs written as the whole program stores them.

    A builder stores images channels last. A tensor that the network writes channels last itself is
    then stored in a third way; as an input of a piece it becomes the transpose of one that is not.
    """
    inputs = dict(piece.inputs)
    alone = Network(name="piece", layers=piece.layers, inputs=inputs, outputs=piece.outputs)
    chosen = build_program(alone, dtype=dtype).input_orders
    layers, stored, names = list(piece.layers), dict(piece.stored), dict[str, str]()
    for name, shape in piece.inputs.items():
        order = orders.get(name, chosen[name])
        if order == chosen[name]:
            continue
        names[name] = name + STORED_SUFFIX
        sizes = tuple(shape[axis] for axis in order)
        perm = tuple(order.index(axis) for axis in range(len(shape)))
        op = Op(kind="transpose", inputs=(sizes,), outputs=(shape,), attributes=(("perm", perm),))
        layers.insert(0, Layer(name=names[name], op=op, inputs=(names[name],), outputs=(name,)))
        inputs[name] = sizes
        if name in stored:
            stored[names[name]] = stored[name]
    renamed = {names.get(name, name): sizes for name, sizes in inputs.items()}
    return replace(piece, inputs=renamed, layers=tuple(layers), stored=stored)


class _Draft:
    """A division into groups, and what follows from it."""

    def __init__(
        self,
        network: Network,
        groups: Sequence[Group],
        orders: Mapping[str, tuple[int, ...]],
    ) -> None:
        self.network = network
        self.orders = orders
        self.groups = groups
        self.writers = {name: layer for layer in network.layers for name in layer.outputs}
        self.placed = set[str]().union(*(item.layers for item in groups))
        self.dims = {a.dims for some in groups for item in some.items for a in item.arrays}
        self.layers = [self._completed(item.layers) for item in groups]
        self.inputs = [_inputs(layers) for layers in self.layers]
        self.owners = self._owners()

    def _completed(self, names: Iterable[str]) -> tuple[Layer, ...]:
        """Layers of a group with those around them that left no trace in the program."""
        found = set(names)
        for layer in reversed(self.network.layers):
            if layer.name in found:
                found.update(
                    w.name for w in map(self.writers.get, layer.inputs) if w and self._is_part(w)
                )
        for layer in self.network.layers:  # a last reshape, say, goes with what it reads
            if layer.name not in self.placed and set(layer.outputs) & set(self.network.outputs):
                writers = map(self.writers.get, layer.inputs)
                found.update(layer.name for w in writers if w and w.name in found)
        return tuple(layer for layer in self.network.layers if layer.name in found)

    def _is_part(self, writer: Layer) -> bool:
        """Whether a layer is executed with its reader: none of its results is ever in memory."""
        if writer.name not in self.placed:
            return True
        return writer.op.kind in _MOVING and not any(
            self._dims(name, shape) in self.dims
            for name, shape in zip(writer.outputs, writer.op.outputs, strict=False)
        )

    def _dims(self, tensor: str, shape: Shape) -> Shape:
        """Sizes of a tensor's array in the program."""
        return tuple(shape[axis] for axis in self.orders.get(tensor, range(len(shape))))

    def _owners(self) -> dict[str, int]:
        """Which group hands each tensor on: the one that ends with it, else the first."""
        owners: dict[str, int] = {}
        for index, layers in enumerate(self.layers):
            for layer in layers:
                for name in layer.outputs:
                    known = owners.setdefault(name, index)
                    if layer.name in self.groups[index].ends - self.groups[known].ends:
                        owners[name] = index
        return owners

    def components(self) -> list[list[int]]:
        """Groups that must run together, in an order in which they can run."""
        size = len(self.groups)
        edges = {
            (self.owners[name], index)
            for index, inputs in enumerate(self.inputs)
            for name in inputs
            if name in self.owners
        }
        # Imported here because SciPy takes a while to import, and listing the runners needs none.
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        rows, columns = np.array(sorted(edges), dtype=int).reshape(-1, 2).T
        graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
        count, found = connected_components(graph, directed=True, connection="strong")
        labels = [int(label) for label in found]
        members: list[list[int]] = [[] for _ in range(count)]
        for index, label in enumerate(labels):
            members[label].append(index)
        needs = {
            label: {labels[a] for a, b in edges if labels[b] == label and labels[a] != label}
            for label in range(count)
        }
        order: list[list[int]] = []
        waiting = sorted(range(count), key=lambda label: members[label][0])
        while waiting:
            label = next(one for one in waiting if not needs[one] & set(waiting))
            waiting.remove(label)
            order.append(members[label])
        return order

    def piece(self, index: int) -> Piece:
        """One group's piece."""
        wanted = set(self.network.outputs).union(*self.inputs)
        layers, inputs = self.layers[index], self.inputs[index]
        written = [name for layer in layers for name in layer.outputs]
        outputs = [name for name in written if name in wanted and self.owners[name] == index]
        if not outputs:  # nobody needs it, and yet it is executed
            read = {name for layer in layers for name in layer.inputs}
            outputs = [name for name in written if name not in read]
        stored = {name: self._stored(name) for name in (*inputs, *outputs)}
        return Piece(
            layers=layers,
            inputs=inputs,
            outputs=tuple(outputs),
            stored={name: order for name, order in stored.items() if order},
            cycles=self.groups[index].cycles,
        )

    def _stored(self, tensor: str) -> tuple[int, ...]:
        writer = self.writers.get(tensor)
        if writer is None or tensor in self.network.outputs:
            return OUTSIDE
        shape = writer.op.outputs[writer.outputs.index(tensor)]
        dims = self._dims(tensor, shape)
        found: tuple[int, ...] = ()
        for item in self.groups[self.owners[tensor]].items:
            for array in item.arrays:
                if array.dims == dims and array.dtype != "pred":
                    found = array.order
        return found


def _inputs(layers: Sequence[Layer]) -> dict[str, Shape]:
    """Sizes as written of the tensors that ``layers`` read and do not write."""
    written = {name for layer in layers for name in layer.outputs}
    found: dict[str, Shape] = {}
    for layer in layers:
        for slot, name in zip(slots_of(layer), layer.inputs, strict=True):
            if name not in written:
                found.setdefault(name, layer.op.inputs[slot])
    return found

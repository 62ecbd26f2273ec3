"""Follows channels through an ONNX graph: which are tied, and which operands they size.

Every output channel of a convolution or matrix product is an element of a union-find; an addition
ties the channels of its operands one to one, a concatenation lines them up, a flattening repeats
them. So partial ties, as behind a concatenation, need no special case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from costmodel.op import Shape
from costmodel.sampling.constants import Array

Ids = NDArray[np.int64]
#: The element that all channels are tied to that must stay.
FROZEN = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The channel axis of one tensor.

    Attributes:
        axis: which axis of the tensor.
        rank: axes of the tensor.
        ids: element per position along the axis.
    """

    axis: int
    rank: int
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What changes at one node when channels go.

    Attributes:
        node: position of the node in the graph.
        operand: position of the constant operand; unused for ``groups``.
        axis: of the operand for ``take``; index into the operand's values for ``count``.
        ids: elements that the axis, the value or the groups run over.
        form: ``take`` keeps a part of a weight, ``count`` sets one size in a constant vector,
            ``groups`` sets the groups of a depthwise convolution.
    """

    node: int
    operand: int
    axis: int
    ids: Ids
    form: Literal["take", "count", "groups"] = "take"


class Tracer:
    """Walks a graph once and collects producers of channels, ties and edits.

    Anything that it does not know freezes the channels that it touches.
    """

    def __init__(
        self, graph: onnx.GraphProto, constants: Mapping[str, Array], shapes: Mapping[str, Shape]
    ) -> None:
        """Make ready to walk ``graph``.

        Args:
            graph: nodes in an order in which they can run.
            constants: values of tensors that depend on no input.
            shapes: sizes of activations where they are known.
        """
        self.edits: list[Edit] = []
        self.producers: dict[str, Ids] = {}
        self._graph = graph
        self._constants = constants
        self._shapes = shapes
        self._parent: list[int] = [FROZEN]
        self._tensors: dict[str, Channels] = {}

    def walk(self, rules: Mapping[str, Rule]) -> None:
        """Visit every node that is not constant.

        Args:
            rules: by type of node.
        """
        for index, node in enumerate(self._graph.node):
            if all(name in self._constants for name in node.output if name):
                continue
            rule = rules.get(node.op_type)
            try:
                result = None if rule is None else rule(self, index, node)
            except (KeyError, IndexError, ValueError, TypeError):
                result = None  # an operand is missing, not constant, or of another shape than usual
            if result is not None:
                self._tensors[node.output[0]] = result
                continue
            self.freeze(*node.input)
            begun = self.producers.pop(node.output[0], None)
            if begun is not None:
                self.tie(begun, self.frozen(len(begun)))

    def find(self, ids: Ids) -> Ids:
        """The representative of each element's class; ``FROZEN`` for those that must stay."""
        return np.array([self._root(int(i)) for i in ids], dtype=np.int64)

    def freeze(self, *names: str) -> None:
        """Make all channels of tensors stay."""
        for name in names:
            found = self._tensors.get(name)
            if found is not None:
                self.tie(found.ids, self.frozen(len(found.ids)))

    def _root(self, i: int) -> int:
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def of(self, name: str) -> Channels | None:
        """Channels of a tensor that is followed."""
        return self._tensors.get(name)

    def constant(self, name: str) -> Array:
        """Value of a constant; KeyError where it is not one."""
        return self._constants[name]

    def is_constant(self, name: str) -> bool:
        """Whether a tensor depends on no input."""
        return name in self._constants

    def shape(self, name: str) -> Shape:
        """Sizes of an activation; KeyError where they are not known."""
        return self._shapes[name]

    def produce(self, name: str, *, count: int, axis: int, rank: int) -> Channels:
        """New channels, written to tensor ``name``."""
        ids = self.free(count)
        self.producers[name] = ids
        return Channels(axis=axis, rank=rank, ids=ids)

    def frozen(self, count: int) -> Ids:
        """Channels that must stay."""
        return np.full(count, FROZEN, dtype=np.int64)

    def free(self, count: int) -> Ids:
        """Channels that nothing computes, such as padded ones; they stay or go with their ties."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count, dtype=np.int64)

    def tie(self, a: Ids, b: Ids) -> None:
        """Let channels live and die together, one to one."""
        for x, y in zip(a.tolist(), b.tolist(), strict=True):
            low, high = sorted((self._root(x), self._root(y)))
            self._parent[high] = low  # so that FROZEN, the lowest, stays a root

    def take(self, node: int, operand: int, axis: int, ids: Ids) -> None:
        """Note that an axis of a constant operand runs over ``ids``."""
        name = self.operand_name(node, operand)
        if self.constant(name).shape[axis] != len(ids):
            message = f"axis {axis} of {name} does not run over the channels"
            raise ValueError(message)
        self.edits.append(Edit(node=node, operand=operand, axis=axis, ids=ids))

    def operand_name(self, node: int, operand: int) -> str:
        """Name of the tensor that a node reads at a position."""
        return str(self._graph.node[node].input[operand])

    def note(self, edit: Edit) -> None:
        """Note another change."""
        self.edits.append(edit)


#: How one type of node passes channels on: the channels of its first output, or None where they
#: can no longer be followed; the tracer then freezes those of all inputs.
Rule = Callable[[Tracer, int, onnx.NodeProto], Channels | None]

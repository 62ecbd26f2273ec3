"""What has to change at a node of an ONNX graph when the channels around it move.

New entries of weights are zero, so that new channels carry a constant that nobody listens to; only
variances and divisors become one, which keeps that constant finite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx

from costmodel.network import Layer
from costmodel.onnx_model.nodes import Tensor
from costmodel.op import CONV_KINDS, Op, Shape
from morphnet_core.alignment.places import Places, UnfitError
from morphnet_core.groups.rules_elementwise import JOINING
from morphnet_core.groups.rules_mixing import RECURRENT, einsum_places


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """An axis of a constant operand follows channels.

    Attributes:
        operand: position of the operand.
        axis: of the operand.
        places: where its entries go.
        fill: value of new entries.
    """

    operand: int
    axis: int
    places: Places
    fill: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """An operand that names sizes gets other values."""

    operand: int
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """An attribute gets another value; None takes it away."""

    name: str
    value: int | tuple[int, ...] | None


Change = Fit | Setting | Attribute


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A node and what becomes of everything around it.

    Attributes:
        node: as it is.
        layer: the same as a layer.
        op: its work afterwards.
        places: of every tensor that carries channels.
        tensors: sizes and types of all tensors now.
        axes: channel axis of every tensor that carries channels.
    """

    node: onnx.NodeProto
    layer: Layer
    op: Op
    places: Mapping[str, Places]
    tensors: Mapping[str, Tensor]
    axes: Mapping[str, int]

    @property
    def read(self) -> Places:
        """Places of the first input."""
        return self.places[self.layer.inputs[0]]

    @property
    def written(self) -> Places:
        """Places of the first output."""
        return self.places[self.layer.outputs[0]]

    def has(self, operand: int) -> bool:
        """Whether there is an operand."""
        return len(self.node.input) > operand and bool(self.node.input[operand])

    def shape(self, operand: int) -> Shape:
        """Size of an operand.

        Raises:
            UnfitError: if it is not known.
        """
        found = self.tensors.get(self.node.input[operand])
        if found is None:
            message = f"the size of {self.node.input[operand]!r} is not known"
            raise UnfitError(message)
        return found.shape


def changes_at(situation: Situation) -> list[Change]:
    """Everything that changes at a node; nothing where its work stays the same.

    Raises:
        UnfitError: if its constants cannot follow the channels.
    """
    if situation.op == situation.layer.op:
        return []
    found: list[Change] = list(_RULES.get(situation.op.kind, _nothing)(situation))
    found += _settings(situation)
    return [item for item in found if not (isinstance(item, Fit) and item.places.same)]


def _nothing(_: Situation) -> list[Change]:
    return []


def _conv(at: Situation) -> list[Change]:
    op, turned = at.layer.op, at.op.kind == "conv_transpose"
    read, written, groups = at.read, at.written, op.groups
    found: list[Change] = []
    if groups > 1 and groups == read.before:
        found.append(Fit(operand=1, axis=0, places=read if turned else written))
        if at.op.groups != groups:
            found.append(Attribute(name="group", value=at.op.groups))
    elif turned:
        found.append(Fit(operand=1, axis=0, places=read))
        found.append(Fit(operand=1, axis=1, places=written.part(groups)))
    else:
        found.append(Fit(operand=1, axis=0, places=written))
        found.append(Fit(operand=1, axis=1, places=read.part(groups)))
    if at.has(2):
        found.append(Fit(operand=2, axis=0, places=written))
    return found


def _product(at: Situation) -> list[Change]:
    turned = int(bool(at.op.attribute("transB", 0)))
    found: list[Change] = [
        Fit(operand=1, axis=turned, places=at.read),
        Fit(operand=1, axis=1 - turned, places=at.written),
    ]
    if at.has(2):
        bias = at.shape(2)
        if bias and bias[-1] != 1:
            found.append(Fit(operand=2, axis=len(bias) - 1, places=at.written))
    return found


def _einsum(at: Situation) -> list[Change]:
    places = einsum_places(str(at.op.attribute("equation", "")))
    if places is None:
        return []
    return [
        Fit(operand=1, axis=places.rows, places=at.read),
        Fit(operand=1, axis=places.columns, places=at.written),
    ]


def _recurrent(at: Situation) -> list[Change]:
    return [Fit(operand=1, axis=2, places=at.read)]


def _norm(at: Situation) -> list[Change]:
    if at.axes[at.layer.outputs[0]] != 1:
        return []  # weights lie along axis 1
    # Scale, offset, mean, variance: a new channel is 0 whatever comes in.
    return [
        Fit(operand=operand, axis=0, places=at.written, fill=float(operand == 4))
        for operand in range(1, len(at.node.input))
    ]


def _join(at: Situation) -> list[Change]:
    """Constants that are broadcast against channels, from the last axis on."""
    rank = len(at.layer.op.outputs[0])
    axis = at.axes[at.layer.outputs[0]]
    flowing = set(at.layer.inputs)
    found: list[Change] = []
    for operand, name in enumerate(at.node.input):
        if not name or name in flowing:
            continue
        shape = at.shape(operand)
        place = axis - (rank - len(shape))
        if place >= 0 and shape[place] != 1:
            # Dividing by one and raising to the first power leave 0 as it is.
            fill = float(at.op.kind in {"div", "mod", "pow"})
            found.append(Fit(operand=operand, axis=place, places=at.written, fill=fill))
    return found


def _split(at: Situation) -> list[Change]:
    """Parts that were equal without saying so must say how long they are now."""
    old = at.layer.op
    axis = old.attribute("axis", 0)
    if axis % len(old.inputs[0]) != at.axes[at.layer.inputs[0]]:
        return []
    sizes = tuple(size[axis] for size in at.op.outputs)
    if old.attribute("since", 13) < 13:
        return [Attribute(name="split", value=sizes)]
    if at.has(1) or len(set(sizes)) == 1:
        return []
    found: list[Change] = [Setting(operand=1, values=sizes)]
    if old.attribute("num_outputs") is not None:
        found.append(Attribute(name="num_outputs", value=None))
    return found


_RULES: dict[str, Callable[[Situation], list[Change]]] = {
    **dict.fromkeys(CONV_KINDS, _conv),
    **dict.fromkeys(("gemm", "matmul"), _product),
    **dict.fromkeys(RECURRENT, _recurrent),
    **dict.fromkeys(("batch_norm", "instance_norm"), _norm),
    **dict.fromkeys(JOINING, _join),
    "einsum": _einsum,
    "prelu": _join,
    "split": _split,
}


def _settings(at: Situation) -> list[Change]:
    """Small operands that name sizes, such as the target of a reshape."""
    old, new = at.layer.op, at.op
    operands = [place for place, letter in enumerate(old.order) if letter == "c"]
    return [
        Setting(operand=operand, values=tuple(int(value) for value in after))
        for operand, before, after in zip(operands, old.constants, new.constants, strict=True)
        if before != after
    ]

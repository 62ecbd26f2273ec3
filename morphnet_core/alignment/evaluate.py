"""What a network costs at any widths: all of it, or the part around one group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite

from costmodel.calibration import Calibration, weight_mib
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.network import Network
from costmodel.op import Op
from costmodel.protocols import CostModel
from morphnet_core.groups import Grouping, Units, resize
from morphnet_core.pricing.executed import executed

#: Steps along the wiring, from the layers that a group touches, within which kernels may change.
_REACH = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """Cost of a network or a part.

    Attributes:
        value: sum over all kernels that have a price.
        unpriced: kernels that have none.
    """

    value: float
    unpriced: int

    def than(self, other: Total) -> float:
        """This cost, or infinity if more kernels are without a price than in ``other``."""
        return self.value if self.unpriced <= other.unpriced else inf


@dataclass(slots=True)
class Evaluator:
    """Prices networks of one grouping at other widths, through the rules of a runtime.

    Attributes:
        grouping: of the network as written.
        cost: prices kernels.
        device: whose runtime decides what is executed.
        calibration: from kernels to networks, where it says what a kernel adds.
    """

    grouping: Grouping
    cost: CostModel
    device: Device | None
    calibration: Calibration | None
    _known: dict[Op, float] = field(default_factory=dict, init=False)
    _parts: dict[int, Grouping] = field(default_factory=dict, init=False)
    _around: _Wiring = field(init=False)
    _factor: float = field(init=False, default=1.0)
    _weight_mib: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        """Look once at what lies around each group, and at how long the seed is."""
        self._around = _Wiring(self.grouping)
        if self.calibration is not None:
            ops = self.network(self.grouping.full_counts).ops
            prices = (float(value) for value in self.cost.price(ops).values)
            self._factor = self.calibration.factor(sum(filter(isfinite, prices)))
            self._weight_mib = weight_mib(ops)

    def totals(self, many: Sequence[Units]) -> list[Total]:
        """Cost of the whole network at each of several widths."""
        return self._totals(self.grouping, many)

    def part_totals(self, group: int, many: Sequence[Units]) -> list[Total]:
        """Cost of the kernels around one group; differences mean the same as for the whole."""
        if group not in self._parts:
            self._parts[group] = self._around.part(group)
        return self._totals(self._parts[group], many)

    def neighbours(self, group: int) -> set[int]:
        """Groups that share a layer with one, itself left out."""
        return self._around.neighbours(group)

    def network(self, counts: Units) -> Network:
        """The network as it would be executed."""
        return executed(resize(self.grouping, counts), self.device)

    def _totals(self, grouping: Grouping, many: Sequence[Units]) -> list[Total]:
        lists = [executed(resize(grouping, item), self.device).ops for item in many]
        new = list(dict.fromkeys(op for ops in lists for op in ops if op not in self._known))
        if new:
            self._known.update(zip(new, self._prices(new), strict=True))
        return [self._total(ops) for ops in lists]

    def _total(self, ops: Sequence[Op]) -> Total:
        values = [self._known[op] for op in ops]
        priced = [value for value in values if isfinite(value)]
        return Total(value=sum(priced), unpriced=len(values) - len(priced))

    def _prices(self, ops: Sequence[Op]) -> list[float]:
        """Price of each kernel, its share of what a calibration adds included."""
        values = [float(value) for value in self.cost.price(ops).values]
        law = self.calibration
        if law is None:
            return values
        factor, whole = self._factor, self._weight_mib
        return [
            law.of_kernel(op, value, factor, whole) for op, value in zip(ops, values, strict=True)
        ]


class _Wiring:
    """Which layers and groups lie around a group."""

    def __init__(self, grouping: Grouping) -> None:
        self._grouping = grouping
        self._layers = grouping.network.layers
        self._touching: dict[str, list[int]] = {}
        for index, layer in enumerate(self._layers):
            for name in {*layer.inputs, *layer.outputs}:
                self._touching.setdefault(name, []).append(index)
        self._groups = [grouping.groups_at(layer) for layer in self._layers]

    def neighbours(self, group: int) -> set[int]:
        touched = [own for own in self._groups if group in own]
        return set().union(*touched) - {group} if touched else set()

    def part(self, group: int) -> Grouping:
        """The grouping with only those layers of the network that lie around a group."""
        chosen = {index for index, own in enumerate(self._groups) if group in own}
        for _ in range(_REACH):
            names = {
                name
                for index in chosen
                for name in (*self._layers[index].inputs, *self._layers[index].outputs)
            }
            chosen |= {index for name in names for index in self._touching.get(name, ())}
        layers = tuple(self._layers[index] for index in sorted(chosen))
        written = {name for layer in layers for name in layer.outputs}
        read = dict.fromkeys(name for layer in layers for name in layer.inputs)
        network = self._grouping.network
        outside = set(network.outputs)
        for index, layer in enumerate(self._layers):
            if index not in chosen:
                outside.update(layer.inputs)
        for item in network.opaque.values():
            outside.update(item.inputs)
        unread = {name for layer in layers for name in layer.outputs} - set(read)
        sizes: Mapping[str, tuple[int, ...]] = self._grouping.sizes
        part = replace(
            network,
            layers=layers,
            inputs={name: sizes[name] for name in read if name not in written},
            outputs=tuple(sorted(written & (outside | unread))),
            opaque={},
            unread={},
        )
        known = {*part.inputs, *written}
        members = {name: self._grouping.members[name] for name in known}
        return replace(self._grouping, network=part, members=members)


def check_unit(cost: CostModel) -> None:
    """Raise ``InvalidInputError`` unless a cost model prices in milliseconds."""
    if cost.unit != "ms":
        message = (
            f"The cost model {cost.name!r} prices in {cost.unit}, which padding never lowers. Use "
            "one in milliseconds: a regression or a lookup of a table, or a datasheet's roofline."
        )
        raise InvalidInputError(message)

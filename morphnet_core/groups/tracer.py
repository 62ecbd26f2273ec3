"""Follows channels through a network: every position on a channel axis is an id, ties join ids.

Rules (one per kind of Op, in ``rules.py``) see one step at a time and say which channels its
outputs have. The method is union-find over channel ids, as dependency graphs for pruning do
it (DepGraph, arXiv 2301.12900), here over single positions, so that concatenation, slicing and
flattening need no special cases.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from costmodel.network import Layer, Network
from costmodel.op import Op, Shape

Ids = NDArray[np.intp]
#: Why what a network returns keeps all its channels.
OUTPUT = "it is the network's output"


class UnfollowedError(Exception):
    """Channels cannot be followed through a layer; its text becomes the reason they are frozen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """The channel axis of one tensor: which it is, and an id per position.

    A tensor whose rank ``axis`` does not reach has no channels, see ``has_channels``; no ids then.
    """

    ids: Ids
    axis: int = 1


#: What a tensor without channels has.
NO_CHANNELS = Channels(ids=np.zeros(0, dtype=np.intp))


@dataclass(frozen=True, slots=True, kw_only=True)
class Production:
    """Fresh channels: the layer that writes them, its origin, and their ids."""

    layer: str
    origin: str
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Ids that must stay, and why."""

    ids: Ids
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What a rule sees of one step of the network.

    Attributes:
        layer: the step.
        inputs: channels of the tensors that it reads.
        key: what identifies its weights: equal for the same step of another call of the layer.
    """

    layer: Layer
    inputs: tuple[Channels, ...]
    key: tuple[str, int]

    @property
    def op(self) -> Op:
        """Its work."""
        return self.layer.op


@dataclass(slots=True, eq=False)
class Tracer:
    """Ids, ties, freezes and productions collected over one walk of a network.

    Attributes:
        network: layers as written.
        normalisations: whether channels may be taken from under a normalisation over them.
        runs: runs of positions whose lengths must follow from the widths of groups.
    """

    network: Network
    normalisations: bool
    tensors: dict[str, Channels] = field(default_factory=dict)
    sizes: dict[str, Shape] = field(default_factory=dict)
    productions: list[Production] = field(default_factory=list)
    sources: list[Production] = field(default_factory=list)
    freezes: list[Freeze] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)
    mixers: list[Layer] = field(default_factory=list)
    ties: list[tuple[Ids, Ids]] = field(default_factory=list)
    runs: list[Ids] = field(default_factory=list)
    count: int = 0
    _first_reads: dict[tuple[str, int], tuple[Channels, ...]] = field(default_factory=dict)
    _first_writes: dict[tuple[str, int], Ids] = field(default_factory=dict)
    #: Visits of steps with weights, and why one of a key could not be followed.
    _weighted: list[Visit] = field(default_factory=list)
    _refused: dict[tuple[str, int], str] = field(default_factory=dict)

    def fresh(self, count: int) -> Ids:
        """New ids; unless a layer produces them or ties join them, they are nobody's."""
        self.count += count
        return np.arange(self.count - count, self.count, dtype=np.intp)

    def tie(self, a: Ids, b: Ids) -> None:
        """Let channels live and die together, one to one."""
        self.ties.append((a, b))

    def measure(self, run: Ids) -> None:
        """Note a run of positions whose length an Op names, such as where a slice begins.

        Units of one group have equally many positions in it, as they have in every tensor.
        """
        self.runs.append(run)

    def freeze(self, ids: Ids, reason: str, note: str = "") -> None:
        """Make channels stay; with a note under the name of the layer in question."""
        self.freezes.append(Freeze(ids=ids, reason=reason))
        if note:
            self.notes.setdefault(note, reason)

    def produce(self, visit: Visit, count: int) -> Ids:
        """Fresh channels of a layer that mixes all that it reads; the same in each of its calls.

        Raises:
            UnfollowedError: if another call of the layer wrote another number of them.
        """
        ids = self._first_writes.get(visit.key)
        if ids is None:
            ids = self._first_writes[visit.key] = self.fresh(count)
        if len(ids) != count:
            message = "it is called with different widths"
            raise UnfollowedError(message)
        origin = origin_of(visit.layer)
        self.productions.append(Production(layer=visit.layer.name, origin=origin, ids=ids))
        self.mixers.append(visit.layer)
        return ids

    def source(self, name: str, count: int, reason: str, note: str = "") -> Ids:
        """Channels that come from outside what can be followed, and so must stay."""
        ids = self.fresh(count)
        self.sources.append(Production(layer=name, origin=name, ids=ids))
        self.freeze(ids, reason, note)
        return ids

    def walk(self, rules: Mapping[str, Rule], broadcasting: Container[str]) -> None:
        """Visit every layer, by the rule for its kind of Op.

        Args:
            rules: by kind.
            broadcasting: kinds whose rules take operands without channels beside others.
        """
        for name, size in self.network.inputs.items():
            self._write(name, size, self.source(name, channels(size), "it is the network's input"))
        for name, layer in self.network.opaque.items():
            reason = f"{name} cannot be followed: {layer.reason}"
            for output, size in zip(layer.outputs, layer.sizes, strict=True):
                ids = self.source(layer.origin or name, channels(size), reason, name)
                self._write(output, size, ids)
        steps: dict[tuple[str, int], int] = {}
        for step in self.network.layers:
            origin = origin_of(step)
            index = steps[origin, step.call] = steps.get((origin, step.call), -1) + 1
            self._visit(step, (origin, index), rules.get(step.op.kind), broadcasting)
        for name, layer in self.network.opaque.items():
            for read in layer.inputs:
                reason = f"{name} cannot be followed: {layer.reason}"
                self.freeze(self.tensors[read].ids, reason, name)
        self._freeze_other_calls()
        self._freeze_within_layers()
        for name in self.network.outputs:
            self.freeze(self.tensors[name].ids, OUTPUT)

    def _freeze_other_calls(self) -> None:
        """Freeze every call of a layer with weights of which one call cannot be followed.

        The weights are the same in all of them: what one call keeps no other can do without.
        """
        unread = {
            opaque.origin or name: f"{name} cannot be followed: {opaque.reason}"
            for name, opaque in self.network.opaque.items()
        }
        for visit in self._weighted:
            reason = self._refused.get(visit.key) or unread.get(origin_of(visit.layer))
            if reason:
                written = (self.tensors[name] for name in visit.layer.outputs)
                for item in (*visit.inputs, *written):
                    self.freeze(item.ids, reason)

    def _freeze_within_layers(self) -> None:
        """Freeze what one layer makes and reads itself: from outside it cannot be cut."""
        last = {(origin_of(layer), layer.call): layer for layer in self.mixers}
        for layer in self.mixers:
            if last[origin_of(layer), layer.call] is not layer:
                ids = self.tensors[layer.outputs[0]].ids
                self.freeze(ids, f"it stays within {origin_of(layer)}")

    def _write(self, name: str, size: Shape, ids: Ids, axis: int = 1) -> None:
        self.tensors[name] = Channels(ids=ids, axis=axis)
        self.sizes[name] = size

    def _visit(
        self,
        layer: Layer,
        key: tuple[str, int],
        rule: Rule | None,
        broadcasting: Container[str],
    ) -> None:
        """Apply one rule; where there is none or it gives up, freeze what the layer touches."""
        for name, size in zip(layer.inputs, layer.op.inputs, strict=False):
            if name not in self.tensors:  # an unread layer's, whose wiring is not known
                reason = "it comes from a layer that could not be read"
                self._write(name, size, self.source(name, channels(size), reason, name))
        visit = Visit(layer=layer, inputs=tuple(self.tensors[n] for n in layer.inputs), key=key)
        if _has_weights(layer.op):
            self._weighted.append(visit)
        begun = len(self.productions), len(self.mixers)
        try:
            results = self._results(visit, rule, takes_bare=layer.op.kind in broadcasting)
        except UnfollowedError as error:
            del self.productions[begun[0] :], self.mixers[begun[1] :]
            reason = f"{layer.name} cannot be followed: {error}"
            self._refused.setdefault(key, reason)
            for read in visit.inputs:
                self.freeze(read.ids, reason, layer.name)
            results = self._sources(layer, reason)
        for name, size, result in zip(layer.outputs, layer.op.outputs, results, strict=True):
            self._write(name, size, result.ids, result.axis)

    def _results(
        self, visit: Visit, rule: Rule | None, *, takes_bare: bool
    ) -> tuple[Channels, ...]:
        """What a rule says, where it has anything to go by.

        Raises:
            UnfollowedError: if there is no rule, or it does not fit the sizes.
        """
        layer, op = visit.layer, visit.op
        if layer.frozen:
            raise UnfollowedError(layer.frozen)
        if len(layer.inputs) != len(op.inputs):
            message = "an operand of whole numbers is stored in the file"
            raise UnfollowedError(message)
        bare = [
            name
            for name, size, read in zip(layer.inputs, op.inputs, visit.inputs, strict=False)
            if not has_channels(size, read.axis)
        ]
        if bare and len(bare) == len(layer.inputs):
            return self._sources(
                layer, f"{layer.name} makes it of {bare[0]}, which has no channels"
            )
        if rule is None:
            message = f"there is no rule for {op.kind!r}"
            raise UnfollowedError(message)
        if bare and not takes_bare:
            message = f"its operand {bare[0]} has no channels"
            raise UnfollowedError(message)
        self._share(visit)
        results = rule(self, visit)
        if len(results) != len(op.outputs):
            message = f"it has {len(op.outputs)} results"
            raise UnfollowedError(message)
        for size, result in zip(op.outputs, results, strict=True):
            if len(result.ids) != channels(size, result.axis):
                message = f"{len(result.ids)} channels do not fit its result of size {size}"
                raise UnfollowedError(message)
        return results

    def _sources(self, layer: Layer, reason: str) -> tuple[Channels, ...]:
        """Results whose channels, if they have any, come from nowhere that could be followed."""
        return tuple(
            Channels(ids=self.source(origin_of(layer), channels(size), reason, layer.name))
            if has_channels(size)
            else NO_CHANNELS
            for size in layer.op.outputs
        )

    def _share(self, visit: Visit) -> None:
        """Tie what two calls of a layer with weights read: each weight has one place."""
        if not _has_weights(visit.op):
            return
        first = self._first_reads.setdefault(visit.key, visit.inputs)
        for own, other in zip(visit.inputs, first, strict=False):
            if own is other:
                continue
            if len(own.ids) != len(other.ids) or own.axis != other.axis:
                message = "it is called with different widths, or on different axes"
                raise UnfollowedError(message)
            self.tie(own.ids, other.ids)


#: How one kind of Op passes channels on: those of each of its outputs.
Rule = Callable[[Tracer, Visit], tuple[Channels, ...]]


def origin_of(layer: Layer) -> str:
    """Path of the model's own layer that a step belongs to."""
    return layer.origin or layer.name


def _has_weights(op: Op) -> bool:
    """Whether an Op has weights that lie along an axis; a number fits whatever is kept."""
    return any(len(shape) > 0 for shape in op.weights)


def has_channels(size: Shape, axis: int = 1) -> bool:
    """Whether a tensor has an axis of channels: numbers and vectors, such as a timestep, have none.

    Such a tensor is data that is never cut: it lives with the network, whatever is removed.

    >>> has_channels((2, 8)), has_channels((2,)), has_channels(())
    (True, False, False)
    """
    return len(size) > axis


def channels(size: Shape, axis: int = 1) -> int:
    """Length of a channel axis; 0 where there is none."""
    return size[axis] if has_channels(size, axis) else 0

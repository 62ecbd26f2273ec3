"""Clusters: the layers as written that one executed kernel carries out, with their surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from costmodel.network import Layer, Network
from costmodel.op import CONV_KINDS, POOL_KINDS, SESSION, Op
from morphnet_core.pricing.terms import mixes_channels

#: How a tensor comes to the kernel at the seed's widths: as the model's input, in the runtime's
#: blocked layout, or plain.
Source = Literal["input", "blocked", "plain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What one executed kernel carries out.

    Attributes:
        name: the executed layer's name.
        layers: layers as written, in running order, those that do nothing left out.
        reads: tensors that it takes from outside.
        sources: how each of ``reads`` arrives.
        sharers: how many kernels share the conversion of each of ``reads`` to another layout.
        writes: tensors that others read.
        feeds_blocked: whether a reader would convert its result to the blocked layout.
        returned: whether the model returns its result.
        mixers: layers whose work grows with input and output channels.
        before: tensors whose width is the input's; of all others it is the output's.
        axes: channel axis of its tensors.
    """

    name: str
    layers: tuple[Layer, ...]
    reads: tuple[str, ...]
    sources: tuple[Source, ...]
    sharers: tuple[int, ...]
    writes: tuple[str, ...]
    feeds_blocked: bool
    returned: bool
    mixers: tuple[Layer, ...]
    before: frozenset[str]
    axes: Mapping[str, int]

    @property
    def input(self) -> str:
        """Tensor whose width is the input axis; empty where there is one width only."""
        return self.mixers[0].inputs[0] if self.mixers else ""

    @property
    def output(self) -> str:
        """Tensor whose width is the output axis."""
        return self.mixers[0].outputs[0] if self.mixers else self.writes[0]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for clusters that cost the same at equal widths."""
        names: dict[str, int] = {}
        for tensor in self.reads:
            names.setdefault(tensor, len(names))
        layers: list[tuple[object, ...]] = []
        for layer in self.layers:
            read = tuple(names[name] for name in layer.inputs)
            for name in layer.outputs:
                names.setdefault(name, len(names))
            layers.append((layer.op, read, tuple(names[name] for name in layer.outputs)))
        ends = tuple(names[name] for name in self.writes)
        axes = tuple(self.axes[name] for name in names)
        return (*layers, axes, self.sources, self.sharers, ends, self.feeds_blocked, self.returned)


def clusters_of(network: Network, lowered: Network, axes: Mapping[str, int]) -> tuple[Cluster, ...]:
    """One cluster per executed kernel that carries out layers as written.

    Args:
        network: as written.
        lowered: the same, as the runtime executes it.
        axes: channel axis of every tensor as written.
    """
    around = _Surroundings(network, lowered, axes)
    kernels = [layer for layer in lowered.layers if layer.op.kind != SESSION]
    found = (around.cluster(kernel) for kernel in kernels)
    return tuple(cluster for cluster in found if cluster is not None)


class _Surroundings:
    """Who writes and who reads each tensor as written, and which kernels carry them out."""

    def __init__(self, network: Network, lowered: Network, axes: Mapping[str, int]) -> None:
        self._axes = axes
        self._inputs = network.inputs
        self._kernels = {name: kernel for kernel in lowered.layers for name in kernel.covers}
        layers, alias = self._simplified(network.layers)
        self._returned = {alias.get(name, name) for name in network.outputs}
        self._written = {layer.name: layer for layer in layers}
        self._order = {name: place for place, name in enumerate(self._written)}
        self._makers = {t: layer for layer in layers for t in layer.outputs}
        self._readers: dict[str, list[Layer]] = {}
        for layer in layers:
            for tensor in layer.inputs:
                self._readers.setdefault(tensor, []).append(layer)

    def _simplified(self, layers: Sequence[Layer]) -> tuple[list[Layer], Mapping[str, str]]:
        """Layers without those that no kernel carries out by itself.

        These are identities that vanish and repeats of a layer that is carried out once.

        Returns:
            The layers, and by tensor that is no longer written the one that it equals.
        """
        alias: dict[str, str] = {}
        kept: list[Layer] = []
        seen: dict[tuple[object, ...], str] = {}
        for layer in layers:
            reads = tuple(alias.get(name, name) for name in layer.inputs)
            kernel = self._kernels.get(layer.name)
            alone = kernel is not None and kernel.covers == (layer.name,)
            equal = layer.outputs[0] if layer.outputs else ""
            if kernel is not None and not layer.op.weights and len(layer.outputs) == 1:
                equal = seen.setdefault((kernel.name, layer.op, reads), equal)
            if layer.op.kind in {"identity", "dropout"} and not alone and reads:
                alias[layer.outputs[0]] = reads[0]
            elif layer.outputs and equal != layer.outputs[0]:
                alias[layer.outputs[0]] = equal
            else:
                kept.append(replace(layer, inputs=reads) if reads != layer.inputs else layer)
        return kept, alias

    def cluster(self, kernel: Layer) -> Cluster | None:
        """What ``kernel`` carries out; None for kernels that a runtime inserted."""
        names = [name for name in kernel.covers if name in self._order]
        names.sort(key=self._order.__getitem__)
        if not names:
            return None
        layers = tuple(self._written[name] for name in names)
        inside = dict.fromkeys(tensor for layer in layers for tensor in layer.outputs)
        reads = tuple(dict.fromkeys(t for la in layers for t in la.inputs if t not in inside))
        ends = tuple(t for t in inside if self._is_wanted(t, names)) or tuple(inside)[-1:]
        mixers = tuple(layer for layer in layers if mixes_channels(layer.op))
        return Cluster(
            name=kernel.name,
            layers=layers,
            reads=reads,
            sources=tuple(map(self._source, reads)),
            sharers=tuple(map(self._sharers, reads)),
            writes=ends,
            feeds_blocked=_is_blocked(kernel) and any(map(self._is_sought, ends)),
            returned=not self._returned.isdisjoint(ends),
            mixers=mixers,
            before=_upstream(layers, mixers),
            axes={name: self._axes.get(name, 1) for name in (*reads, *inside)},
        )

    def _is_wanted(self, tensor: str, names: Sequence[str]) -> bool:
        readers = self._readers.get(tensor, ())
        return tensor in self._returned or any(item.name not in names for item in readers)

    def _is_sought(self, tensor: str) -> bool:
        """Whether a kernel that enters the blocked layout by itself reads ``tensor``."""
        kernels = (self._kernels.get(reader.name) for reader in self._readers.get(tensor, ()))
        return any(
            kernel is not None and _is_blocked(kernel) and kernel.op.kind in _ENTERING
            for kernel in kernels
        )

    def _sharers(self, tensor: str) -> int:
        """How many kernels read ``tensor`` in the other layout than it is written in."""
        blocked = self._source(tensor) == "blocked"
        kernels = (self._kernels.get(reader.name) for reader in self._readers.get(tensor, ()))
        others = {
            kernel.name
            for kernel in kernels
            if kernel is not None and _is_blocked(kernel) is not blocked
        }
        return max(1, len(others) + (blocked and tensor in self._returned))

    def _source(self, tensor: str) -> Source:
        if tensor in self._inputs:
            return "input"
        maker = self._makers.get(tensor)
        kernel = self._kernels.get(maker.name) if maker is not None else None
        return "blocked" if kernel is not None and _is_blocked(kernel) else "plain"


#: Kinds that enter the blocked layout by themselves.
_ENTERING = CONV_KINDS | POOL_KINDS


def _is_blocked(kernel: Layer) -> bool:
    """Whether what a kernel writes is in the blocked layout; the rules name such tensors so."""
    return any(name.endswith(("/blocked", "/joined")) for name in kernel.outputs)


def _upstream(layers: Sequence[Layer], mixers: Sequence[Layer]) -> frozenset[str]:
    """Tensors from which the mixers' input is made."""
    makers = {tensor: layer for layer in layers for tensor in layer.outputs}
    seen: set[str] = set()
    waiting = [layer.inputs[0] for layer in mixers if layer.inputs]
    while waiting:
        tensor = waiting.pop()
        if tensor in seen:
            continue
        seen.add(tensor)
        maker = makers.get(tensor)
        if maker is not None and maker not in mixers:
            waiting.extend(maker.inputs)
    return frozenset(seen)


def work_share(op: Op) -> float:
    """Rough time of a kernel on a common machine, to weigh what cannot be priced; in seconds.

    One hundred GFLOP/s and 10 GB/s: only ratios matter.
    """
    moved = 4.0 * (op.num_input_elements + op.num_output_elements + op.num_weights)
    return max(2.0 * op.macs / 1e11, moved / 1e10)

"""Clusters: the layers as written that one executed kernel carries out, with their surroundings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from costmodel.network import Layer, Network
from costmodel.op import CONV_KINDS, POOL_KINDS, SESSION, Op
from morphnet_core.prices.terms import mixes_channels

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
        return (*layers, axes, self.sources, ends, self.feeds_blocked, self.returned)


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
        self._network = network
        self._axes = axes
        self._written = {layer.name: layer for layer in network.layers}
        self._order = {name: place for place, name in enumerate(self._written)}
        self._makers = {t: layer for layer in network.layers for t in layer.outputs}
        self._readers: dict[str, list[Layer]] = {}
        for layer in network.layers:
            for tensor in layer.inputs:
                self._readers.setdefault(tensor, []).append(layer)
        self._kernels = {name: kernel for kernel in lowered.layers for name in kernel.covers}

    def cluster(self, kernel: Layer) -> Cluster | None:
        """What ``kernel`` carries out; None for kernels that a runtime inserted."""
        names = [name for name in kernel.covers if name in self._order]
        names.sort(key=self._order.__getitem__)
        if not names:
            return None
        layers, alias = _without_identities([self._written[name] for name in names])
        inside = dict.fromkeys(tensor for layer in layers for tensor in layer.outputs)
        reads = tuple(dict.fromkeys(t for la in layers for t in la.inputs if t not in inside))
        ends = self._ends(layers, names, alias)
        known_as = [name for end in ends for name in (end, *_names_of(end, alias))]
        mixers = tuple(layer for layer in layers if mixes_channels(layer.op))
        return Cluster(
            name=kernel.name,
            layers=layers,
            reads=reads,
            sources=tuple(map(self._source, reads)),
            writes=ends,
            feeds_blocked=_is_blocked(kernel) and any(map(self._is_sought, known_as)),
            returned=any(name in self._network.outputs for name in known_as),
            mixers=mixers,
            before=_upstream(layers, mixers),
            axes={name: self._axes.get(name, 1) for name in (*reads, *inside)},
        )

    def _ends(
        self, layers: Sequence[Layer], names: Sequence[str], alias: Mapping[str, str]
    ) -> tuple[str, ...]:
        """Tensors that others read."""
        known = [tensor for layer in layers for tensor in layer.outputs]
        ends = tuple(
            tensor
            for tensor in known
            if any(self._is_wanted(name, names) for name in (tensor, *_names_of(tensor, alias)))
        )
        return ends or tuple(known[-1:])

    def _is_wanted(self, tensor: str, names: Sequence[str]) -> bool:
        readers = self._readers.get(tensor, ())
        return tensor in self._network.outputs or any(item.name not in names for item in readers)

    def _is_sought(self, tensor: str) -> bool:
        """Whether a kernel that enters the blocked layout by itself reads ``tensor``."""
        kernels = (self._kernels.get(reader.name) for reader in self._readers.get(tensor, ()))
        return any(
            kernel is not None and _is_blocked(kernel) and kernel.op.kind in _ENTERING
            for kernel in kernels
        )

    def _source(self, tensor: str) -> Source:
        if tensor in self._network.inputs:
            return "input"
        maker = self._makers.get(tensor)
        kernel = self._kernels.get(maker.name) if maker is not None else None
        return "blocked" if kernel is not None and _is_blocked(kernel) else "plain"


#: Kinds that enter the blocked layout by themselves.
_ENTERING = CONV_KINDS | POOL_KINDS


def _is_blocked(kernel: Layer) -> bool:
    """Whether what a kernel writes is in the blocked layout; the rules name such tensors so."""
    return any(name.endswith(("/blocked", "/joined")) for name in kernel.outputs)


def _names_of(tensor: str, alias: Mapping[str, str]) -> list[str]:
    return [name for name, original in alias.items() if original == tensor]


def _without_identities(layers: Sequence[Layer]) -> tuple[tuple[Layer, ...], dict[str, str]]:
    """Layers without those that only pass their input on, and what each such tensor stands for."""
    alias: dict[str, str] = {}
    kept: list[Layer] = []
    for layer in layers:
        reads = tuple(alias.get(name, name) for name in layer.inputs)
        if layer.op.kind in {"identity", "dropout"} and len(layers) > 1 and layer.outputs:
            alias[layer.outputs[0]] = reads[0]
        else:
            kept.append(Layer(name=layer.name, op=layer.op, inputs=reads, outputs=layer.outputs))
    return (tuple(kept) or tuple(layers)), (alias if kept else {})


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

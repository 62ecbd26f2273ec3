"""Losses: kernels that take longer than their work asks for, by what is the matter with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from costmodel.anticipation.fast_path import off_fast_path
from costmodel.calibration import Calibration, weight_mib
from costmodel.costs.counts import Bytes
from costmodel.device import Device
from costmodel.kinds import RELABELS
from costmodel.op import Op
from costmodel.prediction import Prediction, PricedLayer
from costmodel.protocols import NetworkLaw
from costmodel.table import LatencyTable

Matter = Literal["fast path", "layout", "memory", "cache"]

#: What each matter is, for people.
MEANINGS: Mapping[Matter, str] = {
    "fast path": "kernels off the fast path for their channels",
    "layout": "kernels that only change how tensors are laid out",
    "memory": "kernels bound by memory",
    "cache": "reading weights that no cache holds",
}
#: Kinds that move elements into another order and calculate nothing.
LAYOUT_KINDS = frozenset({"reorder", "reorder_input", "reorder_output", "transpose"})
#: Rows whose rate is looked at: smaller ones are over before they reach it.
_LEAST_WORK, _LEAST_BYTES = 1_000_000, 1 << 20
#: Fewest rows of a sort that tell a rate, and the rate that few of them exceed.
_LEAST_ROWS, _HIGH = 8, 0.9
#: Share of a kernel's time that reading weights must add to be the matter with it.
_LEAST_READING = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A kernel with which something is the matter.

    Attributes:
        name: of the kernel.
        op: its work.
        layers: of the file, that it carries out.
        ms: of its time, what is in question: all of it, or what reading weights adds.
        why: one clause.
    """

    name: str
    op: Op
    layers: tuple[str, ...]
    ms: float
    why: str

    def to_json(self) -> dict[str, object]:
        """The suspect as plain values."""
        return {
            "name": self.name,
            "op": self.op.label,
            "layers": list(self.layers),
            "ms": self.ms,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """All kernels with which the same is the matter.

    Attributes:
        matter: what.
        suspects: the kernels, those of most milliseconds first.
    """

    matter: Matter
    suspects: tuple[Suspect, ...]

    @property
    def ms(self) -> float:
        """Of all of them together."""
        return sum(item.ms for item in self.suspects)

    def to_json(self) -> dict[str, object]:
        """The loss as plain values."""
        return {
            "matter": self.matter,
            "meaning": MEANINGS[self.matter],
            "ms": self.ms,
            "kernels": [item.to_json() for item in self.suspects],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """How fast a device is at its best, as its own table shows.

    Attributes:
        macs_per_ms: multiply-adds.
        bytes_per_ms: read and written by kernels that hardly calculate.
    """

    macs_per_ms: float
    bytes_per_ms: float

    def is_bound_by_memory(self, macs: float, num_bytes: float) -> bool:
        """Whether moving its data would take longer than its arithmetic, both at their best."""
        return num_bytes / self.bytes_per_ms > macs / self.macs_per_ms


def rates_of(table: LatencyTable | None) -> Rates | None:
    """The rates that a table shows; None where it has too few rows of either sort."""
    if table is None:
        return None
    rows = [row for row in table.kernels() if row.latency_ms > 0]
    sizes = _bytes([row.op for row in rows])
    macs = [row.op.macs / row.latency_ms for row in rows if row.op.macs >= _LEAST_WORK]
    moved = [
        size / row.latency_ms
        for row, size in zip(rows, sizes, strict=True)
        if size >= _LEAST_BYTES and not row.op.macs and row.op.kind not in RELABELS
    ]
    if min(len(macs), len(moved)) < _LEAST_ROWS:
        return None
    high = (float(np.quantile(values, _HIGH)) for values in (macs, moved))
    return Rates(macs_per_ms=next(high), bytes_per_ms=next(high))


def find_losses(
    prediction: Prediction,
    device: Device | None,
    law: NetworkLaw | None,
    rates: Rates | None,
    *,
    written: Collection[str] = (),
) -> tuple[Loss, ...]:
    """What is the matter with a network's kernels, the most milliseconds first.

    A kernel may be in several losses, so that their times do not add up.

    Args:
        prediction: of the network, in milliseconds.
        device: whose runtime executes it.
        law: from kernels to networks, which may know where weights come from.
        rates: of the device at its best; None where they are not known.
        written: layers by whose names kernels are called, where they carry out any of them;
            constants that the file computes are none.
    """
    layers = [_called(layer, written) for layer in prediction.layers]
    sizes = _bytes([layer.op for layer in layers])
    size_of = dict(zip((layer.name for layer in layers), sizes, strict=True))

    def memory(layer: PricedLayer) -> str:
        size = size_of[layer.name]
        if rates is None or layer.op.kind in LAYOUT_KINDS or size < _LEAST_BYTES:
            return ""
        if not rates.is_bound_by_memory(layer.op.macs, size):
            return ""
        work = f"{layer.op.macs / 1e6:.3g} M" if layer.op.macs else "no"
        return f"it moves {size / 1e6:.1f} MB for {work} multiply-adds"

    found = [
        _loss("fast path", layers, lambda layer: off_fast_path(layer.op, device)),
        _loss("layout", layers, _moves),
        _loss("memory", layers, memory),
        Loss(matter="cache", suspects=_ranked(_reading(layers, law))),
    ]
    return tuple(sorted((item for item in found if item.suspects), key=lambda item: -item.ms))


def _called(layer: PricedLayer, written: Collection[str]) -> PricedLayer:
    names = tuple(name for name in layer.covers if name in written)
    return replace(layer, covers=names) if names else layer


def _bytes(ops: Sequence[Op]) -> list[float]:
    return [float(value) for value in np.nan_to_num(Bytes().price(ops).values)]


def _moves(layer: PricedLayer) -> str:
    return "it only moves elements" if layer.op.kind in LAYOUT_KINDS else ""


def _loss(
    matter: Matter, layers: Sequence[PricedLayer], reason: Callable[[PricedLayer], str]
) -> Loss:
    suspects = (_suspect(layer, layer.price, why) for layer in layers if (why := reason(layer)))
    return Loss(matter=matter, suspects=_ranked(suspects))


def _suspect(layer: PricedLayer, ms: float, why: str) -> Suspect:
    return Suspect(name=layer.name, op=layer.op, layers=layer.covers, ms=ms, why=why)


def _ranked(suspects: Iterable[Suspect]) -> tuple[Suspect, ...]:
    return tuple(sorted(suspects, key=lambda item: -item.ms))


def _reading(layers: Sequence[PricedLayer], law: NetworkLaw | None) -> Iterable[Suspect]:
    """Kernels whose weights come from memory, with what that adds to each."""
    if not isinstance(law, Calibration) or law.read_ms_per_mib <= 0:
        return
    whole = weight_mib([layer.op for layer in layers])
    if whole <= law.cache_mib:
        return
    for layer in layers:
        there, near = (law.of_kernel(layer.op, layer.price, 1.0, mib) for mib in (whole, 0.0))
        if there - near < _LEAST_READING * there:
            continue
        own = weight_mib([layer.op])
        why = f"of {whole:.0f} MiB of weights, {own:.1f} its own, a cache holds {law.cache_mib:.0f}"
        yield _suspect(layer, there - near, why)

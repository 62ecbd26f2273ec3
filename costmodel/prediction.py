"""Prediction: what a network will take, layer by layer, and what could not be priced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot, isfinite, isnan, nan, sqrt
from typing import TYPE_CHECKING, Literal

from costmodel._moved import moved_names
from costmodel.equality import same_fields
from costmodel.figures import percent, quantity
from costmodel.html import html_table
from costmodel.kinds import MOVES
from costmodel.network import Layer, Network
from costmodel.op import SESSION, Op, op_fields
from costmodel.protocols import CostModel, NetworkLaw, Prices, Unit

if TYPE_CHECKING:
    from costmodel.device import Device

#: Correlation of the pricing errors of two different Ops of one network: they come from the same
#: fit on the same table, so a part of each error is shared and does not average out in a sum.
ERROR_CORRELATION = 0.3

#: Relative half width for what separately timed kernels cannot know of a whole network (caches
#: left warm or cold by the kernel before), used when no calibration has measured it. First trials
#: on five networks: the sum of kernels was 0.97 to 1.05 of the network's time.
SUMMATION_SHARE = 0.05

#: From this share of the time on, what has a price stands for the whole as it is.
WHOLE_SHARE = 0.95
#: Below this share of the time, what has a price says too little of the rest for a total.
LEAST_SHARE = 0.5

#: Layers that a notebook shows.
SHOWN = 10

Basis = Literal["exact", "predicted", "extrapolated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedLayer:
    """What one layer costs.

    Attributes:
        name: the layer's name in the network.
        op: its work.
        price: in the prediction's unit.
        low: lower end of the interval.
        high: upper end.
        basis: ``exact`` for a stored row, else ``predicted``, or ``extrapolated`` where the cost
            model has seen nothing like it.
        note: why it is extrapolated; else empty.
        share: part of the sum of all priced layers, 0 to 1.
        covers: layers of the network as written that this kernel carries out.
        beside: layers as written that it belongs to where it carries out none, such as those whose
            result a change of layout moves.
        seen: share of the network's run time seen while lowering; NaN when nobody looked.
    """

    name: str
    op: Op
    price: float
    low: float
    high: float
    basis: Basis
    note: str = ""
    share: float = nan
    covers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    seen: float = nan

    __eq__ = same_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpriced:
    """A layer that is in no total.

    Attributes:
        name: the layer's name in the network.
        reason: one sentence.
        share: share of the network's run time seen while lowering; NaN when nobody looked.
        op: its work; None when the layer could not even become an Op.
        covers: as ``PricedLayer.covers``.
        beside: as ``PricedLayer.beside``.
    """

    name: str
    reason: str
    share: float = nan
    op: Op | None = None
    covers: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    __eq__ = same_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a network will take.

    Attributes:
        model: the network's name.
        unit: unit of every number.
        cost: name of the cost model.
        device: the device that the numbers belong to; None for counts, which hold anywhere.
        source: where the Ops come from: ``lowered``, ``anticipated`` or ``written``.
        total: the prediction: calibrated when there is a calibration, else the plain sum; divided
            by ``priced_share`` where that is known and below ``WHOLE_SHARE``; NaN when no layer
            has a price, or layers of less than ``LEAST_SHARE`` of the time.
        low: lower end of the total's interval.
        high: upper end.
        uncalibrated: the plain sum of the priced layers.
        calibration: how the total was calibrated; empty when it was not.
        layers: what each layer costs, in execution order.
        unpriced: the layers that are in no total, with reasons.
        priced_share: share of the run time that the priced layers cover, as seen while lowering;
            None when nobody looked.
        priced_count_share: share of the layers that have a price.
    """

    model: str
    unit: Unit
    cost: str
    device: Device | None
    source: str
    total: float
    low: float
    high: float
    uncalibrated: float
    calibration: str
    layers: tuple[PricedLayer, ...]
    unpriced: tuple[Unpriced, ...]
    priced_share: float | None
    priced_count_share: float

    __eq__ = same_fields

    def __str__(self) -> str:
        """One line: total, interval, and how much of the network has a price."""
        share = f"{self.share_with_a_price:.0%}"
        if isnan(self.total) and self.layers:
            return f"{self.model}: only {share} of its time has a price, which is too little"
        if isnan(self.total):
            return f"{self.model}: nothing in it has a price"
        between = f" ({self._between})" if self.high > self.low else ""
        missing = f", {len(self.unpriced)} without a price" if self.unpriced else ""
        missing += f": scaled from {share} of the time" if self.scaled else ""
        total = quantity(self.total, self.unit)
        return f"{self.model}: {total}{between}, {len(self.layers)} layers{missing}"

    @property
    def _between(self) -> str:
        """The interval in words, with its unit once."""
        low, high = (quantity(end, self.unit) for end in (self.low, self.high))
        return f"{low.removesuffix(self.unit).rstrip()} to {high}"

    def _repr_html_(self) -> str:
        """The prediction in a notebook: the total, and the layers that cost most."""
        facts = [
            ("predicted", quantity(self.total, self.unit)),
            ("interval", self._between if self.high > self.low else ""),
            ("device", self.device.label if self.device else ""),
            ("layers", f"{len(self.layers)}, {len(self.unpriced)} without a price"),
        ]
        ranked = sorted(self.layers, key=lambda layer: -layer.price)[:SHOWN]
        layers = [
            (item.name, item.op.label, quantity(item.price, self.unit), percent(item.share))
            for item in ranked
        ]
        return html_table(self.model, [pair for pair in facts if pair[1]]) + html_table(
            f"The {len(layers)} layers that cost most",
            layers,
            columns=("layer", "work", "price", "share"),
        )

    @property
    def scaled(self) -> bool:
        """Whether the total was raised for layers that have no price."""
        return self.share_with_a_price < WHOLE_SHARE and not isnan(self.total)

    @property
    def share_with_a_price(self) -> float:
        """``priced_share`` of a time; 1 for counts, and where nobody looked."""
        return 1.0 if self.unit != "ms" or self.priced_share is None else self.priced_share

    @property
    def predicted_ms(self) -> float | None:
        """The total where the unit is milliseconds and anything has a price; else None."""
        return finite(self.total) if self.unit == "ms" else None

    @property
    def uncalibrated_ms(self) -> float | None:
        """The plain sum where the unit is milliseconds and anything has a price; else None."""
        return finite(self.uncalibrated) if self.unit == "ms" else None

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """The total's interval where the unit is milliseconds; else None."""
        if self.unit != "ms" or isnan(self.total):
            return None
        return (self.low, self.high)

    @property
    def parts_ms(self) -> dict[str, float] | None:
        """What adds up to the total, in ms; None where there is no total in milliseconds.

        ``kernels`` calculate, those that only copy or rearrange are ``moving data``, ``session`` is
        the fixed cost of a run, ``whole network`` what networks timed whole say beyond the sum, and
        ``without a price`` what the total was raised by for layers that have none.
        """
        if self.predicted_ms is None:
            return None
        parts = {"kernels": 0.0, "moving data": 0.0, "session": 0.0}
        for layer in self.layers:
            moves = "moving data" if layer.op.kind in MOVES else "kernels"
            parts["session" if layer.op.kind == SESSION else moves] += layer.price
        priced = self.total * (self.share_with_a_price if self.scaled else 1.0)
        return parts | {
            "whole network": priced - self.uncalibrated,
            "without a price": self.total - priced,
        }

    @property
    def num_exact(self) -> int:
        """Layers whose price is a stored row."""
        return sum(layer.basis == "exact" for layer in self.layers)

    @property
    def num_extrapolated(self) -> int:
        """Layers outside what the cost model has seen."""
        return sum(layer.basis == "extrapolated" for layer in self.layers)

    def to_json(self) -> dict[str, object]:
        """The prediction as plain values; NaN becomes None."""
        interval = self.interval_ms
        return {
            "model": self.model,
            "device": self.device.label if self.device else None,
            "provenance": self.device.provenance if self.device else None,
            "predicted_ms": self.predicted_ms,
            "interval_ms": list(interval) if interval else None,
            "uncalibrated_ms": self.uncalibrated_ms,
            "parts_ms": self.parts_ms,
            "scaled": self.scaled,
            "calibration": self.calibration or None,
            "unit": self.unit,
            "total": finite(self.total),
            "cost": self.cost,
            "source": self.source,
            "priced_share": self.priced_share,
            "priced_count_share": self.priced_count_share,
            "ops": [_layer_json(layer, self.unit) for layer in self.layers],
            "unpriced": [
                {"name": item.name, "reason": item.reason, "share": finite(item.share)}
                | ({"op": item.op.label} if item.op else {})
                for item in self.unpriced
            ],
        }


def finite(value: float) -> float | None:
    """``value``, or None where it is NaN or infinite and JSON has no word for it."""
    return value if isfinite(value) else None


def price_network(
    network: Network,
    cost: CostModel,
    calibration: NetworkLaw | None = None,
    *,
    device: Device | None = None,
) -> Prediction:
    """Price every layer of a network and sum them up.

    The cost model is asked once, for all layers. A layer without a price is in ``unpriced`` with
    the reason, never a silent zero. Where the runtime was seen to spend more than 5 % of its time
    in such layers, the total is scaled to the whole, and half of what was added is in doubt.

    Args:
        network: the Ops, as executed for a price in milliseconds.
        cost: prices them.
        calibration: maps the plain sum to a whole network's time; only for milliseconds.
        device: the device of the cost model's numbers, for the report.

    Returns:
        The prediction; its total is NaN when too little has a price.
    """
    prices = cost.price(network.ops)
    values = [float(value) for value in prices.values]
    priced = [index for index, value in enumerate(values) if isfinite(value)]
    uncalibrated = sum(values[index] for index in priced) if priced else nan
    beside = network.beside()
    layers = tuple(
        _priced(network.layers[index], index, prices, uncalibrated, beside) for index in priced
    )
    unpriced = _unpriced(network, values, prices, beside)
    # A calibration is fitted on milliseconds; counts are exact and need none.
    used = calibration if cost.unit == "ms" and priced else None
    total, low, high = _total(layers, uncalibrated, cost.unit, used)
    share = _priced_share(network, unpriced)
    if cost.unit == "ms" and share is not None and share < WHOLE_SHARE:
        total, low, high = _scaled(total, low, high, share)
    count = len(network.layers) + len(network.unread)
    return Prediction(
        model=network.name,
        unit=cost.unit,
        cost=cost.name,
        device=device,
        source=network.source,
        total=total,
        low=low,
        high=high,
        uncalibrated=uncalibrated,
        calibration="" if used is None else used.describe(),
        layers=layers,
        unpriced=unpriced,
        priced_share=share,
        priced_count_share=len(layers) / count if count else 1.0,
    )


def _total(
    layers: Sequence[PricedLayer],
    uncalibrated: float,
    unit: Unit,
    calibration: NetworkLaw | None,
) -> tuple[float, float, float]:
    """The priced layers' total and the ends of its interval.

    Where networks were timed whole, how far they were from their prediction says how wide it is;
    layers unlike anything measured widen it. Else the layers' own intervals must do.
    """
    if unit == "ms" and calibration is not None:
        rows = sum(layer.price for layer in layers if layer.basis == "exact")
        unseen = 1.0 - rows / uncalibrated if uncalibrated > 0 else 0.0
        prices = [layer.price for layer in layers]
        ops = [layer.op for layer in layers]
        total = calibration.apply(prices, ops, unseen=unseen)
        told = calibration.covers_unseen
        odd = [layer for layer in layers if layer.basis == "extrapolated" or not told]
        below, above = _half_widths(odd)
        extra = total * calibration.half_width(unseen, ops)
        return total, max(0.0, total - hypot(below, extra)), total + hypot(above, extra)
    below, above = _half_widths(layers)
    if unit == "ms":
        extra = uncalibrated * SUMMATION_SHARE
        below, above = hypot(below, extra), hypot(above, extra)
    return uncalibrated, max(0.0, uncalibrated - below), uncalibrated + above


def _scaled(total: float, low: float, high: float, share: float) -> tuple[float, float, float]:
    """A total and its interval for the whole network, from layers of ``share`` of its time."""
    if share < LEAST_SHARE:
        return nan, nan, nan
    # Shares are seen in one run, and of layers that nothing is known of: half of them is doubtful.
    doubt = 0.5 * total * (1.0 - share) / share
    below, above = ((end - total) / share for end in (low, high))
    whole = total / share
    return whole, max(0.0, whole - hypot(below, doubt)), whole + hypot(above, doubt)


def interval_of_sum(half_widths: Sequence[float], correlation: float = ERROR_CORRELATION) -> float:
    """Half width of a sum whose terms' errors are partly shared.

    Between the root of the sum of squares (independent errors) and the plain sum (one common
    error): ``sqrt(c * (sum h)^2 + (1 - c) * sum h^2)``.

    Args:
        half_widths: one per term, at least 0, in the unit of the sum.
        correlation: of any two terms' errors, 0 to 1.

    >>> interval_of_sum([3.0, 4.0], correlation=0.0), interval_of_sum([3.0, 4.0], correlation=1.0)
    (5.0, 7.0)
    """
    together = sum(half_widths)
    squares = sum(half * half for half in half_widths)
    return sqrt(correlation * together * together + (1 - correlation) * squares)


def _half_widths(layers: Sequence[PricedLayer]) -> tuple[float, float]:
    """Half widths of the sum, below and above it."""
    # A repeated Op is wrong by the same amount each time: its width counts as one term, in full.
    counts = Counter(layer.op for layer in layers)
    once = {layer.op: layer for layer in layers}.items()
    below = [counts[op] * max(0.0, layer.price - layer.low) for op, layer in once]
    above = [counts[op] * max(0.0, layer.high - layer.price) for op, layer in once]
    return interval_of_sum(below), interval_of_sum(above)


def _priced(
    layer: Layer, index: int, prices: Prices, total: float, beside: Mapping[str, tuple[str, ...]]
) -> PricedLayer:
    value = float(prices.values[index])
    basis: Basis = "predicted"
    if prices.exact is not None and bool(prices.exact[index]):
        basis = "exact"
    elif index in prices.extrapolated:
        basis = "extrapolated"
    low, high = float(prices.low[index]), float(prices.high[index])
    return PricedLayer(
        name=layer.name,
        op=layer.op,
        price=value,
        low=low if isfinite(low) else value,
        high=high if isfinite(high) else value,
        basis=basis,
        note=prices.extrapolated.get(index, "") if basis == "extrapolated" else "",
        share=value / total if total > 0 else nan,
        covers=layer.covers,
        beside=beside.get(layer.name, ()),
        seen=layer.share,
    )


def _unpriced(
    network: Network, values: Sequence[float], prices: Prices, beside: Mapping[str, tuple[str, ...]]
) -> tuple[Unpriced, ...]:
    found = [
        Unpriced(
            name=layer.name,
            reason=prices.reasons.get(index, "the cost model has no price for it"),
            share=layer.share,
            op=layer.op,
            covers=layer.covers,
            beside=beside.get(layer.name, ()),
        )
        for index, layer in enumerate(network.layers)
        if not isfinite(values[index])
    ]
    found.extend(
        Unpriced(name=name, reason=reason, share=network.unread_shares.get(name, nan))
        for name, reason in network.unread.items()
    )
    return tuple(found)


def _priced_share(network: Network, unpriced: Sequence[Unpriced]) -> float | None:
    """Share of the run time that has a price; None when it was never seen."""
    if not unpriced:
        return 1.0
    seen = [layer.share for layer in network.layers] + list(network.unread_shares.values())
    total = sum(share for share in seen if not isnan(share))
    missing = sum(item.share for item in unpriced)
    if isnan(missing) or total <= 0:
        return None
    return max(0.0, 1.0 - missing / total)


def _layer_json(layer: PricedLayer, unit: Unit) -> dict[str, object]:
    found: dict[str, object] = {
        "name": layer.name,
        "op": layer.op.label,
        "kind": layer.op.kind,
        "kernel": op_fields(layer.op),
        "predicted_ms" if unit == "ms" else unit: layer.price,
        "interval_ms" if unit == "ms" else "interval": [layer.low, layer.high],
        "basis": layer.basis,
        "share": finite(layer.share),
    }
    if layer.note:
        found["note"] = layer.note
    if layer.covers:
        found["covers"] = list(layer.covers)
    return found


__getattr__ = moved_names(__name__, {"predict": ":price_network"})

"""Executed kernels with their numbers, as viewers of graphs and of traces show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite, nan
from typing import TypeAlias

from costmodel.comparison import Comparison
from costmodel.op import SESSION, Op
from costmodel.prediction import Prediction, PricedLayer, Unpriced

#: What can be shown.
Result: TypeAlias = Prediction | Comparison
#: Multiply-adds of one GMAC.
_GMAC = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One executed kernel, with what is known of its time.

    Attributes:
        name: its layer's name in the network.
        op: its work; None where that is not known.
        covers: layers of the network as written that it carries out.
        beside: layers that it belongs to where it carries out none.
        predicted: its price, in the prediction's unit; NaN without one.
        low: lower end of the interval.
        high: upper end.
        basis: where the price comes from; ``none`` without one.
        measured_ms: the network's measured time by the share that the runtime itself spent here;
            NaN where nothing was measured, or nobody looked.
        note: why there is no price, or why it is extrapolated; else empty.
    """

    name: str
    op: Op | None
    covers: tuple[str, ...]
    beside: tuple[str, ...]
    predicted: float = nan
    low: float = nan
    high: float = nan
    basis: str = "none"
    measured_ms: float = nan
    note: str = ""

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers as written on one of which its time is shown."""
        return self.covers or self.beside

    @property
    def added(self) -> bool:
        """Whether the runtime added it: no layer as written asks for it."""
        return not self.covers


def kernels_of(found: Result) -> tuple[Kernel, ...]:
    """Every kernel in execution order, then the layers without a price; the session is left out.

    Args:
        found: what was predicted, or predicted and measured.
    """
    prediction = prediction_of(found)
    measured = measured_of(found)
    written = prediction.source == "written"

    def covers(item: PricedLayer | Unpriced) -> tuple[str, ...]:
        own = written or item.op is None
        return item.covers or ((item.name,) if own else ())

    priced = [
        Kernel(
            name=item.name,
            op=item.op,
            covers=covers(item),
            beside=item.beside,
            predicted=item.price,
            low=item.low,
            high=item.high,
            basis=item.basis,
            measured_ms=measured * item.seen,
            note=item.note,
        )
        for item in prediction.layers
        if item.op.kind != SESSION
    ]
    unpriced = [
        Kernel(
            name=item.name,
            op=item.op,
            covers=covers(item),
            beside=item.beside,
            measured_ms=measured * item.share,
            note=item.reason,
        )
        for item in prediction.unpriced
        if item.op is None or item.op.kind != SESSION
    ]
    return (*priced, *unpriced)


def prediction_of(found: Result) -> Prediction:
    """What was predicted."""
    return found if isinstance(found, Prediction) else found.prediction


def measured_of(found: Result) -> float:
    """The network's measured time in ms; NaN where there is none."""
    measured = None if isinstance(found, Prediction) else found.measured_ms
    return nan if measured is None else measured


def session_price(prediction: Prediction) -> float:
    """What one run costs beside its kernels; 0 where nothing says so."""
    return sum(item.price for item in prediction.layers if item.op.kind == SESSION)


def total(values: Iterable[float]) -> float:
    """Sum of the finite values; NaN where there is none.

    >>> total([1.0, nan, 2.0]), total([nan])
    (3.0, nan)
    """
    known = [value for value in values if isfinite(value)]
    return sum(known) if known else nan


def error_of(kernels: Iterable[Kernel]) -> float:
    """``predicted / measured - 1`` of kernels together; NaN where one of them lacks either."""
    items = list(kernels)
    predicted = sum(item.predicted for item in items)
    measured = sum(item.measured_ms for item in items)
    return predicted / measured - 1.0 if measured > 0 else nan


def per_gmac(kernels: Iterable[Kernel]) -> float:
    """Predicted milliseconds per 1e9 multiply-adds of kernels together; NaN where they do none."""
    items = [item for item in kernels if isfinite(item.predicted)]
    macs = sum((item.op.macs or 0) for item in items if item.op is not None)
    return sum(item.predicted for item in items) / macs * _GMAC if macs else nan


def rounded(value: float, digits: int = 4) -> float:
    """A number with as many digits as it deserves.

    >>> rounded(0.0340991), rounded(12345.678)
    (0.0341, 12350.0)
    """
    return float(f"{value:.{digits}g}")

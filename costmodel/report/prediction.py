"""Reports a Prediction: the total, where the time goes, and what has no price."""

from __future__ import annotations

from collections import defaultdict

from costmodel.prediction import Prediction, Unpriced
from costmodel.report.sheet import Sheet, facts, percent, quantity

#: Slowest layers shown unless asked for more.
TOP = 15

#: What each source of layers means.
SOURCES = {
    "lowered": "asked from the installed runtime",
    "anticipated": "by rule: the runtime itself was not asked",
    "written": "as the file writes them: fusion is not considered",
}


def prediction_sheets(prediction: Prediction, top: int = TOP) -> tuple[Sheet, ...]:
    """What a network will take.

    Args:
        prediction: to report.
        top: number of slowest layers to list; 0 lists none.
    """
    sheets = [_total(prediction)]
    if prediction.layers:
        sheets.append(_by_kind(prediction))
        if top > 0:
            sheets.append(_slowest(prediction, top))
    if prediction.unpriced:
        sheets.append(unpriced_sheet(prediction.unpriced))
    return tuple(sheets)


def coverage(prediction: Prediction) -> str:
    """Which part of the network the total covers, in words."""
    count = len(prediction.layers) + len(prediction.unpriced)
    layers = f"{len(prediction.layers)} of {count} layers"
    if not prediction.unpriced:
        return f"all {count} layers"
    if prediction.priced_share is None:
        return f"{layers}; their share of the time is not known"
    return f"{layers}, {percent(prediction.priced_share)} of the time"


def _total(prediction: Prediction) -> Sheet:
    unit = prediction.unit
    interval = f"{quantity(prediction.low, unit)} to {quantity(prediction.high, unit)}"
    exact, outside = prediction.num_exact, prediction.num_extrapolated
    bases = f"{exact} exact rows, {len(prediction.layers) - exact - outside} predicted"
    device = prediction.device
    share = percent(prediction.priced_share)
    pairs = {
        "predicted": quantity(prediction.total, unit)
        + (f", scaled from the {share} of the time that has a price" if prediction.scaled else ""),
        "interval": interval if prediction.low != prediction.high else "",
        "sum of layers": quantity(prediction.uncalibrated, unit),
        "calibration": prediction.calibration or ("none" if unit == "ms" else ""),
        "device": f"{device.label} ({device.provenance})" if device else "",
        "cost model": prediction.cost,
        "layers": f"{prediction.source}: {SOURCES.get(prediction.source, '')}",
        "prices": bases + (f", {outside} extrapolated" if outside else ""),
        "covers": coverage(prediction),
    }
    return facts(prediction.model, pairs)


def _by_kind(prediction: Prediction) -> Sheet:
    totals: dict[str, list[float]] = defaultdict(list)
    for layer in prediction.layers:
        totals[layer.op.kind].append(layer.price)
    whole = sum(sum(prices) for prices in totals.values())
    ranked = sorted(totals.items(), key=lambda item: -sum(item[1]))
    return Sheet(
        title="By kind",
        columns=("kind", "layers", prediction.unit, "share"),
        rows=tuple(
            (
                kind,
                str(len(prices)),
                _bare(sum(prices), prediction),
                percent(sum(prices) / whole if whole else None),
            )
            for kind, prices in ranked
        ),
        align="lrrr",
    )


def _slowest(prediction: Prediction, top: int) -> Sheet:
    ranked = sorted(prediction.layers, key=lambda layer: -layer.price)
    shown = ranked[:top]
    left = len(ranked) - len(shown)
    most = "Slowest" if prediction.unit == "ms" else "Largest"
    notes = [f"{left} more layers are not shown (--top {len(ranked)})."] if left else []
    notes += sorted({f"Extrapolated: {layer.note}." for layer in shown if layer.note})[:3]
    return Sheet(
        title=f"{most} layers",
        columns=("layer", "work", prediction.unit, "interval", "share", "price"),
        rows=tuple(
            (
                layer.name,
                layer.op.label,
                _bare(layer.price, prediction),
                _interval(layer.low, layer.high, prediction),
                percent(layer.share),
                layer.basis,
            )
            for layer in shown
        ),
        align="llrrrl",
        notes=tuple(notes),
    )


def unpriced_sheet(items: tuple[Unpriced, ...]) -> Sheet:
    """What is in no total, and why."""
    ranked = sorted(items, key=lambda item: -item.share if item.share == item.share else 0.0)
    return Sheet(
        title="Without a price, and so in no total",
        columns=("layer", "work", "share of time", "reason"),
        rows=tuple(
            (item.name, item.op.label if item.op else "", percent(item.share), item.reason)
            for item in ranked
        ),
        align="llrl",
    )


def _interval(low: float, high: float, prediction: Prediction) -> str:
    return "" if low == high else f"{_bare(low, prediction)} to {_bare(high, prediction)}"


def _bare(value: float, prediction: Prediction) -> str:
    """A number of the prediction's unit, without the unit."""
    return quantity(value, prediction.unit).removesuffix(prediction.unit).rstrip()

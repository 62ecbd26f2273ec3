"""Results as records of a data frame: tidy, one row a thing, units in the names of columns."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.comparison import Comparison
from costmodel.op import encode_op
from costmodel.percentiles import SHARES
from costmodel.prediction import Prediction, finite


def prediction_records(prediction: Prediction) -> list[dict[str, object]]:
    """A record a layer, in execution order; those without a price come last.

    Columns of a price end in its unit: ``price_ms``, or ``price_flops`` of a count.
    """
    unit = prediction.unit
    shared: dict[str, object] = {
        "model": prediction.model,
        "device": prediction.device.label if prediction.device else None,
    }
    found = [
        {
            **shared,
            "layer": layer.name,
            "kind": layer.op.kind,
            "label": layer.op.label,
            f"price_{unit}": layer.price,
            f"low_{unit}": layer.low,
            f"high_{unit}": layer.high,
            "share": finite(layer.share),
            "basis": layer.basis,
            "reason": layer.note,
            "covers": "+".join(layer.covers),
            "digest": layer.op.digest,
            "op_json": encode_op(layer.op).decode(),
        }
        for layer in prediction.layers
    ]
    found += [
        {
            **shared,
            "layer": item.name,
            "kind": item.op.kind if item.op else None,
            "label": item.op.label if item.op else None,
            f"price_{unit}": None,
            "basis": "unpriced",
            "reason": item.reason,
        }
        for item in prediction.unpriced
    ]
    return found


def comparison_records(comparisons: Sequence[Comparison]) -> list[dict[str, object]]:
    """A record a network; percentiles and the change since a baseline are None where unknown."""
    return [_comparison(item) for item in comparisons]


def _comparison(item: Comparison) -> dict[str, object]:
    low, high = item.prediction.interval_ms or (None, None)
    percentiles = item.percentiles
    return {
        "model": item.model,
        "measured_on": item.device.label,
        "predicted_ms": item.predicted_ms,
        "low_ms": low,
        "high_ms": high,
        "measured_ms": item.measured_ms,
        "median_ms": item.median_ms,
        "error": item.error,
        "error_at_pace": item.error_at_pace,
        "repeatability": item.repeatability,
        "priced_share": item.prediction.priced_share,
        "status": item.measurement.status,
        "reason": item.measurement.reason,
        "rounds": len(item.measurement.rounds),
        "samples": percentiles.samples if percentiles else None,
        **{
            f"{name}_ms": getattr(percentiles, name, None)
            for name in ("mean", "std", "min", *SHARES, "max")
        },
        "baseline_ms": item.change.before_ms if item.change else None,
        "slowdown": item.change.slowdown if item.change else None,
        "slower": item.change.slower if item.change else None,
    }

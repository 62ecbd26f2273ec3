"""Node data for Google's Model Explorer: a number and a colour on every node of the graph.

One file holds one quantity, as the viewer wants it; ``model-explorer --node_data_paths`` takes
several, and lets people choose between them. A node's key is its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite, isnan, nan
from typing import Any

from costmodel.viewers.kernels import (
    Kernel,
    Result,
    error_of,
    measured_of,
    per_gmac,
    prediction_of,
    rounded,
    total,
)
from costmodel.viewers.placing import Placed

#: From quick to slow, in colours that colour-blind people can tell apart: most nodes are quick, so
#: the scale is fine where they are.
_SCALE = (
    (0.0, "#ffffe5"),
    (0.02, "#fff7bc"),
    (0.1, "#fee391"),
    (0.25, "#fec44f"),
    (0.5, "#ec7014"),
    (1.0, "#8c2d04"),
)
#: From predicted too quick to predicted too slow, by the error from which on a colour is used.
_ERRORS = (
    (-0.5, "#2166ac"),
    (-0.25, "#67a9cf"),
    (-0.1, "#d1e5f0"),
    (0.1, "#f7f7f7"),
    (0.25, "#fddbc7"),
    (0.5, "#ef8a62"),
)
_WORST = "#b2182b"
#: Of nodes whose time is shown on another node, and of those without a number.
_COVERED, _UNKNOWN = "#eeeeee", "#d9d9d9"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantity:
    """One number per node.

    Attributes:
        suffix: of the file's name; empty for the predicted numbers.
        title: what people read.
        value: of the kernels on one node; NaN for none.
        color: of a value; None to colour by the scale.
        adds: whether a sum over nodes means something.
    """

    suffix: str
    title: str
    value: Callable[[tuple[Kernel, ...]], float]
    color: Callable[[float], str] | None = None
    adds: bool = False


def node_data(found: Result, placed: Placed, graph_name: str) -> dict[str, dict[str, Any]]:
    """The contents of the files, by what their names get before the ending.

    Args:
        found: what was predicted, or predicted and measured.
        placed: its kernels on the nodes of the graph.
        graph_name: the graph's name.

    Returns:
        Last, as the viewer shows first what it loads last, always the predicted numbers, under an
        empty name; for milliseconds, also those ``per_gmac``, and where the network was measured
        and the runtime looked, ``measured`` and ``error``.
    """
    unit = prediction_of(found).unit
    wanted = []
    kernels = [item for items in placed.nodes.values() for item in items]
    if not isnan(measured_of(found)) and any(isfinite(item.measured_ms) for item in kernels):
        wanted += [_Quantity(suffix="error", title="error %", value=_percent, color=_error_color)]
        wanted += [_Quantity(suffix="measured", title="measured ms", value=_measured, adds=True)]
    if unit == "ms":
        wanted += [_Quantity(suffix="per_gmac", title="predicted ms per GMAC", value=per_gmac)]
    wanted += [_Quantity(suffix="", title=f"predicted {unit}", value=_predicted, adds=True)]
    return {item.suffix: {graph_name: _data(item, placed)} for item in wanted}


def _data(quantity: _Quantity, placed: Placed) -> dict[str, object]:
    results: dict[str, dict[str, object]] = {}
    for name, kernels in placed.nodes.items():
        value = quantity.value(kernels)
        if isfinite(value):
            results[name] = {"value": rounded(value)}
            if quantity.color is not None:
                results[name]["bgColor"] = quantity.color(value)
        elif not quantity.suffix:
            results[name] = {"value": f"no price: {kernels[0].note}", "bgColor": _UNKNOWN}
    if not quantity.suffix:
        for name, anchor in placed.covered.items():
            results[name] = {"value": f"in {anchor}", "bgColor": _COVERED}
    found: dict[str, object] = {"name": quantity.title, "results": results}
    if quantity.color is None:
        found["gradient"] = [{"stop": stop, "bgColor": color} for stop, color in _SCALE]
    if not quantity.adds:
        found |= {"hideAggregatedStats": ["sum"], "hideInChildrenStatsTable": True}
    return found


def _predicted(kernels: tuple[Kernel, ...]) -> float:
    return total(item.predicted for item in kernels)


def _measured(kernels: tuple[Kernel, ...]) -> float:
    return total(item.measured_ms for item in kernels)


def _percent(kernels: tuple[Kernel, ...]) -> float:
    return 100.0 * error_of(kernels)


def _error_color(percent: float) -> str:
    return next((color for end, color in _ERRORS if percent / 100.0 <= end), _WORST)


def node_properties(found: Result, placed: Placed) -> dict[str, dict[str, str]]:
    """What is known of every node that shows a kernel or is covered by one, as texts by key.

    Args:
        found: what was predicted, or predicted and measured.
        placed: its kernels on the nodes of the graph.
    """
    unit = prediction_of(found).unit
    nodes = {name: _properties(kernels, unit) for name, kernels in placed.nodes.items()}
    return nodes | {name: {"in": anchor} for name, anchor in placed.covered.items()}


def model_properties(found: Result, placed: Placed) -> dict[str, str]:
    """What is known of the whole network, as texts by key.

    Args:
        found: what was predicted, or predicted and measured.
        placed: its kernels on the nodes of the graph.
    """
    prediction = prediction_of(found)
    unit = prediction.unit
    measured = measured_of(found)
    values = {
        f"predicted_{unit}": prediction.total,
        f"low_{unit}": prediction.low,
        f"high_{unit}": prediction.high,
        f"sum_of_kernels_{unit}": prediction.uncalibrated,
        "measured_ms": measured,
        "error": prediction.total / measured - 1.0 if measured > 0 else nan,
        "share_on_nodes": placed.share,
    }
    texts = _texts(values) | {"cost": prediction.cost, "kernels": prediction.source}
    return texts | ({"device": prediction.device.label} if prediction.device else {})


def _properties(kernels: tuple[Kernel, ...], unit: str) -> dict[str, str]:
    values = {
        f"predicted_{unit}": total(item.predicted for item in kernels),
        f"low_{unit}": total(item.low for item in kernels),
        f"high_{unit}": total(item.high for item in kernels),
        "measured_ms": total(item.measured_ms for item in kernels),
        "error": error_of(kernels),
        "ms_per_gmac": per_gmac(kernels) if unit == "ms" else nan,
    }
    listed = {
        "kernels": [item.op.label for item in kernels if item.op is not None],
        "price": [item.basis for item in kernels],
        "covers": [name for item in kernels for name in item.covers],
        "note": [item.note for item in kernels if item.note],
    }
    if len(listed["covers"]) < 2:
        del listed["covers"]  # the node itself
    texts = {key: ", ".join(dict.fromkeys(items)) for key, items in listed.items() if items}
    return _texts(values) | texts


def _texts(values: Mapping[str, float]) -> dict[str, str]:
    return {key: f"{rounded(value):g}" for key, value in values.items() if isfinite(value)}

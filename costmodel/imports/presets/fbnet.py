"""FBNet-space networks, a column of milliseconds for each device and batch (HayeonLee/HELP)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel.imports.presets.preset import Preset

if TYPE_CHECKING:
    import pandas as pd

_ARCHITECTURE = ("arch_index", "arch")


def _tidy(frame: pd.DataFrame) -> pd.DataFrame:
    devices = [name for name in frame.columns if name not in _ARCHITECTURE]
    tidy = frame.melt(
        "arch_index", devices, var_name="device", value_name="latency_ms", ignore_index=False
    )
    tidy["runtime"] = "unknown"
    tidy["kind"] = "model"
    tidy["name"] = "fbnet-" + tidy["arch_index"].astype(int).astype(str)
    return tidy.drop(columns="arch_index")


PRESET = Preset(
    name="fbnet_networks",
    signature=frozenset({*_ARCHITECTURE, "1080ti_1", "pixel3", "eyeriss"}),
    texts=frozenset({"arch"}),
    tidy=_tidy,
    source="HayeonLee/HELP",
    licence="MIT",
    notes=("The list does not say with which runtime a device was timed.",),
)

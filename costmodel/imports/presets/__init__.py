"""Files whose columns are known: each module says how one of them becomes tidy rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from costmodel.imports.presets import convolutions, fbnet, mobile_ops, networks
from costmodel.imports.presets.preset import Preset

#: By name.
PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        mobile_ops.PRESET,
        convolutions.NVIDIA,
        convolutions.AMD,
        convolutions.DEEPBENCH,
        networks.MOBILE,
        networks.NCNN,
        fbnet.PRESET,
    )
}


def recognise(columns: Iterable[str]) -> Preset | None:
    """The preset whose columns a file has; None where none fits, or several do.

    >>> recognise(["device", "latency_us"]) is None
    True
    """
    there = set(columns)
    fitting = [preset for preset in PRESETS.values() if preset.signature <= there]
    most = max((len(preset.signature) for preset in fitting), default=0)
    best = [preset for preset in fitting if len(preset.signature) == most]
    return best[0] if len(best) == 1 else None

"""MIOpen's find-db as text: a convolution's sizes, and the time of each solver that can do it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from costmodel.imports.formats.form import Form, Row

#: Channels, height, width read; window; channels, height, width written; batch; zeros; steps;
#: spacing; bias; layout; element type; direction; groups.
_KEY = re.compile(
    r"^(?P<c>\d+)-(?P<h>\d+)-(?P<w>\d+)-(?P<kh>\d+)x(?P<kw>\d+)-(?P<k>\d+)-(?P<oh>\d+)-(?P<ow>\d+)"
    r"-(?P<n>\d+)-(?P<ph>\d+)x(?P<pw>\d+)-(?P<sh>\d+)x(?P<sw>\d+)-(?P<dh>\d+)x(?P<dw>\d+)"
    r"-(?P<bias>\d+)-(?P<layout>[A-Z]+)-(?P<dtype>[A-Z]+\d+)-(?P<way>[FBW])(?:_g(?P<g>\d+))?=(?P<rest>.*)$"
)
#: A solver's time: ``algorithm:solver,0.023,...`` or ``solver:0.023,...``.
_TIME = re.compile(r"[:,]\s*(\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(?:,|$)")
_SIZES = {
    "batch": "n", "in_channels": "c", "height": "h", "width": "w", "out_channels": "k",
    "kernel": "kh", "kernel_w": "kw", "pad": "ph", "pad_w": "pw", "stride": "sh", "stride_w": "sw",
    "dilation": "dh", "dilation_w": "dw", "out_height": "oh", "out_width": "ow",
}  # fmt: skip


def _fits(head: str) -> bool:
    return any(_KEY.match(line.strip()) for line in head.splitlines()[:3])


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    for line in lines:
        text = line.strip()
        if not text:
            continue
        found = _KEY.match(text)
        if found is None:
            yield {"kind": None, "latency_ms": 0.0, "reason": "line is no record of a convolution"}
            continue
        times = [
            float(time[1]) for part in found["rest"].split(";") if (time := _TIME.search(part))
        ]
        row: Row = {name: int(found[key]) for name, key in _SIZES.items()}
        row |= {
            "runtime": "miopen",
            "kind": "conv2d",
            "groups": int(found["g"] or 1),
            "layout": found["layout"],
            "dtype": found["dtype"],
            # What a user gets: MIOpen takes the fastest that it found.
            "latency_ms": min(times, default=float("nan")),
        }
        if found["way"] != "F":
            row["reason"] = "direction is a step of training, not of inference"
        yield row


FORM = Form(
    name="miopen",
    fits=_fits,
    rows=_rows,
    notes=("Each convolution has the time of its fastest solver.",),
)

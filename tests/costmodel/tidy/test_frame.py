"""Frames of other people as tables; those of our own are in ``test_table``."""

from __future__ import annotations

import pandas as pd
import pytest

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.table import LatencyTable

DEVICE = Device(name="board", runtime="lib", provenance="estimated")
FRAME = pd.DataFrame(
    {
        "kind": ["Conv2D", "Conv2D", "hologram"],
        "hw": [28, 28, 28],
        "cin": [16, 16, 16],
        "cout": [32, 32, 32],
        "ks": ["3x3", "(5, 5)", "3x3"],
        "padding": ["same", "same", "same"],
        "t": [0.1, 0.2, 0.3],
    },
    index=[7, 7, 9],
)


def test_columns_are_known_by_name_or_said() -> None:
    table = LatencyTable.from_frame(FRAME, device=DEVICE, columns={"latency_ms": "t"})
    assert [(op.label, row.latency_ms) for op, row in table.items()] == [
        ("conv 3x3 16->32 @28x28", 0.1),
        ("conv 5x5 16->32 @28x28", 0.2),
    ]
    assert table.device == DEVICE  # what was estimated stays that
    assert ["row 3" in warning for warning in table.warnings] == [True]


def test_constants_name_the_device_where_no_column_does() -> None:
    said = {"device": "phone", "runtime": "tflite", "dtype": "fp16", "layout": "NHWC"}
    table = LatencyTable.from_frame(FRAME, columns={"latency_us": "t"}, constants=said)
    assert table.device.slug == "phone/tflite-float16"
    assert table.device.provenance == "imported"
    assert next(iter(table)).inputs == ((1, 28, 28, 16),)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (FRAME.assign(device=["a", "b", "a"], runtime="lib"), "holds 2 devices"),
        (
            FRAME.assign(device="a", runtime="lib", kind="hologram"),
            "None of the 3 rows can be used",
        ),
        (FRAME, "no column says the device"),
    ],
)
def test_frames_that_are_no_table(frame: pd.DataFrame, told: str) -> None:
    with pytest.raises(InvalidInputError, match=told):
        LatencyTable.from_frame(frame, columns={"latency_ms": "t"})

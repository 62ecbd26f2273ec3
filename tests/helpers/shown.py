"""Small things for a page to show: a table of the fake device and what is said of it, a morph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rows import row

from costmodel.comparison import Comparison
from costmodel.costs.lookup import Lookup
from costmodel.device import Device
from costmodel.model_rows import model_op
from costmodel.network import Layer, Network
from costmodel.op import Op, conv_op
from costmodel.prediction import Prediction, price_network
from costmodel.protocols import CostModel
from costmodel.runners.fake import law_ms
from costmodel.table import LatencyTable

BOARD = Device(name="board", runtime="fake")
#: What a page must show as it is, and never run.
NASTY = "</script><img src=x onerror='throw 1'>"
CONCAT = Op(kind="concat", inputs=((1, 8, 8, 8),) * 2, outputs=((1, 16, 8, 8),))


def conv(into: int, out: int, size: int = 14, kernel: int = 3, stride: int = 1) -> Op:
    window = (kernel, kernel)
    return conv_op(
        in_channels=into, out_channels=out, size=(size, size), kernel=window, stride=stride
    )


def small_table(scale: int = 4) -> LatencyTable:
    """Convolutions of two kernels, strides and sizes, and kernels of two other kinds."""
    ops = [
        conv(into, out, size, kernel, stride)
        for kernel in (1, 3)
        for stride in (1, 2)
        for size in (14, 28)
        for into in (16, 32)
        for out in range(16, 16 + 24 * scale, 24)
    ]
    for n in (8, 64):
        pair = ((1, n, 8, 8),) * 2
        ops.append(Op(kind="concat", inputs=pair, outputs=((1, 2 * n, 8, 8),)))
        ops.append(Op(kind="add", inputs=pair, outputs=((1, n, 8, 8),)))
    return LatencyTable(BOARD, [row(op, law_ms(op), law_ms(op) * 1.01) for op in ops])


def small_prediction(cost: CostModel | None = None, name: str = "net") -> Prediction:
    """Three kernels, one of them twice, one that moves data, and a layer that nobody knows."""
    ops = [conv(16, 40), conv(32, 40), conv(32, 40), CONCAT]
    known = [Layer(name=f"layer{place}", op=op, share=0.24) for place, op in enumerate(ops)]
    lost = Layer(name=NASTY, op=Op(kind="quantum"), share=0.04)
    network = Network(name=name, layers=(*known, lost))
    return price_network(network, cost or Lookup(small_table()), device=BOARD)


def small_comparisons(cost: CostModel | None = None) -> list[Comparison]:
    """Three networks, the first and the last off by as much."""
    found = []
    for number, name in enumerate(("one", "two", NASTY)):
        prediction = small_prediction(cost, name)
        times = [prediction.total * (0.95 + 0.1 * number) * wobble for wobble in (1.0, 1.01)]
        measured = row(model_op(name, "0", ()), *times)
        found.append(Comparison(prediction=prediction, measurement=measured, device=BOARD))
    return found


def morph_folder(folder: Path) -> Path:
    """A folder as ``morphnet train`` leaves it, as far as a page looks."""
    record: dict[str, Any] = {
        "schema_version": 1,
        "network": "seed",
        "unit": "ms",
        "device": BOARD.label,
        "target": 3.0,
        "seed": 5.0,
        "predicted": 2.9,
        "measured_ms": 3.05,
        "hit": True,
        "rounds": [{"predicted": 3.0, "measured_ms": 3.4}, {"predicted": 2.9, "measured_ms": 3.05}],
        "groups": {"conv1": [64, 48], "conv2": [64, 64], NASTY: [32, 16]},
        "layers": {"conv1": [2.0, 1.5], "conv2": [2.0, 1.0], NASTY: [1.0, 0.55]},
        "metrics": {"accuracy": 0.9, "loss": None},
        "seconds": {"search": 10.0, "finish": 20.0},
    }
    folder.mkdir(exist_ok=True)
    (folder / "morph.json").write_text(json.dumps(record), encoding="utf-8")
    return folder

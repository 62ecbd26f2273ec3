"""A network as a runtime executes it, written by hand, predicted and measured."""

from __future__ import annotations

from math import nan
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from costmodel.comparison import Comparison
from costmodel.device import Device
from costmodel.measurement import Measurement, Round
from costmodel.network import Layer, Network, session_op
from costmodel.onnx_model.naming import NamedModel
from costmodel.op import SESSION, Op, conv_op
from costmodel.prediction import Prediction, price_network
from costmodel.protocols import Prices, Unit

CONV = conv_op(in_channels=8, out_channels=8, size=(8, 8), kernel=(3, 3), epilogue=("relu",))
MOVE = Op(kind="reorder_output", inputs=((1, 8, 8, 8),), outputs=((1, 8, 8, 8),))
GEMM = Op(kind="gemm", inputs=((1, 512),), weights=((10, 512),), outputs=((1, 10),))
ODD = Op(kind="einsum", inputs=((1, 10),), outputs=((1, 10),))
DEVICE = Device(name="board", runtime="onnxruntime")
#: Milliseconds: 1.5 in kernels, 0.5 for the session.
PRICES = {"conv": 1.0, "reorder_output": 0.1, "gemm": 0.4, SESSION: 0.5}
SHARES = {"conv": 0.5, "reorder_output": 0.1, "gemm": 0.3, "einsum": 0.05, SESSION: 0.0}
#: What the clock says, in ms.
MEASURED = 2.5


class KindCost:
    """Prices by kind; 10 % either way."""

    name = "by kind"
    device = DEVICE

    def __init__(self, unit: Unit = "ms") -> None:
        self.unit = unit

    def price(self, ops):
        values = np.array([PRICES.get(op.kind, nan) for op in ops], dtype=np.float64)
        reasons = {i: f"no row for {op.kind}" for i, op in enumerate(ops) if op.kind not in PRICES}
        return Prices(values=values, low=values * 0.9, high=values * 1.1, reasons=reasons)


def network() -> Network:
    """A convolution with its activation, a reorder, a product, what has no price, an If."""

    def layer(name: str, op: Op, read: str, written: str, *covers: str) -> Layer:
        share = SHARES[op.kind]
        return Layer(
            name=name, op=op, inputs=(read,), outputs=(written,), covers=covers, share=share
        )

    layers = (
        layer("relu/n0", CONV, "image", "t0", "conv", "norm", "relu"),
        layer("reorder_1/n1", MOVE, "t0", "t1"),
        layer("fc/n2", GEMM, "t1", "t2", "flatten", "fc"),
        layer("odd/n3", ODD, "t2", "t3", "odd"),
        Layer(name=SESSION, op=session_op(1, 1), share=0.0),
    )
    return Network(
        name="net",
        layers=layers,
        inputs={"image": (1, 8, 8, 8)},
        outputs=("t3",),
        unread={"choose": "If runs a graph inside"},
        unread_shares={"choose": 0.05},
        source="lowered",
    )


@pytest.fixture
def prediction() -> Prediction:
    return price_network(network(), KindCost(), device=DEVICE)


@pytest.fixture
def comparison(prediction: Prediction) -> Comparison:
    rounds = [Round(number=i, quiet_ms=MEASURED, median_ms=MEASURED) for i in range(2)]
    measurement = Measurement.from_rounds(CONV, rounds)
    return Comparison(prediction=prediction, measurement=measurement, device=DEVICE)


@pytest.fixture
def graph() -> NamedModel:
    """The network as the file writes it."""
    kinds = {
        "conv": "Conv", "norm": "BatchNormalization", "relu": "Relu", "flatten": "Flatten",
        "fc": "Gemm", "odd": "Einsum", "choose": "If", "bias": "Constant",
    }  # fmt: skip
    nodes = [helper.make_node(kind, [], [name], name=name) for name, kind in kinds.items()]
    return NamedModel(
        path=Path("net.onnx"),
        model=onnx.ModelProto(graph=helper.make_graph(nodes, "net_graph", [], [])),
        names=tuple(kinds),
        op_types=kinds,
        homes={name: name for name in kinds},
        renamed=0,
    )

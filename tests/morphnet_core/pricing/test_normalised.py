"""Networks of any normalisation have a price by every sort of target."""

from __future__ import annotations

from typing import Any

import pytest

from costmodel.costs.regression import Fitted, Regression
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.op import Op, conv_op
from costmodel.readers.keras import read_keras
from morphnet_core.groups.find import find_groups
from morphnet_core.pricing.pricer import Pricer

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|tf2onnx|ml_dtypes|h5py|flatbuffers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
NORMS = {
    "batch": lambda k: k.layers.BatchNormalization(),
    "group": lambda k: k.layers.GroupNormalization(8),
    "instance": lambda k: k.layers.GroupNormalization(-1),
    "layer": lambda k: k.layers.LayerNormalization(),
    "rms": lambda k: k.layers.RMSNormalization(),
    "unit": lambda k: k.layers.UnitNormalization(),
}


@pytest.fixture(scope="module")
def keras() -> Any:
    pytest.importorskip("tensorflow", reason="needs the keras extra")
    return pytest.importorskip("keras", reason="needs the keras extra")


def residual(keras: Any, norm: Any) -> Any:
    """A small residual network with a normalisation behind every convolution."""
    layers = keras.layers
    image = keras.Input((16, 16, 3))
    x = layers.ReLU()(norm(keras)(layers.Conv2D(16, 3, padding="same")(image)))
    for _ in range(2):
        y = layers.ReLU()(norm(keras)(layers.Conv2D(16, 3, padding="same")(x)))
        y = norm(keras)(layers.Conv2D(16, 3, padding="same")(y))
        x = layers.ReLU()(layers.Add()([x, y]))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def table(device: Device) -> Regression:
    """A table without a row of any normalisation."""
    size, small = (1, 16, 16, 16), (1, 16, 1, 1)
    ops = [
        conv_op(in_channels=ins, out_channels=outs, size=(16, 16), kernel=(kernel,) * 2)
        for ins in (3, 8, 16) for outs in (8, 12, 16) for kernel in (1, 3)
    ]  # fmt: skip
    ops += [
        Op(kind="add", inputs=(size, size), outputs=(size,)),
        Op(kind="mul", inputs=(size, small), outputs=(size,)),
        Op(kind="relu", inputs=(size,), outputs=(size,)),
        Op(kind="concat", inputs=(size, size), outputs=((1, 32, 16, 16),)),
        Op(kind="reshape", inputs=(size,), outputs=((1, 4096),)),
        Op(kind="global_average_pool", inputs=(size,), outputs=(small,)),
        Op(kind="gemm", inputs=((1, 16),), weights=((16, 10), (10,)), outputs=((1, 10),)),
        Op(kind="session", inputs=((1,),), outputs=((1,),)),
    ]
    moved = [op.num_input_elements + op.num_output_elements for op in ops]
    times = [0.002 + op.macs / 4e7 + size / 3e6 for op, size in zip(ops, moved, strict=True)]
    rows = [
        Measurement(op=op, latency_ms=ms, median_ms=ms, spread=0.01)
        for op, ms in zip(ops, times, strict=True)
    ]
    return Regression(rows, device=device, fitted=Fitted(rows=""))


@pytest.mark.parametrize("norm", NORMS)
def test_every_normalisation_has_a_price_by_every_sort_of_target(keras, norm: str) -> None:
    grouping = find_groups(read_keras(residual(keras, NORMS[norm])))
    board = Device(name="board", runtime="onnxruntime", dtype="float32")
    for cost in ("flops", "params", "V100", "avx2-core", table(board)):
        pricer = Pricer(grouping, cost)
        prices = pricer.channel_prices(grouping.full())
        assert prices.total > 0
        assert set(prices.unpriced) <= {"session"}
        assert (prices.values >= 0).all()

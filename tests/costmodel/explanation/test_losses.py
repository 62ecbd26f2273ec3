"""Which kernels are bound by memory, or wait for weights that no cache holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rows import row

from costmodel.calibration import Calibration
from costmodel.device import Device
from costmodel.explanation.losses import Rates, find_losses, rates_of
from costmodel.op import Op, conv_op
from costmodel.prediction import Prediction, PricedLayer
from costmodel.table import LatencyTable

DEVICE = Device(name="board", runtime="onnxruntime", isa="avx512")
RATES = Rates(macs_per_ms=1e8, bytes_per_ms=1e7)
LAW = Calibration(slope=1.0, networks={}, interval_share=0.0, cache_mib=4.0, read_ms_per_mib=0.07)


def dense(shared: int, columns: int) -> Op:
    return Op(
        kind="gemm",
        inputs=((1, shared),),
        outputs=((1, columns),),
        weights=((shared, columns),),
        operands="dw",
    )


def prediction(*ops: Op) -> Prediction:
    layers = tuple(
        PricedLayer(
            name=f"kernel{i}", op=op, price=1.0, low=0.9, high=1.1, basis="predicted",
            covers=(f"layer{i}",),
        )
        for i, op in enumerate(ops)
    )  # fmt: skip
    return Prediction(
        model="net", unit="ms", cost="law", device=DEVICE, source="lowered", total=float(len(ops)),
        low=0.0, high=9.0, uncalibrated=float(len(ops)), calibration="", layers=layers,
        unpriced=(), priced_share=1.0, priced_count_share=1.0,
    )  # fmt: skip


def test_a_product_of_one_row_is_bound_by_memory_and_a_convolution_is_not() -> None:
    heavy = dense(2048, 2048)
    busy = conv_op(in_channels=256, out_channels=256, size=(56, 56), kernel=(3, 3))
    (found,) = find_losses(prediction(heavy, replace(busy, layout="nchw16c")), DEVICE, None, RATES)
    assert found.matter == "memory"
    assert [item.layers for item in found.suspects] == [("layer0",)]
    assert found.suspects[0].why == "it moves 16.8 MB for 4.19 M multiply-adds"
    assert find_losses(prediction(heavy), DEVICE, None, None) == ()


def test_weights_that_no_cache_holds_are_told_with_what_reading_them_adds() -> None:
    small = replace(
        conv_op(in_channels=16, out_channels=16, size=(8, 8), kernel=(3, 3)), layout="nchw16c"
    )
    (found,) = find_losses(prediction(dense(2048, 2048), small), DEVICE, LAW, None)
    assert found.matter == "cache"
    assert [item.layers for item in found.suspects] == [("layer0",)]
    assert 0 < found.ms < 1.0
    assert found.suspects[0].why == "of 16 MiB of weights, 16.0 its own, a cache holds 4"
    # With room for all of them nothing is the matter.
    assert find_losses(prediction(dense(512, 512)), DEVICE, LAW, None) == ()


def test_layout_changes_are_counted() -> None:
    moved = Op(kind="reorder_input", inputs=((1, 16, 8, 8),), outputs=((1, 16, 8, 8),))
    (found,) = find_losses(prediction(moved, moved), DEVICE, None, RATES)
    assert (found.matter, found.ms, len(found.suspects)) == ("layout", 2.0, 2)
    assert found.to_json()["meaning"] == "kernels that only change how tensors are laid out"


def test_a_table_shows_how_fast_its_device_is(tmp_path: Path) -> None:
    fast = [
        conv_op(in_channels=64, out_channels=width, size=(56, 56), kernel=(3, 3))
        for width in range(16, 176, 16)
    ]
    wide = [
        Op(kind="relu", inputs=((1, n, 64, 64),), outputs=((1, n, 64, 64),))
        for n in range(64, 144, 8)
    ]
    rows = [row(op, op.macs / 1e8) for op in fast]
    rows += [row(op, 8 * op.num_input_elements / 1e7) for op in wide]
    found = rates_of(LatencyTable(DEVICE, rows))
    assert found is not None
    assert found.macs_per_ms == pytest.approx(1e8, rel=1e-6)
    assert found.bytes_per_ms == pytest.approx(1e7, rel=1e-6)
    assert rates_of(LatencyTable(DEVICE, rows[:10])) is None
    assert rates_of(None) is None

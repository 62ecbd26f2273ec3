"""Tables of runtimes that are nowhere installed: whatever takes a table takes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from small_models import Draft

import costmodel as cm
import morphnet_core as mc
from costmodel.anticipation import anticipate
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.op import Op
from costmodel.readers.onnx import read_onnx

FOREIGN = ("cudnn", "miopen", "pytorch-vulkan", "tflite-gpu")
#: What a run and its kernels cost beside their work.
RUN_MS, KERNEL_MS = 0.5, 0.01


def law_ms(op: Op) -> float:
    """Slices of four channels, and a little for starting."""
    slices = -(-op.out_channels // 4) * 4 / op.out_channels
    return 0.005 + 1e-7 * op.macs * slices + 1e-7 * (op.num_input_elements + op.num_output_elements)


def net(width: int, depth: int = 2) -> onnx.ModelProto:
    draft = Draft(1, 3, 32, 32)
    y = draft.node("Relu", draft.conv("x", 3, width, stride=2))
    for _ in range(depth):
        inner = draft.node("Relu", draft.conv(y, width, width))
        y = draft.node("Relu", draft.node("Add", draft.conv(inner, width, width), y))
    flat = draft.node("Flatten", draft.node("GlobalAveragePool", y))
    last = draft.node("Gemm", flat, draft.weight(10, width), draft.weight(10), transB=1)
    model = draft.done(last)
    model.graph.name = f"net{width}x{depth}"
    return model


def table_of(runtime: str, folder: Path) -> cm.LatencyTable:
    """Kernels of some networks, and the networks themselves."""
    device = Device(name="Adreno 640", runtime=runtime, provenance="imported")
    if runtime in {"pytorch-vulkan", "tflite-gpu"}:
        device = replace(device, dtype="float16")
    rows: dict[Op, Measurement] = {}
    for width in (8, 12, 16, 20, 24, 28, 32, 40, 48, 64):
        path = folder / f"{width}.onnx"
        onnx.save(net(width, 1 + width % 3), str(path))
        ops = anticipate(read_onnx(path), device).ops
        if runtime in {"cudnn", "miopen"}:
            ops = tuple(op for op in ops if op.kind == "conv")
        rows |= {op: row(op, law_ms(op)) for op in ops}
        whole = RUN_MS + sum(law_ms(op) + KERNEL_MS for op in ops)
        key = model_op(f"net{width}", "0" * 16, ops)
        rows[key] = row(key, whole)
    return cm.LatencyTable(device, rows.values())


def row(op: Op, latency_ms: float) -> Measurement:
    return Measurement(op=op, latency_ms=latency_ms, median_ms=latency_ms, spread=0.01)


@pytest.mark.parametrize("runtime", FOREIGN)
def test_any_network_is_priced_by_rule(runtime: str, tmp_path: Path) -> None:
    table = table_of(runtime, tmp_path)
    found = cm.predict(net(36, 3), table)
    assert found.source == "anticipated"
    assert found.device is not None
    assert (found.device.runtime, found.device.provenance) == (runtime, "imported")
    whole = runtime in {"pytorch-vulkan", "tflite-gpu"}
    assert [item.op.kind for item in found.unpriced if item.op and item.op.kind == "conv"] == []
    if whole:
        assert not found.unpriced or {i.op.kind for i in found.unpriced if i.op} == {"flatten"}
        truth = RUN_MS + sum(law_ms(layer.op) + KERNEL_MS for layer in found.layers)
        assert found.total == pytest.approx(truth, rel=0.15)
        assert "us per run" in found.calibration
    else:
        assert found.unpriced


@pytest.mark.parametrize("runtime", ["pytorch-vulkan", "tflite-gpu"])
def test_a_pruned_network_is_widened_to_slices_or_left(runtime: str, tmp_path: Path) -> None:
    found = mc.align(net(33), table_of(runtime, tmp_path))
    assert found.measured_after_ms is None
    assert found.before.source == "anticipated"
    assert found.after.total <= found.before.total
    for group in found.groups:
        assert group.after == group.before or group.after % 4 == 0


@pytest.fixture(scope="module")
def keras() -> Any:
    return pytest.importorskip("keras", reason="needs the keras extra")


@pytest.mark.parametrize("runtime", ["pytorch-vulkan", "tflite-gpu"])
def test_a_keras_network_is_trained_against_it(runtime: str, tmp_path: Path, keras: Any) -> None:
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Conv2D(32, 3, padding="same", name="conv1"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 3, padding="same", name="conv2"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, name="logits"),
        ]
    )
    table = table_of(runtime, tmp_path)
    regularizer = mc.CostRegularizer(model, table)
    seed_ms = regularizer.pricer.seed
    regularizer.detach()
    budget = mc.LatencyBudget(model, table, steps=4, target="50%")
    assert 0.0 < seed_ms < 10.0
    assert budget.pricer.unit == "ms"
    groups = budget.grouping.groups
    half = [group.size if group.frozen else group.size // 2 for group in groups]
    assert budget.pricer.at_counts(half) < budget.pricer.seed

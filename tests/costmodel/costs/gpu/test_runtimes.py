"""Which rules hold for which device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from costmodel.costs.features import FEATURES, PLAIN_TERMS, TERMS, Table, path_of
from costmodel.costs.gpu.runtimes import rules_of
from costmodel.costs.regression import Regression
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.op import Op

PHONE = Device(name="Pixel 4 GPU (Adreno 640)", runtime="tflite-gpu", dtype="float16")
CARD = Device(name="NVIDIA T4", runtime="onnxruntime", provider="CUDAExecutionProvider")
DEVICES = [
    PHONE,
    CARD,
    Device(name="Moto (Adreno 616)", runtime="pytorch-vulkan", dtype="float16"),
    Device(name="AMD MI50 (gfx906, 60 CU)", runtime="miopen", provider="hip"),
]


@pytest.mark.parametrize(
    "device",
    [
        None,
        Device(name="Xeon", runtime="onnxruntime", provider="CPUExecutionProvider"),
        Device(name="Pixel 4", runtime="litert"),
    ],
)
def test_a_processors_table_has_what_it_always_had(device: Device | None, gpu_tools: Any) -> None:
    assert rules_of(device) is None
    ops = [gpu_tools.pointwise(17), gpu_tools.nhwc(gpu_tools.pointwise(20))]
    table, plain = Table(ops, device), Table(ops)
    assert table.term_names == TERMS
    assert table.features.shape == (2, len(FEATURES))
    assert table.paths == [path_of(op) for op in ops]
    np.testing.assert_array_equal(table.terms, plain.terms)
    assert not table.has_steps


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.runtime)
def test_a_gpus_table_has_columns_of_its_own(device: Device, gpu_tools: Any) -> None:
    ops = [
        gpu_tools.nhwc(gpu_tools.pointwise(17)),
        gpu_tools.pointwise(300),
        Op(kind="add", inputs=((1, 8, 4, 4),) * 2, outputs=((1, 8, 4, 4),)),
    ]
    table = Table(ops, device)
    assert table.has_steps
    assert table.terms.shape == (3, len(table.term_names))
    assert table.term_names[: len(TERMS)] == TERMS
    assert len(set(table.term_names)) == len(table.term_names)
    assert table.features.shape[1] > len(FEATURES)
    assert np.isfinite(table.terms).all()
    assert np.isfinite(table.features).all()
    own = slice(len(PLAIN_TERMS), TERMS.index("pieces"))
    assert not table.terms[:, own].any()  # vectors and columns of a processor's kernels
    assert table.terms[0, TERMS.index("work")] == 14 * 14 * 17 * 64 / 1e6
    nothing = Table([], device)
    assert nothing.terms.shape == (0, len(table.term_names))


def test_kernels_of_one_layout_differ_by_name_on_a_gpu(gpu_tools: Any) -> None:
    device = DEVICES[2]
    op = gpu_tools.pointwise(32)
    named = Op(**{field: getattr(op, field) for field in op.__dataclass_fields__} | {
        "implementation": "vulkan.conv2d_pw_2x2"})  # fmt: skip
    assert Table([op, named], device).paths == [
        "conv/pointwise",
        "conv@nchw:vulkan.conv2d_pw_2x2/pointwise",
    ]
    assert path_of(named) == "conv/pointwise"


def waves_ms(groups: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """A GPU that runs eight groups at once."""
    return np.asarray(0.005 + 0.001 * depth * np.ceil(groups / 8))


@pytest.fixture(scope="module")
def staircase(gpu_tools: Any) -> list[Measurement]:
    """Pointwise convolutions of a GPU that runs eight groups at once."""
    rng = np.random.default_rng(0)
    ops: dict[Op, None] = {}
    while len(ops) < 260:
        side, channels = int(rng.choice([7, 14, 28])), int(2 ** rng.uniform(6, 10))
        op = gpu_tools.pointwise(4 * int(rng.integers(8, 130)), side=side, channels=channels)
        ops[gpu_tools.nhwc(op)] = None
    table = Table(list(ops), PHONE)
    column = {name: table.terms[:, place] * 1e6 for place, name in enumerate(table.term_names)}
    latency_ms = waves_ms(column["launched"], column["depth"])
    return [
        Measurement(op=op, latency_ms=ms, median_ms=ms, spread=0.01)
        for op, ms in zip(ops, latency_ms.tolist(), strict=True)
    ]


def test_a_regression_climbs_a_gpus_stairs(staircase: list[Measurement]) -> None:
    learn, test = staircase[:160], staircase[160:]
    truth = np.array([row.latency_ms for row in test])

    def inside(device: Device | None) -> float:
        prices = Regression(learn, device=device).price([row.op for row in test])
        assert (prices.low <= prices.values).all()
        assert (prices.values <= prices.high).all()
        return float(np.mean(np.abs(prices.values / truth - 1.0) <= 0.1))

    assert inside(PHONE) > 0.9
    assert inside(None) < 0.85


def test_intervals_of_a_gpu_hold_most_of_the_truth(staircase: list[Measurement]) -> None:
    learn, test = staircase[:160], staircase[160:]
    rng = np.random.default_rng(1)
    noisy = [
        Measurement(op=row.op, latency_ms=ms, median_ms=ms, spread=0.05)
        for row in learn
        for ms in [row.latency_ms * float(np.exp(0.05 * rng.standard_normal()))]
    ]
    prices = Regression(noisy, device=PHONE).price([row.op for row in test])
    truth = np.array([row.latency_ms for row in test]) * np.exp(0.05 * rng.standard_normal(100))
    assert 0.75 <= np.mean((prices.low <= truth) & (truth <= prices.high)) <= 1.0


def test_a_law_names_its_terms(staircase: list[Measurement]) -> None:
    cost = Regression(staircase[:60], device=PHONE)
    (law,) = {
        key: law for key, law in cost.physics.describe().items() if "constant" not in key
    }.values()
    assert "turns_8" in law

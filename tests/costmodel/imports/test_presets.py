"""Public files by their columns: small ones in their form, with what is peculiar to each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import pytest

from costmodel.imports.imported import Imported
from costmodel.imports.presets import PRESETS, recognise
from costmodel.uses.importing import import_file

#: What all lists of kernels have.
KERNEL: Mapping[str, object] = {
    "device": "Pixel 4 GPU (Adreno 640)",
    "device_class": "mobile-gpu",
    "runtime": "TFLite GPU delegate",
    "op": "conv2d",
    "batch": 1,
    "height": 56,
    "width": 56,
    "in_channels": 16,
    "out_channels": 32,
    "kernel": 3,
    "kernel_w": 3,
    "stride": 1,
    "stride_w": 1,
    "pad": None,
    "pad_w": None,
    "dilation": 1,
    "groups": 1,
    "dtype": "float16",
    "layout": "NHWC",
    "latency_us": 500.0,
    "algo": "convolution_2d_3",
    "source": "somewhere",
}
PHONE = {**KERNEL, "model": "net", "row": 0, "out_size": 56}
VULKAN = {**PHONE, "runtime": "PyTorch Mobile Vulkan", "layout": "NCHW", "algo": "vulkan.conv2d"}
NVIDIA = {
    **KERNEL,
    "device": "NVIDIA K80",
    "runtime": "TensorFlow 1.x cuDNN",
    "dtype": "float32",
    "padding": "valid",
    "activation": "tanh",
    "use_bias": True,
    "out_size": 54,
    "latency_us_std": 50.0,
    "latency_us_min": 480.0,
}
AMD = {
    **KERNEL,
    "device": "AMD MI50 (gfx906)",
    "runtime": "MIOpen find-db OpenCL",
    "layout": "NCHW",
    "pad": 1,
    "pad_w": 1,
    "n_solvers": 2,
    "has_tuned_solver": True,
}
DEEPBENCH = {**AMD, "runtime": "cuDNN 7.6.2.24", "device": "NVIDIA V100"}
del DEEPBENCH["n_solvers"], DEEPBENCH["has_tuned_solver"]
MOBILE = {
    "device": "Pixel 4",
    "soc": "Snapdragon 855",
    "unit": "cpu",
    "cores": "1large1med",
    "runtime": "TFLite",
    "dtype": "int8",
    "space": "real",
    "model": "net",
    "latency_us": 5000.0,
    "latency_us_std": 50.0,
}
NCNN = {
    "device": "board",
    "model": "net",
    "num_threads": 4,
    "gpu_device": -1,
    "powersave": 2,
    "latency_ms": 5.0,
    "runtime": "ncnn",
    "dtype": "fp16/fp32 (ncnn default)",
}
FBNET = {"arch_index": 3, "arch": "[1, 2]", "1080ti_1": 5.0, "pixel3": 20.0, "eyeriss": 4.0}


def read(tmp_path: Path, *rows: Mapping[str, object]) -> Imported:
    path = tmp_path / "list.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return import_file(path)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("mobile_gpu_ops", PHONE),
        ("nvidia_gpu_conv", NVIDIA),
        ("amd_gpu_conv", AMD),
        ("deepbench_conv", DEEPBENCH),
        ("mobile_networks", MOBILE),
        ("ncnn_networks", NCNN),
        ("fbnet_networks", FBNET),
    ],
)
def test_each_is_known_by_its_columns(name: str, row: Mapping[str, object]) -> None:
    found = recognise(row)
    assert found is PRESETS[name]
    assert found.licence
    assert recognise(list(row)[1:]) is not PRESETS[name]


@pytest.mark.parametrize(
    ("change", "label", "implementation"),
    [
        ({}, "conv 3x3 16->32 @56x56 nhwc", "convolution_2d"),
        (
            {"algo": "convolution_2d_24_linked_:_add_25_linked_:_relu_26"},
            "conv 3x3 16->32 @56x56 +add +relu nhwc",
            "convolution_2d",
        ),
        (
            {"algo": "convolution_winograd_4x4_6x6_57", "height": 58, "width": 58},
            "conv 3x3 16->32 @58x58 nhwc",
            "convolution_winograd_4x4_6x6",
        ),
        (
            {"op": "depthwise_conv2d", "out_channels": 16, "groups": 16, "algo": "dw_1"},
            "conv 3x3 16->16 @56x56 dw nhwc",
            "dw",
        ),
        ({"op": "group_conv2d", "groups": 4, "algo": "g_1"}, "conv 3x3 16->32 @56x56 g4 nhwc", "g"),
        (
            {"op": "mean", "algo": "mean_3", "kernel": 0, "out_channels": None, "out_size": 16},
            "global_average_pool 16 @56x56 nhwc",
            "mean",
        ),
        (
            {"op": "max_pool", "algo": "pooling_2d_3", "stride": 2, "stride_w": 2, "out_size": 28},
            "max_pool 3x3 16 @56x56 s2 nhwc",
            "pooling_2d",
        ),
        (
            {"op": "concat", "algo": "concat_3", "kernel": 2, "stride": None, "stride_w": None},
            "concat 16 @56x56 nhwc",
            "concat",
        ),
        (
            {"op": "dense", "algo": "fully_connected_3", "kernel": None, "out_size": None},
            "gemm 16->32",
            "fully_connected",
        ),
    ],
)
def test_kernels_of_the_gpu_delegate(
    tmp_path: Path, change: Mapping[str, object], label: str, implementation: str
) -> None:
    found = read(tmp_path, {**PHONE, **change})
    (op,) = found.table
    assert (op.label, op.implementation) == (label, implementation)
    assert found.table.device.slug == "pixel-4-gpu-adreno-640/tflite-gpu-float16"


def test_zeros_follow_from_the_size_written(tmp_path: Path) -> None:
    same, none = read(tmp_path, PHONE, {**PHONE, "height": 58, "width": 58}).table
    assert (same.pads, none.pads) == ((1, 1, 1, 1), (0, 0, 0, 0))
    assert same.weights == ((32, 16, 3, 3), (32,))


def test_one_kernel_for_two_convolutions_has_no_time_of_its_own(tmp_path: Path) -> None:
    pair = {**PHONE, "algo": "depthwise_conv_plus_1x1_conv_5_6_7_linked_:_add_8"}
    found = read(tmp_path, PHONE, pair)
    assert [(item.column, item.rows) for item in found.left_out] == [("algo", [2])]
    assert len(found.table) == 1


@pytest.mark.parametrize(
    ("change", "label", "inputs"),
    [
        ({}, "conv 3x3 16->32 @56x56", 1),
        ({"op": "mul", "algo": "vulkan.mul"}, "mul 16 @56x56", 2),
        ({"op": "add", "algo": "vulkan.add"}, "add 16 @56x56", 2),
        ({"op": "relu", "algo": "vulkan.clamp"}, "relu 16 @56x56", 1),
        ({"op": "hardswish", "algo": "vulkan.hardswish"}, "hard_swish 16 @56x56", 1),
        (
            {"op": "avg_pool2d", "height": 7, "width": 7, "algo": "vulkan.avg_pool2d"},
            "global_average_pool 16 @7x7",
            1,
        ),
        (
            {"op": "adaptive_avg_pool2d", "algo": "vulkan.mean"},
            "global_average_pool 16 @56x56",
            1,
        ),
    ],
)
def test_kernels_of_vulkan(
    tmp_path: Path, change: Mapping[str, object], label: str, inputs: int
) -> None:
    none = {"kernel": None, "stride": None, "out_channels": 16, "out_size": None}
    plain = none if change else {}
    (op,) = read(tmp_path, {**VULKAN, **plain, **change}).table
    assert (op.label, len(op.inputs)) == (label, inputs)
    assert op.dtype == "float16"


def test_an_average_whose_window_nobody_says_is_left_out(tmp_path: Path) -> None:
    pool = {**VULKAN, "op": "avg_pool2d", "kernel": None, "algo": "vulkan.avg_pool2d"}
    found = read(tmp_path, VULKAN, pool)
    assert [item.column for item in found.left_out] == ["kernel"]


def test_convolutions_of_cudnn_and_miopen(tmp_path: Path) -> None:
    (op,) = (found := read(tmp_path, NVIDIA)).table
    assert (op.label, op.weights) == ("conv 3x3 16->32 @56x56 +tanh nhwc", ((32, 16, 3, 3), (32,)))
    assert (found.table.device.runtime, op.implementation) == ("cudnn", "")
    assert found.table[op].spread == pytest.approx(0.1)
    (op,) = (found := read(tmp_path, AMD)).table
    assert (op.pads, op.weights) == ((1,) * 4, ((32, 16, 3, 3),))
    assert (found.table.device.runtime, found.table.device.provider) == ("miopen", "opencl")


def test_deepbench_is_for_inference(tmp_path: Path) -> None:
    found = read(tmp_path, DEEPBENCH, {**DEEPBENCH, "op": "conv2d_bwd_weight"})
    device = found.table.device
    assert (device.runtime, device.runtime_version) == ("cudnn", "7.6.2.24")
    assert [(item.column, item.count) for item in found.left_out] == [("op", 1)]


def test_networks_of_phones_belong_to_the_device_of_their_kernels(tmp_path: Path) -> None:
    gpu = {**MOBILE, "unit": "gpu", "cores": "gpu", "dtype": "float16"}
    found = read(tmp_path, MOBILE, gpu)
    cpu_device, gpu_device = (table.device for table in found.tables)
    assert (cpu_device.threads, dict(cpu_device.options)) == (2, {"cores": "1large1med"})
    assert (gpu_device.name, gpu_device.runtime) == ("Pixel 4 GPU (Adreno 640)", "tflite-gpu")
    (row,) = found.table.models()
    assert (row.op.attribute("name"), row.latency_ms, row.spread) == ("net", 5.0, 0.01)


def test_networks_of_ncnn_and_of_a_column_for_each_device(tmp_path: Path) -> None:
    found = read(tmp_path, NCNN, {**NCNN, "gpu_device": 0, "dtype": "int8"})
    assert [(t.device.provider, t.device.dtype) for t in found.tables] == [
        ("", "float16"),
        ("vulkan", "int8"),
    ]
    found = read(tmp_path, FBNET, {**FBNET, "arch_index": 4, "pixel3": 30.0})
    assert [table.device.name for table in found.tables] == ["1080ti_1", "pixel3", "eyeriss"]
    assert [row.latency_ms for row in found.tables[1].models()] == [20.0, 30.0]

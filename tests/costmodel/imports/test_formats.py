"""Reports that tools write themselves: as those wrote them, or in the form that they document."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from small_models import Draft

from costmodel.errors import InvalidInputError
from costmodel.imports.imported import Imported
from costmodel.uses.importing import import_file

SAID = {"device": "board"}

OPENVINO = """\
Command line parameters
-m;nets/net.onnx
-d;CPU
-nthreads;2

Configuration setup
topology;Model1
target device;CPU

Execution results
read model time (ms);4.37
total number of iterations;20
latency (ms);0.05
avg latency;0.19
min latency;0.05
throughput;4995.06
"""
LITERT = {
    "model": "nets/net.tflite",
    "accelerators": ["CPU"],
    "fully_accelerated": True,
    "num_threads": 1,
    "latency": {"avg_ms": 0.05, "min_ms": 0.04, "median_ms": 0.045, "std_ms": 0.002},
}
BENCHMARK_MODEL = """\
STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [/data/local/tmp/mobilenet_v1.tflite]
Use gpu: [{gpu}]
Loaded model /data/local/tmp/mobilenet_v1.tflite
count=1 curr=3512391

count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, \
Inference (avg): 2.95034e+06
"""
TASK = '{"input": ["llvm -device=arm_cpu", "%s", [["TENSOR", %s, "float32"], ["TENSOR", %s, '
TOPHUB = (
    TASK
    % ("conv2d_nchw_spatial_pack.arm_cpu", "[1, 16, 56, 56]", "[32, 16, 3, 3]")
    + '"float32"], [2, 2], [1, 1, 1, 1], [1, 1], "float32"], {}], "config": {}, '
    '"result": [[0.0012, 0.0010, 0.0011], 0, 2.5, 1.6e9], "version": 0.2}\n'
    + TASK
    % ("depthwise_conv2d_nchw.arm_cpu", "[1, 32, 28, 28]", "[32, 1, 3, 3]")
    + '"float32"], [1, 1], [1, 1], [1, 1], "float32"], {}], "config": {}, '
    '"result": [[0.0004], 0, 2.5, 1.6e9], "version": 0.2}\n'
    + TASK
    % ("dense_nopack.x86", "[1, 512]", "[1000, 512]")
    + '"float32"], null, "float32"], {}], "config": {}, '
    '"result": [[0.0003], 0, 2.5, 1.6e9], "version": 0.2}\n'
    + TASK
    % ("conv2d_nchw.x", "[1, 16, 56, 56]", "[32, 16, 3, 3]")
    + '"float32"], [1, 1], [1, 1], [1, 1], "float32"], {}], "config": {}, '
    '"result": [[1000000000.0], 4, 2.5, 1.6e9], "version": 0.2}\n'
)
MIOPEN = """\
16-56-56-3x3-32-28-28-4-1x1-2x2-1x1-0-NCHW-FP32-F=miopenConvolutionFwdAlgoGEMM:GemmFwdRest,0.42,\
0,miopenConvolutionFwdAlgoGEMM,not used;miopenConvolutionFwdAlgoDirect:ConvAsm3x3U,0.25,0,x,y
64-14-14-1x1-64-14-14-8-0x0-1x1-1x1-0-NCHW-FP16-F_g4=ConvDirectNaiveConvFwd:0.11,0,algo
64-14-14-1x1-64-14-14-8-0x0-1x1-1x1-0-NCHW-FP16-W=ConvDirectNaiveConvWrw:0.11,0,algo
"""
NN_METER = {
    "conv-bn-relu": {
        "a1": {
            "model": "a1.tflite",
            "config": {"HW": 28, "CIN": 16, "COUT": 32, "KERNEL_SIZE": 3, "STRIDES": 2},
            "latency": "2.5 +- 0.1",
        },
        "a2": {"model": "a2.tflite", "config": {"HW": 28, "CIN": 16}, "latency": "2.5 +- 0.1"},
    },
    "dwconv-bn-relu": {
        "b": {"config": {"HW": 28, "CIN": 16, "KERNEL_SIZE": 3, "STRIDES": 1}, "latency": "0.5"}
    },
    "fc": {"c": {"config": {"CIN": 512, "COUT": 10}, "latency": 0.1}},
}
AI_HUB = """\
# generated
supported_devices:
- Samsung Galaxy S24
precisions:
  float:
    components:
      MobileNet-v2:
        performance_metrics:
          Samsung Galaxy S24:
            tflite:
              inference_time_milliseconds: 0.612
              primary_compute_unit: NPU
            onnx:
              inference_time_milliseconds: null
  w8a8:
    components:
      MobileNet-v2:
        performance_metrics:
          Samsung Galaxy S24:
            tflite:
              inference_time_milliseconds: 0.291
"""


def read(tmp_path: Path, text: str, name: str = "report.txt") -> Imported:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return import_file(path, constants=SAID)


def test_the_profile_that_onnx_runtime_writes(tmp_path: Path) -> None:
    draft = Draft(1, 16, 32, 32)
    read_from = draft.node("Relu", draft.bn(draft.conv("x", 16, 32, 3, stride=2), 32))
    read_from = draft.node("Add", draft.conv(read_from, 32, 32, 1), read_from)
    pooled = draft.node("Flatten", draft.node("GlobalAveragePool", read_from))
    model = draft.done(draft.node("MatMul", pooled, draft.weight(32, 10)))
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    for _ in range(5):
        session.run(None, {"x": np.zeros((1, 16, 32, 32), "float32")})
    found = import_file(Path(session.end_profiling()), constants={"device": "AMD EPYC"})
    assert (found.form, found.left_out) == ("ort_profile", ())
    device = found.table.device
    assert (device.runtime, device.provider) == ("onnxruntime", "CPUExecutionProvider")
    assert [op.label for op in found.table] == [
        "conv 3x3 16->32 @32x32 s2",
        "batch_norm 32 @16x16",
        "relu 32 @16x16",
        "conv 1x1 32->32 @16x16",
        "add 32 @16x16",
        "global_average_pool 32 @16x16",
        "flatten 32 @1x1",
        "matmul 32->10",
    ]
    first, norm, *_ = found.table
    assert first.weights == ((32, 16, 3, 3), (32,))
    assert (first.pads, norm.weights) == ((0, 0, 1, 1), ((32,),) * 4)
    assert all(row.latency_ms > 0 for row in found.table.values())


def test_half_a_profile_is_refused(tmp_path: Path) -> None:
    text = '[{"cat": "Session", "name": "x", "dur": 3},\n{"cat": "Node", "na'
    with pytest.raises(InvalidInputError, match="it is no whole JSON"):
        read(tmp_path, text)


@pytest.mark.parametrize("report", [OPENVINO, None])
def test_the_report_of_openvinos_benchmark(tmp_path: Path, report: str | None) -> None:
    if report is None:
        report = json.dumps(
            {
                "cmd_options": {"-m": "nets/net.onnx", "-d": "CPU", "-nthreads": "2"},
                "execution_results": {"avg latency": "0.19", "latency (ms)": "0.05"},
            }
        )
    found = read(tmp_path, report)
    device = found.table.device
    assert (found.form, device.runtime, device.provider, device.threads) == (
        *("openvino", "openvino", "CPU"),
        2,
    )
    (row,) = found.table.models()
    assert (row.op.attribute("name"), row.latency_ms) == ("net", 0.05)


def test_a_report_without_a_latency(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="it holds no latency"):
        read(tmp_path, OPENVINO.replace("latency", "delay"))


def test_what_litert_benchmark_saves(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps(LITERT))
    (row,) = found.table.models()
    assert (found.form, found.table.device.runtime) == ("litert", "litert")
    assert (row.op.attribute("name"), row.latency_ms) == ("net", 0.045)
    assert row.spread == pytest.approx(0.002 / 0.045)


@pytest.mark.parametrize(("gpu", "runtime"), [(0, "tflite"), (1, "tflite-gpu")])
def test_what_benchmark_model_prints(tmp_path: Path, gpu: int, runtime: str) -> None:
    one = BENCHMARK_MODEL.format(gpu=gpu)
    found = read(tmp_path, one + one.replace("mobilenet_v1", "other"))
    assert (found.table.device.runtime, found.table.device.threads) == (runtime, 4)
    rows = found.table.models()
    assert [row.op.attribute("name") for row in rows] == ["mobilenet_v1", "other"]
    assert rows[0].latency_ms == pytest.approx(2950.34)
    assert rows[0].spread == pytest.approx(109798 / 2.95034e6)


def test_a_log_of_autotvm(tmp_path: Path) -> None:
    found = read(tmp_path, TOPHUB)
    assert (found.form, found.table.device.provider) == ("tophub", "llvm")
    assert {op.label: row.latency_ms for op, row in found.table.items()} == {
        "conv 3x3 16->32 @56x56 s2": pytest.approx(1.1),
        "conv 3x3 32->32 @28x28 dw": pytest.approx(0.4),
        "gemm 512->1000": pytest.approx(0.3),
    }
    assert [str(item)[:55] for item in found.left_out] == [
        "1 row left out: result says that the kernel failed; row"
    ]


def test_miopens_list_has_the_fastest_solver(tmp_path: Path) -> None:
    found = read(tmp_path, MIOPEN)
    assert found.form == "miopen"
    assert [table.device.dtype for table in found.tables] == ["float32", "float16"]
    assert [(op.label, row.latency_ms) for t in found.tables for op, row in t.items()] == [
        ("conv 3x3 16->32 @56x56 s2 n4", 0.25),
        ("conv 1x1 64->64 @14x14 g4 n8", 0.11),
    ]
    assert [(item.count, item.column) for item in found.left_out] == [(1, "direction")]


def test_what_nn_meter_saves(tmp_path: Path) -> None:
    found = read(tmp_path, json.dumps(NN_METER))
    assert (found.form, found.table.device.runtime) == ("nn_meter", "nn-meter")
    assert [(op.label, row.latency_ms) for op, row in found.table.items()] == [
        ("conv 3x3 16->32 @28x28 s2 +relu nhwc", 2.5),
        ("conv 3x3 16->16 @28x28 dw +relu nhwc", 0.5),
        ("gemm 512->10", 0.1),
    ]
    assert [item.column for item in found.left_out] == ["kernel"]


def test_perf_yaml_of_ai_hub(tmp_path: Path) -> None:
    found = import_file(_written(tmp_path, AI_HUB))
    assert (found.form, [table.device.dtype for table in found.tables]) == (
        "ai_hub",
        ["float16", "int8"],
    )
    assert [table.device.name for table in found.tables] == ["Samsung Galaxy S24"] * 2
    assert [row.latency_ms for table in found.tables for row in table.models()] == [0.612, 0.291]
    assert found.table.models()[0].op.attribute("name") == "MobileNet-v2"


def _written(folder: Path, text: str) -> Path:
    path = folder / "perf.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_report_must_say_its_device_or_be_told(tmp_path: Path) -> None:
    path = _written(tmp_path, json.dumps(LITERT))
    with pytest.raises(InvalidInputError, match="does not say which device was timed"):
        import_file(path)


@pytest.mark.parametrize(
    "text",
    [
        '[{"cat": "Session"}, 7, {"cat": "Node", "name": "a_kernel_time", "args": [1]}]',
        '[{"cat": "Session"}, {"cat": "Node", "name": "a_kernel_time", "args": {"a": 1}, '
        '"dur": "x"}]',
        json.dumps(LITERT | {"latency": None}),
        json.dumps([LITERT, 3]),
        OPENVINO.replace("latency (ms);0.05", "latency (ms);soon"),
        OPENVINO.replace("-nthreads;2", "-nthreads;two"),
        '{"conv-bn-relu": {"a": {"config": {"HW": 28, "CIN": {}}}}, "x": 1} '[:-1],
        '[{"config": 1, "CIN": 2}]',
    ],
    ids=range(8),
)
def test_a_report_that_is_not_as_its_tool_writes_it_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"report\.txt"):
        read(tmp_path, text)

"""Small files of every kind that is read, from which fuzzing starts: models, tables, reports.

All are made here, by the helpers of the tests or by the product itself, so that none is kept.
"""

from __future__ import annotations

import json
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

#: Largest file that is a start, in bytes: larger ones take long and hold nothing else.
MOST_BYTES = 1 << 16
#: Cases of each family of the tests' zoo of models.
_CASES, _OPERATORS = 60, 300
_TABLES = ("onnxruntime-float32", "litert-int8", "openvino-float32", "xla-float32")
_ROWS = 12
#: Rows of the table that commands price by.
_KERNELS = 150

#: Stands for the agent's digest, which changes with its code.
DIGEST = "@DIGEST@"
HLO = """HloModule jit_f, is_scheduled=true, entry_computation_layout={(f32[8]{0})->f32[8]{0}}

%join (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %most = f32[] maximum(%a, %b)
}

%fused (param_0: f32[1,9,9,4], param_1: f32[4]) -> f32[1,9,9,4] {
  %param_0 = f32[1,9,9,4]{3,2,1,0} parameter(0)
  %param_1 = f32[4]{0} parameter(1)
  %b.1 = f32[1,9,9,4]{3,2,1,0} broadcast(%param_1), dimensions={3}, metadata={op_name="jit(f)/L0:a/b"}
  %add.1 = f32[1,9,9,4]{3,2,1,0} add(%b.1, %param_0)
  %zero = f32[] constant(0)
  %b.2 = f32[1,9,9,4]{3,2,1,0} broadcast(%zero), dimensions={}
  ROOT %max.1 = f32[1,9,9,4]{3,2,1,0} maximum(%add.1, %b.2), metadata={op_name="jit(f)/L1:r \\"q,)\\""}
}

ENTRY %main (x: f32[1,9,9,4], w: f32[8,3,3,4], b: f32[4]) -> (f32[1,9,9,8], f32[1,9,9]) {
  %x = f32[1,9,9,4]{3,2,1,0} parameter(0)
  %w = f32[8,3,3,4]{3,2,1,0} parameter(1)
  %b = f32[4]{0} parameter(2)
  %none = f32[] constant(-inf)
  %fusion = f32[1,9,9,4]{3,2,1,0:T(8,128)S(1)} fusion(%x, /*index=1*/%b), kind=kLoop, calls=%fused
  %call = (f32[1,9,9,8]{3,2,1,0}, u8[0]{0}) custom-call(%fusion, %w), window={size=3x3 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$convForward", metadata={op_name="jit(f)/conv"}, backend_config={"operation_queue_id":"0","cudnn_conv_backend_config":{"activation_mode":"kNone","conv_result_scale":1,"side_input_scale":1,"leakyrelu_alpha":0}}
  %y = f32[1,9,9,8]{3,2,1,0} get-tuple-element(%call), index=0
  %r = f32[1,9,9]{2,1,0} reduce(%fusion, %none), dimensions={3}, to_apply=%join
  %c = f32[1,9,9,8]{3,2,1,0} convolution(%fusion, %w), window={size=3x3 stride=1x1 pad=1_1x1_1}, dim_labels=b01f_o01i->b01f, feature_group_count=1
  ROOT %out = (f32[1,9,9,8]{3,2,1,0}, f32[1,9,9]{2,1,0}) tuple(%y, %r)
}
"""  # noqa: E501 - XLA writes such lines
RECIPE = (
    "w[8] d[1,2,8] | broadcast(0;dimensions={2})[1,2,8] add(2,1) constant(;0)[] "
    "broadcast(4;dimensions={})[1,2,8] maximum(3,5) | 6"
)

_LISTS = (
    "op,batch,height,width,in_channels,out_channels,kernel,stride,padding,latency_us\n"
    "conv2d,1,56,56,64,64,3,1,same,410\nconv2d,1,28,28,64,128,3,2,same,230\n",
    "device;runtime;op;height;in_channels;out_channels;kernel;stride;pad;latency_ms;dtype\n"
    'gadget;lib;conv2d;28;16;32;"3x3";(2, 2);1;1,25;float32\n',
    "model,latency_ms,threads\nmobilenet,12.5,1\nresnet,40.25,2\n",
    json.dumps([{"op": "conv2d", "height": 8, "in_channels": 4, "out_channels": 8, "kernel": 3,
                 "stride": 1, "padding": "same", "latency_ms": 0.5}]),
    '{"op":"dense","in_channels":8,"out_channels":4,"latency_us":3}\n'
    '{"op":"dense","in_channels":16,"out_channels":4,"latency_us":5}\n',
)  # fmt: skip
_REPORTS = (
    "Command line parameters\n-m;nets/net.onnx\n-d;CPU\n-nthreads;2\n\nExecution results\n"
    "latency (ms);0.05\navg latency;0.19\nthroughput;4995.06\n",
    json.dumps({"cmd_options": {"m": "net.xml", "d": "CPU"},
                "execution_results": {"latency (ms)": 0.5}}),
    json.dumps({"model": "net.tflite", "accelerators": ["CPU"], "fully_accelerated": True,
                "num_threads": 1, "latency": {"avg_ms": 0.05, "median_ms": 0.045, "std_ms": 0.01}}),
    "STARTING!\nNum threads: [4]\nGraph: [/data/m.tflite]\nUse gpu: [1]\n"
    "count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798\n\n"
    "Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.5e+06, "
    "Inference (avg): 2.95034e+06\n",
    '{"input": ["llvm -device=arm_cpu", "conv2d_nchw_spatial_pack.arm_cpu", [["TENSOR", '
    '[1, 16, 56, 56], "float32"], ["TENSOR", [32, 16, 3, 3], "float32"], [2, 2], [1, 1, 1, 1], '
    '[1, 1], "float32"], {}], "config": {}, "result": [[0.0012, 0.001], 0, 2.5, 1.6e9]}\n',
    "16-56-56-3x3-32-28-28-4-1x1-2x2-1x1-0-NCHW-FP32-F=miopenConvolutionFwdAlgoGEMM:GemmFwdRest,"
    "0.42,0,miopenConvolutionFwdAlgoGEMM,not used;x:ConvAsm3x3U,0.25,0,x,y\n",
    json.dumps({"conv-bn-relu": {"a": {"config": {"HW": 28, "CIN": 16, "COUT": 32, "KERNEL_SIZE": 3,
                "STRIDES": 2}, "latency": "2.5 +- 0.1"}},
                "fc": {"c": {"config": {"CIN": 512, "COUT": 10}, "latency": 0.1}}}),
    "precisions:\n  float:\n    components:\n      Net:\n        performance_metrics:\n"
    "          Galaxy:\n            tflite:\n              inference_time_milliseconds: 0.612\n",
)  # fmt: skip


def onnx_models() -> Iterator[bytes]:
    """Networks of many operators, with functions, loops, quantised and sparse weights."""
    from awkward_graphs import awkward_model, looped_model
    from model_zoo import onnx_drawn, onnx_files, onnx_foreign, onnx_operators

    yield awkward_model().SerializeToString()
    yield looped_model().SerializeToString()
    for family in (onnx_files, onnx_foreign):
        for name in family.names():
            yield family.make(name).model.SerializeToString()
    for name in onnx_drawn.names(_CASES):
        yield onnx_drawn.make(name).model.SerializeToString()
    for name in onnx_operators.names(_OPERATORS):
        yield onnx_operators.make(name).model.SerializeToString()


def lite_models() -> Iterator[bytes]:
    """TensorFlow Lite models of floats, halves and integers."""
    from lite_models import Net, leave_open, save

    with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        path = Path(folder) / "net.tflite"
        for dtype in ("float32", "float16", "int8"):
            net = Net((1, 8, 8, 3), dtype)
            net.conv(4, 3, 2)
            yield save(net.done(), path).read_bytes()
            net.depthwise(3, 1)
            net.pool()
            net.product(4, turned=dtype == "int8")
            net.dense(5)
            yield save(net.done(), path).read_bytes()
        leave_open(path, [-1, 8, 8, 3])
        yield path.read_bytes()


def hlo_texts() -> Iterator[bytes]:
    """A module with a fusion, a library call and a reduction; the recipe of a kernel."""
    yield HLO.encode()
    yield RECIPE.encode()


def tables() -> Iterator[bytes]:
    """The first rows of tables that are shipped."""
    folder = ROOT / "profiles" / "amd-epyc-family-25-model-17"
    for name in _TABLES:
        with (folder / f"{name}.jsonl").open("rb") as file:
            yield b"".join(islice(file, _ROWS))


def structures() -> Iterator[bytes]:
    """A structure of this package and one of the original's."""
    from morphnet_core.structure import Structure
    from morphnet_core.structure_fields import LayerWidth

    layers = {
        "conv1": LayerWidth(count=2, of=4, kept=(0, 2), operation="Conv2D"),
        "block/dense": LayerWidth(count=3, of=3, operation="MatMul"),
    }
    yield (
        Structure(
            layers=layers,
            groups={"conv1": 2},
            device="board",
            costs={"flops": 1.5e9},
            predicted_ms=2.0,
        )
        .to_json()
        .encode()
    )
    yield json.dumps({"conv1/Conv2D": 2, "net/fc/MatMul": 10}).encode()


def mappings() -> Iterator[bytes]:
    """The mapping that the documentation shows."""
    text = (ROOT / "docs" / "importing.md").read_text(encoding="utf-8")
    begin = text.index('\nsource = "')
    found = text[begin : text.index('""")', begin)].lstrip()
    tomllib.loads(found)
    yield found.encode()


def fleets() -> Iterator[bytes]:
    """The fleet and the sweep that the documentation shows; networks would have to be there."""
    text = (ROOT / "docs" / "fleets.md").read_text(encoding="utf-8")
    for name in ("fleet", "sweep"):
        mark = f'Path("{name}.toml").write_text("""'
        begin = text.index(mark) + len(mark)
        found = text[begin : text.index('""")', begin)].lstrip()
        lines = [line for line in found.splitlines() if not line.startswith("models = ")]
        tomllib.loads("\n".join(lines))
        yield "\n".join(lines).encode()


def imports() -> Iterator[bytes]:
    """Lists of kernels and networks, and the reports of every tool that is known."""
    for text in (*_LISTS, *_REPORTS):
        yield text.encode()
    yield from ort_profiles()


def ort_profiles() -> Iterator[bytes]:
    """A profile of two runs, with a node that runs a graph inside."""
    events: list[dict[str, Any]] = []
    for start in (0, 10_000):
        for place, (kind, shape) in enumerate(
            (("Conv", [1, 8, 8, 8]), ("If", [1, 10]), ("Relu", [1, 10]), ("Gemm", [1, 10]))
        ):
            arguments = {
                "op_name": kind,
                "node_index": str(place),
                "provider": "CPUExecutionProvider",
                "parameter_size": "1152",
                "input_type_shape": [{"float": [1, 4, 8, 8]}, {"float": [8, 4, 3, 3]}],
                "output_type_shape": [{"float": shape}],
            }
            at, took = start + 100 * place, 150 if kind == "If" else 50
            events.append({"cat": "Node", "ph": "X", "pid": 1, "tid": 1, "ts": at, "dur": took,
                           "name": f"n{place}_kernel_time", "args": arguments})  # fmt: skip
        events.append({"cat": "Session", "ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": 9})
    yield json.dumps(events).encode()
    yield json.dumps({"traceEvents": events}).encode()


def timings() -> Iterator[bytes]:
    """Lists of networks and what they took."""
    yield b"model,latency_ms\na.onnx,1.5\nb.onnx,2\na.onnx,1.6\nc.onnx,\n"
    yield "name;time [µs];std\nnetz;1,5;0,1\n".encode()


def records() -> Iterator[bytes]:
    """What ``predict --json`` and ``compare --json`` write, shortened."""
    from costmodel.op import conv_op, op_fields

    kernel = op_fields(conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3)))
    layer = {"name": "conv", "kernel": kernel, "predicted_ms": 0.5, "interval_ms": [0.4, 0.6],
             "basis": "regression", "share": 1.0, "covers": ["conv", "relu"]}  # fmt: skip
    shared = {"model": "net", "predicted_ms": 0.5, "interval_ms": [0.4, 0.6], "cost": "regression",
              "source": "lowered", "parts_ms": {"kernels": 0.5}}  # fmt: skip
    prediction = shared | {"ops": [layer], "device": "board", "provenance": "measured",
                           "unpriced": [{"name": "loop", "reason": "it runs a graph"}]}  # fmt: skip
    yield json.dumps(prediction, default=list).encode()
    comparison = shared | {"measured_ms": 0.51, "error": -0.02, "repeatability": 0.01,
                           "in_interval": True, "status": "ok", "reason": "",
                           "measured_on": "board", "unpriced": [], "rounds": 2,
                           "rounds_ms": [0.51, 0.52],
                           "witnesses": {"conv": {"ms": 0.1, "noise": 0.01}}}  # fmt: skip
    yield json.dumps([comparison]).encode()


def conversations() -> Iterator[bytes]:
    """What an agent says on a board: to the shell, then from its start to the end of an order."""
    shell = f"=costmodel=\n/data/board\n{DIGEST}  agent\n/usr/bin/python3\n"
    facts = {
        "machine": "aarch64", "system": "Linux 6.1", "cpuinfo": {"Features": "fp asimd"},
        "model": "Board 3", "soc": "chip", "caches": [32768, 524288], "cores": [0, 1],
        "clusters": [{"cores": [0, 1], "max_mhz": 1500, "capacity": 0}], "boot": "b",
        "python": "3.11.2", "emulated": False, "digest": DIGEST, "folder": "/data/board",
    }  # fmt: skip
    visit = {"quiet_ms": 1.0, "median_ms": 1.1, "blocks": 9, "discarded": 1, "runs": 90,
             "timed_ms": 40.0, "warm_ms": 5.0, "load_ms": 3.0, "repeats": 0}  # fmt: skip
    said: list[dict[str, Any]] = [
        {"id": 1, **facts},
        {"id": 2, "numpy": "2.0.0", "onnxruntime": "1.20.0"},
        {"id": 3, "events": [], "seq": 0, "interrupted": None, "displaced": False,
         "state": {"governor": "performance"}},
        {"id": 4, "missing": []},
        {"event": "tick"},
        {"id": 5},
        {"event": "started", "step": "anchor", "seq": 1},
        {"event": "scouted", "step": "anchor", "latency_ms": 0.5, "shapes": [[1, 8]], "seq": 2},
        {"event": "done", "order": 1, "state": {}, "seq": 3},
        {"id": 6, "missing": []},
        {"id": 7},
        {"event": "scouted", "step": "1s0", "latency_ms": 0.5, "shapes": [[1, 8]], "seq": 4},
        {"event": "scouted", "step": "1s1", "latency_ms": 0.5, "shapes": [[1, 8]], "seq": 5},
        {"event": "done", "order": 2, "state": {}, "seq": 6},
        {"id": 8, "missing": []},
        {"id": 9},
        {"event": "probed", "latency_ms": 1.0, "slow": False, "timed_ms": 2.0, "waited_ms": 0.0,
         "seq": 7},
        {"event": "cooling", "state": {"temperature": "80"}, "seq": 8},
        {"event": "cooled", "waited_s": 1.0, "state": {"temperature": "60"}, "seq": 9},
        {"event": "started", "step": "1v0", "seq": 10},
        {"event": "visited", "step": "1v0", "seq": 11, **visit},
        {"event": "failed", "step": "1v1", "error": "rejected", "text": "no kernel", "seq": 12},
        {"event": "done", "order": 3, "state": {"governor": "performance"}, "seq": 13},
        {"id": 10, "missing": []},
        {"id": 11, "latency_ms": 0.5, "shapes": [[1, 8]]},
        {"id": 12, "missing": []},
        {"id": 13},
        {"id": 14, "latency_ms": 0.5, "wall_ms": 2.0, "runs": 4},
    ]  # fmt: skip
    lines = [json.dumps(shell), *map(json.dumps, said)]
    yield "\n".join(lines).encode() + b"\n"


def beside(folder: Path) -> None:
    """Write what commands need beside the file that they read: networks, a table, a list."""
    from small_models import Draft

    draft = Draft(1, 3, 16, 16)
    x = draft.node("Relu", draft.bn(draft.conv("x", 3, 8, 3, stride=2), 8))
    x = draft.node("Flatten", draft.node("GlobalAveragePool", draft.conv(x, 8, 16)))
    model = draft.done(draft.node("MatMul", x, draft.weight(16, 10)), dtype=1)
    for name in ("net", "a", "b", "c"):
        (folder / f"{name}.onnx").write_bytes(model.SerializeToString())
    table = ROOT / "profiles" / "amd-epyc-family-25-model-17" / "onnxruntime-float32.jsonl"
    with table.open("rb") as file:
        (folder / "table.jsonl").write_bytes(b"".join(islice(file, _KERNELS)))
    lines = (
        "gadget,lib,what,side,depth,made,window,t",
        "Pixel 4 GPU,tflite-gpu,conv2d,56,16,32,3,310",
        "Galaxy GPU,tflite-gpu,conv2d,56,16,32,3,920",
    )
    (folder / "list.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

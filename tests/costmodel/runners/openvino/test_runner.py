"""The OpenVINO runner: contract, settings, and what it refuses to time."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

pytest.importorskip("openvino", reason="needs the openvino extra")

from costmodel.device import Device
from costmodel.errors import InvalidInputError, ModelFormatError, UnsupportedOpError
from costmodel.network import session_op
from costmodel.op import Op, conv_op
from costmodel.runners.openvino import core
from costmodel.runners.openvino.runner import OpenVinoRunner, num_replicas, num_turns
from costmodel.testing import RunnerContract

RNG = np.random.default_rng(0)


def stored(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array((RNG.normal(size=shape) * 0.1).astype(np.float32), name)


def small_model() -> onnx.ModelProto:
    """Convolutions with a residual, a pooling and a classifier."""
    node = helper.make_node
    pads = {"pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["c0"], name="stem", **pads),
        node("Relu", ["c0"], ["r0"], name="stem_relu"),
        node("Conv", ["r0", "w1", "b1"], ["c1"], name="inner", **pads),
        node("Relu", ["c1"], ["r1"], name="inner_relu"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="outer", **pads),
        node("Add", ["c2", "r0"], ["s"], name="residual"),
        node("MaxPool", ["s"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("GlobalAveragePool", ["p"], ["g"], name="average"),
        node("Flatten", ["g"], ["f"], name="flat"),
        node("Gemm", ["f", "w3", "b3"], ["y"], name="classifier", transB=1),
    ]
    weights = [stored("w0", 16, 3, 3, 3), stored("b0", 16)]
    for index in (1, 2):
        weights += [stored(f"w{index}", 16, 16, 3, 3), stored(f"b{index}", 16)]
    weights += [stored("w3", 10, 16), stored("b3", 10)]
    fed = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 16, 16])
    given = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 10])
    graph = helper.make_graph(nodes, "small", [fed], [given], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("openvino") / "small.onnx"
    onnx.save(small_model(), path)
    return path


FLOAT, INT8 = OpenVinoRunner(), OpenVinoRunner(dtype="int8")


class TestFloatContract(RunnerContract):
    @pytest.fixture
    def runner(self) -> OpenVinoRunner:
        return FLOAT

    @pytest.fixture
    def model(self, small: Path) -> Path:
        return small


class TestInt8Contract(RunnerContract):
    @pytest.fixture
    def runner(self) -> OpenVinoRunner:
        return INT8

    @pytest.fixture
    def model(self, small: Path) -> Path:
        return small


def test_nothing_is_reported_when_the_package_is_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys, costmodel.runners.openvino.core;"
        "assert not [m for m in sys.modules if 'openvino_telemetry' in m], 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_setting_that_decides_what_runs_is_in_the_device() -> None:
    found: Device = FLOAT.device
    assert (found.runtime, found.provider, found.dtype) == ("openvino", "CPU", "float32")
    options = dict(found.options)
    assert options["INFERENCE_PRECISION_HINT"] == "float32"
    assert options["INFERENCE_NUM_THREADS"] == "1"
    assert options["ENABLE_CPU_PINNING"] == "False"
    assert options["CPU_DENORMALS_OPTIMIZATION"] == "True"
    assert found.fingerprint != INT8.device.fingerprint


@pytest.mark.parametrize("wrong", [{"threads": 0}, {"threads": 1025}, {"dtype": "int4"}])
def test_absurd_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="Received"):
        OpenVinoRunner(**wrong)


def test_more_threads_than_processors_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="fewer threads"):
        core.compile_model(_nothing(), 1024, "float32")


def _nothing() -> object:
    fed = core.ov.opset13.parameter([1], np.float32)
    return core.ov.Model([core.ov.opset13.relu(fed)], [fed], "nothing")


@pytest.mark.parametrize("runner", [FLOAT, INT8], ids=["float32", "int8"])
def test_every_op_of_a_network_can_be_timed(runner: OpenVinoRunner, small: Path) -> None:
    network = runner.lower(small, {})
    assert not network.unread
    for op in dict.fromkeys(network.ops):
        with runner.load_op(op) as workload:
            assert workload.block(0.0).latency_ms > 0, op.label


def test_int8_kernels_read_whole_numbers(small: Path) -> None:
    ops = [op for op in INT8.lower(small, {}).ops if op.kind in {"conv", "gemm"}]
    assert len(ops) == 4
    assert {op.dtype for op in ops} == {"uint8"}
    assert all(op.implementation.endswith("_I8") for op in ops)
    floats = [op for op in FLOAT.lower(small, {}).ops if op.kind in {"conv", "gemm"}]
    assert {op.dtype for op in floats} == {"float32"}


def first_conv(small: Path) -> Op:
    return next(op for op in FLOAT.lower(small, {}).ops if op.kind == "conv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"implementation": "Convolution:ref_any_f32"}, "its kernel is"),
        ({"layout": "nchw16c"}, "its layout is|make no kernel"),
        ({"epilogue": ("relu", "no_such")}, "cannot be rebuilt"),
        ({"outputs": ((1, 16, 16, 24),)}, "its size written is"),
        ({"weights": ((16, 3, 3, 3), (7,))}, "make no kernel"),
        ({"dtype": "complex64"}, "type written is"),
        ({"implementation": ""}, "as written"),
        ({"inputs": ((1, 1 << 20, 1 << 10, 3),)}, "larger than 2 GiB"),
    ],
)
def test_ops_that_would_run_otherwise_are_refused(
    small: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedOpError, match=message):
        FLOAT.load_op(replace(first_conv(small), **change))


def test_an_op_as_written_is_refused() -> None:
    op = conv_op(in_channels=3, out_channels=8, size=(8, 8), kernel=(3, 3))
    with pytest.raises(UnsupportedOpError, match="from `lower`"):
        FLOAT.load_op(op)


def test_a_fused_kernel_takes_no_more_kernels_than_copies(small: Path) -> None:
    fused = [op for op in FLOAT.lower(small, {}).ops if "sum" in op.epilogue]
    assert len(fused) == 1
    FLOAT.load_op(fused[0]).close()


@pytest.mark.parametrize("channels", [3, 16, 20])
def test_kernels_in_blocks_of_channels_can_be_timed(tmp_path: Path, channels: int) -> None:
    """Poolings of planar memory, full blocks and not: AVX2 has both, AVX-512 the latter."""
    node = helper.make_node
    window = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes = [node("MaxPool", ["x"], ["p"], **window), node("Relu", ["p"], ["y"])]
    sizes = [1, channels, 9, 9]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes) for name in "xy"]
    graph = helper.make_graph(nodes, "pooled", ends[:1], ends[1:])
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "p.onnx")
    for op in dict.fromkeys(FLOAT.lower(tmp_path / "p.onnx", {}).ops):
        into_blocks = op.kind == "reorder" and op.layout not in {"nchw", "nhwc"}
        if into_blocks:
            kept = dict(op.attributes).get("channels", op.outputs[0][1])
            assert kept == channels
        for _ in range(2):  # the second visit trusts the first
            with FLOAT.load_op(op) as workload:
                assert workload.block(0.0).latency_ms > 0, op.label


def test_replicas_and_turns_depend_on_sizes_alone(small: Path) -> None:
    small_op = first_conv(small)
    big = conv_op(in_channels=512, out_channels=512, size=(112, 112), kernel=(3, 3))
    assert num_replicas(big) == 1
    assert num_replicas(small_op) == 16
    cold = conv_op(in_channels=512, out_channels=512, size=(7, 7), kernel=(1, 1))
    assert num_replicas(cold) * 4 * cold.num_weights >= 8 << 20
    assert 1 <= num_turns(small_op, 16) <= 16


def test_a_closed_workload_says_so(small: Path) -> None:
    for workload in (FLOAT.load_op(session_op(2, 3)), FLOAT.load_model(small, {})):
        workload.close()
        workload.close()
        with pytest.raises(InvalidInputError, match=r"closed\. Load"):
            workload.block(1.0)


def test_batches_are_bound(small: Path) -> None:
    network = FLOAT.lower(small, {"n": 3})
    assert network.inputs == {"x": (3, 3, 16, 16)}
    assert {op.batch for op in network.ops if op.kind == "conv"} == {3}
    FLOAT.load_op(next(op for op in network.ops if op.kind == "max_pool")).close()


def test_models_whose_sizes_depend_on_data_are_refused(
    model_file: Callable[[str], Path],
) -> None:
    with pytest.raises(ModelFormatError, match="dynamic"):
        FLOAT.lower(model_file("integers"), {})


def test_two_threads_run_too(small: Path) -> None:
    two = OpenVinoRunner(threads=2)
    assert two.device.threads == 2
    with two.load_model(small, {}) as workload:
        assert workload.block(0.5).latency_ms > 0


def test_texts_do_not_end_the_process(tmp_path: Path) -> None:
    """Writing into the copy that the runtime hands out would."""
    value = helper.make_tensor_value_info
    fed = [value("s", TensorProto.STRING, [2]), value("x", TensorProto.FLOAT, [1, 8])]
    nodes = [helper.make_node("Identity", ["s"], ["z"]), helper.make_node("Relu", ["x"], ["y"])]
    results = [value("z", TensorProto.STRING, [2]), value("y", TensorProto.FLOAT, [1, 8])]
    imports = [helper.make_opsetid("", 17)]
    graph = helper.make_graph(nodes, "g", fed, results)
    path = tmp_path / "texts.onnx"
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    code = (
        "import sys, pathlib; from costmodel.runners.openvino.runner import OpenVinoRunner as R\n"
        "path = pathlib.Path(sys.argv[1]); R().lower(path, {})\n"
        "with R().load_model(path, {}) as workload: print(workload.block(0.0).runs)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0

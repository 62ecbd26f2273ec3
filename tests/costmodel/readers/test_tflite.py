"""TensorFlow Lite files as networks: sizes and multiply-adds as stored, and what has none named."""

from __future__ import annotations

import struct
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs the litert extra")

import flatbuffers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lite_models import Net, leave_open, save

import costmodel as cm
from costmodel.anticipation.litert import anticipate_lite
from costmodel.costs.counts import COUNTED_KINDS, Flops, Params
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.kinds import UNCOUNTED
from costmodel.lite_model.graph import LiteBuilder, LiteTensor, Scale
from costmodel.lite_model.kernels import KINDS
from costmodel.lite_model.package import OPERATORS, schema
from costmodel.network import Network
from costmodel.readers.tflite import WORDS, network_of, read_tflite
from costmodel.runners.litert.runner import LiteRtRunner
from costmodel.sizes import OpenSizesError


def macs(network: Network) -> int:
    return sum(op.macs for op in network.ops)


_STEP = st.one_of(
    st.tuples(st.just("conv"), st.integers(1, 9), st.sampled_from([1, 3]), st.integers(1, 2)),
    st.tuples(st.just("depthwise"), st.sampled_from([1, 3, 5]), st.integers(1, 3)),
    st.tuples(st.just("product"), st.integers(1, 9), st.booleans()),
    st.tuples(st.just("pool")),
)


@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(
    steps=st.lists(_STEP, min_size=1, max_size=6),
    size=st.tuples(st.integers(1, 3), st.integers(4, 12), st.integers(4, 12), st.integers(1, 5)),
    dtype=st.sampled_from(["float32", "float16", "int8"]),
    dense=st.integers(1, 9),
)
def test_random_models_are_counted_as_they_were_built(
    steps: list[tuple[Any, ...]], size: tuple[int, ...], dtype: str, dense: int
) -> None:
    net = Net(size, dtype)
    for name, *numbers in steps:
        if name == "product":
            net.product(numbers[0], turned=numbers[1])
        else:
            getattr(net, name)(*numbers)
    net.dense(dense)
    network = network_of(net.done())
    network.check()
    assert macs(network) == net.macs
    assert not network.unread
    assert len(network.layers) == len(steps) + 1  # widening weights is no layer
    assert not Flops().price(network.ops).reasons
    weighed = Params().price(network.ops).values.sum()
    assert weighed == sum(
        prod(t.shape) for t in net.builder.tensors if t.constant and t.dtype != "int32"
    )


@pytest.fixture
def conv_net() -> Net:
    net = Net((1, 12, 12, 4))
    net.conv(8, 3, 1)
    net.depthwise(3, 1)
    net.pool()
    net.dense(5)
    return net


@pytest.fixture
def path(conv_net: Net, tmp_path: Path) -> Path:
    found = tmp_path / "net.tflite"
    save(conv_net.done(), found)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_what_is_foreseen_is_what_the_runtime_executes(dtype: str, tmp_path: Path) -> None:
    net = Net((1, 12, 12, 4), dtype)
    net.conv(8, 3, 2)
    net.pool()
    net.dense(5)
    path = tmp_path / "net.tflite"
    save(net.done(), path)
    lowered = LiteRtRunner().lower(path, {})
    assert anticipate_lite(path, {}, LiteRtRunner().device).layers == lowered.layers
    assert macs(lowered) == net.macs
    assert [op.kind for op in lowered.ops] == ["conv", "max_pool", "gemm", "session"]


def test_weights_in_16_bits_are_the_kernel_of_the_same_in_32(tmp_path: Path) -> None:
    """The runtime widens them when it loads the file."""
    found = []
    for dtype in ("float32", "float16"):
        net = Net((1, 12, 12, 4), dtype)
        net.conv(8, 3, 1)
        path = tmp_path / f"{dtype}.tflite"
        save(net.done(), path)
        found.append(LiteRtRunner().lower(path, {}).ops)
    assert found[0] == found[1]


def test_a_file_is_counted_and_priced_by_its_path_bytes_or_name_without_ending(
    path: Path, conv_net: Net
) -> None:
    bare = path.with_suffix("")
    bare.write_bytes(path.read_bytes())
    for given_as in (path, str(path), path.read_bytes(), bare):
        found = cm.predict(given_as, cost="flops")
        assert found.total > 2 * conv_net.macs
        assert found.source == "written"
    table = "amd-epyc-family-25-model-17/litert-float32"
    assert cm.predict(path, table).predicted_ms
    assert cm.predict(path, table, runner="litert").source == "lowered"
    assert cm.predict(path, cost="roofline:v100").predicted_ms


def test_integers_and_floats_have_tables_of_their_own(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"net\.tflite.*floats.*int8.*dtype=float32"):
        cm.predict(path, "amd-epyc-family-25-model-17/litert-int8")
    builder = LiteBuilder()
    scale = Scale(scales=(0.1,))
    x, y = (
        builder.tensor(LiteTensor(name=name, shape=(1, 8), dtype="int8", scale=scale))
        for name in "xy"
    )
    w = builder.constant(np.ones((8, 8)), "int8", scale=scale)
    builder.operator("FULLY_CONNECTED", [x, w, -1], [y])
    quantised = tmp_path / "quantised.tflite"
    save(builder.model("quantised", [x], [y]), quantised)
    assert cm.predict(quantised, "amd-epyc-family-25-model-17/litert-int8").predicted_ms
    assert cm.predict(quantised, cost="flops").total == 2 * 8 * 8
    for runner in (None, "litert"):
        with pytest.raises(ModelFormatError, match=r"integers.*float32.*dtype=int8"):
            cm.predict(quantised, "amd-epyc-family-25-model-17/litert-float32", runner=runner)


def test_kernels_of_float_times_integer_weights_are_no_float_kernels(tmp_path: Path) -> None:
    net = Net((1, 12), "int8")
    net.dense(16)
    path = tmp_path / "dynamic.tflite"
    save(net.done(), path)
    (layer, _) = cm.predict(path, "amd-epyc-family-25-model-17/litert-float32").layers
    assert layer.basis == "extrapolated"
    assert "no row of the path" in layer.note
    assert "int8" in layer.note


def test_another_runtime_is_refused_with_what_to_do(path: Path, tmp_path: Path) -> None:
    for call in (
        lambda: cm.predict(path, "amd-epyc-family-25-model-17/onnxruntime-float32"),
        lambda: cm.predict(path, cost="flops", runner="ort"),
        lambda: cm.compare(path, cost="roofline:v100", runner="ort"),
        lambda: cm.profile(tmp_path / "t.jsonl", models=path, runner="ort"),
    ):
        with pytest.raises(ModelFormatError, match=r"net\.tflite .*onnxruntime.*--runner litert"):
            call()


@pytest.fixture
def open_path(tmp_path: Path) -> Path:
    """A file with open batch, height and width, as exporters write them."""
    net = Net((1, 12, 12, 4))
    net.conv(8, 3, 1)
    net.pool()
    path = save(net.done(), tmp_path / "net.tflite")
    leave_open(path, [-1, -1, -1, 4])
    return path


def test_open_sizes_are_asked_for_and_bound(open_path: Path) -> None:
    with pytest.raises(OpenSizesError, match=r"--size x:1=224 --size x:2=224"):
        cm.predict(open_path, cost="flops")
    with pytest.raises(InvalidInputError, match=r"no open dimension 'x:7'"):
        cm.predict(open_path, cost="flops", sizes={"x:7": 3})
    network = read_tflite(open_path, {"x:1": 8, "x:2": 10, "batch": 2})
    assert network.layers[0].op.outputs == ((2, 8, 10, 8),)
    assert network.layers[-1].op.outputs == ((2, 4, 5, 8),)
    named = cm.predict(open_path, cost="flops", sizes={"x:1": 8, "x:2": 10, "batch": 2})
    shaped = cm.predict(open_path, cost="flops", sizes={"x": (2, 8, 10, 4)})
    assert named.total == shaped.total > 0
    lowered = LiteRtRunner().lower(open_path, {"x:1": 8, "x:2": 10, "batch": 2})
    assert lowered.layers[0].op.outputs == ((2, 8, 10, 8),)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_no_file_brings_the_process_down(path: Path, data: st.DataObject, tmp_path: Path) -> None:
    """Options and sizes that do not fit: an error that names the file, or an answer."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    for _ in range(data.draw(st.integers(1, 3))):
        odd = data.draw(st.sampled_from([0, -1, 1, 2**31 - 1, 3, -(2**31)]))
        if data.draw(st.booleans()):
            options = data.draw(st.sampled_from(graph.operators)).builtinOptions
            numbers = [n for n, v in vars(options).items() if type(v) is int] if options else []
            if numbers:
                setattr(options, data.draw(st.sampled_from(sorted(numbers))), odd % 2**31)
        else:
            operator = data.draw(st.sampled_from(graph.operators))
            places = data.draw(st.permutations(list(operator.inputs)))
            operator.inputs = np.array(places, dtype=np.int32)
    builder = flatbuffers.Builder(1024)
    try:
        builder.Finish(model.Pack(builder), b"TFL3")
    except (OverflowError, TypeError, ValueError, struct.error):
        return  # what no file can hold
    spoiled = tmp_path / "spoiled.tflite"
    spoiled.write_bytes(bytes(builder.Output()))
    for call in (lambda: read_tflite(spoiled), lambda: LiteRtRunner().lower(spoiled, {})):
        try:
            told = "spoiled" if call().layers else "an empty network"
        except ModelFormatError as error:
            told = str(error)
        assert "spoiled" in told


def test_the_kinds_of_recurrent_layers_are_told() -> None:
    builder = LiteBuilder()
    x = builder.tensor(LiteTensor(name="x", shape=(2, 7, 4)))
    fed = [builder.constant(np.ones((6, 4)), "float32") for _ in range(4)]
    kept = [builder.constant(np.ones((6, 6)), "float32") for _ in range(4)]
    rest = [-1] * 3 + [builder.constant(np.ones(6), "float32") for _ in range(4)] + [-1, -1]
    states = [
        builder.tensor(LiteTensor(name=f"s{i}", shape=(2, 6), variable=True)) for i in range(2)
    ]
    y = builder.tensor(LiteTensor(name="y", shape=(2, 7, 6)))
    builder.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *fed, *kept, *rest, *states], [y])
    (op,) = network_of(builder.model("lstm", [x], [y])).ops
    assert op.kind == "lstm"
    assert op.inputs == ((7, 2, 4),)
    assert op.weights == ((1, 24, 4), (1, 24, 6))
    assert op.macs == 2 * 7 * 24 * (4 + 6)


def test_every_operator_has_a_word_that_is_counted_or_a_reason() -> None:
    """What is not counted is known: it is no work on numbers, or its work is in its data."""
    foreign = ("STABLEHLO_", "HASHTABLE", "CALL", "CUSTOM", "DELEGATE", "PLACEHOLDER")
    known = COUNTED_KINDS | set(UNCOUNTED)
    unknown = {
        code
        for code in OPERATORS
        if not code.startswith(foreign)
        and WORDS.get(code, KINDS.get(code, code.lower())) not in known
    }
    assert unknown == {
        *("ASSIGN_VARIABLE", "BUCKETIZE", "CONCAT_EMBEDDINGS", "DENSIFY", "LSH_PROJECTION"),
        *("EMBEDDING_LOOKUP_SPARSE", "READ_VARIABLE", "REDUCE_WINDOW", "SKIP_GRAM", "VAR_HANDLE"),
        "WHILE",
    }

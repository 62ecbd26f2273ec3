"""The runner on ONNX Runtime: files, sessions, replicas, the device it names."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.network import session_op
from costmodel.onnx_model.inputs import bound_model
from costmodel.op import Op, conv_op
from costmodel.runners.ort import device
from costmodel.runners.ort.rebuild import num_turns
from costmodel.runners.ort.runner import COLD_BYTES, OrtRunner, num_replicas
from costmodel.runners.ort.session import random_input

Save = Callable[[onnx.ModelProto], Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    def saved(model: onnx.ModelProto) -> Path:
        onnx.save(model, tmp_path / "model.onnx")
        return tmp_path / "model.onnx"

    return saved


def relu_model(
    *shape: int | str | None,
    domain: str = "",
    dtype: int = TensorProto.FLOAT,
    op_type: str = "Relu",
) -> onnx.ModelProto:
    node = helper.make_node(op_type, ["x"], ["y"], name="only", domain=domain)
    infos = [helper.make_tensor_value_info(name, dtype, list(shape)) for name in ("x", "y")]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:])
    imports = [helper.make_opsetid("", 13)]
    imports += [helper.make_opsetid(domain, 1)] if domain else []
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def test_an_open_batch_is_one(runner: OrtRunner, save: Save) -> None:
    network = runner.lower(save(relu_model("N", 3)), {})
    assert network.inputs == {"x": (1, 3)}
    assert runner.lower(save(relu_model(None, 3)), {}).inputs == {"x": (1, 3)}


def test_named_and_nameless_sizes_are_bound(runner: OrtRunner, save: Save) -> None:
    path = save(relu_model("N", "H", None))
    network = runner.lower(path, {"N": 4, "H": 6, "x:2": 5})
    assert network.inputs == {"x": (4, 6, 5)}
    assert network.ops[0].inputs == ((4, 6, 5),)


@pytest.mark.parametrize(
    ("shape", "sizes", "hint"),
    [
        (("N", "H"), {}, "a dimension of its inputs .*x: .N, H.* is open.*--size H=128"),
        ((1, None), {}, "--size x:1=128"),
        ((1, 0, "W"), {}, "--size x:1=224 --size W=224"),
    ],
)
def test_a_missing_size_names_the_option_that_gives_it(
    runner: OrtRunner, save: Save, shape: tuple[int | str, ...], sizes: dict[str, int], hint: str
) -> None:
    path = save(relu_model(*shape))
    for read in (runner.lower, runner.load_model):
        with pytest.raises(ModelFormatError, match=f"{path.name}.*{hint}"):
            read(path, sizes)


def content_of(damage: str, whole: bytes) -> bytes:
    return {
        "empty": b"",
        "garbage": b"\x93\xff\x00garbage" * 20,
        "text": b"not a model at all\n",
        "half": whole[: len(whole) // 2],
        "last byte lost": whole[:-1],
    }[damage]


@pytest.mark.parametrize("damage", ["empty", "garbage", "text", "half", "last byte lost"])
def test_a_damaged_file_is_named(runner: OrtRunner, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(content_of(damage, relu_model(1, 3).SerializeToString()))
    for read in (runner.lower, runner.load_model):
        with pytest.raises(ModelFormatError, match=r"damaged"):
            read(path, {})


def test_a_missing_file_or_a_folder_is_named(runner: OrtRunner, tmp_path: Path) -> None:
    for path, why in ((tmp_path / "nowhere.onnx", "cannot be opened"), (tmp_path, "is not a file")):
        for read in (runner.lower, runner.load_model):
            with pytest.raises(ModelFormatError, match=f"{path.name} {why}"):
                read(path, {})


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (relu_model(1, 3, domain="my.own", op_type="Twist"), "my.own"),
        (relu_model(1, 3, op_type="NoSuchThing"), "NoSuchThing"),
        (relu_model(1, 3, dtype=TensorProto.STRING), "Relu"),
        (relu_model(1, 3, dtype=TensorProto.BFLOAT16), "Relu|bfloat16"),
        (relu_model(1, 1 << 40), "Input 'x' of size .* is over 2 GiB"),
    ],
)
def test_a_model_that_the_runtime_refuses_is_an_error_in_its_words(
    runner: OrtRunner, save: Save, model: onnx.ModelProto, words: str
) -> None:
    path = save(model)
    for read in (runner.lower, runner.load_model):
        with pytest.raises(ModelFormatError, match=words):
            read(path, {})


def test_a_model_that_cannot_run_is_an_error(runner: OrtRunner, save: Save) -> None:
    nodes = [
        helper.make_node("NonZero", ["x"], ["found"]),
        helper.make_node("Reshape", ["found", "sizes"], ["y"]),
    ]
    make = helper.make_tensor_value_info
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [7, 13])
    graph = helper.make_graph(
        nodes, "g", [make("x", 1, [2, 3])], [make("y", TensorProto.INT64, [7, 13])], [sizes]
    )
    path = save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    for read in (runner.lower, runner.load_model):
        with pytest.raises(ModelFormatError, match="cannot run"):
            read(path, {})


def test_missing_external_weights_are_an_error(runner: OrtRunner, tmp_path: Path) -> None:
    model = relu_model(1, 3, op_type="Add")
    model.graph.node[0].input.append("w")
    weight = helper.make_tensor("w", TensorProto.FLOAT, [3], struct.pack("3f", 1, 2, 3), raw=True)
    model.graph.initializer.append(weight)
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    assert runner.lower(path, {}).ops[0].weights == ((3,),)
    (tmp_path / "w.bin").unlink()
    for read in (runner.lower, runner.load_model):
        with pytest.raises(ModelFormatError, match=r"model\.onnx"):
            read(path, {})


@pytest.mark.parametrize(
    "padding",
    [
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "VALID"},
        {"output_shape": [7, 5]},
    ],
    ids=str,
)
def test_transposed_convolutions_with_automatic_padding_can_be_timed(
    runner: OrtRunner, save: Save, padding: dict[str, object]
) -> None:
    sizes = {"kernel_shape": [3, 3], "strides": [2, 2]}
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], **sizes, **padding)
    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 3, 3, 3], [0.1] * 54)
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 4, 3])]
    graph = helper.make_graph([node], "g", ports, [onnx.ValueInfoProto(name="y")], [weight])
    imports = [helper.make_opsetid("", 13)]
    op = runner.lower(save(helper.make_model(graph, opset_imports=imports, ir_version=8)), {}).ops[
        0
    ]
    assert op.kind == "conv_transpose"
    with runner.load_op(op) as workload:
        assert workload.block(0.0).latency_ms > 0


def test_binding_leaves_the_file_alone(save: Save) -> None:
    path = save(relu_model("N", 3))
    before = path.read_bytes()
    assert bound_model(path, {"N": 2}).graph.input[0].type.tensor_type.shape.dim[0].dim_value == 2
    assert path.read_bytes() == before


def test_a_workload_counts_its_runs(runner: OrtRunner) -> None:
    op = Op(kind="relu", implementation="Relu", inputs=((1, 64),), outputs=((1, 64),))
    with runner.load_op(op) as workload:
        short, long = workload.block(0.0), workload.block(5.0)
    assert short.runs >= 1
    assert long.runs > short.runs
    assert long.wall_ms >= 5.0
    assert 0 < long.latency_ms < long.wall_ms


def test_a_closed_workload_says_so(runner: OrtRunner, save: Save) -> None:
    path = save(relu_model(1, 3))
    for workload in (runner.load_op(session_op(1, 1)), runner.load_model(path, {})):
        workload.close()
        workload.close()
        with pytest.raises(InvalidInputError, match=r"closed\. Load"):
            workload.block(1.0)


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_absurd_threads_are_refused(threads: int) -> None:
    with pytest.raises(InvalidInputError, match=f"between 1 and 1024. Received: {threads}"):
        OrtRunner(threads=threads)


def test_more_threads_than_processors_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("psutil.cpu_count", lambda **_: 4)
    assert OrtRunner(threads=4).device.threads == 4
    with pytest.raises(InvalidInputError, match=r"999 threads .* 4 processors. Give --threads 4"):
        OrtRunner(threads=999).device  # noqa: B018


def test_two_threads_run_too(save: Save) -> None:
    two = OrtRunner(threads=2)
    assert two.device.threads == 2
    with two.load_model(save(relu_model(8, 64)), {}) as workload:
        assert workload.block(0.5).latency_ms > 0


def test_quick_kernels_are_repeated_until_the_overhead_drowns() -> None:
    op = Op(kind="relu", inputs=((1, 8),), outputs=((1, 8),))
    assert num_replicas(op, 10.0) == 1
    assert num_replicas(op, 0.049) == 8
    assert num_replicas(op, 0.02) == 20
    assert num_replicas(op, 0.0) == 256
    counts = [num_replicas(op, 0.001 * 1.3**n) for n in range(40)]
    assert counts == sorted(counts, reverse=True)


def test_kernels_with_weights_are_repeated_until_the_weights_are_cold() -> None:
    op = conv_op(in_channels=512, out_channels=512, size=(7, 7), kernel=(1, 1))
    weight_bytes = 4 * op.num_weights
    found = num_replicas(op, 0.1)
    assert found * weight_bytes >= COLD_BYTES
    assert num_replicas(op, 1000.0) == 1


def test_kernels_that_move_much_are_repeated_until_their_activations_are_cold() -> None:
    op = Op(kind="relu", inputs=((1, 64, 28, 28),), outputs=((1, 64, 28, 28),))
    assert num_replicas(op, 0.1) == 2 * num_turns(op, 64)
    assert num_replicas(op, 2.0) == 2
    assert num_replicas(op, 100.0) == 1


def test_random_inputs_have_the_type_and_no_ties_to_their_size() -> None:
    half = random_input((3, 5), "float16")
    assert (half.dtype, half.shape) == (np.dtype(np.float16), (3, 5))
    assert np.isfinite(half).all()
    big = random_input((5, 1 << 20), "float32")
    assert big.shape == (5, 1 << 20)
    assert not random_input((7,), "int64").any()
    assert random_input((0, 3), "float32").shape == (0, 3)


def test_the_device_names_what_decides_the_numbers(runner: OrtRunner) -> None:
    found = runner.device
    assert found.runtime == "onnxruntime"
    assert found.runtime_version == onnxruntime.__version__
    assert found.provider == "CPUExecutionProvider"
    assert found.name
    assert found.isa
    assert list(found.caches) == sorted(found.caches)
    assert dict(found.options)["optimisation"] == "all"
    assert {"cores", "system", "load", "measured_at"} <= set(found.state)
    assert OrtRunner(threads=2).device.fingerprint != found.fingerprint


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"flags": "fma avx2 avx512f avx512bw avx512dq avx512vl"}, "avx512"),
        ({"flags": "fma avx2 avx512f"}, "avx2"),
        ({"flags": "sse4_2 avx"}, "avx"),
        ({"Features": "fp asimd sme"}, "sme"),
        ({"Features": "fp asimd"}, "neon"),
    ],
)
def test_instruction_sets(flags: dict[str, str], expected: str) -> None:
    assert device.instruction_set(flags) == expected


def test_instruction_sets_of_old_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert device.instruction_set({"flags": "sse2"}) == "sse"
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert device.instruction_set({}) == "riscv64"


@pytest.mark.parametrize(
    ("extensions", "expected"),
    [
        ({"baseline": ["X86_V2"], "found": ["X86_V3", "X86_V4", "AVX512_ICL"]}, "avx512"),
        ({"baseline": ["X86_V2"], "found": ["X86_V3"]}, "avx2"),
        ({"baseline": ["SSE2"], "found": ["AVX", "FMA3", "AVX2", "AVX512_SKX"]}, "avx512"),
        ({"baseline": ["SSE2"], "found": ["SSE42", "AVX"]}, "avx"),
        ({}, "sse"),
    ],
)
def test_numpy_tells_where_the_system_has_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, extensions: dict[str, list[str]], expected: str
) -> None:
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    monkeypatch.setattr("numpy.show_config", lambda **_: {"SIMD Extensions": extensions})
    assert device.own_instruction_set() == expected


def test_processor_names_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "board")
    assert device.processor_name({}) == "board"
    assert device.processor_name({"Hardware": "BCM2711"}) == "BCM2711"


def test_a_system_without_files_about_itself_is_described_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    known = device.own_instruction_set()
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr(device, "_CPU0", tmp_path / "none")
    found = device.this_device(1, "1.0", {})
    assert found.name
    # numpy does not look for these two, whose processors it calls the next lesser set.
    unseen = {"avx": "sse", "sme": "neon"}
    assert found.isa == unseen.get(known, known)
    assert found.caches == ()
    assert "governor" not in found.state


def test_cache_sizes_are_read_by_level(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for index, (kind, level, size) in enumerate(
        [("Data", 1, "32K"), ("Instruction", 1, "64K"), ("Unified", 2, "1M"), ("Unified", 3, "x")]
    ):
        folder = tmp_path / f"cache/index{index}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "level").write_text(f"{level}\n")
        (folder / "size").write_text(f"{size}\n")
    monkeypatch.setattr(device, "_CPU0", tmp_path)
    assert device.cache_sizes() == (32 << 10, 1 << 20)


def odd_model(
    nodes: list[onnx.NodeProto],
    fed: list[onnx.ValueInfoProto],
    results: str,
    constants: tuple[onnx.TensorProto, ...] = (),
) -> onnx.ModelProto:
    outputs = [onnx.ValueInfoProto(name=name) for name in results]
    graph = helper.make_graph(nodes, "g", fed, outputs, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_texts_are_fed_and_their_nodes_named(runner: OrtRunner, save: Save) -> None:
    value = helper.make_tensor_value_info
    texts = value("s", TensorProto.STRING, [2])
    nodes = [helper.make_node("Identity", ["s"], ["z"]), helper.make_node("Relu", ["x"], ["y"])]
    path = save(odd_model(nodes, [texts, value("x", TensorProto.FLOAT, ["N", 8])], "yz"))
    network = runner.lower(path, {"batch": 2})
    assert network.inputs == {"s": (2,), "x": (2, 8)}
    assert list(network.unread.values()) == ["Identity works on text"]
    with runner.load_model(path, {"batch": 2}) as workload:
        assert workload.block(0.0).latency_ms > 0


def test_sparse_weights_have_sizes(runner: OrtRunner, save: Save) -> None:
    values = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    places = helper.make_tensor("i", TensorProto.INT64, [2], [0, 9])
    fed = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])]
    model = odd_model([helper.make_node("MatMul", ["x", "w"], ["y"])], fed, "y")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [8, 4]))
    network = runner.lower(save(model), {})
    assert not network.unread
    assert network.ops[0].macs == 32


def test_a_loop_that_does_not_end_is_given_up(
    runner: OrtRunner, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costmodel.runners.ort.optimised._PATIENCE_S", 0.2)
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Neg", ["s"], ["t"])],
        "body",
        [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []),
         value("s", TensorProto.FLOAT, [4])],
        [value("on", TensorProto.BOOL, []), value("t", TensorProto.FLOAT, [4])],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["", "go", "x"], ["y"], body=body)
    always = helper.make_tensor("go", TensorProto.BOOL, [], [True])
    model = odd_model([loop], [value("x", TensorProto.FLOAT, [4])], "y", (always,))
    with pytest.raises(ModelFormatError, match=r"cannot run it: .*terminate"):
        runner.lower(save(model), {})

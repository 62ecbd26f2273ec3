"""The ONNX reader: layers as written, sizes bound, and one clear error for every bad file."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import pytest
from architectures import LIGHT, LIGHT_FOLDER, NAMES, network_file
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from costmodel.errors import CostModelError, InvalidInputError, ModelFormatError
from costmodel.op import decode_op, encode_op
from costmodel.readers.onnx import load_onnx, read_onnx


def weight(name, *shape, value=0.1):
    return numpy_helper.from_array(np.full(shape, value, np.float32), name)


def value(name, *shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def save(path, nodes, inputs, outputs, weights=(), *, opset=13, ir=8):
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def conv_relu(tmp_path):
    return save(
        tmp_path / "conv_relu.onnx",
        [
            helper.make_node("Conv", ["x", "w"], ["c"], name="first", auto_pad="SAME_UPPER"),
            helper.make_node("Relu", ["c"], ["y"]),
        ],
        [value("x", "N", 3, "height", 9)],
        [value("y", "N", 4, "height", 9)],
        [weight("w", 4, 3, 3, 3)],
    )


def test_layers_keep_names_wiring_and_sizes(conv_relu):
    network = read_onnx(conv_relu, {"height": 8})
    conv, relu = network.layers
    assert (conv.name, conv.inputs, conv.outputs) == ("first", ("x",), ("c",))
    assert (relu.name, relu.op.kind, relu.inputs) == ("Relu_1", "relu", ("c",))
    assert conv.op.inputs == ((1, 3, 8, 9),)
    assert conv.op.outputs == ((1, 4, 8, 9),)
    assert conv.op.weights == ((4, 3, 3, 3),)
    assert conv.op.pads == (1, 1, 1, 1)
    assert network.inputs == {"x": (1, 3, 8, 9)}
    assert network.outputs == ("y",)
    assert network.source == "written"
    network.check()


def test_loaded_model_is_static_and_shape_inferred(conv_relu):
    model = load_onnx(conv_relu, {"height": 8, "batch": 2})
    sizes = {
        item.name: [d.dim_value for d in item.type.tensor_type.shape.dim]
        for item in (*model.graph.input, *model.graph.value_info, *model.graph.output)
    }
    assert sizes == {"x": [2, 3, 8, 9], "c": [2, 4, 8, 9], "y": [2, 4, 8, 9]}
    onnx.checker.check_model(model, full_check=True)


def test_open_dimension_is_named_with_its_remedy(conv_relu):
    with pytest.raises(ModelFormatError, match=r"conv_relu\.onnx.*x: .*--size height=224"):
        read_onnx(conv_relu)


def test_size_that_the_model_lacks_is_refused(conv_relu):
    with pytest.raises(InvalidInputError, match="no open dimension 'heigth'"):
        read_onnx(conv_relu, {"height": 8, "heigth": 8})


@pytest.mark.parametrize("size", [0, -1, True, 2**40])
def test_absurd_size_is_refused(conv_relu, size):
    with pytest.raises(InvalidInputError, match="whole number"):
        read_onnx(conv_relu, {"height": size})


def test_nameless_dimension_is_given_by_input_and_axis(tmp_path):
    path = save(
        tmp_path / "m.onnx",
        [helper.make_node("Relu", ["x"], ["y"])],
        [value("x", None, 3, None)],
        [value("y", None, None, None)],
    )
    assert read_onnx(path, {"x:2": 7}).ops[0].outputs == ((1, 3, 7),)
    with pytest.raises(ModelFormatError, match="--size x:2=128"):
        read_onnx(path)


def test_shape_computing_nodes_are_folded_away(tmp_path):
    """``x.view(x.shape[0], -1)`` as exporters write it: only the Reshape remains."""
    zero = numpy_helper.from_array(np.array(0, np.int64), "zero")
    rest = numpy_helper.from_array(np.array([-1], np.int64), "rest")
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
            helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
            helper.make_node("Concat", ["n1", "rest"], ["t"], axis=0),
            helper.make_node("Reshape", ["x", "t"], ["y"]),
        ],
        [value("x", "N", 4, 3, 3)],
        [value("y", None, None)],
        [zero, rest, numpy_helper.from_array(np.array([0], np.int64), "axes")],
    )
    (layer,) = read_onnx(path, {"N": 2}).layers
    assert (layer.op.kind, layer.inputs) == ("reshape", ("x",))
    assert layer.op.outputs == ((2, 36),)
    assert layer.op.constants == ((2, -1),)


def test_weights_made_by_nodes_are_never_materialised(tmp_path):
    """A gigabyte of ConstantOfShape weights in a file of some hundred bytes, opset 9, format 3."""
    fill = helper.make_tensor("fill", TensorProto.FLOAT, [1], [0.02])
    shape = numpy_helper.from_array(np.array([16384, 16384], np.int64), "shape")
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("ConstantOfShape", ["shape"], ["w"], value=fill),
            helper.make_node("Gemm", ["x", "w"], ["y"]),
        ],
        [value("x", 1, 16384), helper.make_tensor_value_info("shape", TensorProto.INT64, [2])],
        [value("y", 1, 16384)],
        [shape],
        opset=9,
        ir=3,
    )
    tracemalloc.start()
    try:
        (layer,) = read_onnx(path).layers
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert layer.op.weights == ((16384, 16384),)
    assert layer.inputs == ("x",)
    assert peak < 16 << 20  # folded, the constant alone has a gigabyte


def test_weights_that_a_caller_may_replace_are_marked(tmp_path):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    ports = [value("x", 1, 3, 8, 8), value("w", 4, 3, 1, 1)]
    files = {
        ir: save(tmp_path / f"{ir}.onnx", nodes, ports, [value("y", 1, 4, 8, 8)],
                 [weight("w", 4, 3, 1, 1)], opset=9, ir=ir)
        for ir in (3, 4)
    }  # fmt: skip
    marks = {ir: dict(read_onnx(path).ops[0].attributes) for ir, path in files.items()}
    assert marks == {3: {}, 4: {"overridable": 1}}


def test_control_flow_and_unsized_nodes_are_listed_with_their_reason(tmp_path):
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["b"])], "b", [], [value("b", 1, 4)]
    )
    condition = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node(
                "If", ["flag"], ["i"], name="choose", then_branch=branch, else_branch=branch
            ),
            helper.make_node("NonZero", ["x"], ["z"], name="holes"),
            helper.make_node("Relu", ["x"], ["y"], name="plain"),
        ],
        [value("x", 1, 4), condition],
        [
            value("i", 1, 4),
            helper.make_tensor_value_info("z", TensorProto.INT64, None),
            value("y", 1, 4),
        ],
    )
    network = read_onnx(path)
    assert [layer.name for layer in network.layers] == ["plain"]
    assert set(network.unread) == {"choose", "holes"}
    assert "graph inside" in network.unread["choose"]
    assert "'z' is not known" in network.unread["holes"]


def test_nodes_whose_fields_do_not_fit_are_listed_or_refused_but_never_break(tmp_path):
    x, y = value("x", 1, 3, 8, 8), value("y", 1, 4, 8, 8)
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], name="odd", domain="com.microsoft.nchwc",
        auto_pad="SAME_UPPER", kernel_shape=[3],
    )  # fmt: skip
    network = read_onnx(save(tmp_path / "m.onnx", [node], [x], [y], [weight("w", 4, 3, 3, 3)]))
    assert network.layers == ()
    assert "attributes do not fit its sizes" in network.unread["odd"]
    nodes = [helper.make_node("Shape", [], ["s"]), helper.make_node("Relu", ["x"], ["y"])]
    unfed = read_onnx(save(tmp_path / "s.onnx", nodes, [x], [y]))
    assert [layer.op.kind for layer in unfed.layers] == ["relu"]


def test_double_names_are_told_apart_and_unread_results_kept(tmp_path):
    """ONNX Runtime executes a node whose result nobody reads, so it is work too."""
    path = save(
        tmp_path / "m.onnx",
        [
            helper.make_node("Relu", ["x"], ["a"], name="act"),
            helper.make_node("Sigmoid", ["x"], ["dead"], name="dead"),
            helper.make_node("Relu", ["a"], ["y"], name="act"),
        ],
        [value("x", 1, 4)],
        [value("y", 1, 4)],
    )
    assert [layer.name for layer in read_onnx(path).layers] == ["act", "dead", "act_2"]


def bad_files(tmp_path):
    relu = helper.make_node("Relu", ["x"], ["y"], name="act")
    relu_of_z = helper.make_node("Relu", ["z"], ["y"])
    x, y = value("x", 1, 4), value("y", 1, 4)
    good = save(tmp_path / "good.onnx", [relu], [x], [y]).read_bytes()
    big = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight("w", 4, 40)]
        )
    )
    claims = onnx.ModelProto.FromString(big.SerializeToString())
    claims.graph.initializer[0].dims[0] = 2**40
    short = onnx.ModelProto.FromString(big.SerializeToString())
    short.graph.initializer[0].raw_data = b"1234"
    outside = onnx.ModelProto.FromString(big.SerializeToString())
    tensor = outside.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    make = lambda nodes, **more: save(tmp_path / "m.onnx", nodes, [x], [y], **more).read_bytes()  # noqa: E731
    return {
        "empty": (b"", "holds no ONNX graph"),
        "text": (b"hello, this is not a model\n" * 9, "not an ONNX file"),
        "truncated": (big.SerializeToString()[:-90], "not an ONNX file, or it is truncated"),
        "claims 2 GB": (claims.SerializeToString(), "elements in one tensor.*--limit elements"),
        "weights short": (short.SerializeToString(), "4 are stored"),
        "external data missing": (outside.SerializeToString(), "weights.bin.*missing"),
        "new opset": (make([relu], opset=99), "operator set 99"),
        "old opset": (make([relu], opset=3), "operator set 3"),
        "cycle": (
            make([helper.make_node("Add", ["x", "y"], ["z"]), relu_of_z]),
            "cycle",
        ),
        "missing tensor": (make([helper.make_node("Relu", ["q"], ["y"])]), "nothing writes"),
        "written twice": (make([relu, relu]), "written twice"),
        "zero size": (
            save(tmp_path / "m.onnx", [relu], [value("x", 1, 0)], [y]).read_bytes(),
            "--size x:1=128",
        ),
        "half": (good[: len(good) // 2], "ONNX"),
    }  # fmt: skip


BAD = ("empty", "text", "truncated", "claims 2 GB", "weights short", "external data missing",
       "new opset", "old opset", "cycle", "missing tensor", "written twice",
       "zero size", "half")  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_file_gets_one_message_that_names_it(tmp_path, name):
    data, words = bad_files(tmp_path)[name]
    path = tmp_path / "bad.onnx"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=rf"(?s)bad\.onnx.*{words}"):
        read_onnx(path)


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(ModelFormatError, match=r"no\.onnx cannot be opened"):
        read_onnx(tmp_path / "no.onnx")
    with pytest.raises(ModelFormatError, match="is not a file"):
        read_onnx(tmp_path)


def test_external_data_is_read_from_beside_the_file(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [value("x", 1, 64)],
        [value("y", 1, 64)],
        [weight("w", 64, 64)],
    )
    path = tmp_path / "m.onnx"
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)]),
        path,
        save_as_external_data=True,
        location="w.bin",
    )
    model = load_onnx(path)
    assert (tmp_path / "w.bin").is_file()
    assert numpy_helper.to_array(model.graph.initializer[0]).shape == (64, 64)
    assert read_onnx(path).ops[0].macs == 64 * 64


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_cause_another_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("mutants")
    whole = bytearray(
        save(
            folder / "m.onnx",
            [
                helper.make_node("Conv", ["x", "w"], ["c"], name="c", pads=[1, 1, 1, 1]),
                helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
                helper.make_node("Flatten", ["p"], ["y"]),
            ],
            [value("x", "N", 3, 8, 8)],
            [value("y", "N", 64)],
            [weight("w", 4, 3, 3, 3)],
        ).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = folder / "mutant.onnx"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    try:
        found = len(read_onnx(path).layers) <= 3
    except CostModelError as error:
        found = str(path) in str(error)
    assert found


@pytest.mark.parametrize("name", NAMES)
def test_real_models_are_read_whole(name):
    published = LIGHT_FOLDER / f"{name}.onnx"
    network = read_onnx(published if name in LIGHT else network_file(name))
    network.check()
    assert network.unread == {}
    assert sum(op.macs for op in network.ops) > 500_000


def test_resnet50_has_its_published_size():
    """4.09 GMAC and 53 convolutions, as in the paper's table of the v1 bottleneck network."""
    network = read_onnx(network_file("light_resnet50"))
    convs = [op for op in network.ops if op.kind == "conv"]
    assert len(convs) == 53
    assert sum(op.macs for op in network.ops) == 4_089_184_256


def test_an_input_without_a_type_is_refused_before_onnx_crashes_at_it(tmp_path: Path) -> None:
    """Found by fuzzing: ONNX's inference of a label encoder ended the process."""
    keys = helper.make_tensor("keys", TensorProto.STRING, [1], [b"a"])
    values = helper.make_tensor("values", TensorProto.INT16, [1], [0])
    node = helper.make_node(
        "LabelEncoder", ["X"], ["Y"], domain="ai.onnx.ml", keys_tensor=keys, values_tensor=values
    )
    graph = helper.make_graph(
        [node], "g", [onnx.ValueInfoProto(name="X")], [onnx.ValueInfoProto(name="Y")]
    )
    path = tmp_path / "untyped.onnx"
    onnx.save(helper.make_model(graph), path)
    with pytest.raises(ModelFormatError, match="'X' has no type"):
        read_onnx(path)


def test_defaults_that_are_lists_of_texts_are_no_attributes(tmp_path: Path) -> None:
    """Found by fuzzing: what an RNN computes by default stood in its Op as bytes, not as JSON."""
    infos = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 1, 4])]
    weights = [
        helper.make_tensor("w", TensorProto.FLOAT, [1, 10, 4], [0.1] * 40),
        helper.make_tensor("r", TensorProto.FLOAT, [1, 10, 10], [0.1] * 100),
    ]
    node = helper.make_node("RNN", ["x", "w", "r"], ["y"], hidden_size=10)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 1, 1, 10])
    graph = helper.make_graph([node], "g", infos, [out], weights)
    path = tmp_path / "rnn.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    (op,) = read_onnx(path).ops
    assert op.kind == "rnn"
    assert decode_op(encode_op(op)) == op
    assert all(isinstance(value, int | float | str | tuple) for _, value in op.attributes)
    assert json.dumps(dict(op.attributes))

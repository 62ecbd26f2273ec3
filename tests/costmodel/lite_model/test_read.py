"""Files that may be damaged or hostile: a model or an error that names the file, never more."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="needs the litert extra")

import flatbuffers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.lite_model.graph import LiteBuilder, LiteModel, LiteTensor
from costmodel.lite_model.package import schema
from costmodel.lite_model.read import plain_lite, read_lite
from costmodel.lite_model.write import write_model


def small(batch: int = 1) -> LiteModel:
    builder = LiteBuilder()
    x = builder.tensor(LiteTensor(name="x", shape=(batch, 4, 4, 8)))
    weight = np.arange(64 * 9, dtype=np.float32).reshape(8, 3, 3, 8)
    w, b = builder.constant(weight, "float32"), builder.constant(np.ones(8), "float32")
    y = builder.tensor(LiteTensor(name="y", shape=(batch, 4, 4, 8)))
    z = builder.tensor(LiteTensor(name="z", shape=(batch, 128)))
    builder.operator("CONV_2D", [x, w, b], [y], stride_h=1, stride_w=1, fused_activation_function=1,
                     dilation_h_factor=1, dilation_w_factor=1)  # fmt: skip
    builder.operator("RESHAPE", [y, builder.constant([-1, 128])], [z])
    return builder.model("small", [x], [z])


@pytest.fixture(scope="module")
def content() -> bytes:
    return write_model(small())


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., LiteModel]:
    def read_bytes(content: bytes, **sizes: int) -> LiteModel:
        path = tmp_path / "some.tflite"
        path.write_bytes(content)
        return read_lite(path, sizes)

    return read_bytes


def test_what_was_written_is_read(read: Callable[..., LiteModel], content: bytes) -> None:
    written, found = small(), read(content)
    assert found.inputs == written.inputs
    assert found.outputs == written.outputs
    assert [t.shape for t in found.tensors] == [t.shape for t in written.tensors]
    assert [(o.code, o.inputs, o.outputs) for o in found.operators] == [
        (o.code, o.inputs, o.outputs) for o in written.operators
    ]
    assert set(written.operators[0].options) <= set(found.operators[0].options)
    for mine, theirs in zip(written.tensors, found.tensors, strict=True):
        if mine.values is not None:
            np.testing.assert_array_equal(mine.values, theirs.values)


def test_constants_lie_where_the_format_wants_them(content: bytes) -> None:
    """The runtime reads them in place, 16 bytes aligned."""
    model = schema.Model.GetRootAs(content, 0)
    whole = np.frombuffer(content, dtype=np.uint8)
    for number in range(1, model.BuffersLength()):
        data = model.Buffers(number).DataAsNumpy()
        assert (data.ctypes.data - whole.ctypes.data) % 16 == 0


_QUICK = settings(
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@_QUICK
@given(data=st.data())
def test_a_truncated_file_is_refused(
    read: Callable[..., LiteModel], content: bytes, data: st.DataObject
) -> None:
    end = data.draw(st.integers(0, len(content) - 64))
    with pytest.raises(ModelFormatError, match=r"some\.tflite"):
        read(content[:end])


@_QUICK
@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(
    read: Callable[..., LiteModel], content: bytes, data: st.DataObject
) -> None:
    spoiled = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 4))
        value = data.draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x10000]))
        spoiled[place : place + 4] = struct.pack("<I", value)
    try:
        read(bytes(spoiled)).readers()
    except ModelFormatError as error:
        message = str(error)
    else:
        message = "some.tflite"
    assert "some.tflite" in message


def test_lists_that_overlap_are_refused(read: Callable[..., LiteModel]) -> None:
    """A thousand operators that are one long operator would be a million positions to walk."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(write_model(small()), 0))
    operator = model.subgraphs[0].operators[0]
    operator.inputs = np.zeros(20_000, dtype=np.int32)
    builder = flatbuffers.Builder(1024)
    shared = operator.Pack(builder)

    class Same:
        def Pack(self, _builder: object) -> int:  # noqa: N802 - the schema's name
            return int(shared)

    model.subgraphs[0].operators = [Same()] * 2_000
    builder.Finish(model.Pack(builder), b"TFL3")
    with pytest.raises(ModelFormatError, match="more bytes than the file has"):
        read(bytes(builder.Output()))


def test_a_tensor_that_is_read_before_it_is_written_is_refused(
    read: Callable[..., LiteModel],
) -> None:
    model = small()
    backwards = LiteModel(
        name="backwards",
        tensors=model.tensors,
        operators=model.operators[::-1],
        inputs=model.inputs,
        outputs=model.outputs,
    )
    with pytest.raises(ModelFormatError, match="before it is written"):
        read(write_model(backwards))


def changed(change: Callable[[Any], None], content: bytes = b"") -> bytes:
    """A file after a change to its objects."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content or write_model(small()), 0))
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def custom(model: Any) -> None:
    model.operatorCodes[0].builtinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    model.operatorCodes[0].customCode = "Sparkle"


def text(model: Any) -> None:
    model.subgraphs[0].tensors[0].type = schema.TensorType.STRING


def loop(model: Any) -> None:
    model.operatorCodes[0].builtinCode = schema.BuiltinOperator.WHILE
    model.operatorCodes[0].deprecatedBuiltinCode = schema.BuiltinOperator.WHILE


@pytest.mark.parametrize(
    ("change", "named"), [(custom, "Sparkle is a custom"), (text, "string"), (loop, "WHILE runs")]
)
def test_what_cannot_be_written_again_is_kept_and_named(
    change: Callable[[Any], None], named: str, tmp_path: Path
) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(changed(change))
    model = read_lite(path, {})
    assert any(op.special for op in model.operators) or any(t.special for t in model.tensors)
    with pytest.raises(ModelFormatError, match=rf"odd\.tflite: its .*{named}"):
        plain_lite(path, {})


def test_a_state_is_written_again(tmp_path: Path) -> None:
    def keep(model: Any) -> None:
        graph = model.subgraphs[0]
        state = schema.TensorT()
        state.shape, state.name, state.isVariable = np.array([1, 4], np.int32), "state", True
        graph.tensors.append(state)
        graph.operators[0].inputs = np.append(graph.operators[0].inputs, len(graph.tensors) - 1)

    path = tmp_path / "state.tflite"
    path.write_bytes(changed(keep))
    model = plain_lite(path, {})
    assert [item.name for item in model.tensors if item.variable] == ["state"]
    path.write_bytes(write_model(model))
    assert [item.name for item in plain_lite(path, {}).tensors if item.variable] == ["state"]


def two_entries(model: Any) -> None:
    """The graph once more, both behind a name."""
    model.subgraphs.append(model.subgraphs[0])
    model.signatureDefs = []
    for index, name in enumerate(("encode", "decode")):
        item = schema.SignatureDefT()
        item.signatureKey, item.subgraphIndex = name, index
        fed = schema.TensorMapT()
        fed.name, fed.tensorIndex = "image", 0
        item.inputs, item.outputs = [fed], []
        model.signatureDefs.append(item)


def test_one_of_several_signatures_is_chosen(tmp_path: Path) -> None:
    path = tmp_path / "two.tflite"
    path.write_bytes(changed(two_entries))
    with pytest.raises(ModelFormatError, match=r"decode, encode.*--signature decode"):
        read_lite(path, {})
    with pytest.raises(InvalidInputError, match=r"no signature 'sing'.*decode, encode"):
        read_lite(path, {}, "sing")
    found = read_lite(path, {}, "encode")
    assert found.tensors[found.inputs[0]].name == "image"


def open_batch() -> bytes:
    """The small model with an open first dimension, as Keras exports one."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(write_model(small()), 0))
    model.subgraphs[0].tensors[0].shapeSignature = np.array([-1, 4, 4, 8], dtype=np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_an_open_batch_takes_a_size(read: Callable[..., LiteModel]) -> None:
    assert read(open_batch()).tensors[0].shape == (1, 4, 4, 8)
    found = read(open_batch(), batch=3)
    assert found.tensors[found.inputs[0]].shape == (3, 4, 4, 8)
    assert found.tensors[found.outputs[0]].shape == (3, 128)


def test_a_fixed_batch_stays(read: Callable[..., LiteModel], content: bytes) -> None:
    with pytest.raises(InvalidInputError, match="no open dimension 'batch'"):
        read(content, batch=3)


def test_a_size_below_one_is_refused(read: Callable[..., LiteModel]) -> None:
    with pytest.raises(InvalidInputError, match="batch=0"):
        read(open_batch(), batch=0)

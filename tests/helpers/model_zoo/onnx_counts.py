"""Multiply-adds of an ONNX model's contractions, counted without the product.

The runtime runs the model with every tensor as an output and no optimisation; the sizes that it
shows go into the formulas of the operators' own specifications, which are written down here a
second time on purpose. Only contractions count: convolutions, matrix products, recurrent cells and
attention. A transposed convolution multiplies each input with each of its taps; a padded position
counts like any other; a mask, or that attention is causal, takes nothing away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the runtime shows of a model.

    Attributes:
        shapes: size of every tensor at the top of the graph that is one.
        fed: sizes of the tensors that were fed.
        types: ONNX element type of each.
        macs: multiply-adds by the first output of a node that works on what is fed; None where
            there is no agreed way to count that operator.
        kinds: operator of each of these nodes.
    """

    shapes: Mapping[str, Shape]
    fed: Sequence[Shape]
    types: Mapping[str, int]
    macs: Mapping[str, int | None]
    kinds: Mapping[str, str]


#: What the runtime puts before the name of a tensor that it computes in float32 instead of float16.
_INSERTED = "InsertedPrecisionFreeCast_"


def look(path: Path, feeds: Mapping[str, Any]) -> Truth:
    """Run a file once and count it.

    Raises:
        Exception: whatever the runtime raises where it cannot run the file.
    """
    model = _without_functions(path)
    shapes, types = _sizes(model, feeds)
    macs: dict[str, int | None] = {}
    kinds: dict[str, str] = {}
    alive = set(feeds)
    for node in _in_order(model.graph):
        if not alive & set(_reads(node)):
            continue
        written = [name for name in node.output if name]
        alive.update(written)
        if node.op_type == "Cast" and node.input[0].startswith(_INSERTED):
            continue
        name = written[0].removeprefix(_INSERTED)
        kinds[name] = node.op_type
        macs[name] = _count(node, shapes)
    fed = [shapes[name] for name in feeds if name in shapes]
    return Truth(shapes=shapes, fed=fed, types=types, macs=macs, kinds=kinds)


def _without_functions(path: Path) -> onnx.ModelProto:
    """The model, its functions written out by the runtime."""
    model = onnx.load(str(path))
    if not model.functions:
        return model
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(path.with_name("written_out.onnx"))
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def _reads(node: onnx.NodeProto) -> list[str]:
    names = list(node.input)
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            for inner in attribute.g.node:
                names += _reads(inner)
    return names


def _in_order(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    writers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    done: dict[int, onnx.NodeProto] = {}
    stack = list(range(len(graph.node)))[::-1]
    while stack:
        index = stack[-1]
        wanted = [writers[name] for name in _reads(graph.node[index]) if name and name in writers]
        missing = [other for other in wanted if other not in done]
        if index in done or not missing:
            done.setdefault(index, graph.node[index])
            stack.pop()
        else:
            stack += missing
    return list(done.values())


def _sizes(
    model: onnx.ModelProto, feeds: Mapping[str, Any]
) -> tuple[dict[str, Shape], dict[str, int]]:
    returned = {item.name for item in model.graph.output}
    for node in model.graph.node:
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in node.output if name and name not in returned
        )
    session = load(model.SerializeToString(), optimise=False)
    names = [item.name for item in session.get_outputs()]
    shapes: dict[str, Shape] = {}
    types: dict[str, int] = {}
    for name, value in zip(names, run(session, feeds), strict=True):
        if isinstance(value, onnxruntime.OrtValue):
            shapes[name], types[name] = tuple(value.shape()), int(value.element_type())
        elif isinstance(value, np.ndarray):
            shapes[name] = value.shape
            types[name] = helper.np_dtype_to_tensor_dtype(value.dtype)
    for name, value in feeds.items():
        if isinstance(value, np.ndarray):
            shapes[name] = value.shape
            types[name] = helper.np_dtype_to_tensor_dtype(value.dtype)
    for item in model.graph.initializer:
        shapes[item.name], types[item.name] = tuple(item.dims), item.data_type
    for sparse in model.graph.sparse_initializer:
        shapes[sparse.values.name] = tuple(sparse.dims)
    return shapes, types


def load(source: str | bytes, *, optimise: bool) -> onnxruntime.InferenceSession:
    """A session on the CPU that says nothing."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    if not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, feeds: Mapping[str, Any]) -> list[Any]:
    """All outputs: tensors as the runtime's own values, where its interface for these can.

    It makes no such values of texts and of sequences.
    """
    if all(
        isinstance(value, np.ndarray) and value.dtype.kind not in "OSU" for value in feeds.values()
    ):
        names = [item.name for item in session.get_outputs()]
        found = session.run_with_ort_values(
            names, {name: _value(array) for name, array in feeds.items()}
        )
        return [value if value.has_value() and value.is_tensor() else None for value in found]
    return list(session.run(None, dict(feeds)))


def _value(array: np.ndarray) -> Any:
    """An array of any type as the runtime takes it."""
    dense = np.ascontiguousarray(array).reshape(array.shape)
    if dense.dtype.kind in "fiub":
        return onnxruntime.OrtValue.ortvalue_from_numpy(dense)
    kind = helper.np_dtype_to_tensor_dtype(dense.dtype)
    raw = dense.view({1: np.uint8, 2: np.uint16}[dense.dtype.itemsize])
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw, kind)


# The formulas. Each takes a node's attributes, the sizes of what it reads ("" or unknown: ()), and
# of what it writes.

Formula = Callable[[Mapping[str, Any], Sequence[Shape], Sequence[Shape]], int | None]


def _filters_at(place: int) -> Formula:
    return lambda _, reads, writes: prod(writes[0]) * prod(reads[place][1:])


def _transposed(_: Mapping[str, Any], reads: Sequence[Shape], __: Sequence[Shape]) -> int:
    return prod(reads[0]) * prod(reads[1][1:])


def _product(attributes: Mapping[str, Any], reads: Sequence[Shape], writes: Sequence[Shape]) -> int:
    first = reads[0]
    turned = attributes.get("transA", 0) and len(first) > 1
    batch_turned = attributes.get("transBatchA", 0)
    length = first[0] if turned and batch_turned else first[-2] if turned else first[-1]
    return prod(writes[0]) * length


def _inner(attributes: Mapping[str, Any], _: Sequence[Shape], writes: Sequence[Shape]) -> int:
    return prod(writes[0]) * int(attributes["K"])


def _first_axis(_: Mapping[str, Any], reads: Sequence[Shape], writes: Sequence[Shape]) -> int:
    return prod(writes[0]) * reads[0][-1]


def _einsum(attributes: Mapping[str, Any], reads: Sequence[Shape], writes: Sequence[Shape]) -> int:
    """Every index once, for each factor beyond the first: no order of factors is assumed."""
    terms = attributes["equation"].decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, reads, strict=True):
        before, dots, after = term.partition("...")
        places = list(before), list(after)
        middle = len(shape) - len(before) - len(after)
        labels = [*places[0], *(f".{i - middle}" for i in range(middle) if dots), *places[1]]
        for label, size in zip(labels, shape, strict=True):
            sizes[label] = max(sizes.get(label, 1), size)
    return prod(sizes.values()) * (len(terms) - 1)


def _recurrent(_: Mapping[str, Any], reads: Sequence[Shape], __: Sequence[Shape]) -> int:
    """At each step and in each direction the input times W and the state times R."""
    return prod(reads[0][:2]) * (prod(reads[1]) + prod(reads[2]))


def _attention(
    attributes: Mapping[str, Any], reads: Sequence[Shape], writes: Sequence[Shape]
) -> int:
    """Queries times keys, and their scores times values, both over all keys."""
    query, key = reads[0], reads[1]
    before = reads[4][2] if len(reads) > 4 and reads[4] else 0
    length = (key[2] if len(key) == 4 else key[1]) + before
    return (prod(query) + prod(writes[0])) * length


def _projecting_attention(
    attributes: Mapping[str, Any], reads: Sequence[Shape], writes: Sequence[Shape]
) -> int:
    """The same behind its own projection of one input to queries, keys and values."""
    rows, weights = prod(reads[0][:2]), reads[1]
    past = next((size for size in reads[4:] if len(size) == 5), None)
    length = reads[0][1] + (past[3] if past else 0)
    widths = attributes.get("qkv_hidden_sizes") or [weights[1] // 3] * 3
    return int(rows * prod(weights) + (rows * widths[0] + prod(writes[0])) * length)


def _packed_attention(
    attributes: Mapping[str, Any], reads: Sequence[Shape], writes: Sequence[Shape]
) -> int | None:
    """MultiHeadAttention: separate queries, keys and values of three axes."""
    if len(reads) < 3 or not reads[1] or len(reads[0]) != 3:
        return None
    key = reads[1]
    length = key[2] if len(key) == 4 else key[1]
    past = reads[6] if len(reads) > 6 else ()
    length += past[2] if past else 0
    return (prod(reads[0]) + prod(writes[0])) * length


def _unknown(_: Mapping[str, Any], __: Sequence[Shape], ___: Sequence[Shape]) -> None:
    return None


def _affine(attributes: Mapping[str, Any], reads: Sequence[Shape], writes: Sequence[Shape]) -> int:
    """A matrix of one column more than axes, applied to every place."""
    return prod(writes[0]) * (writes[0][-1] + 1)


FORMULAS: Mapping[str, Formula] = {
    **dict.fromkeys(("Conv", "ConvInteger", "DeformConv", "FusedConv", "CausalConvWithState"),
                    _filters_at(1)),
    "QLinearConv": _filters_at(3),
    **dict.fromkeys(("ConvTranspose", "ConvTransposeWithDynamicPads"), _transposed),
    **dict.fromkeys(
        ("MatMul", "Gemm", "FusedMatMul", "FusedGemm", "TransposeMatMul", "MatMulInteger", "QGemm",
         "QLinearMatMul", "MatMulInteger16", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
        _product,
    ),
    **dict.fromkeys(("MatMulNBits", "MatMulBnb4"), _inner),
    "MatMulFpQ4": _first_axis,
    "Einsum": _einsum,
    "AffineGrid": _affine,
    **dict.fromkeys(("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    "Attention": _attention,
    "com.microsoft.Attention": _projecting_attention,
    "MultiHeadAttention": _packed_attention,
    **dict.fromkeys(
        ("AttnLSTM", "BeamSearch", "CDist", "DecoderMaskedMultiHeadAttention", "FlexAttention",
         "GatedDeltaNet", "GreedySearch", "GroupQueryAttention", "LinearAttention",
         "LinearClassifier", "LinearRegressor", "MoE", "QAttention", "QMoE", "SVMClassifier",
         "SVMRegressor", "Sampling", "SparseAttention", "SparseToDenseMatMul",
         "VarlenCausalConvWithState", "WhisperBeamSearch", "WordConvEmbedding", "EngramGate",
         "HyperConnectionPreMix", "HyperConnectionPostMix"),
        _unknown,
    ),
}  # fmt: skip
#: Nodes that run a graph inside, as often as their data say.
CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


def _count(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int | None:
    if node.op_type in CONTROL_FLOW:
        return None
    formula = FORMULAS.get(f"{node.domain}.{node.op_type}") or FORMULAS.get(node.op_type)
    if formula is None:
        return 0
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    reads = [shapes.get(name, ()) for name in node.input]
    return formula(attributes, reads, [shapes.get(name, ()) for name in node.output])


#: Element types of files that the runtime's rules for float32 speak of.
PLAIN = frozenset({TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL})

"""Files as exporters write them: small networks of usual shapes, each dressed in one or two habits.

Habits are open, negative, zero or odd dimensions, half precision, quantisation, weights beside the
file, functions, subgraphs, weights among the inputs, shapes that are computed at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from model_zoo.case import Case, Draft

Dim = int | str
Network = Callable[..., list[str]]
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


# Networks. Each takes a draft and the sizes of its input, of which some may be open.


def classifier(d: Draft, batch: Dim = 1, high: Dim = 33, wide: Dim = 33) -> list[str]:
    """Convolutions, normalisation, a residual sum, pooling, a dense head."""
    x = d.feed(batch, 3, high, wide)
    x = d.node("Relu", _norm(d, d.conv(x, 3, 8, strides=[2, 2]), 8))
    y = d.node("Relu", _norm(d, d.conv(x, 8, 8), 8))
    x = d.node("Relu", d.node("Add", x, _norm(d, d.conv(y, 8, 8), 8)))
    x = d.node("GlobalAveragePool", d.conv(x, 8, 12, strides=[2, 2]))
    return [d.node("Softmax", d.node("Gemm", d.node("Flatten", x), d.weight(12, 5), d.weight(5)))]


def mobile(d: Draft, batch: Dim = 1, high: Dim = 32, wide: Dim = 32) -> list[str]:
    """Inverted bottlenecks with squeeze-and-excite."""
    x = _clip(d, d.conv(d.feed(batch, 3, high, wide), 3, 8, strides=[2, 2]))
    y = _clip(d, d.conv(x, 8, 16, kernel=1))
    y = _clip(d, d.conv(y, 16, 16, group=16))
    gate = d.node("Relu", d.conv(d.node("GlobalAveragePool", y), 16, 4, kernel=1))
    gate = d.node("HardSigmoid", d.conv(gate, 4, 16, kernel=1))
    x = d.node("Add", x, d.conv(d.node("Mul", y, gate), 16, 8, kernel=1))
    return [d.conv(x, 8, 6)]


def segmenter(d: Draft, batch: Dim = 1, high: Dim = 32, wide: Dim = 32) -> list[str]:
    """Down and up again, by a transposed convolution and by a Resize whose size is computed."""
    one = d.node("Relu", d.conv(d.feed(batch, 3, high, wide), 3, 6))
    two = d.node("Relu", d.conv(one, 6, 8, strides=[2, 2]))
    low = d.node("Relu", d.conv(two, 8, 10, strides=[2, 2]))
    up = d.node("ConvTranspose", low, d.weight(10, 8, 2, 2), strides=[2, 2])
    fused = d.node("Relu", d.conv(d.node("Concat", up, two, axis=1), 16, 6))
    sides = d.node("Slice", d.node("Shape", one), d.ints(2), d.ints(4), d.ints(0))
    front = d.node("Slice", d.node("Shape", fused), d.ints(0), d.ints(2), d.ints(0))
    size = d.node("Concat", front, sides, axis=0)
    return [d.conv(d.node("Resize", fused, "", "", size, mode="linear"), 6, 2)]


def detector(d: Draft, batch: Dim = 1, high: Dim = 32, wide: Dim = 32) -> list[str]:
    """Two scales, reshaped by computed shapes and joined; boxes and scores apart."""
    x = d.node("Relu", d.conv(d.feed(batch, 3, high, wide), 3, 8, strides=[2, 2]))
    scales = [x, d.node("Relu", d.conv(x, 8, 8, strides=[2, 2]))]
    heads: list[str] = []
    for width in (4, 3):
        rows = []
        for scale in scales:
            y = d.node("Transpose", d.conv(scale, 8, width), perm=[0, 2, 3, 1])
            first = d.node("Gather", d.node("Shape", y), d.ints(0))
            rows.append(d.node("Reshape", y, d.node("Concat", first, d.ints(-1, width), axis=0)))
        heads.append(d.node("Concat", *rows, axis=1))
    return [d.node("Sigmoid", heads[1]), d.node("Exp", heads[0])]


def encoder(d: Draft, batch: Dim = 1, length: Dim = 7) -> list[str]:
    """A block of a text encoder: ids and a mask in, states and a pooled vector out."""
    ids, mask = d.feed(batch, length, dtype=np.int64), d.feed(batch, length, dtype=np.int64)
    x = d.node("Gather", d.weight(20, 16), ids)
    away = d.node("Sub", d.const(1.0), d.node("Cast", mask, to=FLOAT))
    away = d.node("Unsqueeze", d.node("Mul", away, d.const(-1e4)), d.ints(1, 2))
    split = d.ints(0, -1, 2, 8)
    q, k, v = (
        d.node("Reshape", d.node("Add", d.node("MatMul", x, d.weight(16, 16)), d.weight(16)), split)
        for _ in range(3)
    )
    q, v = (d.node("Transpose", item, perm=[0, 2, 1, 3]) for item in (q, v))
    scores = d.node("MatMul", q, d.node("Transpose", k, perm=[0, 2, 3, 1]))
    scores = d.node("Add", d.node("Div", scores, d.const(2.8)), away)
    y = d.node("MatMul", d.node("Softmax", scores, axis=-1), v)
    y = d.node("Reshape", d.node("Transpose", y, perm=[0, 2, 1, 3]), d.ints(0, -1, 16))
    x = _layer_norm(d, d.node("Add", x, d.node("MatMul", y, d.weight(16, 16))))
    y = d.node("MatMul", d.node("Relu", d.node("MatMul", x, d.weight(16, 32))), d.weight(32, 16))
    x = _layer_norm(d, d.node("Add", x, y))
    first = d.node("Gather", x, d.const(0, np.int64), axis=1)
    return [x, d.node("Tanh", d.node("Gemm", first, d.weight(16, 4), d.weight(4)))]


def recogniser(d: Draft, batch: Dim = 1, length: Dim = 40) -> list[str]:
    """Sound: 1-D convolutions, an LSTM both ways, a class per frame."""
    x = d.node("Relu", d.conv(d.feed(batch, 5, length), 5, 8, rank=1, strides=[2]))
    x = d.node("Transpose", d.node("Relu", d.conv(x, 8, 8, rank=1)), perm=[2, 0, 1])
    weights = d.weight(2, 24, 8), d.weight(2, 24, 6)
    x = d.node("LSTM", x, *weights, hidden_size=6, direction="bidirectional")
    x = d.node("Reshape", d.node("Transpose", x, perm=[2, 0, 1, 3]), d.ints(0, -1, 12))
    return [d.node("LogSoftmax", d.node("MatMul", x, d.weight(12, 9)), axis=-1)]


def volume(d: Draft, batch: Dim = 1, side: Dim = 8) -> list[str]:
    """A scan: 3-D convolutions with instance normalisation."""
    x = d.conv(d.feed(batch, 1, side, side, side), 1, 4, rank=3)
    x = d.node("LeakyRelu", d.node("InstanceNormalization", x, d.weight(4), d.weight(4)))
    x = d.node("MaxPool", x, kernel_shape=[2] * 3, strides=[2] * 3)
    return [d.conv(x, 4, 3, kernel=1, rank=3)]


def _norm(d: Draft, x: str, width: int) -> str:
    return d.node("BatchNormalization", x, *(d.weight(width) for _ in range(4)))


def _clip(d: Draft, x: str) -> str:
    return d.node("Clip", x, d.const(0.0), d.const(6.0))


def _layer_norm(d: Draft, x: str, width: int = 16) -> str:
    return d.node("LayerNormalization", x, d.weight(width), d.weight(width), axis=-1)


IMAGES = (classifier, mobile, segmenter, detector)


# Habits that change how a network is written


def _float_weights(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [item for item in model.graph.initializer if item.data_type == FLOAT]


def halved(case: Case) -> Case:
    """Weights and inputs in half precision."""
    model = _half_weights(case.model)
    for item in model.graph.input:
        if item.type.tensor_type.elem_type == FLOAT:
            item.type.tensor_type.elem_type = TensorProto.FLOAT16
    return replace(case, model=model)


def half_inside(case: Case) -> Case:
    """Half precision inside, float at the borders."""
    model = _half_weights(case.model)
    nodes = list(model.graph.node)
    for item in model.graph.input:
        half = f"{item.name}_half"
        _renamed(model.graph, item.name, half)
        nodes.insert(0, helper.make_node("Cast", [item.name], [half], to=TensorProto.FLOAT16))
    for item in model.graph.output:
        half = f"{item.name}_half"
        _renamed(model.graph, item.name, half)
        nodes.append(helper.make_node("Cast", [half], [item.name], to=FLOAT))
    return _rewritten(case, nodes)


def _half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    for item in _float_weights(model):
        half = numpy_helper.to_array(item).astype(np.float16)
        item.CopyFrom(numpy_helper.from_array(half, item.name))
    return model


def _renamed(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Nodes read and write a tensor under another name."""
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _rewritten(case: Case, nodes: Sequence[onnx.NodeProto], **more: Any) -> Case:
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del case.model.graph.node[:]
    case.model.graph.node.extend(kept)
    return Case(name=case.name, model=case.model, feeds=case.feeds, sizes=case.sizes, **more)


def quantised(case: Case, *, channels: bool = True, unsigned: bool = True) -> Case:
    """Activations through QuantizeLinear and DequantizeLinear, weights stored in eight bits."""
    model = case.model
    dtype = np.uint8 if unsigned else np.int8
    inits = [numpy_helper.from_array(np.float32(0.03), "act_scale"),
             numpy_helper.from_array(dtype(128 if unsigned else 0), "act_zero")]  # fmt: skip
    stored = {item.name: item for item in _float_weights(model)}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type in {"Conv", "Gemm", "MatMul"} and node.input[0] not in stored:
            reads = list(node.input)
            for place, suffix in ((0, "a"), (1, "b")):
                if place == 1 and reads[1] in stored:
                    reads[1] = _stored_quantised(
                        stored[reads[1]], node, inits, nodes, along=channels
                    )
                    continue
                pair = [f"{node.output[0]}.{suffix}{i}" for i in range(2)]
                parameters = ["act_scale", "act_zero"]
                nodes.append(
                    helper.make_node("QuantizeLinear", [reads[place], *parameters], pair[:1])
                )
                nodes.append(helper.make_node("DequantizeLinear", [pair[0], *parameters], pair[1:]))
                reads[place] = pair[1]
            del node.input[:]
            node.input.extend(reads)
        nodes.append(node)
    model.graph.initializer.extend(inits)
    return _rewritten(case, nodes)


def _stored_quantised(
    weight: onnx.TensorProto,
    node: onnx.NodeProto,
    inits: list[onnx.TensorProto],
    nodes: list[onnx.NodeProto],
    *,
    along: bool,
) -> str:
    name = f"{node.output[0]}.{weight.name}"
    values = np.round(numpy_helper.to_array(weight) * 100).astype(np.int8)
    along = along and node.op_type == "Conv"
    scales = np.full(values.shape[0] if along else (), 0.01, np.float32)
    zeros = np.zeros(scales.shape, np.int8)
    stored = {"q": values, "s": scales, "z": zeros}
    inits += [numpy_helper.from_array(item, f"{name}.{end}") for end, item in stored.items()]
    more = {"axis": 0} if along else {}
    nodes.append(
        helper.make_node("DequantizeLinear", [f"{name}.{i}" for i in "qsz"], [f"{name}.d"], **more)
    )
    return f"{name}.d"


def dynamic(case: Case) -> Case:
    """Matrix products in integers, quantised as they run."""
    nodes: list[onnx.NodeProto] = []
    inits = []
    stored = {item.name: item for item in _float_weights(case.model)}
    for node in case.model.graph.node:
        if node.op_type != "MatMul" or node.input[1] not in stored:
            nodes.append(node)
            continue
        name = node.output[0]
        values = np.round(numpy_helper.to_array(stored[node.input[1]]) * 100).astype(np.int8)
        inits += [numpy_helper.from_array(values, f"{name}.w"),
                  numpy_helper.from_array(np.float32(0.01), f"{name}.ws")]  # fmt: skip
        q, s, z, product, whole, scale = (f"{name}.{i}" for i in ("q", "s", "z", "p", "f", "t"))
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [node.input[0]], [q, s, z]),
            helper.make_node("MatMulInteger", [q, f"{name}.w", z], [product]),
            helper.make_node("Cast", [product], [whole], to=FLOAT),
            helper.make_node("Mul", [s, f"{name}.ws"], [scale]),
            helper.make_node("Mul", [whole, scale], [name]),
        ]
    case.model.graph.initializer.extend(inits)
    return _rewritten(case, nodes)


def beside(case: Case, *, constants: bool = False) -> Case:
    """Weights in a file of their own, those of Constant nodes too."""
    nodes = list(case.model.graph.node)
    if constants:
        large = [i for i in _float_weights(case.model) if len(i.raw_data) >= 256]
        made = [helper.make_node("Constant", [], [i.name], value=i) for i in large]
        kept = [i for i in case.model.graph.initializer if i.name not in {m.name for m in large}]
        kept = [onnx.TensorProto.FromString(i.SerializeToString()) for i in kept]
        del case.model.graph.initializer[:]
        case.model.graph.initializer.extend(kept)
        nodes = [*made, *nodes]
    return _rewritten(case, nodes, external=True)


def listed(case: Case) -> Case:
    """Format version 3: weights stand among the inputs as well."""
    case.model.ir_version = 3
    for item in case.model.graph.initializer:
        info = helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
        case.model.graph.input.append(info)
    return case


def in_functions(case: Case, *, nested: bool = False) -> Case:
    """Activations and dense layers as functions of the file's own, one inside another."""
    model = case.model
    opsets = [helper.make_opsetid("", model.opset_import[0].version), helper.make_opsetid("own", 1)]
    act = [helper.make_node("Relu", ["a"], ["b"])]
    model.functions.append(helper.make_function("own", "Act", ["a"], ["b"], act, opsets[:1]))
    name = "Act"
    if nested:
        twice = [helper.make_node("Act", ["a"], ["t"], domain="own"),
                 helper.make_node("Act", ["t"], ["b"], domain="own")]  # fmt: skip
        model.functions.append(helper.make_function("own", "Twice", ["a"], ["b"], twice, opsets))
        name = "Twice"
    slope = helper.make_node("LeakyRelu", ["a"], ["b"])
    slope.attribute.append(onnx.AttributeProto(
        name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT))  # fmt: skip
    model.functions.append(
        helper.make_function("own", "Leak", ["a"], ["b"], [slope], opsets[:1], ["slope"])
    )
    model.opset_import.append(helper.make_opsetid("own", 1))
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Relu":
            node = helper.make_node(name, node.input, node.output, name=node.name, domain="own")
        elif node.op_type in {"Clip", "HardSigmoid"}:
            reads = list(node.input)[:1]
            node = helper.make_node("Leak", reads, node.output, name=node.name, domain="own",
                                    slope=0.1)  # fmt: skip
        nodes.append(node)
    return _rewritten(case, nodes)


def branching(case: Case, *, decided: bool = False) -> Case:
    """Behind the network a branch that data, or a stored flag, decide; it reads outer weights."""
    last = case.model.graph.output[0].name
    graph = case.model.graph
    graph.initializer.append(numpy_helper.from_array(np.array(2.0, np.float32), "outer"))
    ways = [
        helper.make_graph([helper.make_node(kind, [last, "outer"], [f"in_{kind}"])], kind, [],
                          [helper.make_tensor_value_info(f"in_{kind}", FLOAT, None)])
        for kind in ("Mul", "Div")
    ]  # fmt: skip
    nodes = list(graph.node)
    if decided:
        graph.initializer.append(numpy_helper.from_array(np.ones((), np.bool_), "flag"))
    else:
        nodes += [helper.make_node("ReduceMax", [last], ["most"], keepdims=0),
                  helper.make_node("Greater", ["most", "outer"], ["flag"])]  # fmt: skip
    nodes.append(helper.make_node("If", ["flag"], ["chosen"], then_branch=ways[0],
                                  else_branch=ways[1]))  # fmt: skip
    nodes.append(helper.make_node("Neg", ["chosen"], ["final"]))
    del graph.output[:]
    graph.output.append(onnx.ValueInfoProto(name="final"))
    return _rewritten(case, nodes)


def looping(case: Case) -> Case:
    """Behind the network three turns of a loop that keeps each turn's result."""
    last = case.model.graph.output[0].name
    graph = case.model.graph
    graph.initializer.extend([numpy_helper.from_array(np.array(3, np.int64), "turns"),
                              numpy_helper.from_array(np.ones((), np.bool_), "go")])  # fmt: skip
    body = helper.make_graph(
        [helper.make_node("Tanh", ["state"], ["next"]),
         helper.make_node("Identity", ["on"], ["off"]),
         helper.make_node("Identity", ["next"], ["kept"])],
        "body",
        [helper.make_tensor_value_info("turn", INT64, []),
         helper.make_tensor_value_info("on", BOOL, []),
         helper.make_tensor_value_info("state", FLOAT, None)],
        [helper.make_tensor_value_info("off", BOOL, []),
         helper.make_tensor_value_info("next", FLOAT, None),
         helper.make_tensor_value_info("kept", FLOAT, None)],
    )  # fmt: skip
    node = helper.make_node("Loop", ["turns", "go", last], ["settled", "all"], body=body)
    graph.output.append(onnx.ValueInfoProto(name="all"))
    return _rewritten(case, [*graph.node, node])


def from_bytes(case: Case) -> Case:
    """An image of whole numbers, channels last, scaled and turned inside."""
    graph = case.model.graph
    item = graph.input[0]
    dims = item.type.tensor_type.shape.dim
    sizes = [onnx.TensorShapeProto.Dimension.FromString(dim.SerializeToString()) for dim in dims]
    for dim, size in zip(dims, [sizes[0], *sizes[2:], sizes[1]], strict=True):
        dim.CopyFrom(size)
    item.type.tensor_type.elem_type = TensorProto.UINT8
    _renamed(graph, item.name, "image_ready")
    graph.initializer.append(numpy_helper.from_array(np.float32(1 / 255), "byte"))
    nodes = [
        helper.make_node("Cast", [item.name], ["image_float"], to=FLOAT),
        helper.make_node("Mul", ["image_float", "byte"], ["image_scaled"]),
        helper.make_node("Transpose", ["image_scaled"], ["image_ready"], perm=[0, 3, 1, 2]),
    ]
    feeds = {k: np.moveaxis((v * 255).astype(np.uint8), 1, -1) for k, v in case.feeds.items()}
    return replace(_rewritten(case, [*nodes, *graph.node]), feeds=feeds)


def selecting(case: Case) -> Case:
    """Behind a detector the choice of boxes: how many there are depends on the data."""
    scores, boxes = (item.name for item in case.model.graph.output)
    graph = case.model.graph
    graph.initializer.extend([
        numpy_helper.from_array(np.array([5], np.int64), "most"),
        numpy_helper.from_array(np.array([0.5], np.float32), "overlap"),
    ])  # fmt: skip
    nodes = [
        *graph.node,
        helper.make_node("Transpose", [scores], ["by_class"], perm=[0, 2, 1]),
        helper.make_node("NonMaxSuppression", [boxes, "by_class", "most", "overlap"], ["chosen"]),
    ]
    del graph.output[:]
    graph.output.append(onnx.ValueInfoProto(name="chosen"))
    return _rewritten(case, nodes)


def _emptied(case: Case) -> Case:
    """A first dimension that is 0, and fed so."""
    (item,) = case.model.graph.input
    dim = item.type.tensor_type.shape.dim[0]
    dim.dim_value = 0
    sizes = [size.dim_value for size in item.type.tensor_type.shape.dim]
    return replace(case, feeds={item.name: np.zeros(sizes, np.float32)})


def _named(case: Case, name: Dim, axes: Sequence[int] = (0,), value: int | None = None) -> Case:
    """An open dimension under a name, or with a number that is none."""
    feeds = case.values()
    for item in case.model.graph.input:
        for axis in axes:
            dim = item.type.tensor_type.shape.dim[axis]
            dim.Clear()
            if isinstance(name, str) and name:
                dim.dim_param = name
            elif value is not None:
                dim.dim_value = value
    return replace(case, feeds=feeds)


def _plain(network: Callable[..., list[str]], opset: int = 17, **sizes: Dim) -> Case:
    d = Draft(opset)
    return d.case("", *network(d, **sizes))


def _open_sides(
    network: Callable[..., list[str]], high: str, wide: str, *, batch: Dim = "batch"
) -> Case:
    """A file all of whose sizes but the channels are open, bound by their names."""
    d = Draft(17)
    outputs = network(d, batch=batch, high=high, wide=wide)
    d.feeds["x"] = d.rng.uniform(0.1, 0.9, (1, 3, 48, 40)).astype(np.float32)
    d.sizes = {high: 48, wide: 40}
    return d.case("", *outputs)


def _paddle() -> Case:
    d = Draft(17)
    first, *sides = (f"p2o.DynamicDimension.{i}" for i in range(3))
    outputs = classifier(d, batch=first, high=sides[0], wide=sides[1])
    d.feeds["x"] = d.rng.uniform(0.1, 0.9, (1, 3, 32, 48)).astype(np.float32)
    d.sizes = dict(zip(sides, (32, 48), strict=True))
    return d.case("", *outputs)


def _open_text(**names: Dim) -> Case:
    d = Draft(17)
    outputs = encoder(d, **names)
    d.feeds = {name: np.ones((1, 9), np.int64) for name in ("x", "x1")}
    d.sizes = {str(names["length"]): 9}
    return d.case("", *outputs)


def _dressed(network: Network, dress: Callable[[Case], Case]) -> Case:
    return dress(_plain(network))


def _each(
    title: str, networks: Sequence[Network], dress: Callable[[Case], Case]
) -> dict[str, Callable[[], Case]]:
    """Each network in one habit; ``title`` holds a ``#`` for its name."""
    return {
        title.replace("#", network.__name__): partial(_dressed, network, dress)
        for network in networks
    }


FILES: Mapping[str, Callable[[], Case]] = {
    **_each("# plain", (*IMAGES, encoder, recogniser, volume), lambda case: case),
    **_each("# of nameless images", (classifier,), lambda case: _named(case, "")),
    **_each("# of N images", (mobile,), lambda case: _named(case, "N")),
    **_each("# of unk__17 images", (segmenter,), lambda case: _named(case, "unk__17")),
    **_each("# of batch_size images", (detector,), lambda case: _named(case, "batch_size")),
    **_each("#, batch -1", (classifier, encoder), lambda case: _named(case, "", value=-1)),
    "mobile, batch 0": lambda: _emptied(_plain(mobile)),
    "recogniser, batch 'B'": lambda: _named(_plain(recogniser), "B"),
    "volume, batch 'samples'": lambda: _named(_plain(volume), "samples"),
    "classifier, open sides": lambda: _open_sides(classifier, "height", "width"),
    "segmenter, open sides": lambda: _open_sides(segmenter, "H", "W", batch="N"),
    "detector, open sides": lambda: _open_sides(detector, "h", "w"),
    "classifier, numbered dimensions": _paddle,
    "encoder, open text": lambda: _open_text(batch="batch_size", length="sequence_length"),
    "encoder, open text only": lambda: _open_text(batch=1, length="seq"),
    "classifier, odd sides": lambda: _plain(classifier, high=37, wide=61),
    "mobile, odd sides": lambda: _plain(mobile, high=37, wide=61),
    "detector, odd batch": lambda: _plain(detector, batch=3, high=31, wide=17),
    **_each("# in half", (classifier, mobile, detector), halved),
    **_each("# half inside", (classifier, segmenter, volume), half_inside),
    **_each("# quantised", (classifier, mobile, detector, encoder), quantised),
    "classifier quantised, signed, whole": lambda: quantised(
        _plain(classifier), channels=False, unsigned=False
    ),
    "classifier quantised, of 'N' images": lambda: _named(quantised(_plain(classifier)), "N"),
    **_each("#, dynamic integers", (encoder, recogniser), dynamic),
    **_each("#, weights beside", (classifier, encoder), beside),
    **_each("#, constants beside", (mobile, encoder), lambda case: beside(case, constants=True)),
    "classifier of format 3": lambda: listed(_plain(classifier, opset=13)),
    "mobile of format 3": lambda: listed(_plain(mobile, opset=13)),
    **_each("#, functions", (classifier, mobile, encoder), in_functions),
    "segmenter, nested functions": lambda: in_functions(_plain(segmenter), nested=True),
    "classifier, functions, weights beside": lambda: beside(in_functions(_plain(classifier))),
    **_each("# with a branch", (classifier, recogniser), branching),
    "classifier with a decided branch": lambda: branching(_plain(classifier), decided=True),
    **_each("# with a loop", (classifier, encoder), looping),
    "classifier of bytes": lambda: from_bytes(_plain(classifier)),
    "segmenter of bytes, of 'batch' images": lambda: from_bytes(_named(_plain(segmenter), "batch")),
    "detector that selects": lambda: selecting(_plain(detector)),
    "classifier of the newest operators": lambda: _plain(classifier, opset=21),
}


def names() -> list[str]:
    """Every file."""
    return list(FILES)


def make(name: str) -> Case:
    """One of ``names``."""
    case = FILES[name]()
    return replace(case, name=name)

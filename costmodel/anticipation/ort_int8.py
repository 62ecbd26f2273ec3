"""Which kernels of a float network run as integers, once ONNX Runtime's runner has quantised it.

Three steps, as in ``runners/ort/quantise.py`` and the runtime after it: tensors that an integer
kernel could read or write get conversions; what lies between conversions becomes an integer kernel
where the CPU has one; what is left over runs in float between its conversions. Scales and zero
points are the letters ``s``, ``z`` (``S``, ``Z`` per channel) of ``Op.operands``, as the runner's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod

from costmodel.anticipation.graph import Graph, Node
from costmodel.op import Op

MICROSOFT = "com.microsoft"
#: Operators whose operands and results are all quantised.
QUANTISED = frozenset(
    {"Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm"}
    | {"GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape"}
    | {"Resize", "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
#: Of these, the ones that are quantised only where their first operand is.
DIRECT = frozenset(
    {"AveragePool", "Flatten", "MaxPool", "Reshape", "Resize", "Slice", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)
_SAME_SCALE = frozenset({"Pad", "Split"})
#: Activations that a quantised result's range already applies.
_REMOVABLE = frozenset({"Clip", "Relu"})
#: Operators that the runtime moves a conversion past.
_PASSED = frozenset({"MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
#: Operators that move integers as they move floats.
_MOVES = DIRECT - {"AveragePool", "Resize"} | {"Split"}
#: Largest number that a quantised activation can stand for, as the runner chooses scales.
_MOST = 5.0
_TO_FLOAT = (("output_dtype", "float32"),)
_TO_INTEGER = (("output_dtype", "uint8"),)


def quantise(graph: Graph) -> None:
    """Turn a folded float graph into what the runtime makes of its quantised form.

    Channels are still first everywhere; ``ort_nhwc`` moves them.
    """
    _renew(graph)
    planned = _plan(graph)
    kernels = {name: _kernel(node) for name, node in graph.nodes.items()}
    for node in list(graph.nodes.values()):
        made = kernels[node.name] if set(node.reads) <= planned else None
        if made is not None and set(node.writes) <= planned and node.op_type in QUANTISED:
            _make_integer(graph, node, made, planned)
        else:
            _surround(graph, node, planned)
    for name in sorted(planned & graph.inputs):
        graph.add(conversion("QuantizeLinear", name, _quantised(name), _size(graph, name)))
    for name in sorted(planned & graph.returned):
        source = _quantised(name)
        size = _size(graph, source)
        graph.add(conversion("DequantizeLinear", source, name, size))
    covered = _covered(graph)
    _move_back(graph)
    for node in covered:
        graph.bypass(node)


def _renew(graph: Graph) -> None:
    """Write operators as operator set 17 does, which networks are brought to beforehand."""
    for node in list(graph.nodes.values()):
        settings = dict(node.op.attributes)
        since = settings.get("since")
        if not isinstance(since, int) or since >= _NEWEST.get(node.op_type, (0, 0))[1]:
            continue
        if node.op_type == "Softmax":
            _renew_softmax(graph, node)
        elif since >= _NEWEST[node.op_type][0]:
            settings["since"] = _NEWEST[node.op_type][1]
            if node.op_type == "BatchNormalization":
                settings["training_mode"] = 0
            node.op = replace(node.op, attributes=tuple(sorted(settings.items())))


#: Oldest version of an operator that differs from the newest, up to set 17, in nothing but number.
_NEWEST = {
    "BatchNormalization": (9, 15),
    "Clip": (11, 13),
    "Pad": (11, 13),
    "Resize": (11, 13),
    "Slice": (10, 13),
    "Softmax": (1, 13),
}


def _renew_softmax(graph: Graph, node: Node) -> None:
    """Softmax once flattened what it read into two axes; on its last axis it still would not."""
    axis = node.op.attribute("axis", 1)
    size = node.op.inputs[0]
    if not isinstance(axis, int):
        return
    axis %= len(size)
    flat = (prod(size[:axis]), prod(size[axis:]))
    node.op = replace(node.op, attributes=(("axis", -1), ("since", 13)))
    if axis == len(size) - 1:
        return
    source, target = node.reads[0], node.out
    node.op = replace(node.op, inputs=(flat,), outputs=(flat,))
    graph.rewire(node, reads=[f"{target}/flat"], writes=[f"{target}/rows"])
    flatten = Op(kind="flatten", inputs=(size,), outputs=(flat,), attributes=(("axis", axis),))
    reshape = Op(kind="reshape", inputs=(flat,), outputs=(size,), constants=(size,))
    for name, kind, op, read, written in (
        ("flat", "Flatten", flatten, source, f"{target}/flat"),
        ("whole", "Reshape", reshape, f"{target}/rows", target),
    ):
        added = Node(
            name=f"{node.name}/{name}", op_type=kind, op=op, reads=[read], writes=[written]
        )
        graph.add(added)


def _move_back(graph: Graph) -> None:
    """A conversion to integers goes before the kernels that pass values on to it alone.

    Done while the activations that its range applies are still there, so that it stays behind them.
    """
    for node in [item for item in graph.nodes.values() if item.op_type == "QuantizeLinear"]:
        before = graph.producer.get(node.reads[0])
        while (
            before is not None
            and before.op_type in _PASSED
            and before.op.dtype == "float32"
            and not before.domain
            and graph.sole_reader(before) is node
        ):
            source, middle, target = before.reads[0], before.out, node.out
            size = before.op.inputs[0]
            graph.rewire(node, reads=[source], writes=[middle])
            graph.rewire(before, reads=[middle, *before.reads[1:]], writes=[target])
            node.op = replace(node.op, inputs=(size,), outputs=(size,))
            before.op = replace(before.op, dtype="uint8")
            before = graph.producer.get(source)


def _plan(graph: Graph) -> set[str]:
    """Tensors that get conversions; activations that need none are taken into what writes them."""
    planned: set[str] = set()
    known = -1
    while known != len(planned):
        known = len(planned)
        for node in graph.ordered():
            _plan_node(graph, node, planned)
    return planned


def _plan_node(graph: Graph, node: Node, planned: set[str]) -> None:
    if node.op_type not in QUANTISED or node.op.dtype != "float32" or not node.reads:
        return
    source = node.reads[0]
    if node.op_type in DIRECT | _REMOVABLE and source not in planned:
        return
    before = graph.producer.get(source)
    passed_on = before is not None and before.op_type in DIRECT | _SAME_SCALE
    if node.op_type in _REMOVABLE and not passed_on and _take(graph, node):
        planned.discard(source)
        planned.add(node.out)
        return
    planned.update(node.reads)
    planned.update(node.writes)


def _take(graph: Graph, node: Node) -> bool:
    """Let the kernel before an activation write its result, if nothing else reads it."""
    source, target = node.reads[0], node.out
    before = graph.producer.get(source)
    if before is None or graph.uses(source) != 1:
        return False
    graph.remove(node)
    before.covers += node.covers
    writes = [target if name == source else name for name in before.writes]
    graph.rewire(before, reads=before.reads, writes=writes)
    return True


def _make_integer(graph: Graph, node: Node, made: Node, planned: set[str]) -> None:
    node.op_type, node.domain, node.op = made.op_type, made.domain, made.op
    graph.rewire(
        node,
        reads=[_quantised(name) if name in planned else name for name in node.reads],
        writes=[_quantised(name) if name in planned else name for name in node.writes],
    )


def _surround(graph: Graph, node: Node, planned: set[str]) -> None:
    """Give a float kernel conversions of its own for what it reads and writes."""
    reads, writes = [], []
    for index, name in enumerate(node.reads):
        if name not in planned:
            reads.append(name)
            continue
        restored = f"{name}/for {node.name} {index}"
        size = node.op.inputs[index]
        graph.add(conversion("DequantizeLinear", _quantised(name), restored, size))
        reads.append(restored)
    for index, name in enumerate(node.writes):
        if name not in planned:
            writes.append(name)
            continue
        plain = f"{name}/float"
        size = node.op.outputs[index]
        graph.add(conversion("QuantizeLinear", plain, _quantised(name), size))
        writes.append(plain)
    graph.rewire(node, reads=reads, writes=writes)


def _covered(graph: Graph) -> list[Node]:
    """Activations that only a conversion to integers reads, which applies them by its range."""
    return [
        node
        for node in graph.nodes.values()
        if node.op_type in _REMOVABLE
        and (later := graph.sole_reader(node)) is not None
        and later.op_type == "QuantizeLinear"
        and _is_wide(node.op)
    ]


def _is_wide(op: Op) -> bool:
    """Whether an activation cuts nothing off that fits into the quantised range."""
    bounds = [float(values[0]) for values in op.constants if values]
    return op.kind == "relu" or (len(bounds) == 2 and bounds[0] <= 0 and bounds[1] >= _MOST)


def _quantised(name: str) -> str:
    return f"{name}/int8"


def _size(graph: Graph, name: str) -> tuple[int, ...]:
    writer = graph.producer.get(name)
    if writer is not None:
        return writer.op.outputs[writer.writes.index(name)]
    for known in (name, _quantised(name)):
        for reader in graph.readers.get(known, ()):
            return reader.op.inputs[reader.reads.index(known)]
    return ()


def conversion(op_type: str, source: str, target: str, size: tuple[int, ...]) -> Node:
    """A ``QuantizeLinear`` or ``DequantizeLinear`` between two tensors."""
    to_float = op_type == "DequantizeLinear"
    op = Op(
        kind="dequantize_linear" if to_float else "quantize_linear",
        inputs=(size,),
        outputs=(size,),
        dtype="uint8" if to_float else "float32",
        attributes=_TO_FLOAT if to_float else _TO_INTEGER,
        operands="dsz",
    )
    return Node(name=f"{target}/{op.kind}", op_type=op_type, op=op, reads=[source], writes=[target])


def _kernel(node: Node) -> Node | None:
    """The integer kernel for the same work, or ``None`` where there is none."""
    rule = _KERNELS.get(node.op_type)
    if rule is None or (node.op.weights and not node.fixed):
        return None
    found = rule(node.op)
    if found is None:
        return None
    op_type, domain, op = found
    return Node(name="", op_type=op_type, op=op, reads=[], writes=[], domain=domain)


_Made = tuple[str, str, Op] | None


def _weights(op: Op, first: str = "int8") -> tuple[tuple[str, str], ...]:
    kinds = (first, "int32")[: len(op.weights)]
    return (("weight_dtypes", " ".join(kinds)),)


def _scales(channels: int) -> str:
    return "SZ" if channels > 1 else "sz"


def _conv(op: Op) -> _Made:
    if len(op.inputs) != 1 or not op.weights:
        return None
    letters = f"dszw{_scales(op.weights[0][0])}sz" + "w" * (len(op.weights) - 1)
    attributes = tuple(sorted((*op.attributes, *_weights(op))))
    made = replace(op, dtype="uint8", operands=letters, attributes=attributes)
    return "QLinearConv", "", made


def _gemm(op: Op) -> _Made:
    if len(op.inputs) != 1 or not op.weights or op.operands.startswith("w"):
        return None
    channels = op.outputs[0][-1]
    bias = "w" if len(op.weights) > 1 else "-"
    weights = (op.weights[0], *((prod(size),) for size in op.weights[1:]))
    kept = {name: op.attribute(name, default) for name, default in _GEMM.items()}
    return (
        "QGemm",
        MICROSOFT,
        replace(
            op,
            dtype="uint8",
            weights=weights,
            operands=f"dszw{_scales(channels)}{bias}sz",
            attributes=tuple(sorted((*kept.items(), *_weights(op)))),
        ),
    )


_GEMM: Mapping[str, int | float] = {"alpha": 1.0, "transA": 0, "transB": 0}


def _matmul(op: Op) -> _Made:
    if op.operands.startswith("w"):
        return None
    if not op.weights:
        return "QLinearMatMul", "", replace(op, dtype="uint8", operands="dszdszsz")
    scales = _scales(op.outputs[0][-1])
    made = replace(
        op, dtype="uint8", operands=f"dszw{scales}sz", attributes=(*op.attributes, *_weights(op))
    )
    return "QLinearMatMul", "", made


def _binary(name: str) -> Callable[[Op], _Made]:
    def rule(op: Op) -> _Made:
        if len(op.inputs) + len(op.weights) != 2 or op.constants:
            return None
        first, second = ("w", "d") if op.operands.startswith("w") else ("d", "d")
        if op.weights and first == "d":
            second = "w"
        kinds = _weights(op, "uint8") if op.weights else ()
        operands = f"{first}sz{second}szsz"
        made = replace(op, dtype="uint8", operands=operands, attributes=(*op.attributes, *kinds))
        return name, MICROSOFT, made

    return rule


def _unary(name: str) -> Callable[[Op], _Made]:
    return lambda op: (name, MICROSOFT, replace(op, dtype="uint8", operands="dszsz"))


def _concat(op: Op) -> _Made:
    if op.weights or op.constants:
        return None
    operands = "sz" + "dsz" * len(op.inputs)
    return "QLinearConcat", MICROSOFT, replace(op, dtype="uint8", operands=operands)


def _softmax(op: Op) -> _Made:
    if op.attribute("since", 13) != 13:
        return None
    attributes = (("axis", op.attribute("axis", -1)), ("opset", 13))
    made = replace(op, dtype="uint8", operands="dszsz", attributes=attributes)
    return "QLinearSoftmax", MICROSOFT, made


def _moves(op_type: str) -> Callable[[Op], _Made]:
    def rule(op: Op) -> _Made:
        return op_type, "", replace(op, dtype="uint8")

    return rule


def _resize(op: Op) -> _Made:
    """Only copying works on integers; what interpolates runs in float."""
    nearest = op.attribute("mode", "nearest") == "nearest"
    return ("Resize", "", replace(op, dtype="uint8")) if nearest else None


_KERNELS: Mapping[str, Callable[[Op], _Made]] = {
    "Add": _binary("QLinearAdd"),
    "AveragePool": _unary("QLinearAveragePool"),
    "Concat": _concat,
    "Conv": _conv,
    "Gemm": _gemm,
    "GlobalAveragePool": _unary("QLinearGlobalAveragePool"),
    "LeakyRelu": _unary("QLinearLeakyRelu"),
    "MatMul": _matmul,
    "Mul": _binary("QLinearMul"),
    "Sigmoid": _unary("QLinearSigmoid"),
    "Softmax": _softmax,
    **{name: _moves(name) for name in _MOVES},
    "Resize": _resize,
}

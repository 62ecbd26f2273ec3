"""Where channels come last: integer convolutions ask for it, and the runtime moves Transposes.

Every QLinearConv gets a Transpose before and behind it. Then, in running order, a Transpose goes
behind the kernel that reads it where that saves any, counting axes: those that vanish at the
kernel's operands, also past a conversion to floats, against those that its other operands and its
result need, unless the result leads to another Transpose with which it may cancel and is not
returned itself. Axes of length 1 count nothing. MaxPool, which is quicker with channels last, is
always passed. What then lies half between conversions gets the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from costmodel.anticipation.graph import Graph, Node
from costmodel.anticipation.ort_int8 import MICROSOFT, conversion
from costmodel.anticipation.ort_layout import FROM_NHWC, TO_NHWC, is_transpose
from costmodel.op import Op, Shape

_RANK = 4
#: Kernels that a Transpose may pass, beside those with a rule of their own for attributes.
_PLAIN = frozenset(
    {"Abs", "Add", "Ceil", "Celu", "Clip", "DequantizeLinear", "Div", "Elu", "Erf", "Exp", "Floor"}
    | {"Gelu", "HardSigmoid", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mul", "Neg", "PRelu"}
    | {"Pow", "QLinearAdd", "QLinearLeakyRelu", "QLinearMul", "QLinearSigmoid", "QuantizeLinear"}
    | {"Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign"}
    | {"Sqrt", "Sub", "Sum", "Tanh", "ThresholdedRelu"}
)


def move_channels(graph: Graph) -> None:
    """Move channels of integer kernels last, with as few Transposes as the runtime leaves."""
    dead = {name for node in graph.nodes.values() for name in node.writes if not graph.uses(name)}
    _wrap(graph)
    leading = _leading(graph)
    for node in graph.ordered():
        if node.name not in graph.nodes:
            continue
        if node.op_type == "Transpose":
            _cancel(graph, node)
        elif _passes(graph, node, leading):
            _push(graph, node)
    _sweep(graph, dead)
    _complete(graph)


def _wrap(graph: Graph) -> None:
    for node in graph.ordered():
        if node.op_type != "QLinearConv" or len(node.op.inputs[0]) != _RANK:
            continue
        node.domain = MICROSOFT
        attributes = tuple(sorted((*node.op.attributes, ("channels_last", 1))))
        node.op = replace(node.op, attributes=attributes, layout="nhwc")
        _turn(graph, node)


def _turn(graph: Graph, node: Node) -> None:
    """Let a kernel read and write channels last, Transposes around it."""
    reads = [
        _transposed(graph, name) if len(size) == _RANK else name
        for name, size in zip(node.reads, node.op.inputs, strict=True)
    ]
    writes = [
        f"{name}/last" if len(size) == _RANK else name
        for name, size in zip(node.writes, node.op.outputs, strict=True)
    ]
    op = node.op
    node.op = replace(
        op, inputs=tuple(map(_last, op.inputs)), outputs=tuple(map(_last, op.outputs))
    )
    before = list(node.writes)
    graph.rewire(node, reads=reads, writes=writes)
    for target, source, size in zip(before, writes, node.op.outputs, strict=True):
        if target != source:
            graph.add(_transpose(source, target, size, FROM_NHWC, _result_dtype(node)))


def _transposed(graph: Graph, name: str) -> str:
    """``name`` with channels last: what it was made from, an existing Transpose, or a new one.

    A conversion to floats on the way moves with it.
    """
    converted = _converted_from(graph, name)
    if converted is not None:
        _turn(graph, converted)
    writer = graph.producer.get(name)
    if writer is not None and is_transpose(writer, FROM_NHWC):
        return writer.reads[0]
    for reader in graph.readers.get(name, ()):
        if is_transpose(reader, TO_NHWC):
            return reader.out
    target = f"{name}/to last"
    size, dtype = _tensor(graph, name)
    graph.add(_transpose(name, target, size, TO_NHWC, dtype))
    return target


def _tensor(graph: Graph, name: str) -> tuple[Shape, str]:
    writer = graph.producer.get(name)
    if writer is not None:
        return writer.op.outputs[writer.writes.index(name)], _result_dtype(writer)
    reader = graph.readers[name][0]
    return reader.op.inputs[reader.reads.index(name)], reader.op.dtype


def _result_dtype(node: Node) -> str:
    return node.op.attribute("output_dtype", node.op.dtype)


def _transpose(source: str, target: str, size: Shape, order: tuple[int, ...], dtype: str) -> Node:
    op = Op(
        kind="transpose",
        inputs=(size,),
        outputs=(tuple(size[axis] for axis in order),),
        dtype=dtype,
        attributes=(("perm", order),),
    )
    name = f"{target}/transpose"
    return Node(name=name, op_type="Transpose", op=op, reads=[source], writes=[target])


def _last(size: Shape) -> Shape:
    return tuple(size[axis] for axis in TO_NHWC) if len(size) == _RANK else size


def _leading(graph: Graph) -> set[str]:
    """Tensors from which kernels that a Transpose may pass lead to another Transpose."""
    found: set[str] = set()
    for node in reversed(graph.ordered()):
        if node.op_type == "Transpose" or (
            _may_pass(node) and any(name in found for name in node.writes)
        ):
            found.update(node.reads)
    return found


def _may_pass(node: Node) -> bool:
    known = node.op_type in _PLAIN or node.op_type in _RULES
    return known and bool(node.op.outputs) and len(node.op.outputs[0]) == _RANK


def _passes(graph: Graph, node: Node, leading: set[str]) -> bool:
    if not _may_pass(node):
        return False
    turned = [_turned(graph, name) for name in node.reads]
    if not any(turned) or node.domain.endswith("nchwc"):
        return False
    if node.op_type == "MaxPool":
        return node.op.dtype == "uint8"
    cost = sum(
        -_axes(size) if gone or _converted_from(graph, name) else _axes(size)
        for gone, name, size in zip(turned, node.reads, node.op.inputs, strict=True)
    )
    if cost < 0 and not any(name in leading - graph.returned for name in node.writes):
        cost += max(map(_axes, node.op.outputs))
    return cost < 0


def _turned(graph: Graph, name: str) -> bool:
    """Whether a Transpose to channels first wrote this."""
    writer = graph.producer.get(name)
    return writer is not None and is_transpose(writer, FROM_NHWC)


def _converted_from(graph: Graph, name: str) -> Node | None:
    """The conversion to floats that wrote this, where it reads what such a Transpose wrote."""
    writer = graph.producer.get(name)
    if writer is None or writer.op_type != "DequantizeLinear":
        return None
    return writer if _turned(graph, writer.reads[0]) else None


def _axes(size: Shape) -> int:
    """Axes that a Transpose has work with."""
    return sum(length != 1 for length in size)


def _push(graph: Graph, node: Node) -> None:
    rule = _RULES.get(node.op_type)
    if rule is not None:
        rule(node)
    if node.op.weights and node.op_type != "QLinearConv":
        node.op = replace(node.op, weights=tuple(map(_constant_last, node.op.weights)))
    _turn(graph, node)


def _constant_last(size: Shape) -> Shape:
    """Sizes of a stored operand of an elementwise kernel with channels last."""
    return _last((*(1,) * (_RANK - len(size)), *size))


def _cancel(graph: Graph, node: Node) -> None:
    """A Transpose that undoes the one before it goes."""
    writer = graph.producer.get(node.reads[0])
    if writer is None or writer.op_type != "Transpose":
        return
    first, second = (item.op.attribute("perm") for item in (writer, node))
    if not isinstance(first, tuple) or not isinstance(second, tuple):
        return
    if [first[int(axis)] for axis in second] != list(range(len(first))):
        return
    graph.replace_by_source(node, writer.reads[0])


def _sweep(graph: Graph, dead: set[str]) -> None:
    """Take out Transposes that nothing reads any more; what was never read stays."""
    for node in reversed(graph.ordered()):
        if node.op_type == "Transpose" and not graph.uses(node.out) and node.out not in dead:
            graph.remove(node)


def _complete(graph: Graph) -> None:
    """A Transpose left between a conversion and a kernel of floats gets the other conversion too.

    So it lies between two conversions, as a kernel that may be an integer one later. Seen: only
    where the conversion has no other reader and the Transpose not several.
    """
    for node in graph.ordered():
        if node.op_type != "Transpose":
            continue
        before = graph.producer.get(node.reads[0])
        readers = list(dict.fromkeys(graph.readers.get(node.out, ())))
        quantised = any(reader.op_type == "QuantizeLinear" for reader in readers)
        alone = before is not None and graph.uses(node.reads[0]) == 1
        if before is None or not alone or len(readers) > 1:
            continue
        if before.op_type == "DequantizeLinear" and not quantised:
            inner, target = f"{node.out}/unit", node.out
            graph.rewire(node, reads=node.reads, writes=[inner])
            _add_pair(graph, inner, target, node.op.outputs[0])
        elif before.op_type != "DequantizeLinear" and quantised and node.out not in graph.returned:
            inner, target = f"{node.reads[0]}/unit", node.reads[0]
            writes = [inner if name == target else name for name in before.writes]
            graph.rewire(before, reads=before.reads, writes=writes)
            _add_pair(graph, inner, target, node.op.inputs[0])


def _add_pair(graph: Graph, source: str, target: str, size: Shape) -> None:
    """Conversions to integers and back between two tensors."""
    between = f"{target}/unit int8"
    for op_type, read, written in (
        ("QuantizeLinear", source, between),
        ("DequantizeLinear", between, target),
    ):
        made = conversion(op_type, read, written, size)
        made.name = f"{written}/unit {op_type}"
        graph.add(made)


def _rename_axis(node: Node) -> None:
    settings = dict(node.op.attributes)
    axis = settings.get("axis", 1)
    if isinstance(axis, int):
        settings["axis"] = TO_NHWC.index(axis % _RANK)
        node.op = replace(node.op, attributes=tuple(sorted(settings.items())))


def _pool(node: Node) -> None:
    attributes = tuple(sorted((*node.op.attributes, ("channels_last", 1))))
    node.op = replace(node.op, attributes=attributes, layout="nhwc")


def _max_pool(node: Node) -> None:
    node.op_type, node.domain = "NhwcMaxPool", MICROSOFT
    node.op = replace(node.op, layout="nhwc")


def _pad(node: Node) -> None:
    pads = node.op.constants[0]
    half = len(pads) // 2
    moved = tuple(pads[start + axis] for start in (0, half) for axis in TO_NHWC)
    node.op = replace(node.op, constants=(moved, *node.op.constants[1:]))


def _slice(node: Node) -> None:
    starts, ends, *rest = node.op.constants
    axes = tuple(rest[0]) if rest else tuple(range(len(starts)))
    moved = tuple(TO_NHWC.index(int(axis) % _RANK) for axis in axes)
    node.op = replace(node.op, constants=(starts, ends, moved, *rest[1:]))


def _resize(node: Node) -> None:
    order = tuple(
        tuple(values[axis] for axis in TO_NHWC) if len(values) == _RANK else values
        for values in node.op.constants
    )
    node.op = replace(node.op, constants=order)


_RULES: Mapping[str, Callable[[Node], None]] = {
    "Concat": _rename_axis,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "QLinearAveragePool": _pool,
    "QLinearConcat": _rename_axis,
    "QLinearGlobalAveragePool": _pool,
    "QLinearSoftmax": _rename_axis,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _rename_axis,
}

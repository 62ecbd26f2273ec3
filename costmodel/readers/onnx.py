"""Reads an ONNX file as a Network of layers as written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from costmodel.network import Layer, Network
from costmodel.onnx_model.file import open_model, save_model
from costmodel.onnx_model.inputs import real_inputs
from costmodel.onnx_model.nodes import op_from_node
from costmodel.onnx_model.walk import node_reads, node_titles
from costmodel.op import Attribute, Op, Shape
from costmodel.readers.formats import Format, Opened, Request, no_signatures
from costmodel.readers.onnx_equal import equal_weights
from costmodel.readers.onnx_sizes import RUNTIME_DOMAINS, BoundModel, bind, opset_of
from costmodel.sizes import Sizes

#: Attribute of layers whose weights the file lets its user replace at run time: runtimes may then
#: neither fold nor reorder them. Only in networks as written; no executed Op has it.
OVERRIDABLE = "overridable"
#: Attribute of layers that share all of their weights with another layer, with a number for these
#: weights: of two such layers with one input a runtime executes one. Only in networks as written.
WEIGHTS = "weights"
#: Attribute of a Mul or Div by one stored number: a runtime may fold it into a product. Only in
#: networks as written.
NUMBER = "number"
#: Attribute of an operator that is none of the standard's: its own name with its domain. Only in
#: networks as written.
OPERATOR = "operator"
#: Nodes that run a graph inside: how often depends on data.
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_NO_SIZES: Sizes = {}


def load_onnx(path: Path, sizes: Sizes = _NO_SIZES) -> onnx.ModelProto:
    """Read an ONNX file, check it, and give every input fixed sizes.

    Args:
        path: ONNX file of operator set 7 or newer; external data is read from beside it.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``; the batch is 1
            by default.

    Returns:
        The model, nodes in running order, inputs static, inferred shapes in ``value_info``.

    Raises:
        ModelFormatError: naming the file, the node or tensor, and what to do.
        InvalidInputError: if ``sizes`` has a name that the model lacks, or a value below 1.
    """
    return _bound(path, sizes).model


def read_onnx(path: Path, sizes: Sizes = _NO_SIZES) -> Network:
    """Read an ONNX file as a network of layers as written.

    Nodes that only work on constants or on sizes (``ConstantOfShape``, ``Shape``, ``Gather`` of a
    shape ...) are folded into the operands of the layers they feed. Everything else keeps its name;
    nameless nodes are called ``<OpType>_<index>``.

    Args:
        path: ONNX file.
        sizes: as for ``load_onnx``.

    Returns:
        A network with ``source == "written"``; what could not become an Op is in ``unread``.

    Raises:
        ModelFormatError: as ``load_onnx``.
        InvalidInputError: as ``load_onnx``.
    """
    return network_from_model(_bound(path, sizes), path.stem)


def _bound(path: Path, sizes: Sizes) -> BoundModel:
    path = Path(path)
    return bind(path, open_model(path), sizes)


def network_from_model(bound: BoundModel, name: str) -> Network:
    """Layers of a model whose sizes are known.

    Args:
        bound: from ``bind``.
        name: the network's name.
    """
    graph = bound.model.graph
    opset = opset_of(bound.model) or 1
    overridable = _overridable(bound.model)
    layers: list[Layer] = []
    unread: dict[str, str] = {}
    working = _working(bound)
    shared = equal_weights(bound.model, working, bound.constants)
    read = {name for _, node in working for name in node_reads(node)}
    read.update(item.name for item in graph.output)
    titles = node_titles(enumerate(graph.node))
    for index, node in working:
        title = titles[index]
        reason = _unreadable(node, bound, read)
        try:
            op = op_from_node(node, bound.tensors, bound.constants, opset) if not reason else None
        except (IndexError, OverflowError, TypeError, ValueError) as error:
            op, reason = None, f"{node.op_type}: its attributes do not fit its sizes ({error})"
        if op is None:
            unread[title] = reason
            continue
        if overridable & set(node.input):
            op = with_attribute(op, OVERRIDABLE, 1)
        if index in shared and op.weights:
            op = with_attribute(op, WEIGHTS, shared[index])
        number = _number(node, bound)
        if number is not None:
            op = with_attribute(op, NUMBER, number)
        if node.domain and node.domain != "ai.onnx":
            op = with_attribute(op, OPERATOR, f"{node.domain}:{node.op_type}")
        layers.append(
            Layer(
                name=title,
                op=op,
                inputs=tuple(n for n in node.input if n and n not in bound.constants),
                outputs=tuple(n for n in node.output if n in bound.tensors),
            )
        )
    inputs: dict[str, Shape] = {
        item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)
        for item in real_inputs(graph)
        if item.type.HasField("tensor_type")
    }
    outputs = tuple(item.name for item in graph.output)
    return Network(name=name, layers=tuple(layers), inputs=inputs, outputs=outputs, unread=unread)


def with_attribute(op: Op, name: str, value: Attribute) -> Op:
    """``op`` marked with one more attribute."""
    return replace(op, attributes=tuple(sorted((*op.attributes, (name, value)))))


def _overridable(model: onnx.ModelProto) -> set[str]:
    """Weights that a caller may feed, since format version 4 lists them as inputs on purpose."""
    if model.ir_version < 4:
        return set()
    return {i.name for i in model.graph.initializer} & {i.name for i in model.graph.input}


def _number(node: onnx.NodeProto, bound: BoundModel) -> float | None:
    """The stored number that a Mul multiplies by, or a Div divides by; None for others."""
    operands = {"Mul": node.input, "Div": node.input[1:]}.get(node.op_type, ())
    for name in operands:
        value = bound.constants.get(name)
        if value is not None and value.size == 1 and value.ndim < 2 and value.dtype.kind == "f":
            return float(value.item())
    return None


def _working(bound: BoundModel) -> list[tuple[int, onnx.NodeProto]]:
    """Nodes that work on what the model is fed, with their positions.

    Nodes whose result nobody reads are among them: runtimes execute these too.
    """
    return [
        (index, node)
        for index, node in enumerate(bound.model.graph.node)
        if not all(name in bound.constants for name in node.output if name)
    ]


def _unreadable(node: onnx.NodeProto, bound: BoundModel, read: set[str]) -> str:
    """Why a node cannot become an Op; empty when it can."""
    if node.op_type in _CONTROL_FLOW:
        return f"{node.op_type} runs a graph inside, whose work depends on its data"
    if node.domain and node.domain not in RUNTIME_DOMAINS:
        return f"{node.op_type} is of the custom domain {node.domain!r}, whose work is unknown"
    # A second output that nobody reads (the mask of an old Dropout) often has no inferred size.
    names = [name for name in (*node.input, *node.output[:1]) if name]
    names += [name for name in node.output[1:] if name in read]
    missing = [name for name in names if name not in bound.tensors]
    if missing:
        why = f": {bound.note}" if bound.note and not node.domain else ""
        return f"{node.op_type}: the size of {missing[0]!r} is not known{why}"
    if any(bound.tensors[name].dtype in {"object", "str"} for name in names):
        return f"{node.op_type} works on text"
    return ""


def _owns(model: Any) -> bool:
    """Every path that no other format knows: the file itself is asked then."""
    is_proto = hasattr(model, "SerializeToString") and hasattr(model, "graph")
    return isinstance(model, Path | bytes) or is_proto


def _open(model: Any, request: Request) -> Opened:
    """The file itself; models in memory are written."""
    if isinstance(model, Path):
        no_signatures(str(model), request)
        return Opened(name=model.stem, file=model)
    no_signatures("An ONNX model", request)
    if isinstance(model, bytes):
        return Opened(name="model", write=lambda out, _: _stored(out, model))
    return Opened(name=model.graph.name, write=lambda out, _: _saved(out, model))


def _saved(out: Path, model: onnx.ModelProto) -> Path:
    path = out.with_name(f"{out.name}.onnx")
    save_model(model, path)
    return path


def _stored(out: Path, content: bytes) -> Path:
    path = out.with_name(f"{out.name}.onnx")
    path.write_bytes(content)
    return path


FORMAT = Format(title="an ONNX file", owns=_owns, open=_open)

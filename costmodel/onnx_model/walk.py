"""Everything in an ONNX model, wherever it is: in graphs inside nodes and in functions, too."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import onnx

from costmodel.limits import limits

#: What has nodes of its own.
Body: TypeAlias = onnx.GraphProto | onnx.FunctionProto
#: The standard operators, which have two names; ``open_model`` leaves the first of them only.
STANDARD = frozenset({"", "ai.onnx"})


def all_bodies(model: onnx.ModelProto) -> Iterator[Body]:
    """The graph, the functions, and every graph inside their nodes."""
    waiting: list[Body] = [model.graph, *model.functions]
    while waiting:
        body = waiting.pop()
        yield body
        for node in body.node:
            waiting.extend(inner_graphs(node))
        if isinstance(body, onnx.FunctionProto):
            for attribute in body.attribute_proto:
                waiting.extend(_graphs(attribute))


def check_size(path: Path, model: onnx.ModelProto) -> None:
    """Refuse a model with more nodes, or graphs deeper inside each other, than is read.

    Raises:
        LimitError: naming the limit.
    """
    most = limits()
    nodes = depth = 0
    level: list[Body] = [model.graph, *model.functions]
    while level:
        depth += 1
        nodes += sum(len(body.node) for body in level)
        most.require("nodes", nodes, path)
        most.require("nesting", depth, path)
        inner: list[Body] = [g for body in level for n in body.node for g in inner_graphs(n)]
        level = inner


def inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """Graphs that a node runs, such as the branches of an ``If``; not those inside their nodes."""
    for attribute in node.attribute:
        yield from _graphs(attribute)


def _graphs(attribute: onnx.AttributeProto) -> Iterator[onnx.GraphProto]:
    if attribute.HasField("g"):
        yield attribute.g
    yield from attribute.graphs


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor that is stored in a model."""
    for body in all_bodies(model):
        if isinstance(body, onnx.GraphProto):
            yield from body.initializer
            for sparse in body.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            defaults: list[onnx.AttributeProto] = []
        else:
            defaults = list(body.attribute_proto)
        for attribute in (*defaults, *(item for node in body.node for item in node.attribute)):
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)
            for sparse in attribute.sparse_tensors:
                yield from (sparse.values, sparse.indices)


def node_reads(node: onnx.NodeProto) -> tuple[str, ...]:
    """Tensors that ``node`` needs, those its graphs take from outside included."""
    names = list(node.input)
    for graph in inner_graphs(node):
        own = {item.name for item in (*graph.input, *graph.initializer)}
        own.update(item.values.name for item in graph.sparse_initializer)
        own.update(name for inner in graph.node for name in inner.output)
        read = [name for inner in graph.node for name in node_reads(inner)]
        # A branch may return a tensor from outside as it is.
        read += [item.name for item in graph.output]
        names.extend(name for name in read if name not in own)
    return tuple(dict.fromkeys(names))


def rename_reads(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Let a node, and the graphs inside it, read other tensors.

    Args:
        node: changed in place.
        names: new names by old ones; a graph inside may have tensors of its own by an old name.
    """
    for position, name in enumerate(node.input):
        node.input[position] = names.get(name, name)
    for graph in inner_graphs(node):
        own = {item.name for item in (*graph.input, *graph.initializer)}
        own.update(name for inner in graph.node for name in inner.output)
        left = {old: new for old, new in names.items() if old not in own}
        for inner in graph.node:
            rename_reads(inner, left)
        for item in graph.output:
            item.name = left.get(item.name, item.name)


def node_titles(nodes: Iterable[tuple[int, onnx.NodeProto]]) -> list[str]:
    """A name for each node that no other has: its own, or one of its operator and position.

    >>> node_titles(enumerate([onnx.NodeProto(op_type="Relu"), *[onnx.NodeProto(name="a")] * 2]))
    ['Relu_0', 'a', 'a_2']
    """
    titles: list[str] = []
    taken: set[str] = set()
    counts: dict[str, int] = {}
    for index, node in nodes:
        wanted = title = node.name or f"{node.op_type}_{index}"
        while title in taken:
            counts[wanted] = counts.get(wanted, 1) + 1
            title = f"{wanted}_{counts[wanted]}"
        taken.add(title)
        titles.append(title)
    return titles

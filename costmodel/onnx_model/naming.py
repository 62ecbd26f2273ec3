"""A model's own file with a name for each node, and where the readers' layers are in it.

Readers see a model with its functions written out and its nodes sorted, and call nodes without a
name of their own by operator and position there. What is shown on a graph must be said of the nodes
of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.file import open_model, save_model
from costmodel.onnx_model.tensors import load_external
from costmodel.onnx_model.walk import node_reads, node_titles

#: What a graph is called that has no name.
MAIN = "main_graph"
#: What each key of ours begins with.
PREFIX = "costmodel."


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedModel:
    """An ONNX file as it is, with a name for every node of its graph that no other node has.

    Attributes:
        path: the file.
        model: what is in it, its nodes and its graph named; weights beside the file are not loaded.
        names: one per node of the graph, in the file's order.
        op_types: operator of each node, by name.
        homes: by name of a layer as the readers call it, the node that it is, or whose function it
            is a part of.
        renamed: nodes whose name in the file is empty or another node's as well.
    """

    path: Path
    model: onnx.ModelProto
    names: tuple[str, ...]
    op_types: Mapping[str, str]
    homes: Mapping[str, str]
    renamed: int

    @property
    def graph_name(self) -> str:
        """The graph's name, which viewers know it by."""
        return str(self.model.graph.name)

    def annotate(self, nodes: Mapping[str, Mapping[str, str]], whole: Mapping[str, str]) -> None:
        """Write down what is known of nodes, and of the model, as ``metadata_props``.

        What an earlier call wrote is replaced; other entries stay.

        Args:
            nodes: texts by key, by name of the node; keys get ``PREFIX``.
            whole: the same for the model.
        """
        for name, node in zip(self.names, self.model.graph.node, strict=True):
            _set(node, nodes.get(name, {}))
        _set(self.model, whole)

    def save(self, out: Path) -> Path:
        """Write the model with its names into another file, weights included.

        Raises:
            ModelFormatError: if it cannot be written, or is the file that it was read from.
        """
        if out.resolve() == self.path.resolve():
            message = f"{out} is the model itself, which is left as it is. Give another file."
            raise ModelFormatError(message)
        load_external(self.path, self.model)
        out.parent.mkdir(parents=True, exist_ok=True)
        save_model(self.model, out)
        return out


def named_model(path: Path) -> NamedModel:
    """Read an ONNX file and give every node of its graph a name of its own.

    Args:
        path: ONNX file.

    Raises:
        ModelFormatError: as ``open_model``.
    """
    opened = open_model(path).graph.node
    model = onnx.load(path, load_external_data=False, format="protobuf")
    graph = model.graph
    graph.name = graph.name or MAIN
    titles = node_titles(enumerate(opened))
    places = _places(graph, list(opened))
    names: list[str] = [""] * len(graph.node)
    for title, node, place in zip(titles, opened, places, strict=True):
        if place is not None and node.op_type == graph.node[place].op_type:
            names[place] = title
    _name_calls(graph, names, set(titles))
    renamed = sum(node.name != name for node, name in zip(graph.node, names, strict=True))
    for node, name in zip(graph.node, names, strict=True):
        node.name = name
    return NamedModel(
        path=path,
        model=model,
        names=tuple(names),
        op_types={node.name: node.op_type for node in graph.node},
        homes={t: names[p] for t, p in zip(titles, places, strict=True) if p is not None},
        renamed=renamed,
    )


def _places(graph: onnx.GraphProto, opened: list[onnx.NodeProto]) -> list[int | None]:
    """Which node of the file each node that readers see is, or is a part of.

    What a function does in between is read by nothing but the function, so it belongs where its
    readers do.
    """
    writer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    reader: dict[str, int] = {}
    places: list[int | None] = [None] * len(opened)
    for index in range(len(opened) - 1, -1, -1):
        node = opened[index]
        own = [writer[name] for name in node.output if name in writer]
        own += [reader[name] for name in node.output if name in reader]
        if own:
            places[index] = own[0]
            for name in node_reads(node):
                reader.setdefault(name, own[0])
    return places


def _name_calls(graph: onnx.GraphProto, names: list[str], taken: set[str]) -> None:
    """Name the nodes that readers do not see as they are: calls of the model's own functions."""
    for index, node in enumerate(graph.node):
        if not names[index]:
            wanted = title = node.name or f"{node.op_type}_{index}"
            count = 1
            while title in taken:
                count += 1
                title = f"{wanted}_{count}"
            taken.add(title)
            names[index] = title


def _set(holder: onnx.NodeProto | onnx.ModelProto, texts: Mapping[str, str]) -> None:
    """Replace our entries."""
    kept = [item for item in holder.metadata_props if not item.key.startswith(PREFIX)]
    del holder.metadata_props[:]
    holder.metadata_props.extend(kept)
    for key, value in texts.items():
        holder.metadata_props.add(key=f"{PREFIX}{key}", value=value)

"""The model that is compiled: read, made small by the common rewritings, and known by name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.walk import node_titles, rename_reads
from costmodel.op import Attribute
from costmodel.runners.openvino.core import DTYPES, core, ov
from costmodel.runners.openvino.quantise import quantise
from costmodel.runners.openvino.workload import runtime_reason

#: Names given to the written nodes: OpenVINO derives its own from them.
_NAME = re.compile(r"k(\d+)(?:$|[^0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A model ready to be compiled.

    Attributes:
        model: an ``openvino.Model``.
        names: names of the written nodes by position.
        readers: positions of the nodes that read each node's results.
        inputs: names of what the model is fed, in its own order.
        outputs: names of the tensors it returns, in its own order.
    """

    model: Any
    names: tuple[str, ...]
    readers: Mapping[int, tuple[int, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def position(self, friendly: str) -> int | None:
        """Position of the written node that an OpenVINO node's name was made from."""
        found = _NAME.match(friendly)
        return int(found[1]) if found and int(found[1]) < len(self.names) else None


def read_model(model: onnx.ModelProto, name: str, dtype: str) -> Written:
    """Read a model whose inputs are bound, and rewrite it as the plug-in would.

    The rewritings that every device shares are done here, so that the nodes of the execution graph
    can be found by name in a model whose attributes can be read.

    Args:
        model: its nodes are renamed in place.
        name: the network's name, for messages.
        dtype: of the runner; ``int8`` quantises a model that is not yet quantised.

    Raises:
        ModelFormatError: if OpenVINO cannot read it.
    """
    names = _rename(model.graph)
    try:
        source = core().read_model(model.SerializeToString())
        _refuse_texts(source, name)
        simplify(source)
        if dtype == "int8":
            quantise(source)
            simplify(source)
    except (RuntimeError, ValueError) as error:
        message = f"{name}: OpenVINO cannot read this model: {runtime_reason(error)}"
        raise ModelFormatError(message) from error
    return Written(
        model=source,
        names=names,
        readers=_readers(model.graph),
        inputs=tuple(item.get_friendly_name() for item in source.get_parameters()),
        outputs=tuple(item.name for item in model.graph.output),
    )


def _refuse_texts(model: Any, name: str) -> None:
    """Raise for inputs that hold texts: the plug-in's way of freeing them ends the process."""
    for item in model.get_parameters():
        if item.get_element_type().to_string() == "string":
            message = (
                f"{name}: its input {item.get_friendly_name()!r} holds texts, which OpenVINO's CPU "
                "plug-in cannot be given without ending the process. Give the part of the network "
                "behind it, or another runner."
            )
            raise ModelFormatError(message)


def simplify(model: Any) -> None:
    """Apply the rewritings that every device shares, in place; constants are folded."""
    ov._offline_transformations.apply_moc_transformations(model, True)  # noqa: FBT003


def _rename(graph: onnx.GraphProto) -> tuple[str, ...]:
    """Number the nodes and return the names that they had, made up where they had none."""
    names = tuple(node_titles(enumerate(graph.node)))
    for index, node in enumerate(graph.node):
        node.name = f"k{index}"
    # The node that writes an output takes its tensor's name in OpenVINO.
    renamed = {item.name: item.name for item in graph.output}
    for index, node in enumerate(graph.node):
        for position, tensor in enumerate(node.output):
            if tensor in renamed:
                renamed[tensor] = f"k{index}_out{position}"
                node.output[position] = renamed[tensor]
    for node in graph.node:
        rename_reads(node, renamed)
    for item in graph.output:
        item.name = renamed[item.name]
    for item in graph.value_info:
        item.name = renamed.get(item.name, item.name)
    return names


def _readers(graph: onnx.GraphProto) -> dict[int, tuple[int, ...]]:
    writer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    found: dict[int, list[int]] = {}
    for index, node in enumerate(graph.node):
        for name in node.input:
            if name in writer:
                found.setdefault(writer[name], []).append(index)
    return {position: tuple(items) for position, items in found.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """What one input of a model node is.

    Attributes:
        source: name and output position of the node it comes from.
        dtype: as numpy names it.
        shape: sizes.
        constant: whether it depends on nothing that the model is fed.
        values: of a small stored constant, else ``None``.
    """

    source: tuple[str, int]
    dtype: str
    shape: tuple[int, ...]
    constant: bool
    values: tuple[int | float, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelNode:
    """One node of the model that was compiled.

    Attributes:
        name: unique.
        type: OpenVINO's operation, such as ``GroupConvolution``.
        opset: operation set it belongs to.
        operands: its inputs.
        attributes: plain values, sorted.
        constant: whether it depends on nothing that the model is fed.
        shapes: sizes of its outputs.
    """

    name: str
    type: str
    opset: str
    operands: tuple[Operand, ...]
    attributes: tuple[tuple[str, Attribute], ...] = field(default=())
    constant: bool = False
    shapes: tuple[tuple[int, ...], ...] = ()


#: Constants up to this many elements are kept by value.
SMALL = 64


def model_nodes(model: Any) -> dict[str, ModelNode]:
    """Every node of a model by name, in running order."""
    found: dict[str, ModelNode] = {}
    stored: dict[str, tuple[int | float, ...]] = {}
    for item in model.get_ordered_ops():
        kind, name = item.get_type_name(), item.get_friendly_name()
        sizes = tuple(tuple(int(n) for n in output.get_shape()) for output in item.outputs())
        if kind == "Constant" and sizes and prod(sizes[0]) <= SMALL:
            stored[name] = tuple(np.asarray(item.get_data()).astype(object).ravel().tolist())
        operands = tuple(_operand(entry, found, stored) for entry in item.inputs())
        fed = kind in {"Parameter", "ReadValue"}
        constant = kind == "Constant" or (not fed and all(o.constant for o in operands))
        found[name] = ModelNode(
            name=name,
            type=kind,
            opset=item.get_type_info().version_id or "opset1",
            operands=operands,
            attributes=() if kind == "Constant" else plain(item.get_attributes().items()),
            constant=constant,
            shapes=sizes,
        )
    return found


def _operand(
    entry: Any, nodes: Mapping[str, ModelNode], stored: Mapping[str, tuple[int | float, ...]]
) -> Operand:
    source = entry.get_source_output()
    name = source.get_node().get_friendly_name()
    element = source.get_element_type().to_string()
    return Operand(
        source=(name, source.get_index()),
        dtype=DTYPES.get(element, element),
        shape=tuple(int(n) for n in source.get_shape()),
        constant=nodes[name].constant,
        values=stored.get(name),
    )


def plain(items: Iterable[tuple[str, object]]) -> tuple[tuple[str, Attribute], ...]:
    """Attributes as plain values, sorted; those without a plain value are left out."""
    found: dict[str, Attribute] = {}
    for key, value in items:
        if isinstance(value, bool):
            found[key] = int(value)
        elif isinstance(value, int | float | str):
            found[key] = value
        elif isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
            found[key] = tuple(int(v) if isinstance(v, bool) else v for v in value)
    return tuple(sorted(found.items()))

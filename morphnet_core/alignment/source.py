"""Opens the network that is to be aligned, with the wiring of what could not be read."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from costmodel.durable import write_lines
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.network import Network, Opaque
from costmodel.onnx_model.file import open_model
from costmodel.onnx_model.inputs import real_inputs
from costmodel.onnx_model.walk import node_reads
from costmodel.readers.onnx import network_from_model
from costmodel.readers.onnx_sizes import BoundModel, bind
from costmodel.sizes import Sizes

#: Kernels on integers; zero is not their value 0, and their widths have no latency table here.
_QUANTISED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger"}
    | {"MatMulInteger", "MatMulNBits", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QGemm"}
)
#: Domain of kernels whose weights ONNX Runtime has already laid out for one machine.
_LAID_OUT = "com.microsoft.nchwc"
#: Format version before which all weights are listed among the inputs, and are fixed all the same.
_FIXED_SINCE = 4
_MEASURES = frozenset({"Shape", "Size"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A network as it is.

    Attributes:
        path: its file, or what stands for one in messages.
        model: as the file has it, open sizes included, nodes in running order.
        bound: the same with fixed sizes.
        network: its layers as written; unread ones are wired up.
        nodes: position of the node that writes each tensor.
        measured: constants that the network computes from sizes of its tensors.
        static: whether the file itself leaves no size open.
    """

    path: Path
    model: onnx.ModelProto
    bound: BoundModel
    network: Network
    nodes: Mapping[str, int]
    measured: frozenset[str]
    static: bool


def read_source(
    model: str | Path | onnx.ModelProto, sizes: Sizes, *, fix_weights: bool = False
) -> Source:
    """Open a network and give every input a fixed size.

    Args:
        model: file, or a model in memory; not changed.
        sizes: of open dimensions, as ``costmodel.readers.onnx.load_onnx`` takes them.
        fix_weights: take weights off the list of inputs, where old exporters put them.

    Raises:
        ModelFormatError: if it is damaged, quantised, laid out for one machine, or too large.
        InvalidInputError: if ``sizes`` has a name that the model lacks, or a value below 1.
    """
    if isinstance(model, onnx.ModelProto):
        path, opened = Path(f"{model.graph.name or 'model'}.onnx"), _from_memory(model)
    else:
        path = Path(model)
        opened = open_model(path)
    _refuse(path, opened)
    if fix_weights and opened.ir_version >= _FIXED_SINCE:
        inputs = real_inputs(opened.graph)
        del opened.graph.input[:]
        opened.graph.input.extend(inputs)
    kept = onnx.ModelProto()
    kept.CopyFrom(opened)
    bound = bind(path, opened, sizes)
    return Source(
        path=path,
        model=kept,
        bound=bound,
        network=_wired(network_from_model(bound, path.stem), bound),
        nodes={name: i for i, node in enumerate(kept.graph.node) for name in node.output if name},
        measured=_measured(bound),
        static=all(
            dim.dim_value > 0
            for item in real_inputs(kept.graph)
            for dim in item.type.tensor_type.shape.dim
        ),
    )


def _from_memory(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model that went through a file, and so through all the checks of one."""
    with tempfile.TemporaryDirectory(prefix="morphnet-") as folder:
        path = Path(folder) / "model.onnx"
        try:
            path.write_bytes(model.SerializeToString())
        except ValueError as error:
            message = (
                f"The model {model.graph.name!r} is too large for one file ({error}). Save it with "
                "external data and give its path."
            )
            raise ModelFormatError(message) from error
        return open_model(path)


def _refuse(path: Path, model: onnx.ModelProto) -> None:
    """Raise for networks that padding with float zeros does not fit."""
    for node in model.graph.node:
        if node.op_type in _QUANTISED or node.op_type.startswith("QLinear"):
            message = (
                f"{path} is quantised: node {node.name!r} is a {node.op_type}. Align the float "
                "network, then quantise the result."
            )
            raise ModelFormatError(message)
        if node.domain == _LAID_OUT:
            message = (
                f"{path} was optimised for one machine: node {node.name!r} is a {node.op_type} of "
                f"the domain {node.domain!r}. Give the network as it was before."
            )
            raise ModelFormatError(message)


def _wired(network: Network, bound: BoundModel) -> Network:
    """The network with the inputs and outputs of its unread nodes, and without constant outputs.

    Raises:
        InvalidInputError: if nothing that it returns depends on its input.
    """
    outputs = tuple(name for name in network.outputs if name not in bound.constants)
    if not outputs or not network.layers:
        lost = [f" Layer {name!r} is not read: {why}." for name, why in network.unread.items()]
        message = (
            f"The network {network.name!r} computes nothing from its inputs: it has "
            f"{len(network.layers)} layers and {len(outputs)} outputs that depend on them."
            f"{''.join(lost[:1])}"
        )
        raise InvalidInputError(message)
    read = {name for layer in network.layers for name in layer.outputs}
    left = [
        node
        for node in bound.model.graph.node
        if read.isdisjoint(node.output)
        and not all(name in bound.constants for name in node.output if name)
    ]
    sizeless = {item.name for item in bound.model.graph.input} - set(network.inputs)
    opaque = {
        title: Opaque(
            inputs=tuple(
                name for name in node_reads(node) if _flows(name, bound) and name not in sizeless
            ),
            outputs=tuple(name for name in node.output if name),
            sizes=tuple(_size(name, bound) for name in node.output if name),
            reason=reason,
        )
        for (title, reason), node in zip(network.unread.items(), left, strict=True)
    }
    return replace(network, opaque=opaque, outputs=outputs)


def _flows(name: str, bound: BoundModel) -> bool:
    """Whether a tensor carries something of what the network is fed."""
    return bool(name) and name not in bound.constants


def _size(name: str, bound: BoundModel) -> tuple[int, ...]:
    found = bound.tensors.get(name)
    return found.shape if found else ()


def _measured(bound: BoundModel) -> frozenset[str]:
    """Constants that follow from sizes of tensors that carry something."""
    found: set[str] = set()
    for node in bound.model.graph.node:
        if not all(name in bound.constants for name in node.output if name):
            continue
        reads = [name for name in node.input if name]
        flows = node.op_type in _MEASURES and any(name not in bound.constants for name in reads)
        if flows or not found.isdisjoint(reads):
            found.update(name for name in node.output if name)
    return frozenset(found)


def write_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model whole, or not at all.

    Raises:
        InvalidInputError: if it cannot be written, or is too large for one file.
    """
    try:
        data = model.SerializeToString()
    except ValueError as error:
        message = (
            f"{path}: the model is too large for one ONNX file ({error}). Widths can be changed of "
            "models of up to 2 GiB."
        )
        raise InvalidInputError(message) from error
    write_lines(path, [data])

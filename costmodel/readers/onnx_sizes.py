"""Binds a model's dynamic dimensions and finds the shape and type of every tensor.

Weights never take part: they are replaced by their sizes before shapes are inferred, so a model of
half a gigabyte costs no more than its list of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from costmodel.limits import in_time, still_in_time
from costmodel.onnx_model.inputs import bind_inputs, real_inputs
from costmodel.onnx_model.nodes import OPSET, Tensor
from costmodel.op import Shape
from costmodel.readers.onnx_asked import ask_runtime
from costmodel.readers.onnx_fold import fold
from costmodel.readers.onnx_stand_ins import INNER, stand_ins
from costmodel.sizes import Sizes

#: Initializers up to this many elements keep their values: shapes, axes, pads, scales.
SMALL = 1024
#: Times that values found by folding go into inference, each of which may make more of them known:
#: an attention written out needs one after the other. What then lacks sizes is run.
ROUNDS = 6
#: Domains of operators that ONNX Runtime knows, beside the standard ones.
RUNTIME_DOMAINS = frozenset({"ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc"})
#: Operators that run a graph inside or work on lists of tensors: sizes are seldom written down.
_RUN_INSIDE = frozenset(
    {"ConcatFromSequence", "If", "Loop", "OptionalGetElement", "Scan", "SequenceAt"}
    | {"SequenceMap", "SplitToSequence"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundModel:
    """A model all of whose inputs have fixed sizes.

    Attributes:
        model: the model; its inputs are static and inferred shapes are stored in it.
        tensors: sizes and types by tensor name, as far as they could be inferred.
        constants: tensors that do not depend on what the model is fed, with their values where
            these are few; ``None`` for weights.
        note: what shape inference complained about; empty if nothing.
    """

    model: onnx.ModelProto
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, NDArray[np.generic] | None] = field(default_factory=dict)
    note: str = ""


def bind(path: Path, model: onnx.ModelProto, sizes: Sizes) -> BoundModel:
    """Give every input fixed sizes and infer all other shapes.

    Args:
        path: where the model came from, for messages.
        model: changed in place: input sizes set, inferred shapes stored.
        sizes: as for ``costmodel.sizes.bind_shapes``.

    Raises:
        ModelFormatError: if a dimension stays open.
        InvalidInputError: if ``sizes`` holds a name this model lacks or a value below 1.
    """
    with in_time(path):
        return _bound(path, model, sizes)


def _bound(path: Path, model: onnx.ModelProto, sizes: Sizes) -> BoundModel:
    bind_inputs(path, model.graph, sizes)
    skeleton = _skeleton(model)
    known = _infer(model, skeleton)
    rounds = 0
    while rounds < ROUNDS and _fold_in(skeleton, known):
        known = _infer(model, skeleton)
        rounds += 1
    if _ask(model, skeleton, known, anything=rounds == ROUNDS):
        known = _infer(model, skeleton)
    tensors = dict(known.tensors)
    for item in model.graph.initializer:
        dtype = str(helper.tensor_dtype_to_np_dtype(item.data_type))
        tensors[item.name] = Tensor(shape=tuple(item.dims), dtype=dtype)
    _store(model.graph, known.inferred.graph)
    return BoundModel(model=model, tensors=tensors, constants=known.constants, note=known.note)


def tensors_shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Sizes alone."""
    return {name: item.shape for name, item in tensors.items()}


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its weights and without shapes that other sizes may have made stale."""
    skeleton = onnx.ModelProto()
    skeleton.ir_version = max(model.ir_version, 8)
    skeleton.opset_import.extend(model.opset_import)
    imported = {item.domain for item in model.opset_import}
    for domain in sorted({node.domain for node in model.graph.node} | {""}):
        if domain not in imported:
            skeleton.opset_import.append(helper.make_opsetid(domain, 1 if domain else OPSET))
    opset = opset_of(model)
    graph = skeleton.graph
    graph.name = model.graph.name or "graph"
    graph.input.extend(real_inputs(model.graph))
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        else:
            graph.input.append(_typed(tensor.name, tensor))
    for sparse in model.graph.sparse_initializer:
        graph.input.append(_typed(sparse.values.name, sparse.values, sparse.dims))
    stored = {item.name: tuple(item.dims) for item in model.graph.initializer}
    foreign: set[str] = set()
    for node in model.graph.node:
        constant = stored_by(node)
        made = stand_ins(node, stored, opset)
        if constant is not None and prod(constant.dims) > SMALL:
            graph.input.append(_typed(node.output[0], constant))
        elif made is not None:
            graph.node.extend(made)
        else:
            graph.node.append(node)
            foreign.update(node.output if node.domain else ())
    for item in model.graph.output:
        graph.output.add().name = item.name
    # Standard operators are inferred afresh; for the others the file's word is a first guess.
    given = (*model.graph.value_info, *model.graph.output)
    graph.value_info.extend(item for item in given if item.name in foreign)
    return skeleton


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators; 0 where a model has none."""
    return max((item.version for item in model.opset_import if not item.domain), default=0)


def stored_by(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """The tensor that a ``Constant`` node holds, if it is that and holds one."""
    if node.op_type != "Constant" or node.domain:
        return None
    return next((item.t for item in node.attribute if item.HasField("t")), None)


def _typed(
    name: str, tensor: onnx.TensorProto, dims: Sequence[int] | None = None
) -> onnx.ValueInfoProto:
    sizes = list(tensor.dims if dims is None else dims)
    return helper.make_tensor_value_info(name, tensor.data_type, sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What inference finds: the skeleton with sizes stored, and what follows from them."""

    inferred: onnx.ModelProto
    tensors: Mapping[str, Tensor]
    constants: Mapping[str, NDArray[np.generic] | None]
    note: str


def _infer(model: onnx.ModelProto, skeleton: onnx.ModelProto) -> _Known:
    still_in_time()
    inferred, note = _inferred(skeleton)
    tensors = _tensor_infos(inferred.graph)
    constants = fold(model, tensors_shapes(tensors))
    return _Known(inferred=inferred, tensors=tensors, constants=constants, note=note)


def _inferred(skeleton: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
    """Shapes of all tensors, and the complaint of the first node that has none."""
    infer = onnx.shape_inference.infer_shapes
    try:
        return infer(skeleton, strict_mode=True, data_prop=True), ""
    except Exception as error:
        note = " ".join(str(error).split())
    try:
        return infer(skeleton, strict_mode=False, data_prop=True), note
    except Exception:
        # The strict attempt's complaint is kept; layers without sizes end up in ``unread`` with it.
        return skeleton, note


def _tensor_infos(graph: onnx.GraphProto) -> dict[str, Tensor]:
    infos: dict[str, Tensor] = {}
    for item in (*graph.input, *graph.value_info, *graph.output):
        kind = item.type.tensor_type
        dims = kind.shape.dim
        if not kind.HasField("shape") or any(not dim.HasField("dim_value") for dim in dims):
            continue
        try:
            dtype = str(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        except KeyError:
            continue
        if not item.name.startswith(INNER):
            infos[item.name] = Tensor(shape=tuple(dim.dim_value for dim in dims), dtype=dtype)
    for tensor in graph.initializer:
        dtype = str(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        infos[tensor.name] = Tensor(shape=tuple(tensor.dims), dtype=dtype)
    return infos


def _ask(
    model: onnx.ModelProto, skeleton: onnx.ModelProto, known: _Known, *, anything: bool
) -> bool:
    """Put sizes into the skeleton that only the runtime knows; whether there were any.

    Args:
        model: whose sizes are asked for.
        skeleton: changed in place.
        known: what is known without asking.
        anything: ask whatever operator lacks a size, not only where the runtime knows more.
    """
    tensors, constants = known.tensors, known.constants
    missing = [node for node in model.graph.node if _lacks_shape(node, tensors)]
    opset = opset_of(model)
    if not any(anything or _is_askable(node, opset) for node in missing):
        return False
    names = {
        name
        for node in missing
        for name in node.output
        if name and name not in tensors and name not in constants
    }
    found = ask_runtime(model, skeleton, names)
    guessed = [item for item in skeleton.graph.value_info if item.name not in found]
    del skeleton.graph.value_info[:]
    skeleton.graph.value_info.extend(guessed)
    for name, tensor in found.items():
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        info = helper.make_tensor_value_info(name, kind, tensor.shape)
        skeleton.graph.value_info.append(info)
    return bool(found)


def _is_askable(node: onnx.NodeProto, opset: int) -> bool:
    """Whether the runtime may know what onnx does not."""
    if node.domain:
        return node.domain in RUNTIME_DOMAINS
    return node.op_type in _RUN_INSIDE or not onnx.defs.has(node.op_type, opset)


def _fold_in(skeleton: onnx.ModelProto, known: _Known) -> bool:
    """Put folded values into the skeleton if shapes are still missing; whether that was needed."""
    tensors, constants = known.tensors, known.constants
    missing = [node for node in skeleton.graph.node if _lacks_shape(node, tensors)]
    values = {
        name: value
        for node in missing
        for name in node.input
        if (value := constants.get(name)) is not None
    }
    stored = {item.name for item in skeleton.graph.initializer}
    fresh = {name: value for name, value in values.items() if name not in stored}
    if not fresh:
        return False
    kept = [node for node in skeleton.graph.node if not set(node.output) & set(fresh)]
    del skeleton.graph.node[:]
    skeleton.graph.node.extend(kept)
    skeleton.graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in fresh.items()
    )
    return True


def _lacks_shape(node: onnx.NodeProto, tensors: Mapping[str, Tensor]) -> bool:
    return bool(node.output) and node.output[0] not in tensors


def _store(graph: onnx.GraphProto, inferred: onnx.GraphProto) -> None:
    """Keep the inferred shapes in the model; its outputs keep their place and order."""
    found = {
        item.name: item
        for item in (*inferred.output, *inferred.value_info)
        if item.type.WhichOneof("value") and not item.name.startswith(INNER)
    }
    outputs = {item.name for item in graph.output}
    del graph.value_info[:]
    graph.value_info.extend(item for name, item in found.items() if name not in outputs)
    for item in graph.output:
        if item.name in found:
            item.type.CopyFrom(found[item.name].type)

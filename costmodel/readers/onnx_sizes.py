"""Binds a model's dynamic dimensions and finds the shape and type of every tensor.

Weights never take part: they are replaced by their sizes before shapes are inferred, so a model of
half a gigabyte costs no more than its list of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from costmodel.onnx_model.inputs import bind_inputs, real_inputs
from costmodel.onnx_model.nodes import Tensor
from costmodel.op import Shape
from costmodel.readers.onnx_fold import fold
from costmodel.sizes import Sizes

#: Initializers up to this many elements keep their values: shapes, axes, pads, scales.
SMALL = 1024


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
    bind_inputs(path, model.graph, sizes)
    skeleton = _skeleton(model)
    inferred, note = _infer(skeleton)
    tensors = _tensor_infos(inferred.graph)
    constants = fold(model, tensors_shapes(tensors))
    if _learned(skeleton, constants, tensors):
        inferred, note = _infer(skeleton)
        tensors = _tensor_infos(inferred.graph)
        constants = fold(model, tensors_shapes(tensors))
    for item in model.graph.initializer:
        dtype = str(helper.tensor_dtype_to_np_dtype(item.data_type))
        tensors[item.name] = Tensor(shape=tuple(item.dims), dtype=dtype)
    _store(model.graph, inferred.graph)
    return BoundModel(model=model, tensors=tensors, constants=constants, note=note)


def tensors_shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    """Sizes alone."""
    return {name: item.shape for name, item in tensors.items()}


def _skeleton(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its weights and without shapes that other sizes may have made stale."""
    skeleton = onnx.ModelProto()
    skeleton.ir_version = max(model.ir_version, 8)
    skeleton.opset_import.extend(model.opset_import)
    graph = skeleton.graph
    graph.name = model.graph.name or "graph"
    graph.node.extend(model.graph.node)
    graph.input.extend(real_inputs(model.graph))
    for tensor in model.graph.initializer:
        if prod(tensor.dims) <= SMALL:
            graph.initializer.append(tensor)
        else:
            typed = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            graph.input.append(typed)
    for sparse in model.graph.sparse_initializer:
        kind = sparse.values.data_type
        typed = helper.make_tensor_value_info(sparse.values.name, kind, list(sparse.dims))
        graph.input.append(typed)
    for item in model.graph.output:
        graph.output.add().name = item.name
    # Standard operators are inferred afresh; for the others the file's word is all there is.
    foreign = {name for node in model.graph.node if node.domain for name in node.output}
    given = (*model.graph.value_info, *model.graph.output)
    graph.value_info.extend(item for item in given if item.name in foreign)
    return skeleton


def _infer(skeleton: onnx.ModelProto) -> tuple[onnx.ModelProto, str]:
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
        infos[item.name] = Tensor(shape=tuple(dim.dim_value for dim in dims), dtype=dtype)
    for tensor in graph.initializer:
        dtype = str(helper.tensor_dtype_to_np_dtype(tensor.data_type))
        infos[tensor.name] = Tensor(shape=tuple(tensor.dims), dtype=dtype)
    return infos


def _learned(
    skeleton: onnx.ModelProto,
    constants: Mapping[str, NDArray[np.generic] | None],
    tensors: Mapping[str, Tensor],
) -> bool:
    """Put folded values into the skeleton if shapes are still missing; whether that was needed."""
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
    found = {item.name: item for item in (*inferred.value_info, *inferred.output)}
    outputs = {item.name for item in graph.output}
    del graph.value_info[:]
    graph.value_info.extend(item for name, item in found.items() if name not in outputs)
    for item in graph.output:
        if item.name in found and found[item.name].type.WhichOneof("value"):
            item.type.CopyFrom(found[item.name].type)

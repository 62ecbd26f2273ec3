"""Finds the tensors of a model that do not depend on its input, and the values of the small ones.

Weights made by nodes (``ConstantOfShape``, an ``Unsqueeze`` of a scale) are recognised by wiring
alone; only tensors of a few elements (shapes, axes, pads) are ever computed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from costmodel.limits import still_in_time
from costmodel.op import Shape

#: Tensors up to this many elements are computed; larger ones are known to be constant, no more.
SMALL = 1024
#: Operators without inputs, or with constant ones, whose result differs from run to run.
_RANDOM = frozenset(
    {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
    | {"Bernoulli"}
)

Values = dict[str, NDArray[np.generic] | None]


def fold(model: onnx.ModelProto, shapes: Mapping[str, Shape]) -> Values:
    """Constant tensors of ``model`` by name, with their value or ``None`` where it is large.

    Args:
        model: nodes in running order.
        shapes: sizes of tensors as far as known; they make ``Shape`` nodes constant.
    """
    values: Values = {}
    for tensor in model.graph.initializer:
        small = prod(tensor.dims) <= SMALL
        values[tensor.name] = _array(tensor) if small else None
    for sparse in model.graph.sparse_initializer:
        values[sparse.values.name] = None
    for node in model.graph.node:
        still_in_time()
        values.update(_fold_node(model, node, values, shapes))
    return values


def _array(tensor: onnx.TensorProto) -> NDArray[np.generic] | None:
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (TypeError, ValueError):
        return None


def _fold_node(
    model: onnx.ModelProto, node: onnx.NodeProto, values: Values, shapes: Mapping[str, Shape]
) -> Values:
    """Constant outputs of one node; empty if it works on what the model is fed."""
    measured = next(iter(node.input), "") if node.op_type in {"Shape", "Size"} else ""
    if measured in shapes:
        return {node.output[0]: _shape_value(node, shapes[measured])}
    names = [name for name in node.input if name]
    has_graph = any(item.HasField("g") or item.graphs for item in node.attribute)
    if node.op_type in _RANDOM or has_graph or any(name not in values for name in names):
        return {}
    unknown: Values = {name: None for name in node.output if name}
    known = {name: value for name in names if (value := values[name]) is not None}
    sizes = [shapes.get(name) for name in unknown]
    large = any(shape is None or prod(shape) > SMALL for shape in sizes)
    if large or len(known) < len(set(names)) or node.domain:
        return unknown
    return _evaluate(model, node, known) or unknown


def _shape_value(node: onnx.NodeProto, shape: Shape) -> NDArray[np.generic]:
    if node.op_type == "Size":
        return np.asarray(prod(shape), dtype=np.int64)
    bounds = {item.name: item.i for item in node.attribute}
    return np.asarray(shape[bounds.get("start", 0) : bounds.get("end", len(shape))], dtype=np.int64)


def _evaluate(
    model: onnx.ModelProto, node: onnx.NodeProto, known: Mapping[str, NDArray[np.generic]]
) -> Values:
    """Run one node on small values with onnx's own reference; empty if it cannot."""
    inputs = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
        )
        for name, value in known.items()
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
    graph = helper.make_graph([node], "fold", inputs, outputs)
    single = helper.make_model(graph, opset_imports=model.opset_import)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = ReferenceEvaluator(single).run(None, dict(known))
    except Exception:
        # Shapes that the reference cannot compute stay unknown; the layers that need them say so.
        return {}
    names = [item.name for item in outputs]
    return {name: np.asarray(value) for name, value in zip(names, results, strict=True)}

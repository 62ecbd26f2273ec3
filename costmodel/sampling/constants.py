"""Constants of an ONNX graph by value, whatever form they were written in, and back again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[np.generic]

#: Constants below this many elements are written out even when all elements are equal.
_SMALL = 64


def attributes_of(node: onnx.NodeProto) -> dict[str, object]:
    """Attribute values by name."""
    return {item.name: helper.get_attribute_value(item) for item in node.attribute}


def read_constants(graph: onnx.GraphProto) -> dict[str, Array]:
    """Value of every tensor that depends on no input.

    A tensor whose elements are all one value, as in models that were stripped of their weights, is
    a view without memory of its own.
    """
    values = {item.name: _lazy(item) for item in graph.initializer}
    for node in graph.node:
        fold = _FOLDS.get(node.op_type)
        if fold is None or len(node.output) != 1 or any(i not in values for i in node.input if i):
            continue
        try:
            values[node.output[0]] = fold(node, [values[i] for i in node.input if i])
        except (ValueError, TypeError, IndexError, KeyError):
            continue  # malformed here or unusual: then it is not followed
    return values


def _lazy(tensor: onnx.TensorProto) -> Array:
    return np.asarray(numpy_helper.to_array(tensor))


def is_uniform(value: Array) -> bool:
    """Whether ``value`` is one element seen many times."""
    return all(not s or n == 1 for s, n in zip(value.strides, value.shape, strict=True))


def _constant(node: onnx.NodeProto, _inputs: list[Array]) -> Array:
    value = attributes_of(node)["value"]
    if not isinstance(value, onnx.TensorProto):
        message = "only the tensor form is followed"
        raise TypeError(message)
    return _lazy(value)


def _constant_of_shape(node: onnx.NodeProto, inputs: list[Array]) -> Array:
    value = attributes_of(node).get("value")
    scalar = np.zeros(1, np.float32) if value is None else _lazy(value)
    return np.broadcast_to(scalar.reshape(()), tuple(int(n) for n in inputs[0]))


def _unsqueeze(node: onnx.NodeProto, inputs: list[Array]) -> Array:
    return np.expand_dims(inputs[0], tuple(axes_of(node, inputs)))


def _squeeze(node: onnx.NodeProto, inputs: list[Array]) -> Array:
    return np.squeeze(inputs[0], tuple(axes_of(node, inputs)))


def _reshape(_node: onnx.NodeProto, inputs: list[Array]) -> Array:
    return inputs[0].reshape(target_shape(inputs[0].shape, inputs[1].tolist()))


def _identity(_node: onnx.NodeProto, inputs: list[Array]) -> Array:
    return inputs[0]


_FOLDS: Mapping[str, Callable[[onnx.NodeProto, list[Array]], Array]] = {
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "Unsqueeze": _unsqueeze,
    "Squeeze": _squeeze,
    "Reshape": _reshape,
    "Identity": _identity,
}


def axes_of(node: onnx.NodeProto, inputs: list[Array]) -> list[int]:
    """The ``axes`` of a node, attribute in old opsets and second input in new ones."""
    axes = attributes_of(node).get("axes")
    if axes is None:
        return [int(a) for a in inputs[1]]
    return list(axes)  # type: ignore[call-overload, no-any-return]


def target_shape(shape: tuple[int, ...], target: Iterable[int]) -> tuple[int, ...]:
    """What a ``Reshape`` to ``target`` makes of ``shape``; 0 copies a size, -1 takes the rest.

    >>> target_shape((1, 8, 2, 2), (0, -1))
    (1, 32)
    """
    sizes = [shape[i] if size == 0 else int(size) for i, size in enumerate(target)]
    known = prod(size for size in sizes if size != -1)
    return tuple(prod(shape) // known if size == -1 else size for size in sizes)


def write_constants(model: onnx.ModelProto, values: Mapping[str, Array]) -> None:
    """Give named tensors new constant values, whichever form they had, and drop what became unused.

    Args:
        model: changed in place.
        values: by tensor name; new names are added.
    """
    graph = model.graph
    former = {item.name for item in graph.initializer} | values.keys()
    listed = {item.name for item in graph.input} & former
    nodes = [node for node in graph.node if not set(node.output) & values.keys()]
    tensors = [item for item in graph.initializer if item.name not in values]
    made: list[onnx.NodeProto] = []
    for name, value in values.items():
        if value.size > _SMALL and is_uniform(value):
            shape = numpy_helper.from_array(np.array(value.shape, np.int64), f"{name}__shape")
            fill = numpy_helper.from_array(np.array([value.flat[0]], value.dtype))
            made.append(helper.make_node("ConstantOfShape", [shape.name], [name], value=fill))
            tensors.append(shape)
        else:
            tensors.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    del graph.node[:], graph.initializer[:]
    graph.node.extend(_alive([*made, *nodes], graph.output))
    used = Counter(name for node in graph.node for name in node.input)
    used.update(captured_names(graph))
    used.update(item.name for item in graph.output)
    kept = [item for item in tensors if used[item.name]]
    graph.initializer.extend(kept)
    # Some files list constants among the inputs; those of the oldest version have to.
    inputs = [item for item in graph.input if item.name not in former]
    for item in kept:
        if item.name in listed or model.ir_version < 4:
            info = helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
            inputs.append(info)
    del graph.input[:]
    graph.input.extend(inputs)


def _alive(
    nodes: list[onnx.NodeProto], outputs: Iterable[onnx.ValueInfoProto]
) -> list[onnx.NodeProto]:
    """Nodes whose results somebody reads."""
    read = {item.name for item in outputs}
    kept: list[onnx.NodeProto] = []
    for node in reversed(nodes):
        if read & set(node.output):
            kept.append(node)
            read.update(node.input)
            read.update(_captured(node))
    return kept[::-1]


def _captured(node: onnx.NodeProto) -> set[str]:
    """Every name read inside the subgraphs of a node."""
    names: set[str] = set()
    for item in node.attribute:
        for graph in (item.g, *item.graphs):
            for inner in graph.node:
                names.update(inner.input)
                names |= _captured(inner)
            names.update(output.name for output in graph.output)
    return names


def captured_names(graph: onnx.GraphProto) -> set[str]:
    """Names that subgraphs (``If``, ``Loop``) read, some of them from outside."""
    return set[str]().union(*(_captured(node) for node in graph.node))

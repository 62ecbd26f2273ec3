"""Finds layers whose weights are provably the same, which a runtime then executes once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from math import prod

import onnx

#: Stored tensors up to this many elements are compared by value, larger ones by name: the rule of
#: ONNX Runtime's constant sharing.
_SMALL = 8


def equal_weights(
    model: onnx.ModelProto, nodes: Iterable[tuple[int, onnx.NodeProto]], constants: Iterable[str]
) -> dict[int, int]:
    """Number of the weights of each node that shares all of its constants with another one.

    Args:
        model: nodes in running order.
        nodes: the model's layers with their positions.
        constants: tensors that do not depend on the model's input.

    Returns:
        By position, equal numbers for nodes of one kind with equal constants; nodes whose constants
        no other node has are left out.
    """
    known = set(constants)
    numbers = _identities(model, known)
    keys: dict[int, Hashable] = {}
    for index, node in nodes:
        own = tuple(numbers[name] for name in node.input if name in known)
        if own:
            keys[index] = (node.op_type, own)
    counts = Counter(keys.values())
    shared = {key: number for number, key in enumerate(k for k, n in counts.items() if n > 1)}
    return {index: shared[key] for index, key in keys.items() if key in shared}


def _identities(model: onnx.ModelProto, known: set[str]) -> Mapping[str, int]:
    """A number for each constant, equal where the values are sure to be."""
    seen: dict[Hashable, int] = {}
    numbers: dict[str, int] = {}

    def number(name: str, key: Hashable) -> None:
        numbers[name] = seen.setdefault(key, len(seen))

    for tensor in model.graph.initializer:
        small = prod(tensor.dims) <= _SMALL
        number(tensor.name, _value(tensor) if small else tensor.name)
    for node in model.graph.node:
        if not all(name in known for name in node.output if name):
            continue
        settings = tuple(sorted(item.SerializeToString() for item in node.attribute))
        reads = tuple(numbers.get(name, -1) for name in node.input)
        certain = node.input and -1 not in reads
        for position, name in enumerate(node.output):
            key = (node.op_type, node.domain, settings, reads, position)
            number(name, key if certain or node.op_type == "Constant" else name)
    return {name: numbers.get(name, -1 - index) for index, name in enumerate(sorted(known))}


def _value(tensor: onnx.TensorProto) -> bytes:
    """A stored tensor's type, sizes and values."""
    bare = onnx.TensorProto()
    bare.CopyFrom(tensor)
    bare.ClearField("name")
    bare.ClearField("doc_string")
    return bytes(bare.SerializeToString(deterministic=True))

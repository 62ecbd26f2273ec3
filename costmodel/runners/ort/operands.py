"""What an executed node is beyond its work: whose kernel it is, its layout, what is folded in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx
from numpy.typing import NDArray

from costmodel.onnx_model import nodes
from costmodel.onnx_model.nodes import Tensor
from costmodel.op import CONV_KINDS, POOL_KINDS, Attribute, Op
from costmodel.runners.ort.integer import has_parameters, integer_op, is_integer
from costmodel.runners.ort.weights import WEIGHT_DTYPES, weight_dtypes

NCHWC = "com.microsoft.nchwc"
#: Attribute of Ops that another provider than the runner's own executed: its name.
PROVIDER = "provider"


def executed_op(
    node: onnx.NodeProto,
    tensors: Mapping[str, Tensor],
    constants: Mapping[str, NDArray[np.generic] | None],
    *,
    opset: int,
    block: int,
) -> Op:
    """The work of one executed node.

    Args:
        node: from the runtime's optimised graph.
        tensors: shape and type of every tensor by name.
        constants: stored tensors by name, with the values of small ones.
        opset: of the default domain.
        block: channel block of the NCHWc layout on this machine.
    """
    attributes = nodes.attributes_of(node)
    if is_integer(node):
        work = integer_op(node, tensors, constants, opset)
    else:
        work = _with_stored(nodes.op_from_node(node, tensors, constants, opset), node, tensors)
    letters = "" if has_parameters(work) else work.order
    if work.kind in CONV_KINDS | POOL_KINDS:  # the numbers it comes to are all that matters
        rest = tuple(item for item in work.attributes if item[0] != "auto_pad")
        work = replace(work, attributes=rest)
    return replace(
        work,
        implementation=f"{node.domain}:{node.op_type}" if node.domain else node.op_type,
        layout=_layout(node, attributes, block),
        epilogue=_epilogue(work.kind, letters, attributes),
    )


def with_provider(op: Op, home: str, expected: str) -> Op:
    """``op`` marked with the provider that executed it where that is not the expected one."""
    if home in {"", expected}:
        return op
    return replace(op, attributes=tuple(sorted((*op.attributes, (PROVIDER, home)))))


def _with_stored(op: Op, node: onnx.NodeProto, tensors: Mapping[str, Tensor]) -> Op:
    """``op`` with the element types of its weights where they are not what they would be taken for.

    A normalisation in float16 may have float32 statistics.
    """
    names = [name for name, letter in zip(node.input, op.order, strict=False) if letter == "w"]
    found = tuple(tensors[name].dtype for name in names)
    if found == weight_dtypes(op):
        return op
    stated = (WEIGHT_DTYPES, " ".join(found))
    return replace(op, attributes=tuple(sorted((*op.attributes, stated))))


def _layout(node: onnx.NodeProto, attributes: Mapping[str, Attribute], block: int) -> str:
    if node.domain == NCHWC:
        return f"nchw{block}c"
    last = node.domain and (attributes.get("channels_last") or node.op_type.startswith("Nhwc"))
    return "nhwc" if last else "nchw"


def _epilogue(kind: str, letters: str, attributes: Mapping[str, Attribute]) -> tuple[str, ...]:
    # The fourth operand is added to the result; filter and bias may be computed, too.
    folded = ["sum"] if kind == "conv" and letters[3:4] == "d" else []
    activation = attributes.get("activation")
    if isinstance(activation, str) and activation:
        folded.append(activation.lower())
    return tuple(folded)

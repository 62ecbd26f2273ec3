"""Integer kernels as Ops: scales and zero points are told from the operands that are work.

ONNX Runtime's integer kernels take, beside each tensor, its scale and zero point. Their values
change no time and differ in every layer of every network, so an Op keeps only that they are there,
as letters of ``Op.operands``: ``s`` a scale, ``z`` a zero point, ``S`` and ``Z`` the same with one
value per output channel, ``=`` the very scale or zero point of the result, which spares a Concat
the rescaling. Everything else is as in the float kernel of the same work: a QLinearConv is a
``conv`` whose first weight is its filter. Element types of weights stand in the attribute
``weight_dtypes``, the result's in ``output_dtype`` where it is not the Op's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from costmodel.errors import UnsupportedOpError
from costmodel.onnx_model import nodes
from costmodel.onnx_model.nodes import Tensor
from costmodel.op import CONV_KINDS, MATMUL_KINDS, Op, Shape
from costmodel.runners.ort.weights import OUTPUT_DTYPE, WEIGHT_DTYPES, output_dtype

#: Operands of integer kernels, ``v`` for a value; the plain operator of the same work.
_KERNELS = {
    "DequantizeLinear": ("vsz", "DequantizeLinear"),
    "QGemm": ("vszvszvsz", "Gemm"),
    "QLinearAdd": ("vszvszsz", "Add"),
    "QLinearAveragePool": ("vszsz", "AveragePool"),
    "QLinearConcat": ("szvsz", "Concat"),
    "QLinearConv": ("vszvszszv", "Conv"),
    "QLinearGlobalAveragePool": ("vszsz", "GlobalAveragePool"),
    "QLinearLeakyRelu": ("vszsz", "LeakyRelu"),
    "QLinearMatMul": ("vszvszsz", "MatMul"),
    "QLinearMul": ("vszvszsz", "Mul"),
    "QLinearSigmoid": ("vszsz", "Sigmoid"),
    "QLinearSoftmax": ("vszsz", "Softmax"),
    "QLinearWhere": ("vvszvszsz", "Where"),
    "QuantizeLinear": ("vsz", "QuantizeLinear"),
}
#: Kernels that take their tensors channels last.
_NHWC_POOL = "NhwcMaxPool"
#: Attributes that say what the Op's fields say, or nothing about the work.
_SETTLED = frozenset({"auto_pad", "block_size", "output_dtype", "precision", "saturate", "since"})
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def is_integer(node: onnx.NodeProto) -> bool:
    """Whether a node is an integer kernel or a conversion to or from one."""
    return node.op_type in _KERNELS or node.op_type == _NHWC_POOL


def integer_op(
    node: onnx.NodeProto,
    tensors: Mapping[str, Tensor],
    constants: Mapping[str, NDArray[np.generic] | None],
    opset: int,
) -> Op:
    """The work of one executed integer kernel, without its implementation and layout.

    Args:
        node: one for which ``is_integer`` holds.
        tensors: shape and type of every tensor by name.
        constants: stored tensors by name, with the values of small ones.
        opset: of the default domain.
    """
    letters, plain = _operands(node)
    values = [n for n, letter in zip(node.input, letters, strict=False) if letter == "v"]
    last = is_channels_last(node)
    view = {name: _view(name, tensors, constants, last=last) for name in (*values, *node.output)}
    stripped = onnx.NodeProto()
    stripped.CopyFrom(node)
    del stripped.input[:]
    stripped.input.extend(values)
    stripped.op_type = plain
    work = nodes.op_from_node(stripped, view, constants, opset)
    stored = [n for n in values if n in constants and n]
    if last:
        work = replace(
            work,
            inputs=tuple(_moved(s, _TO_LAST) for s in work.inputs),
            outputs=tuple(_moved(s, _TO_LAST) for s in work.outputs),
        )
    types = tuple(tensors[n].dtype for n in values if n and n not in constants)
    read = types[0] if types else tensors[stored[0]].dtype
    written = tensors[node.output[0]].dtype
    found = {k: v for k, v in work.attributes if k not in _SETTLED}
    found |= {WEIGHT_DTYPES: " ".join(tensors[n].dtype for n in stored)} if stored else {}
    if not found.get("channels_last", 1):
        del found["channels_last"]
    found |= {OUTPUT_DTYPE: written} if written != read else {}
    marks = _marks(node, letters, tensors, constants)
    if not set(marks) & {"S", "Z"} and plain.endswith("tizeLinear"):
        found.pop("axis", None)
    return replace(
        work,
        dtype=read,
        input_dtypes=types if set(types) - {read} else (),
        attributes=tuple(sorted(found.items())),
        operands="" if node.op_type == _NHWC_POOL else marks,
        constants=(),
        constant_dtypes=(),
    )


def is_channels_last(node: onnx.NodeProto) -> bool:
    """Whether an integer kernel takes its tensors channels last."""
    return node.op_type == _NHWC_POOL or any(
        item.name == "channels_last" and item.i for item in node.attribute
    )


def _operands(node: onnx.NodeProto) -> tuple[str, str]:
    if node.op_type == _NHWC_POOL:
        return "v", "MaxPool"
    letters, plain = _KERNELS[node.op_type]
    if node.op_type == "QLinearConcat":
        letters = letters[:2] + letters[2:] * ((len(node.input) - 2) // 3)
    return letters, plain


def _view(
    name: str,
    tensors: Mapping[str, Tensor],
    constants: Mapping[str, NDArray[np.generic] | None],
    *,
    last: bool,
) -> Tensor:
    """A tensor channels first; stored ones as floats, which makes them weights whatever they are.

    Sizes of absent operands are never asked for.
    """
    if not name:
        return Tensor(shape=())
    found = tensors[name]
    if name in constants:
        return replace(found, dtype="float32")
    return replace(found, shape=_moved(found.shape, _TO_FIRST)) if last else found


def _moved(shape: Shape, order: tuple[int, ...]) -> Shape:
    return tuple(shape[axis] for axis in order) if len(shape) == len(order) else shape


def _marks(
    node: onnx.NodeProto,
    letters: str,
    tensors: Mapping[str, Tensor],
    constants: Mapping[str, NDArray[np.generic] | None],
) -> str:
    """Letters of the operands in their order."""
    own = list(node.input[:2])
    # A Concat copies the operands that have its own scale and zero point, both of them.
    shared = {
        place
        for position in range(2, len(node.input), 3)
        if node.op_type == "QLinearConcat" and list(node.input[position + 1 : position + 3]) == own
        for place in (position + 1, position + 2)
    }
    found = []
    for position, (name, letter) in enumerate(zip(node.input, letters, strict=False)):
        if not name:
            found.append("-")
        elif letter == "v":
            found.append("w" if name in constants else "d")
        elif position in shared:
            found.append("=")
        else:
            found.append(letter.upper() if prod(tensors[name].shape) > 1 else letter)
    return "".join(found).rstrip("-")


def has_parameters(op: Op) -> bool:
    """Whether an Op has operands that are scales or zero points."""
    return bool(set(op.operands) & set("szSZ="))


def parameters(op: Op, dtypes: Mapping[int, str]) -> dict[int, onnx.TensorProto]:
    """Scales and zero points for a rebuilt Op by position; ``=`` is left out.

    Args:
        op: an Op with such operands.
        dtypes: element type of each ``d`` and ``w`` operand by position.

    Raises:
        UnsupportedOpError: if the operands are in no order that an integer kernel has.
    """
    found: dict[int, onnx.TensorProto] = {}
    kind = ""
    for position, letter in enumerate(op.operands):
        if letter in "dw":
            kind = dtypes[position]
        elif letter in "sS":
            # A scale is of the tensor before it; after another's zero point, or after a bias, of
            # the result. A Concat's comes first.
            before = op.operands[position - 1] if position else ""
            kind = kind if before in set("dw") and kind != "int32" else output_dtype(op)
            values = [0.02 * (1 + 0.01 * position)] * _length(op, letter)
            shape = (len(values),) if letter == "S" else ()
            found[position] = helper.make_tensor(f"k{position}", TensorProto.FLOAT, shape, values)
        elif letter in "zZ":
            if not kind:
                message = f"{op.label}: its operands {op.operands!r} are in no known order."
                raise UnsupportedOpError(message)
            kind = output_dtype(op) if op.kind == "quantize_linear" else kind
            zero = 128 if kind == "uint8" and "w" not in op.operands[position - 2 : position] else 0
            values = [zero] * _length(op, letter)
            shape = (len(values),) if letter == "Z" else ()
            element = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
            found[position] = helper.make_tensor(f"k{position}", element, shape, values)
    return found


def _length(op: Op, letter: str) -> int:
    """Values of a scale or zero point: one, or as many as there are output channels."""
    if letter in "sz":
        return 1
    if op.kind in CONV_KINDS:
        return op.weights[0][0]
    if op.kind in MATMUL_KINDS:
        return op.outputs[0][-1]
    return (*op.inputs, *op.weights)[0][op.attribute("axis", 1)]

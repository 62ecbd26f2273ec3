"""Translates between a node of an optimised graph and an Op, both ways for the same facts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import onnx
from onnx import helper, numpy_helper

from costmodel.op import CONV_KINDS, POOL_KINDS, Attribute, Constant, Op, Shape

NCHWC = "com.microsoft.nchwc"

#: Plain names of kernels whose snake-cased type would not be the field's word.
KINDS = {
    "FusedConv": "conv",
    "ConvTranspose": "conv_transpose",
    "FusedGemm": "gemm",
    "MatMul": "matmul",
    "FusedMatMul": "matmul",
    "BatchNormalization": "batch_norm",
    "LRN": "lrn",
    "Upsample": "resize",
    "PRelu": "prelu",
    "InstanceNormalization": "instance_norm",
    "LayerNormalization": "layer_norm",
}

#: Kernels whose behaviour or operands changed between opsets: the version is part of the work.
VERSIONED = frozenset(
    {
        "BatchNormalization",
        "Clip",
        "Dropout",
        "GroupNormalization",
        "Hardmax",
        "LogSoftmax",
        "Pad",
        "ReduceMax",
        "ReduceMean",
        "ReduceMin",
        "ReduceSum",
        "Resize",
        "Slice",
        "Softmax",
        "Split",
        "Squeeze",
        "TopK",
        "Unsqueeze",
        "Upsample",
    }
)
#: Kernels whose small float operands are settings rather than weights.
FLOAT_SETTINGS = frozenset({"Resize", "Upsample", "Clip", "Pad"})
#: Opset of rebuilt graphs whose kernel did not change between opsets.
OPSET = 13
#: Attributes at the value that changes nothing; later opsets write some that ``OPSET`` lacks.
_HARMLESS = frozenset(
    {
        ("allowzero", 0),
        ("ceil_mode", 0),
        ("count_include_pad", 0),
        ("start", 0),
        ("storage_order", 0),
    }
)
#: Constant operands up to this many elements are kept by value.
SMALL = 64
#: Attributes that have a field of their own, or that the shapes already say.
_FIELDS = frozenset({"strides", "pads", "dilations", "group", "auto_pad", "activation"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """Shape and element type of a tensor, as numpy names it."""

    shape: Shape
    dtype: str = "float32"


def kind_of(op_type: str) -> str:
    """Plain name of a kernel.

    >>> kind_of("ReorderInput"), kind_of("FusedGemm")
    ('reorder_input', 'gemm')
    """
    return KINDS.get(op_type) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", op_type).lower()


def op_from_node(
    node: onnx.NodeProto,
    tensors: Mapping[str, Tensor],
    initializers: Mapping[str, onnx.TensorProto],
    *,
    opset: int,
    block: int,
) -> Op:
    """The work of one executed node.

    Args:
        node: from the runtime's optimised graph.
        tensors: shape and type of every tensor by name.
        initializers: constants by name.
        opset: of the default domain.
        block: channel block of the NCHWc layout on this machine.
    """
    slots = [_slot(node, name, tensors, initializers) for name in node.input]
    while slots and slots[-1][0] == "-":
        slots.pop()
    kind = kind_of(node.op_type)
    attributes = _defaults(node, opset)
    attributes.update({item.name: _attribute(item) for item in node.attribute})
    data = [tensors[name] for letter, name, _ in slots if letter == "d"]
    outputs = tuple(tensors[name].shape for name in node.output if name)
    weights = tuple(tensors[name].shape for letter, name, _ in slots if letter == "w")
    dtype = data[0].dtype if data else tensors[node.output[0]].dtype
    constants = [(tensors[name].dtype, value) for letter, name, value in slots if letter == "c"]
    fields: dict[str, object] = {}
    if kind in CONV_KINDS | POOL_KINDS and not kind.startswith("global"):
        fields = _window_fields(kind, attributes, data[0].shape, outputs[0], weights)
    attributes = {k: v for k, v in attributes.items() if (k, v) not in _HARMLESS}
    since = _since(node, attributes, opset)
    if since:
        attributes["since"] = since
    letters = "".join(letter for letter, _, _ in slots)
    default = "d" * len(data) + "w" * len(weights) + "c" * len(constants)
    input_dtypes = tuple(item.dtype for item in data)
    constant_dtypes = tuple(item for item, _ in constants)
    return Op(
        kind=kind,
        implementation=f"{node.domain}:{node.op_type}" if node.domain else node.op_type,
        inputs=tuple(item.shape for item in data),
        outputs=outputs,
        weights=weights,
        dtype=dtype,
        layout=_layout(node, attributes, block),
        epilogue=_epilogue(kind, letters, attributes),
        attributes=_rest(kind, attributes),
        operands="" if letters == default else letters,
        constants=tuple(value for _, value in constants),
        input_dtypes=input_dtypes if set(input_dtypes) - {dtype} else (),
        constant_dtypes=constant_dtypes if set(constant_dtypes) - {"int64"} else (),
        **fields,  # type: ignore[arg-type]
    )


def _defaults(node: onnx.NodeProto, opset: int) -> dict[str, Attribute]:
    """Attributes that a node leaves out; the runtime writes them only into graphs it changed."""
    if node.domain not in {"", "ai.onnx"}:
        return {}
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    values = (item.default_value for item in schema.attributes.values())
    return {item.name: _attribute(item) for item in values if item.name}


def _since(node: onnx.NodeProto, attributes: Mapping[str, Attribute], opset: int) -> int:
    """Version that decides the kernel's operands or work; 0 where ``OPSET`` says the same."""
    if node.domain not in {"", "ai.onnx"}:
        return 0
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    if node.op_type not in VERSIONED and onnx.defs.has(node.op_type, OPSET):
        plain = onnx.defs.get_schema(node.op_type, OPSET, "")
        if not plain.deprecated and set(attributes) <= set(plain.attributes):
            return 0
    return int(schema.since_version)


def _layout(node: onnx.NodeProto, attributes: Mapping[str, Attribute], block: int) -> str:
    if node.domain == NCHWC:
        return f"nchw{block}c"
    last = node.domain and (attributes.get("channels_last") or node.op_type.startswith("Nhwc"))
    return "nhwc" if last else "nchw"


def _slot(
    node: onnx.NodeProto,
    name: str,
    tensors: Mapping[str, Tensor],
    initializers: Mapping[str, onnx.TensorProto],
) -> tuple[str, str, Constant]:
    """Letter, tensor name and, for constants, values of one operand."""
    if not name:
        return "-", name, ()
    if name not in initializers:
        return "d", name, ()
    tensor = tensors[name]
    is_float = tensor.dtype.startswith(("float", "bfloat"))
    small = prod(tensor.shape) <= SMALL
    if small and (not is_float or node.op_type in FLOAT_SETTINGS):
        values = numpy_helper.to_array(initializers[name]).ravel().tolist()
        return "c", name, tuple(values)
    return ("w" if is_float else "d"), name, ()


def _attribute(item: onnx.AttributeProto) -> Attribute:
    value = helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, list):
        return tuple(value)
    return value  # type: ignore[no-any-return]


def _window_fields(
    kind: str,
    attributes: Mapping[str, Attribute],
    data: Shape,
    output: Shape,
    weights: Sequence[Shape],
) -> dict[str, object]:
    """Stride, pads, dilation and groups as numbers, automatic padding resolved."""
    rank = len(data) - 2
    ones = (1,) * rank
    window = attributes.get("kernel_shape") or (weights[0][2:] if weights else ones)
    kernel = tuple(int(k) for k in window) if isinstance(window, tuple) else ones
    stride = _ints(attributes.get("strides"), ones)
    dilation = _ints(attributes.get("dilations"), ones)
    pads = _ints(attributes.get("pads"), (0,) * (2 * rank))
    auto = attributes.get("auto_pad", "NOTSET")
    if auto in {"SAME_UPPER", "SAME_LOWER"}:
        begin, end = [], []
        for axis in range(rank):
            reach = (kernel[axis] - 1) * dilation[axis] + 1
            total = max(0, (output[2 + axis] - 1) * stride[axis] + reach - data[2 + axis])
            less, more = total // 2, total - total // 2
            begin.append(less if auto == "SAME_UPPER" else more)
            end.append(more if auto == "SAME_UPPER" else less)
        pads = (*begin, *end)
    group = attributes.get("group", 1)
    return {
        "stride": stride,
        "pads": pads,
        "dilation": dilation,
        "groups": group if isinstance(group, int) and kind in CONV_KINDS else 1,
    }


def _ints(value: Attribute | None, default: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(v) for v in value) if isinstance(value, tuple) and value else default


def _epilogue(kind: str, letters: str, attributes: Mapping[str, Attribute]) -> tuple[str, ...]:
    # The fourth operand is added to the result; filter and bias may be computed, too.
    folded = ["sum"] if kind == "conv" and letters[3:4] == "d" else []
    activation = attributes.get("activation")
    if isinstance(activation, str) and activation:
        folded.append(activation.lower())
    return tuple(folded)


def _rest(kind: str, attributes: Mapping[str, Attribute]) -> tuple[tuple[str, Attribute], ...]:
    """Attributes no field holds, defaults that change nothing left out."""
    skip = set(_FIELDS) if kind in CONV_KINDS | POOL_KINDS else {"activation"}
    if kind in CONV_KINDS:
        skip.add("kernel_shape")
    return tuple((name, value) for name, value in sorted(attributes.items()) if name not in skip)

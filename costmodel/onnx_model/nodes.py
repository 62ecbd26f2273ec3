"""Turns one ONNX node with known sizes into an Op, whether as written or as executed."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from costmodel.kinds import CONV_KINDS, POOL_KINDS, kind_of
from costmodel.op import Attribute, Constant, Op, Shape, as_operands

#: Operators whose meaning changed between operator sets: the version is part of the work.
VERSIONED = frozenset(
    {"BatchNormalization", "Clip", "Dropout", "GroupNormalization", "Hardmax", "LogSoftmax", "Pad"}
    | {"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Resize", "Slice", "Softmax", "Split"}
    | {"Squeeze", "TopK", "Unsqueeze", "Upsample"}
)
#: Operators whose small float operands are settings rather than weights.
FLOAT_SETTINGS = frozenset({"Resize", "Upsample", "Clip", "Pad"})
#: Constant operands up to this many elements are kept by value.
SMALL = 64
_DEFAULT_DOMAINS = frozenset({"", "ai.onnx"})
#: Types of attributes that an Op holds: numbers, texts and lists of numbers.
_PLAIN = frozenset(
    {
        onnx.AttributeProto.INT,
        onnx.AttributeProto.INTS,
        onnx.AttributeProto.FLOAT,
        onnx.AttributeProto.FLOATS,
        onnx.AttributeProto.STRING,
    }
)
#: Attributes that have a field of their own in Op.
_WINDOW = frozenset({"strides", "pads", "dilations", "group", "auto_pad", "activation"})
#: Attributes at the value that changes nothing; later operator sets write some that older lack.
_HARMLESS = frozenset(
    {("allowzero", 0), ("ceil_mode", 0), ("count_include_pad", 0), ("start", 0)}
    | {("storage_order", 0)}
)
#: Operator set whose meaning is understood where an Op names no other; that of rebuilt graphs too.
OPSET = 13


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """What is known of one tensor: its sizes and element type, as numpy names it."""

    shape: Shape
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """One operand: its letter in ``Op.operands``, its tensor, and its values if it is small."""

    letter: str
    info: Tensor = Tensor(shape=())
    values: Constant = ()


def op_from_node(
    node: onnx.NodeProto,
    tensors: Mapping[str, Tensor],
    constants: Mapping[str, NDArray[np.generic] | None],
    opset: int,
) -> Op:
    """The work of one node, whatever computes it.

    Args:
        node: its inputs and first output are in ``tensors``; unsized further outputs are left out.
        tensors: sizes and types by tensor name.
        constants: tensors that do not depend on the model's input, with the values of small ones.
        opset: of the default domain.
    """
    slots = [_slot(node, name, tensors, constants) for name in node.input]
    while slots and slots[-1].letter == "-":
        slots.pop()
    data, weights, small = ([s for s in slots if s.letter == letter] for letter in "dwc")
    outputs = tuple(tensors[name].shape for name in node.output if name in tensors)
    kind = kind_of(node.op_type)
    attributes = {**_defaults(node.op_type, node.domain, opset), **attributes_of(node)}
    dtype = data[0].info.dtype if data else tensors[node.output[0]].dtype
    fields: dict[str, Any] = {}
    if kind in CONV_KINDS | POOL_KINDS and not kind.startswith("global"):
        filters = slots[min(1, len(slots) - 1)].info.shape
        fields = _window(kind, attributes, data[0].info.shape, outputs[0], filters)
    attributes = {k: v for k, v in attributes.items() if (k, v) not in _HARMLESS}
    since = _since(node, attributes, opset)
    if since:
        attributes["since"] = since
    letters = "".join(slot.letter for slot in slots)
    types = tuple(slot.info.dtype for slot in data)
    small_types = tuple(slot.info.dtype for slot in small)
    return Op(
        kind=kind,
        inputs=tuple(slot.info.shape for slot in data),
        outputs=outputs,
        weights=tuple(slot.info.shape for slot in weights),
        dtype=dtype,
        attributes=_rest(kind, attributes),
        operands=as_operands(letters),
        constants=tuple(slot.values for slot in small),
        input_dtypes=types if set(types) - {dtype} else (),
        constant_dtypes=small_types if set(small_types) - {"int64"} else (),
        **fields,
    )


def _since(node: onnx.NodeProto, attributes: Mapping[str, Attribute], opset: int) -> int:
    """Version that decides the operator's operands or work; 0 where ``OPSET`` says the same."""
    if node.domain not in _DEFAULT_DOMAINS or not onnx.defs.has(node.op_type, opset):
        return 0
    schema = onnx.defs.get_schema(node.op_type, opset, "")
    if node.op_type not in VERSIONED and onnx.defs.has(node.op_type, OPSET):
        plain = onnx.defs.get_schema(node.op_type, OPSET, "")
        if not plain.deprecated and set(attributes) <= set(plain.attributes):
            return 0
    return int(schema.since_version)


def _slot(
    node: onnx.NodeProto,
    name: str,
    tensors: Mapping[str, Tensor],
    constants: Mapping[str, NDArray[np.generic] | None],
) -> _Slot:
    if not name:
        return _Slot(letter="-")
    info = tensors[name]
    if name not in constants:
        return _Slot(letter="d", info=info)
    is_float = info.dtype.startswith(("float", "bfloat"))
    value = constants[name]
    keep = not is_float or node.op_type in FLOAT_SETTINGS
    if keep and value is not None and prod(info.shape) <= SMALL:
        return _Slot(letter="c", info=info, values=tuple(value.ravel().tolist()))
    return _Slot(letter="w" if is_float else "d", info=info)


@functools.lru_cache(maxsize=1024)
def _defaults(op_type: str, domain: str, opset: int) -> dict[str, Attribute]:
    """Values of attributes that a node leaves out; runtimes write them out, exporters often."""
    if domain not in _DEFAULT_DOMAINS or not onnx.defs.has(op_type, ""):
        return {}
    try:
        schema = onnx.defs.get_schema(op_type, opset, "")
    except onnx.defs.SchemaError:
        return {}
    values = (item.default_value for item in schema.attributes.values())
    return {item.name: _value(item) for item in values if item.name and item.type in _PLAIN}


def attributes_of(node: onnx.NodeProto) -> dict[str, Attribute]:
    """Numbers, texts and lists of numbers among a node's attributes."""
    return {item.name: _value(item) for item in node.attribute if item.type in _PLAIN}


def _value(item: onnx.AttributeProto) -> Attribute:
    value: Any = helper.get_attribute_value(item)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, int | float):
        return value
    return tuple(value)


def _window(
    kind: str, attributes: Mapping[str, Attribute], data: Shape, output: Shape, filters: Shape
) -> dict[str, Any]:
    """Stride, pads, dilation and groups as numbers, automatic padding resolved."""
    rank = len(data) - 2
    ones = (1,) * rank
    kernel = ints(attributes.get("kernel_shape"), filters[2:] if kind in CONV_KINDS else ones)
    stride = ints(attributes.get("strides"), ones)
    dilation = ints(attributes.get("dilations"), ones)
    group = attributes.get("group", 1)
    auto = attributes.get("auto_pad", "NOTSET")
    # A transposed convolution that is told what to write pads what is left over.
    told = kind == "conv_transpose" and attributes.get("output_shape")
    pads = ints(attributes.get("pads"), (0,) * (2 * rank)) if auto != "VALID" else (0,) * (2 * rank)
    if auto in {"SAME_UPPER", "SAME_LOWER"} or told:
        transposed = kind == "conv_transpose"
        big, small = (data, output) if transposed else (output, data)
        extra = ints(attributes.get("output_padding") if transposed else None, (0,) * rank)
        reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        total = [
            max(0, (big[2 + axis] - 1) * stride[axis] + extra[axis] + reach[axis] - small[2 + axis])
            for axis in range(rank)
        ]
        less = tuple(t // 2 for t in total)
        more = tuple(t - t // 2 for t in total)
        # ONNX gives the odd element to the end for SAME_UPPER alone.
        pads = less + more if auto == "SAME_UPPER" else more + less
    return {
        "stride": stride,
        "pads": pads,
        "dilation": dilation,
        "groups": group if isinstance(group, int) and kind in CONV_KINDS else 1,
    }


def ints(value: Attribute | None, default: Sequence[int]) -> tuple[int, ...]:
    """A list attribute, or its default where it is missing."""
    return tuple(int(v) for v in value) if isinstance(value, tuple) and value else tuple(default)


def _rest(kind: str, attributes: Mapping[str, Attribute]) -> tuple[tuple[str, Attribute], ...]:
    """Attributes that no field holds.

    Automatic padding is kept beside the numbers it resolves to: runtimes do not fold a Pad into it.
    """
    skip = set(_WINDOW) if kind in CONV_KINDS | POOL_KINDS else {"activation"}
    if kind in CONV_KINDS:
        skip.add("kernel_shape")
    if attributes.get("auto_pad", "NOTSET") != "NOTSET":
        skip.discard("auto_pad")
    return tuple((name, value) for name, value in sorted(attributes.items()) if name not in skip)

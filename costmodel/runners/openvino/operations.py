"""Makes OpenVINO operations from an Op: its main operation and what is folded in behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.op import CONV_KINDS, MATMUL_KINDS, POOL_KINDS, Attribute, Op
from costmodel.runners.openvino.core import ov
from costmodel.runners.openvino.describe import KINDS, kind_of
from costmodel.runners.openvino.steps import BINARY, PRODUCT, QUANTISE, UNARY, parse_program

#: Settings that an activation must have, where they change no work.
_SETTINGS: Mapping[str, dict[str, object]] = {
    "Clamp": {"min": 0.0, "max": 6.0},
    "Elu": {"alpha": 1.0},
    "Gelu": {"approximation_mode": "ERF"},
    "Round": {"mode": "half_to_even"},
}
#: Operation sets that the factories of younger operations live in.
_OPSETS: Mapping[str, str] = {
    "Gelu": "opset7",
    "HSigmoid": "opset5",
    "HSwish": "opset4",
    "Mish": "opset4",
    "Round": "opset5",
    "SoftPlus": "opset4",
    "SoftSign": "opset9",
    "Swish": "opset4",
}
_BY_KIND = {kind_of(name): name for name in UNARY | BINARY}
_TYPES: Mapping[str, str] = {"max_pool": "MaxPool", "average_pool": "AvgPool"}
_LEVELS, _BOUND = 256, 4.0
#: Attributes of an Op that are no attribute of the operation.
_OURS = frozenset(
    {"input_layouts", "kernel_shape", "opset", "output_dtypes", "output_layouts", "program"}
    | {"scalars", "type"}
)
#: Attributes that the operations take as true or false.
_FLAGS = frozenset(
    {"antialias", "exclude-pad", "exclude_pad", "keep_dims", "special_zero", "merge_repeated"}
    | {"normalize_variance", "across_channels", "do_softmax", "with_right_bound"}
)


def create(
    op_type: str, operands: Sequence[Any], settings: Mapping[str, object], opset: str
) -> Any:
    """One operation of an operation set."""
    factory = ov.utils.node_factory.NodeFactory(opset)
    return factory.create(op_type, [_output(item) for item in operands], dict(settings))


def _output(item: Any) -> Any:
    return item.output(0) if hasattr(item, "output") else item


def constant(values: NDArray[np.generic]) -> Any:
    """A constant that keeps its own copy of nothing: the array is shared."""
    return ov.op.Constant(values, shared_memory=True)


def elementwise(op_type: str, operands: Sequence[Any]) -> Any:
    """One elementwise operation or quantisation."""
    if op_type == QUANTISE:
        return quantised(operands[0])
    if op_type not in UNARY | BINARY:
        message = f"The elementwise operation {op_type!r} cannot be rebuilt."
        raise UnsupportedOpError(message)
    settings = dict(_SETTINGS.get(op_type, {}))
    if op_type in BINARY and op_type != "PRelu":
        settings["auto_broadcast"] = "numpy"
    return create(op_type, operands, settings, _OPSETS.get(op_type, "opset1"))


def quantised(data: Any) -> Any:
    """``data`` rounded to the 256 levels of a ``uint8``."""
    bounds = [ov.opset13.constant(np.float32(v)) for v in (0.0, _BOUND, 0.0, _BOUND)]
    return ov.opset13.fake_quantize(data, *bounds, _LEVELS)


def dequantised(data: Any) -> Any:
    """Whole numbers of 8 bits as the floats that they stand for."""
    real = ov.opset13.convert(data, "f32")
    return ov.opset13.multiply(real, ov.opset13.constant(np.float32(_BOUND / (_LEVELS - 1))))


def kernel(
    op: Op, data: Sequence[Any], weights: Sequence[Any], constants: Sequence[Any]
) -> list[Any]:
    """The operations that one executed Op carries out.

    Args:
        op: from lowering.
        data: what it reads, sizes channels first.
        weights: its constant operands.
        constants: its settings that are operands.

    Returns:
        Every operation, in running order.

    Raises:
        UnsupportedOpError: if there are none for it.
    """
    if program := op.attribute("program", ""):
        return _program(program, data, weights)
    pools = {"d": data, "w": weights, "c": constants}
    operands = [pools[slot.letter][slot.index] for slot in op.slots()]
    if op.kind in _BY_KIND or op.kind == KINDS[QUANTISE]:
        name = _BY_KIND.get(op.kind, QUANTISE)
        return [elementwise(name, operands)]
    folded = sum(1 for word in op.epilogue if word == "sum" or _BY_KIND.get(word) in BINARY)
    is_product = op.kind in CONV_KINDS | MATMUL_KINDS
    count = 2 if is_product else len(operands) - folded
    main = _main(op, operands[:count])
    made = [main]
    rest = list(operands[count:])
    if is_product and len(operands) - folded > 2:  # a bias
        made.append(elementwise("Add", [made[-1], rest.pop(0)]))
    for word in op.epilogue:
        name = {"sum": "Add", "quantize": QUANTISE}.get(word) or _BY_KIND.get(word, word)
        extra = [rest.pop(0)] if name in BINARY else []
        made.append(elementwise(name, [made[-1], *extra]))
    return made


def _program(text: str, data: Sequence[Any], weights: Sequence[Any]) -> list[Any]:
    made: list[Any] = []
    known = {"d": data, "w": weights, "v": made}
    for name, words in parse_program(text):
        operands = [known[word[0]][int(word[1:])] for word in words]
        if name.startswith(PRODUCT):
            turned = name.removeprefix(PRODUCT)
            flags = {"transpose_a": "A" in turned, "transpose_b": "B" in turned}
            made.append(create(PRODUCT, operands, flags, "opset1"))
        else:
            made.append(elementwise(name, operands))
    return made


def _main(op: Op, operands: Sequence[Any]) -> Any:
    if op.kind in CONV_KINDS:
        return _convolution(op, operands)
    if op.kind in MATMUL_KINDS:
        flags = {
            "transpose_a": bool(op.attribute("transA")),
            "transpose_b": bool(op.attribute("transB")),
        }
        return create("MatMul", operands, flags, "opset1")
    given = {k: _flag(k, v) for k, v in op.attributes if k not in _OURS}
    opset = op.attribute("opset", "opset1")
    if op.kind in POOL_KINDS and op.stride:
        given |= _window(op) | {"kernel": op.kernel}
        if op.kind == "max_pool":
            given.setdefault("axis", 0)
        return create(_TYPES[op.kind], operands, _lists(given), opset)
    name = op.attribute("type", "")
    if not name:
        message = f"{op.label} ({op.implementation}) names no operation to rebuild."
        raise UnsupportedOpError(message)
    return create(name, operands, _lists(given), opset)


def _flag(name: str, value: Attribute) -> object:
    return bool(value) if name in _FLAGS else value


def _lists(settings: Mapping[str, object]) -> dict[str, object]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in settings.items()}


def _window(op: Op) -> dict[str, object]:
    half = len(op.pads) // 2
    ends = {"pads_begin": op.pads[:half], "pads_end": op.pads[half:], "auto_pad": "explicit"}
    dilations = {"dilations": op.dilation} if op.dilation else {}
    return {"strides": op.stride, **ends, **dilations}


def _convolution(op: Op, operands: Sequence[Any]) -> Any:
    window = _window(op)
    name = "Convolution" if op.groups == 1 else "GroupConvolution"
    if op.kind == "conv_transpose":
        name += "BackpropData"
        window["output_padding"] = op.attribute("output_padding", (0,) * len(op.stride))
    return create(name, operands, _lists(window), "opset1")

"""The Op of one TensorFlow Lite operator, and the operator of one Op: two directions of one table.

Sizes are channels last, as the kernels see them; a convolution's weights are named in the order
that every Op has, ``(out, in/groups, height, width)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from costmodel.lite_model.canonical import broadcast_shape, spelled
from costmodel.lite_model.graph import (
    ACTIVATION_NUMBERS,
    QUANTISED,
    SAME,
    LiteModel,
    LiteOperator,
    LiteTensor,
)
from costmodel.lite_model.scales import CHANNEL_AXIS
from costmodel.op import Attribute, Constant, Op, Shape, as_operands

DELEGATE, BUILTIN = "XNNPACK", "TFLite"
#: Kinds whose name is not the operator's in small letters.
KINDS: Mapping[str, str] = {
    "AVERAGE_POOL_2D": "average_pool",
    "BATCH_MATMUL": "matmul",
    "CONCATENATION": "concat",
    "CONV_2D": "conv",
    "DEPTHWISE_CONV_2D": "conv",
    "FULLY_CONNECTED": "gemm",
    "LOCAL_RESPONSE_NORMALIZATION": "lrn",
    "LOGISTIC": "sigmoid",
    "MAX_POOL_2D": "max_pool",
    "MEAN": "reduce_mean",
    "MIRROR_PAD": "pad",
    "PADV2": "pad",
    "RELU6": "clip",
    "RELU_N1_TO_1": "clip",
    "RESIZE_BILINEAR": "resize",
    "RESIZE_NEAREST_NEIGHBOR": "resize",
    "SPLIT_V": "split",
    "STRIDED_SLICE": "slice",
    "SUM": "reduce_sum",
    "TRANSPOSE_CONV": "conv_transpose",
}
#: Reductions over the spatial axes.
_GLOBAL = {"MEAN": "global_average_pool", "REDUCE_MAX": "global_max_pool"}
CONVOLUTIONS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV"})
POOLS = frozenset({"AVERAGE_POOL_2D", "MAX_POOL_2D"})
#: Options that a field of the Op or the tensors themselves say, or that no inference kernel reads.
FOLDED_OPTIONS = frozenset(
    {"asymmetric_quantize_inputs", "depth_multiplier", "dilation_h_factor", "dilation_w_factor"}
    | {"filter_height", "filter_width", "fused_activation_function", "in_data_type", "new_shape"}
    | {
        "out_data_type",
        "padding",
        "pot_scale_int16",
        "quantized_bias_type",
        "stride_h",
        "stride_w",
        "squeeze_dims",
    }
)
#: Integer constants up to this many elements are kept by value.
SMALL = 64
#: Attributes of an Op that are no options of its operator.
KERNEL_SHAPE, WEIGHT_TYPES, PER_TENSOR = "kernel_shape", "weight_types", "weights_per_tensor"


def same_pads(size: Shape, out: Shape, kernel: Shape, stride: Shape, dilation: Shape) -> Shape:
    """What TensorFlow's ``SAME`` pads: begin values, then end values; spatial axes only."""
    totals = [
        max(0, (o - 1) * s + (k - 1) * d + 1 - n)
        for n, o, k, s, d in zip(size, out, kernel, stride, dilation, strict=True)
    ]
    return (*(t // 2 for t in totals), *(t - t // 2 for t in totals))


def kernel_op(model: LiteModel, operator: LiteOperator, *, pads: Shape = (), delegated: bool) -> Op:
    """The work of one executed kernel.

    Args:
        model: whose tensors the operator names.
        operator: with what was folded into its activation.
        pads: of a PAD that was folded into it.
        delegated: whether XNNPACK runs it.
    """
    tensors = [model.tensors[i] if i >= 0 else None for i in operator.inputs]
    letters = [_letter(tensor) for tensor in tensors]
    data, weights, small = (
        [t for t, letter in zip(tensors, letters, strict=True) if letter == wanted and t]
        for wanted in "dwc"
    )
    outputs = tuple(model.tensors[i].shape for i in operator.outputs)
    dtype = model.tensors[operator.outputs[0]].dtype if operator.outputs else "float32"
    types = tuple(tensor.dtype for tensor in data)
    small_types = tuple(tensor.dtype for tensor in small)
    shapes = [*(t.shape for t in tensors if t), *outputs]
    fields = _window(operator, data, weights, outputs, pads)
    options, constants = spelled(model, operator, _options(operator), list(map(_constant, small)))
    options |= {**_weights(operator.code, dtype, weights), **fields["attributes"]}
    fields["attributes"] = tuple(sorted(options.items()))
    return Op(
        kind=_kind(operator, data, small),
        implementation=f"{DELEGATE if delegated else BUILTIN}:{operator.code}",
        inputs=tuple(tensor.shape for tensor in data),
        outputs=outputs,
        weights=tuple(_logical(operator, tensor.shape) for tensor in weights),
        dtype=dtype,
        layout="nhwc" if max(map(len, shapes), default=0) > 2 else "nchw",
        epilogue=(operator.activation,) if operator.activation else (),
        operands=as_operands("".join(letters)),
        constants=constants,
        input_dtypes=types if set(types) - {dtype} else (),
        constant_dtypes=small_types if set(small_types) - {"int64"} else (),
        **fields,
    )


def _letter(tensor: LiteTensor | None) -> str:
    if tensor is None:
        return "-"
    if not tensor.constant:
        return "d"
    whole = tensor.scale is None and tensor.dtype in {"int32", "int64", "bool"}
    return "c" if whole and tensor.values is not None and tensor.values.size <= SMALL else "w"


def _constant(tensor: LiteTensor) -> Constant:
    assert tensor.values is not None  # what _letter asks for
    return tuple(np.asarray(tensor.values).ravel().tolist())


def _kind(operator: LiteOperator, data: Sequence[LiteTensor], small: Sequence[LiteTensor]) -> str:
    kind = KINDS.get(operator.code, operator.code.lower())
    if operator.code not in _GLOBAL or not small or len(data[0].shape) != 4:
        return kind
    spatial = sorted(axis % 4 for axis in _constant(small[0])) == [1, 2]
    return _GLOBAL[operator.code] if spatial else kind


def _options(operator: LiteOperator) -> dict[str, Attribute]:
    """Options that have no field of their own; those at zero are the schema's defaults."""
    found: dict[str, Attribute] = {}
    for name, value in operator.options:
        if name not in FOLDED_OPTIONS and value not in (0, "", ()):
            found[name] = int(value) if isinstance(value, bool) else value
    return found


def weight_types(op_dtype: str, count: int) -> tuple[str, ...]:
    """Element types of weights that an Op does not mention: a quantised kernel's bias is wider."""
    if op_dtype in {"int8", "uint8"}:
        return (op_dtype, *("int32",) * (count - 1)) if count else ()
    return (op_dtype,) * count


def _weights(code: str, dtype: str, weights: Sequence[LiteTensor]) -> dict[str, Attribute]:
    found: dict[str, Attribute] = {}
    types = tuple(tensor.dtype for tensor in weights)
    if types != weight_types(dtype, len(types)):
        found[WEIGHT_TYPES] = " ".join(types)
    first = weights[0] if weights else None
    if first is None or first.scale is None or first.dtype not in QUANTISED:
        return found
    if code in CHANNEL_AXIS and not first.scale.per_channel and first.shape[CHANNEL_AXIS[code]] > 1:
        found[PER_TENSOR] = 1
    return found


def _logical(operator: LiteOperator, shape: Shape) -> Shape:
    """A convolution's filter as (out, in/groups, height, width)."""
    if len(shape) != 4 or operator.code not in CONVOLUTIONS:
        return broadcast_shape(operator.code, shape)
    out, height, width, channels = shape
    if operator.code == "DEPTHWISE_CONV_2D":
        return (channels, out, height, width)
    if operator.code == "TRANSPOSE_CONV":
        return (channels, out, height, width)
    return (out, channels, height, width)


def stored(code: str, shape: Shape) -> Shape:
    """The reverse: a filter's sizes as the file stores them."""
    if len(shape) != 4 or code not in CONVOLUTIONS:
        return shape
    first, second, height, width = shape
    if code == "CONV_2D":
        return (first, height, width, second)
    return (second, height, width, first)


def _window(
    operator: LiteOperator,
    data: Sequence[LiteTensor],
    weights: Sequence[LiteTensor],
    outputs: Sequence[Shape],
    pads: Shape,
) -> dict[str, Any]:
    """Stride, pads, dilation and groups of kernels that have a window."""
    fields: dict[str, Any] = {"attributes": {}}
    options: dict[str, Any] = dict(operator.options)
    code = operator.code
    if code not in CONVOLUTIONS | POOLS or not data:
        return fields
    if code in POOLS:
        kernel: Shape = (options["filter_height"], options["filter_width"])
        fields["attributes"] = {KERNEL_SHAPE: kernel}
    else:
        filters = (*weights, *data)[0].shape
        kernel = filters[1:3]
    stride = (options["stride_h"], options["stride_w"])
    dilation = (options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1))
    read = data[-1].shape  # a computed output size comes before what is convolved
    size, out = read[1:3], outputs[0][1:3]
    if options.get("padding", SAME) == SAME:
        big, small = (out, size) if code == "TRANSPOSE_CONV" else (size, out)
        pads = same_pads(big, small, kernel, stride, dilation)
    fields |= {"stride": stride, "pads": pads or (0,) * 4, "dilation": dilation}
    if code in CONVOLUTIONS:
        channels = read[3]
        depthwise = code == "DEPTHWISE_CONV_2D"
        plain = code == "TRANSPOSE_CONV"
        fields["groups"] = channels if depthwise else 1 if plain else channels // filters[3]
    return fields


def window_options(op: Op) -> dict[str, Attribute]:
    """Options of the operator that the fields of an Op say, padding excepted."""
    options: dict[str, Attribute] = {}
    if op.stride:
        options = {"stride_h": op.stride[0], "stride_w": op.stride[1]}
    code = op.implementation.rpartition(":")[2]
    if code in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
        options["dilation_h_factor"], options["dilation_w_factor"] = op.dilation
    if code == "DEPTHWISE_CONV_2D":
        options["depth_multiplier"] = op.weights[0][0] // op.groups
    if code in POOLS:
        options["filter_height"], options["filter_width"] = op.kernel
    if op.epilogue:
        options["fused_activation_function"] = ACTIVATION_NUMBERS[op.epilogue[0]]
    return options

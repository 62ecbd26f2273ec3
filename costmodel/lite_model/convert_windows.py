"""Convolutions and pools of a network as written, as TensorFlow Lite operators."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from costmodel.lite_model.convert import Converter
from costmodel.lite_model.graph import SAME, VALID
from costmodel.lite_model.kernels import same_pads
from costmodel.lite_model.stored import Tail, channels_last
from costmodel.network import Layer
from costmodel.op import Op, Shape

_NHWC = channels_last(4)


def _convolution(convert: Converter, layer: Layer) -> None:
    op = layer.op
    _require_weights(convert, layer)
    out, per_group, *kernel = op.weights[0]
    depthwise = op.groups > 1 and per_group == 1 and op.inputs[0][1] == op.groups
    code = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    height, width = _plane(kernel)
    size = (1, height, width, out) if depthwise else (out, height, width, per_group)
    dilation = _plane(op.dilation or (1,) * len(kernel))
    options = {"dilation_h_factor": dilation[0], "dilation_w_factor": dilation[1]}
    if depthwise:
        options["depth_multiplier"] = out // op.groups
    tail = Tail(layer)
    data = _padded(convert, layer, tuple(kernel))
    weight = convert.weight(f"{layer.name}/filter", size, code)
    bias = convert.bias(f"{layer.name}/bias", data.index, weight, out)
    fold_scales(convert, tail, out)
    number = convert.fused(tail)
    result = convert.emit(
        code,
        [data.index, weight, bias],
        _stored_output(op),
        name=tail.name,
        covers=tail.covers,
        **_window(op, data.padding),
        fused_activation_function=number,
        **options,
    )
    _put(convert, tail, result, op.outputs[0])


def _require_weights(convert: Converter, layer: Layer) -> None:
    op = layer.op
    if not op.weights or len(op.inputs) != 1 or len(op.inputs[0]) not in {3, 4}:
        raise convert.refusal(layer, "needs constant weights and one or two spatial axes")


class _Data:
    """A padded input and the padding that is left to the kernel."""

    def __init__(self, index: int, padding: int) -> None:
        self.index = index
        self.padding = padding


def _padded(convert: Converter, layer: Layer, kernel: Shape, *, value: float = 0.0) -> _Data:
    """The input channels last with two spatial axes, padded where no rule of TensorFlow pads so."""
    op = layer.op
    data = convert.value(layer)
    rank = len(op.inputs[0])
    index = convert.arranged(data, channels_last(rank))
    shape = convert.shape_of(index)
    if rank == 3:
        shape = (shape[0], shape[1], 1, shape[2])
        target = convert.builder.constant(shape)
        index = convert.emit("RESHAPE", [index, target], shape, name=f"{layer.name}/plane")
    size, window, stride = shape[1:3], _plane(kernel), _plane(op.stride)
    dilation = _plane(op.dilation or (1,) * len(kernel))
    out = _plane(op.outputs[0][2:])
    begin, ends = needed_pads(op, size, out, window)
    if (*begin, *ends) == same_pads(size, out, window, stride, dilation) and out == tuple(
        -(-n // s) for n, s in zip(size, stride, strict=True)
    ):
        return _Data(index, SAME if any((*begin, *ends)) else VALID)
    if not any((*begin, *ends)):
        return _Data(index, VALID)
    return _pad_apart(convert, layer, index, (begin, ends), value)


def _pad_apart(
    convert: Converter, layer: Layer, index: int, ends: tuple[Shape, Shape], value: float
) -> _Data:
    """The tensor padded by an operator of its own, at the begins and the ends of its image."""
    pads = [[0, 0], *map(list, zip(*ends, strict=True)), [0, 0]]
    padded = tuple(n + sum(pair) for n, pair in zip(convert.shape_of(index), pads, strict=True))
    reads = [index, convert.builder.constant(pads)]
    if value:
        scale = convert.builder.tensors[index].scale
        kind = "int8" if convert.quantised else "float32"
        reads.append(
            convert.builder.constant([-128 if convert.quantised else value], kind, scale=scale)
        )
    code = "PADV2" if value else "PAD"
    return _Data(convert.emit(code, reads, padded, name=f"{layer.name}/padded"), VALID)


def needed_pads(op: Op, size: Shape, out: Shape, window: Shape) -> tuple[Shape, Shape]:
    """Padding at the begins and ends: as written, and more where sizes are rounded up."""
    stride, dilation = _plane(op.stride), _plane(op.dilation or (1,) * len(op.stride))
    half = len(op.pads) // 2
    begin = (*op.pads[:half], 0)[:2] if op.pads else (0, 0)
    written = (*op.pads[half:], 0)[:2] if op.pads else (0, 0)
    ends = tuple(
        max(w, (o - 1) * s + (k - 1) * d + 1 - n - b)
        for n, o, k, s, d, b, w in zip(
            size, out, window, stride, dilation, begin, written, strict=True
        )
    )
    return begin, ends


def _plane(sizes: Shape | list[int]) -> Shape:
    """Sizes of two spatial axes, the second of which a one-dimensional layer lacks."""
    return (*sizes, 1)[:2]


def _window(op: Op, padding: int) -> dict[str, int]:
    height, width = _plane(op.stride)
    return {"padding": padding, "stride_h": height, "stride_w": width}


def _stored_output(op: Op) -> Shape:
    batch, channels, *size = op.outputs[0]
    return (batch, *_plane(size), channels)


def _put(convert: Converter, tail: Tail, index: int, shape: Shape) -> None:
    """Name the result, with one spatial axis again where the layer has one."""
    if len(shape) == 3:
        stored = (shape[0], shape[2], shape[1])
        target = convert.builder.constant(stored)
        index = convert.emit("RESHAPE", [index, target], stored, name=f"{tail.name}/line")
    convert.finish(tail, index, channels_last(len(shape)))


def fold_scales(convert: Converter, tail: Tail, channels: int) -> None:
    """Layers that only scale and shift channels go into the weights before them."""
    while True:
        later, passed, order = convert.reader_of(tail)
        if later is None or not _is_channel_scale(later.op, channels, order.index(1)):
            return
        convert.extend(tail, [*passed, later], order)


def _is_channel_scale(op: Op, channels: int, axis: int) -> bool:
    if op.kind == "batch_norm":
        return len(op.inputs) == 1 and len(op.weights) == 4 and axis == 1
    if op.kind not in {"add", "mul", "sub", "div"} or len(op.inputs) != 1 or len(op.weights) != 1:
        return False
    if op.operands.startswith("w") and op.kind in {"sub", "div"}:
        return False
    rank = len(op.inputs[0])
    shape = (1,) * (rank - len(op.weights[0])) + op.weights[0]
    return shape in {(1,) * rank, tuple(channels if i == axis else 1 for i in range(rank))}


def _transposed(convert: Converter, layer: Layer) -> None:
    op = layer.op
    _require_weights(convert, layer)
    taken, out, *kernel = op.weights[0]
    if op.groups != 1 or len(kernel) != 2 or set(op.dilation) - {1}:
        raise convert.refusal(layer, "may have neither groups nor dilation, and needs two axes")
    data = convert.arranged(convert.value(layer), _NHWC)
    size, written = op.inputs[0][2:], op.outputs[0][2:]
    whole = tuple((n - 1) * s + k for n, s, k in zip(size, op.stride, kernel, strict=True))
    same = written == tuple(n * s for n, s in zip(size, op.stride, strict=True))
    padding = VALID if written == whole else SAME
    if not same and padding == SAME:
        raise convert.refusal(layer, f"pads {op.pads}: TensorFlow knows only SAME and VALID here")
    tail = Tail(layer)
    weight = convert.weight(f"{layer.name}/filter", (out, *kernel, taken), "TRANSPOSE_CONV")
    bias = convert.bias(f"{layer.name}/bias", data, weight, out)
    fold_scales(convert, tail, out)
    number = convert.fused(tail)
    target = convert.builder.constant(_stored_output(op))
    reads = [target, weight, data, bias]
    result = convert.activation(tail.name, _stored_output(op))
    convert.operator(
        "TRANSPOSE_CONV",
        reads,
        [result],
        covers=tail.covers,
        **_window(op, padding),
        fused_activation_function=number,
    )
    _put(convert, tail, result, op.outputs[0])


def _max_pool(convert: Converter, layer: Layer) -> None:
    _pool(convert, layer, "MAX_POOL_2D", -3.4e38)


def _average_pool(convert: Converter, layer: Layer) -> None:
    """Padding is counted where the file says so, and by a PAD of TensorFlow's in any case."""
    _pool(convert, layer, "AVERAGE_POOL_2D", 0.0)


def _pool(convert: Converter, layer: Layer, code: str, value: float) -> None:
    op = layer.op
    window = op.kernel
    if len(window) not in {1, 2} or set(op.dilation) - {1} or len(op.outputs) != 1:
        raise convert.refusal(layer, "needs one or two spatial axes and no dilation")
    counted = bool(op.attribute("count_include_pad"))
    data = _padded(convert, layer, window, value=value)
    tail = Tail(layer)
    if counted and data.padding == SAME:  # padding that an average counts has to be written out
        size = convert.shape_of(data.index)[1:3]
        ends = needed_pads(op, size, _plane(op.outputs[0][2:]), _plane(window))
        data = _pad_apart(convert, layer, data.index, ends, 0.0)
    number = convert.fused(tail)
    result = convert.emit(
        code,
        [data.index],
        _stored_output(op),
        name=tail.name,
        covers=tail.covers,
        **_window(op, data.padding),
        filter_height=_plane(window)[0],
        filter_width=_plane(window)[1],
        fused_activation_function=number,
    )
    _put(convert, tail, result, op.outputs[0])


def _global_pool(convert: Converter, layer: Layer) -> None:
    """MEAN or REDUCE_MAX over the spatial axes, which a flattening after it drops at once."""
    op = layer.op
    rank = len(op.inputs[0])
    data = convert.arranged(convert.value(layer), channels_last(rank))
    code = "MEAN" if op.kind == "global_average_pool" else "REDUCE_MAX"
    spatial = convert.builder.constant(list(range(1, rank - 1)))
    covers, last = [layer.name], layer
    later = convert.sole_reader(layer)
    shape, axes = (op.outputs[0][0], *(1,) * (rank - 2), op.outputs[0][1]), channels_last(rank)
    if later is not None and _drops_ones(later.op):
        convert.absorb(later)
        covers.append(later.name)
        shape, axes, last = later.op.outputs[0], (0, 1), later
    result = convert.emit(
        code,
        [data, spatial],
        shape,
        name=last.outputs[0],
        covers=covers,
        keep_dims=int(len(shape) == rank),
    )
    convert.put(last.outputs[0], result, axes)


def _drops_ones(op: Op) -> bool:
    """Whether a layer only drops the axes that a global pool left at size 1."""
    kinds = {"flatten", "reshape", "squeeze"}
    return op.kind in kinds and len(op.inputs) == 1 and op.outputs[0] == op.inputs[0][:2]


RULES: Mapping[str, Callable[[Converter, Layer], None]] = {
    "average_pool": _average_pool,
    "conv": _convolution,
    "conv_transpose": _transposed,
    "global_average_pool": _global_pool,
    "global_max_pool": _global_pool,
    "max_pool": _max_pool,
}

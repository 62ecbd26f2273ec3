"""Layers that move numbers, as TensorFlow Lite operators, or as none where only names change."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from costmodel.lite_model.convert import Converter
from costmodel.lite_model.stored import Axes, channels_last, permutation, permuted, plain
from costmodel.network import Layer
from costmodel.op import Shape

_Rule = Callable[[Converter, Layer], None]


def _nothing(convert: Converter, layer: Layer) -> None:
    """A layer that changes nothing at inference."""
    convert.values[layer.outputs[0]] = convert.value(layer)


def _cast(convert: Converter, layer: Layer) -> None:
    """Between floating point types nothing happens: a deployed model has one."""
    floats = {1, 10, 11, 16}
    if layer.op.attribute("to") in floats and layer.op.dtype.startswith("float"):
        _nothing(convert, layer)
        return
    raise convert.refusal(layer, "casts to or from whole numbers")


def _transpose(convert: Converter, layer: Layer) -> None:
    """Only the names of the axes change; who needs another order asks for it."""
    data = convert.value(layer)
    order = permutation(layer.op)
    convert.put(layer.outputs[0], data.index, tuple(order.index(axis) for axis in data.axes))


def groups_of(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Smallest runs of axes that a reshape turns into each other; axes of size 1 join the run.

    >>> groups_of((1, 12, 5, 5), (1, 3, 4, 5, 5))
    [([0], [0]), ([1], [1, 2]), ([2], [3]), ([3], [4])]
    """
    found: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(before) or j < len(after):
        left, right, a, b = [], [], 1, 1
        if i < len(before):
            left, a, i = [i], before[i], i + 1
        if j < len(after):
            right, b, j = [j], after[j], j + 1
        while a != b:
            if a < b and i < len(before):
                left.append(i)
                a, i = a * before[i], i + 1
            elif b < a and j < len(after):
                right.append(j)
                b, j = b * after[j], j + 1
            else:
                message = f"{before} and {after} do not hold as many elements"
                raise ValueError(message)
        found.append((left, right))
    return found


def _reshape(convert: Converter, layer: Layer) -> None:
    op = layer.op
    data = convert.value(layer)
    before, after = op.inputs[0], op.outputs[0]
    if before == after:
        _nothing(convert, layer)
        return
    if convert.network.channels_last:
        _reshape_stored(convert, layer, data.index, channels_last(len(after)))
        return
    if len(after) == 2 and after[0] == before[0] and _order_is_free(convert, layer):
        # A converter puts the rows of the following product's weights into the order it finds.
        _reshape_stored(convert, layer, data.index, plain(2))
        return
    groups = groups_of(before, after)
    ordered = _order(groups, before, data.axes)
    index = convert.arranged(data, tuple(a for left, _ in ordered for a in left))
    _reshape_stored(convert, layer, index, tuple(a for _, right in ordered for a in right))


def _reshape_stored(convert: Converter, layer: Layer, index: int, axes: Axes) -> None:
    shape = permuted(layer.op.outputs[0], axes)
    if shape != convert.shape_of(index):
        target = convert.builder.constant(shape)
        index = convert.emit(
            "RESHAPE", [index, target], shape, name=layer.outputs[0], covers=[layer.name]
        )
    convert.put(layer.outputs[0], index, axes)


def _order_is_free(convert: Converter, layer: Layer) -> bool:
    """Whether only products with constant weights see in which order values are flattened."""
    layers = [layer]
    while layers:
        current = layers.pop()
        for reader in convert.readers.get(current.outputs[0], []):
            if reader.op.kind in {"relu", "dropout", "identity", "clip", "sigmoid", "tanh"}:
                layers.append(reader)
            elif reader.op.kind not in {"gemm", "matmul"} or len(reader.op.inputs) != 1:
                return False
    return layer.outputs[0] not in convert.returned


def _order(
    groups: list[tuple[list[int], list[int]]], before: Shape, axes: Axes
) -> list[tuple[list[int], list[int]]]:
    """The runs in the order in which they are stored, each by its first axis of real size."""
    place = {axis: position for position, axis in enumerate(axes)}

    def first(group: tuple[list[int], list[int]]) -> int:
        real = [place[axis] for axis in group[0] if before[axis] != 1]
        return min(real or [place[axis] for axis in group[0]], default=len(axes))

    return sorted(groups, key=first)


def _concat(convert: Converter, layer: Layer) -> None:
    op = layer.op
    if op.weights or op.constants:
        raise convert.refusal(layer, "joins constants")
    values = [convert.values[name] for name in layer.inputs]
    axes = values[0].axes
    axis = op.attribute("axis", 1) % len(axes)
    reads = [convert.arranged(value, axes) for value in values]
    scale = convert.builder.tensors[reads[0]].scale
    for position, index in enumerate(reads):
        tensor = convert.builder.tensors[index]
        if tensor.scale != scale:
            same = convert.activation(f"{tensor.name}/rescaled", tensor.shape, scale=scale)
            convert.builder.operator("QUANTIZE", [index], [same])
            reads[position] = same
    convert.carry_out(layer, "CONCATENATION", reads, axes, axis=axes.index(axis))


def _split(convert: Converter, layer: Layer) -> None:
    op = layer.op
    data = convert.value(layer)
    axis = data.axes.index(op.attribute("axis", 0) % len(data.axes))
    stored = [permuted(shape, data.axes) for shape in op.outputs]
    scale = convert.builder.tensors[data.index].scale
    outs = [
        convert.activation(name, shape, scale=scale)
        for name, shape in zip(layer.outputs, stored, strict=True)
    ]
    constant = convert.builder.constant
    if len(set(stored)) == 1:
        reads, code = [constant(axis), data.index], "SPLIT"
    else:
        sizes = [shape[axis] for shape in stored]
        reads, code = [data.index, constant(sizes), constant(axis)], "SPLIT_V"
    convert.operator(code, reads, outs, covers=[layer.name], num_splits=len(outs))
    for name, index in zip(layer.outputs, outs, strict=True):
        convert.put(name, index, data.axes)


def _slice(convert: Converter, layer: Layer) -> None:
    op = layer.op
    rank = len(op.inputs[0])
    listed = op.constants or [op.attribute(name, ()) for name in ("starts", "ends", "axes")]
    integers = [tuple(map(int, values)) for values in listed]
    starts, _, axes, steps = (*integers, (), (), ())[:4]
    axes = axes or tuple(range(len(starts)))
    begin, stride = [0] * rank, [1] * rank
    for position, axis in enumerate(axes):
        begin[axis % rank] = starts[position]
        stride[axis % rank] = steps[position] if steps else 1
    if min(stride) < 1:
        raise convert.refusal(layer, "runs backwards")
    begin = [
        min(max(b + n if b < 0 else b, 0), n) for b, n in zip(begin, op.inputs[0], strict=True)
    ]
    ends = [b + (n - 1) * s + 1 for b, n, s in zip(begin, op.outputs[0], stride, strict=True)]
    data = convert.value(layer)
    parts = (permuted(tuple(values), data.axes) for values in (begin, ends, stride))
    convert.carry_out(
        layer, "STRIDED_SLICE", [data.index, *map(convert.builder.constant, parts)], data.axes
    )


def _pad(convert: Converter, layer: Layer) -> None:
    op = layer.op
    pads = tuple(map(int, op.constants[0] if op.constants else op.attribute("pads", ())))
    rank = len(op.inputs[0])
    mode = op.attribute("mode", "constant")
    if len(pads) != 2 * rank or min(pads) < 0 or mode not in {"constant", "reflect"}:
        raise convert.refusal(layer, f"pads {pads} by {mode!r}")
    data = convert.value(layer)
    if not any(pads):
        _nothing(convert, layer)
        return
    amounts = [[pads[axis], pads[axis + rank]] for axis in data.axes]
    value = op.constants[1][0] if len(op.constants) > 1 else op.attribute("value", 0.0)
    reads, code = [data.index, convert.builder.constant(amounts)], "PAD"
    options: dict[str, int] = {}
    if mode == "reflect":
        code = "MIRROR_PAD"
    elif value:
        code = "PADV2"
        reads.append(convert.weight(f"{layer.name}/value", ()))
    convert.carry_out(layer, code, reads, data.axes, **options)


def _resize(convert: Converter, layer: Layer) -> None:
    op = layer.op
    mode = op.attribute("mode", "nearest")
    where = op.attribute("coordinate_transformation_mode", "half_pixel")
    if len(op.inputs[0]) != 4 or mode not in {"nearest", "linear", "bilinear"}:
        raise convert.refusal(layer, f"resizes {len(op.inputs[0])} axes by {mode!r}")
    index = convert.arranged(convert.value(layer), channels_last(4))
    code = "RESIZE_NEAREST_NEIGHBOR" if mode == "nearest" else "RESIZE_BILINEAR"
    options = {
        "align_corners": int(where == "align_corners"),
        "half_pixel_centers": int("half_pixel" in where),
    }
    convert.carry_out(
        layer,
        code,
        [index, convert.builder.constant(op.outputs[0][2:])],
        channels_last(4),
        **options,
    )


def _gather(convert: Converter, layer: Layer) -> None:
    op = layer.op
    if len(op.inputs) != 1 or len(op.constants) != 1 or len(op.outputs[0]) < len(op.inputs[0]) - 1:
        raise convert.refusal(layer, "needs constant positions")
    rank = len(op.inputs[0])
    axis = op.attribute("axis", 0) % rank
    index = convert.arranged(convert.value(layer), plain(rank))
    dropped = len(op.outputs[0]) < rank
    places = [int(v) for v in op.constants[0]]
    if not dropped and len(op.outputs[0]) != rank:
        raise convert.refusal(layer, "gathers by a table of positions")
    positions = convert.builder.constant(places[0] if dropped else places)
    convert.carry_out(layer, "GATHER", [index, positions], plain(len(op.outputs[0])), axis=axis)


def _blocks(convert: Converter, layer: Layer) -> None:
    op = layer.op
    if len(op.inputs[0]) != 4 or op.attribute("mode", "DCR") != "DCR":
        raise convert.refusal(layer, "orders its blocks as TensorFlow does not")
    index = convert.arranged(convert.value(layer), channels_last(4))
    convert.carry_out(
        layer, op.kind.upper(), [index], channels_last(4), block_size=op.attribute("blocksize", 1)
    )


RULES: Mapping[str, _Rule] = {
    "cast": _cast,
    "concat": _concat,
    "depth_to_space": _blocks,
    "dropout": _nothing,
    "flatten": _reshape,
    "gather": _gather,
    "identity": _nothing,
    "pad": _pad,
    "reshape": _reshape,
    "resize": _resize,
    "slice": _slice,
    "space_to_depth": _blocks,
    "split": _split,
    "squeeze": _reshape,
    "transpose": _transpose,
    "unsqueeze": _reshape,
}

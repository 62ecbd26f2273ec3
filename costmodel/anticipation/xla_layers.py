"""The HLO instructions that each layer as written becomes, after XLA's own simplifications."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from costmodel.anticipation.xla_values import Value, Values
from costmodel.op import Op, Shape

#: Convolutions and products whose channels are all at most this wide stay with Eigen; others go to
#: XLA's library of kernels (observed on jaxlib 0.10.2: a step at 16 to 17 channels in or out).
EIGEN_CHANNELS = 16
_LIBRARY = "ynn:fusion"
#: Elements that XLA reduces at once.
_REDUCED = 32
#: HLO instructions of kinds that work element by element.
BINARY = {"add": "add", "sum": "add", "sub": "subtract", "mul": "multiply", "div": "divide",
           "max": "maximum", "min": "minimum"}  # fmt: skip
UNARY = {"abs": "abs", "exp": "exponential", "log": "log", "neg": "negate", "sqrt": "sqrt",
          "tanh": "tanh"}  # fmt: skip


class NoRuleError(Exception):
    """This layer's instructions are not known here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """A written tensor while rules work on it.

    Attributes:
        value: its values.
        last: whether they are stored channels last although the tensor is channels first.
    """

    value: Value
    last: bool


Rule = Callable[[Values, Op, Sequence[Tensor]], Tensor]


def stored_shape(shape: Shape, *, last: bool) -> Shape:
    """Sizes as stored.

    >>> stored_shape((1, 3, 8, 9), last=True)
    (1, 8, 9, 3)
    """
    return (shape[0], *shape[2:], shape[1]) if last and len(shape) > 2 else shape


def window_text(**parts: Sequence[str]) -> str:
    """XLA's text of a window; parts that say nothing are left out."""
    plain = {"size": "", "stride": "1", "pad": "0_0", "lhs_dilate": "1", "rhs_dilate": "1"}
    given = [
        f"{name}={'x'.join(parts[name])}"
        for name, nothing in plain.items()
        if name in parts and set(parts[name]) != {nothing}
    ]
    return f"window={{{'_'.join(given)}}}"


def images(tensor: Tensor) -> Value:
    """A tensor's values stored channels last."""
    if not tensor.last:
        raise NoRuleError
    return tensor.value


def _texts(numbers: Sequence[int]) -> list[str]:
    return [str(n) for n in numbers]


def _pads(op: Op, extra: Sequence[int] = ()) -> list[str]:
    half = len(op.stride)
    behind = [op.pads[half + i] + (extra[i] if extra else 0) for i in range(half)]
    return [f"{op.pads[i]}_{behind[i]}" for i in range(half)]


def conv(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A convolution, its bias apart."""
    image = images(read[0])
    if len(op.stride) != 2 or not op.weights:
        raise NoRuleError
    filters = op.weights[0]
    kernel = values.fed("w", (*filters[2:], filters[1], filters[0]))
    dims = stored_shape(op.outputs[0], last=True)
    narrow = max(image.dims[-1], dims[-1]) <= EIGEN_CHANNELS
    plain = set(op.pads) <= {0} and set(op.stride) <= {1}
    if narrow and op.groups == 1 and set(filters[2:]) == {1} and plain:
        result = _as_product(values, image, kernel, dims)
    else:
        text = window_text(
            size=_texts(filters[2:]),
            stride=_texts(op.stride),
            pad=_pads(op),
            rhs_dilate=_texts(op.dilation),
        )
        text += ";dim_labels=b01f_01io->b01f"
        text += f";feature_group_count={op.groups}" if op.groups > 1 else ""
        name = "convolution" if narrow else _LIBRARY
        result = values.add("convolution", image, kernel, dims=dims, settings=text, kernel=name)
    if len(op.weights) > 1:
        bias = values.fed("w", (dims[-1],))
        result = values.add("add", result, values.spread(bias, dims, (3,)))
    return Tensor(value=result, last=True)


def _as_product(values: Values, image: Value, kernel: Value, dims: Shape) -> Value:
    rows = values.view(image, (prod(image.dims[:-1]), image.dims[-1]))
    rows.stored = rows.free = rows is not image
    columns = values.view(kernel, kernel.dims[2:])
    text = "lhs_contracting_dims={1};rhs_contracting_dims={0}"
    product = values.add(
        "dot", rows, columns, dims=(rows.dims[0], dims[-1]), settings=text, kernel="dot"
    )
    result = values.view(product, dims)
    result.stored = result.free = True  # made after XLA has joined its kernels
    return result


def gemm(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A product with a constant matrix; one row is read as a column."""
    scaled = {op.attribute("alpha", 1.0), op.attribute("beta", 1.0)} != {1.0}
    if scaled or op.attribute("transA", 0) or not op.weights or len(op.inputs[0]) != 2:
        raise NoRuleError
    rows, inner = op.inputs[0]
    columns = op.outputs[0][-1]
    matrix = values.fed("w", (inner, columns))
    left = values.view(read[0].value, (rows, inner))
    if rows == 1:
        text = "lhs_contracting_dims={0};rhs_contracting_dims={0}"
        left, name = values.view(left, (inner, 1)), "dot"
    else:
        text, name = "lhs_contracting_dims={1};rhs_contracting_dims={0}", _LIBRARY
    result = values.add("dot", left, matrix, dims=(rows, columns), settings=text, kernel=name)
    if len(op.weights) > 1:
        bias = values.fed("w", (1, columns))
        result = values.add("add", result, values.matched(bias, (rows, columns)))
    return Tensor(value=result, last=False)


def softmax(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A softmax over the last of two axes: four kernels, more where rows are long."""
    x = read[0].value
    if len(x.dims) != 2 or op.attribute("axis", -1) not in {1, -1}:
        raise NoRuleError
    rows = x.dims[:1]
    highest = _over_rows(values, x, "maximum", -np.inf)
    powers = values.add(
        "exponential", values.add("subtract", x, _repeated(values, highest, x.dims))
    )
    total = _over_rows(values, powers, "add", 0.0)
    ones = values.add("constant", dims=rows, settings="?")
    share = values.add("divide", ones if rows == (1,) else values.number(1.0, rows), total)
    result = values.add("multiply", powers, _repeated(values, share, x.dims))
    return Tensor(value=result, last=False)


def _over_rows(values: Values, x: Value, joined: str, start: float) -> Value:
    """A reduction of each row, in steps of 32 as long as there are more."""
    rows, count = x.dims
    while count > _REDUCED:
        left = -(-count // _REDUCED)
        missing = left * _REDUCED - count
        pads = f"{missing // 2}_{missing - missing // 2}"
        text = window_text(
            size=["1", str(_REDUCED)], stride=["1", str(_REDUCED)], pad=["0_0", pads]
        )
        first = values.number(start)
        text += f";with={joined}"
        x = values.add("reduce-window", x, first, dims=(rows, left), settings=text)
        count = left
    text = f"dimensions={{1}};with={joined}"
    return values.add("reduce", x, values.number(start), dims=(rows,), settings=text)


def _repeated(values: Values, x: Value, dims: Shape) -> Value:
    """One number per row, repeated along it."""
    if dims[0] == 1:
        return values.spread(values.view(x, ()), dims, ())
    return values.spread(x, dims, (0,))


def batch_norm(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """``(x - mean) * (rsqrt(variance + epsilon) * scale) + bias``."""
    image = images(read[0])
    channels, dims = image.dims[-1], image.dims
    scale, bias, mean, variance = (values.fed("w", (channels,)) for _ in range(4))
    epsilon = float(np.float32(op.attribute("epsilon", 1e-5)))
    root = values.add("rsqrt", values.add("add", variance, values.number(epsilon, (channels,))))
    factor = values.add("multiply", root, scale)
    axis = (len(dims) - 1,)
    centred = values.add("subtract", image, values.spread(mean, dims, axis))
    scaled = values.add("multiply", centred, values.spread(factor, dims, axis))
    result = values.add("add", scaled, values.spread(bias, dims, axis))
    return Tensor(value=result, last=True)


def activation(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """Work on each element by itself."""
    x, kind = read[0].value, op.kind
    if kind == "relu":
        result = values.add("maximum", x, values.number(0.0, x.dims))
    elif kind == "clip":
        result = _clip(values, op, x)
    elif kind == "sigmoid":
        one = values.number(1.0, x.dims)
        below = values.add("add", values.add("exponential", values.add("negate", x)), one)
        result = values.add("divide", one, below)
    else:
        result = values.add(UNARY[kind], x)
    return Tensor(value=result, last=read[0].last)


def _clip(values: Values, op: Op, x: Value) -> Value:
    bounds = [c[0] for c in op.constants if c]
    if len(bounds) != 2:
        raise NoRuleError
    low, high = (values.number(float(b), x.dims) for b in bounds)
    return values.add("clamp", low, x, high, dims=x.dims)


def binary(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """Two or more tensors, or one and a weight, that broadcast."""
    last = any(tensor.last and len(tensor.value.dims) > 2 for tensor in read)
    if op.operands not in {"", "dw"} or op.constants:
        raise NoRuleError
    dims = stored_shape(op.outputs[0], last=last)
    operands = [tensor.value for tensor in read]
    rank = len(op.outputs[0])
    for shape in op.weights:
        wide = (1,) * (rank - len(shape)) + tuple(shape)
        operands.append(values.fed("w", stored_shape(wide, last=last)))
    result = values.matched(operands[0], dims)
    for operand in operands[1:]:
        result = values.add(BINARY[op.kind], result, values.matched(operand, dims))
    return Tensor(value=result, last=last)


def pool(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A window reduction, and for an average what it is divided by."""
    image, half = images(read[0]), len(op.stride)
    dims = stored_shape(op.outputs[0], last=True)
    if half != 2 or len(op.outputs) > 1 or set(op.dilation) - {1}:
        raise NoRuleError
    if op.kernel == image.dims[1:-1] and dims[1:-1] == (1, 1) and not any(op.pads):
        return global_pool(values, op, read)
    reach = [(dims[1 + i] - 1) * op.stride[i] + op.kernel[i] for i in range(half)]
    size = [image.dims[1 + i] + op.pads[i] + op.pads[half + i] for i in range(half)]
    extra = [max(0, r - s) for r, s in zip(reach, size, strict=True)]
    text = window_text(
        size=["1", *_texts(op.kernel), "1"],
        stride=["1", *_texts(op.stride), "1"],
        pad=["0_0", *_pads(op, extra), "0_0"],
    )
    largest = op.kind == "max_pool"
    start = values.number(-np.inf if largest else 0.0)
    text += f";with={'maximum' if largest else 'add'}"
    result = values.add("reduce-window", image, start, dims=dims, settings=text)
    if not largest:
        result = values.add("multiply", result, _share(values, op, dims))
    return Tensor(value=result, last=True)


def _share(values: Values, op: Op, dims: Shape) -> Value:
    """One over the elements that each window takes in."""
    if not set(op.pads) - {0} or op.attribute("count_include_pad", 0):
        return values.number(float(np.float32(1) / np.float32(prod(op.kernel))), dims)
    return values.spread(values.fed("w", dims[1:3]), dims, (1, 2))


def global_pool(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A reduction over all of an image."""
    image = images(read[0])
    axes = range(1, len(image.dims) - 1)
    largest = op.kind in {"global_max_pool", "max_pool"}
    flat = (image.dims[0], image.dims[-1])
    text = f"dimensions={{{','.join(map(str, axes))}}};with={'maximum' if largest else 'add'}"
    start = values.number(-np.inf if largest else 0.0)
    result = values.add("reduce", image, start, dims=flat, settings=text)
    if not largest:
        count = prod(image.dims[1:-1])
        share = values.number(float(np.float32(1) / np.float32(count)), flat)
        result = values.add("multiply", result, share)
    return Tensor(value=values.view(result, stored_shape(op.outputs[0], last=True)), last=True)

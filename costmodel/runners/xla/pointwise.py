"""Element by element work, products and reductions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.runners.xla.step import Step, Weight, builds
from costmodel.runners.xla.view import View, simple

_UNARY: Mapping[str, Callable[[Any], Any]] = {
    "abs": jnp.abs,
    "ceil": jnp.ceil,
    "cos": jnp.cos,
    "dropout": lambda x: x,
    "erf": lax.erf,
    "exp": jnp.exp,
    "floor": jnp.floor,
    "hard_swish": lambda x: x * jnp.clip(x / 6 + 0.5, 0, 1),
    "identity": lambda x: x,
    "log": jnp.log,
    "mish": lambda x: x * jnp.tanh(jax.nn.softplus(x)),
    "neg": jnp.negative,
    "not": jnp.logical_not,
    "reciprocal": lambda x: 1 / x,
    "relu": lambda x: jnp.maximum(x, np.zeros((), x.dtype)),
    "round": jnp.round,
    "sigmoid": lax.logistic,
    "sign": jnp.sign,
    "sin": jnp.sin,
    "softplus": jax.nn.softplus,
    "softsign": lambda x: x / (1 + jnp.abs(x)),
    "sqrt": jnp.sqrt,
    "tanh": jnp.tanh,
}
_BINARY: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": jnp.add,
    "and": jnp.logical_and,
    "div": lambda a, b: a / b if jnp.issubdtype(a.dtype, jnp.floating) else lax.div(a, b),
    "equal": jnp.equal,
    "greater": jnp.greater,
    "greater_or_equal": jnp.greater_equal,
    "less": jnp.less,
    "less_or_equal": jnp.less_equal,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "mul": jnp.multiply,
    "or": jnp.logical_or,
    "pow": jnp.power,
    "sub": jnp.subtract,
    "sum": jnp.add,
}


@builds(*_UNARY)
def unary(step: Step) -> Sequence[View]:
    """One tensor in, one of the same size out."""
    return [step.x.like(_UNARY[step.op.kind](step.x.array))]


@builds("leaky_relu", "elu", "selu", "hard_sigmoid", "gelu", "swish", "clip")
def activation(step: Step) -> Sequence[View]:
    """An activation with settings."""
    x, kind = step.x.array, step.op.kind
    alpha = float(
        step.op.attribute("alpha", {"leaky_relu": 0.01, "hard_sigmoid": 0.2}.get(kind, 1.0))
    )
    if kind == "clip":
        return [step.x.like(_clip(step, x))]
    if kind == "leaky_relu":
        result = jnp.where(x >= 0, x, x * step.number(alpha))
    elif kind == "elu":
        result = jnp.where(x > 0, x, step.number(alpha) * jnp.expm1(x))
    elif kind == "selu":
        gamma = step.number(step.op.attribute("gamma", 1.0507009873554805))
        alpha = step.op.attribute("alpha", 1.6732632423543772)
        result = gamma * jnp.where(x > 0, x, step.number(alpha) * jnp.expm1(x))
    elif kind == "hard_sigmoid":
        shifted = x * step.number(alpha) + step.number(step.op.attribute("beta", 0.5))
        result = jnp.clip(shifted, 0, 1)
    elif kind == "gelu":
        result = jax.nn.gelu(x, approximate=step.op.attribute("approximate", "none") == "tanh")
    else:
        result = x * lax.logistic(x * step.number(alpha))
    return [step.x.like(result)]


def _clip(step: Step, x: Any) -> Any:
    """Bounds are operands, or attributes in old files."""
    low, high = (
        (step.constant(index) or (step.op.attribute(name, unlimited),))[0]
        for index, name, unlimited in ((1, "min", -np.inf), (2, "max", np.inf))
    )
    if low > np.finfo(np.float32).min:
        x = jnp.maximum(x, np.asarray(low).astype(x.dtype))
    if high < np.finfo(np.float32).max:
        x = jnp.minimum(x, np.asarray(high).astype(x.dtype))
    return x


@builds(*_BINARY, "mean", "where", "prelu")
def broadcasting(step: Step) -> Sequence[View]:
    """Tensors of sizes that broadcast, stored as the largest of them is."""
    arrays, view = aligned(step)
    kind = step.op.kind
    if kind == "where":
        return [view.like(jnp.where(*arrays))]
    if kind == "prelu":
        x, slope = arrays
        return [view.like(jnp.where(x >= 0, x, x * slope))]
    if kind == "mean":
        return [view.like(reduce(jnp.add, arrays) / len(arrays))]
    return [view.like(reduce(_BINARY[kind], arrays))]


def aligned(step: Step) -> tuple[list[Any], View]:
    """The operands' arrays, all stored alike, and a view that says how."""
    operands = list(step.operands)
    views = [item for item in operands if isinstance(item, View)]
    lead = max(views, key=lambda item: prod(item.shape))
    same = all(
        isinstance(o, View) and o.axes == lead.axes and o.array.shape == lead.array.shape
        for o in operands
    )
    if same:
        return [o.array for o in operands if isinstance(o, View)], lead
    rank = len(step.op.outputs[0])
    padded = View(array=lead.array, axes=((),) * (rank - lead.rank) + lead.axes)
    order = padded.order
    arrays = []
    for index, operand in enumerate(operands):
        if isinstance(operand, Weight):
            arrays.append(operand.view(rank, order).array)
        elif isinstance(operand, View):
            wide = View(array=operand.array, axes=((),) * (rank - operand.rank) + operand.axes)
            arrays.append(wide.stored(order))
        else:
            arrays.append(_written(step, index, rank, order, lead))
    return arrays, simple(arrays[0], order)


def _written(step: Step, index: int, rank: int, order: Sequence[int], lead: View) -> Any:
    """A small constant operand by value: a number, or a vector along the last axis."""
    values = np.asarray(step.constant(index), dtype=lead.array.dtype)
    if values.size != 1 and values.size != step.op.outputs[0][-1]:
        message = f"{step.op.label}: the sizes of constant operand {index} are not known."
        raise UnsupportedOpError(message)
    shape = (1,) * (rank - 1) + (values.size,)
    return values.reshape(shape).transpose(order)


@builds("gemm")
def gemm(step: Step) -> Sequence[View]:
    """``alpha * A @ B + beta * C``."""
    left = step.view(0)
    if step.op.attribute("transA", 0):
        left = left.transposed((1, 0))
    result = _product(step, left, transposed=bool(step.op.attribute("transB", 0)))
    alpha, beta = (step.op.attribute(name, 1.0) for name in ("alpha", "beta"))
    if alpha != 1.0:
        result = result * step.number(alpha)
    bias = step.get(2)
    if bias is not None:
        added = bias.view(2, (0, 1)) if isinstance(bias, Weight) else step.view(2)
        values = added.stored(range(added.rank))
        result = result + (values if beta == 1.0 else values * step.number(beta))
    return [simple(result, (0, 1))]


def _product(step: Step, left: View, *, transposed: bool) -> Any:
    """A matrix times the second operand; weights take the order in which the left one is stored."""
    right = step.get(1)
    if not isinstance(right, Weight):
        other = step.view(1).transposed((1, 0)) if transposed else step.view(1)
        return jnp.matmul(left.stored((0, 1)), other.stored((0, 1)))
    factors, size = left.axes[1], left.array.shape
    rows = [size[a] for a in factors]
    held = sorted(range(len(factors)), key=lambda i: factors[i])

    def arrange(w: NDArray[Any]) -> NDArray[Any]:
        plain = w.T if transposed else w
        return plain.reshape(*rows, -1).transpose(*held, len(rows)).reshape(plain.shape)

    if len(factors) > 1 and held != list(range(len(held))):
        # A flattened image: a deployed program's weights have its rows in storage order.
        left = View(array=left.array, axes=(left.axes[0], tuple(factors[i] for i in held)))
        return jnp.matmul(left.stored((0, 1)), right.take(arrange))
    return jnp.matmul(left.stored((0, 1)), right.take(lambda w: w.T if transposed else w))


@builds("matmul")
def matmul(step: Step) -> Sequence[View]:
    """A product of matrices, or of stacks of them."""
    right = step.get(1)
    if isinstance(right, Weight) and len(right.shape) == 2 and step.get(0) is not None:
        left = step.view(0)
        if left.rank == 2:
            return [simple(_product(step, left, transposed=False), (0, 1))]
    both = [step.view(index) for index in (0, 1)]
    result = jnp.matmul(*(item.stored(range(item.rank)) for item in both))
    return [simple(result, range(result.ndim))]


_REDUCE: Mapping[str, Callable[..., Any]] = {
    "reduce_l1": lambda x, **k: jnp.sum(jnp.abs(x), **k),
    "reduce_l2": lambda x, **k: jnp.sqrt(jnp.sum(x * x, **k)),
    "reduce_max": jnp.max,
    "reduce_mean": jnp.mean,
    "reduce_min": jnp.min,
    "reduce_prod": jnp.prod,
    "reduce_sum": jnp.sum,
    "reduce_sum_square": lambda x, **k: jnp.sum(x * x, **k),
}


@builds(*_REDUCE)
def reduction(step: Step) -> Sequence[View]:
    """A reduction over some axes, over all where none are named."""
    axes = step.constant(1) or step.op.attribute("axes", ())
    if not axes and step.op.attribute("noop_with_empty_axes", 0):
        return [step.x]
    chosen = {int(axis) % step.x.rank for axis in axes} or set(range(step.x.rank))
    physical = tuple(a for axis in sorted(chosen) for a in step.x.axes[axis])
    array = _REDUCE[step.op.kind](step.x.array, axis=physical, keepdims=True)
    kept = bool(step.op.attribute("keepdims", 1))
    view = step.x.like(array)
    axes_left = [factors for axis, factors in enumerate(view.axes) if kept or axis not in chosen]
    return [View(array=array, axes=tuple(axes_left))]


@builds("softmax", "log_softmax")
def softmax(step: Step) -> Sequence[View]:
    """Softmax over one axis; before operator set 13 over all axes from it on."""
    since = step.op.attribute("since", 13)
    rank = step.x.rank
    axis = step.op.attribute("axis", -1 if since >= 13 else 1) % max(rank, 1)
    chosen = range(axis, rank) if since < 13 else (axis,)
    physical = tuple(a for item in chosen for a in step.x.axes[item])
    function = jax.nn.softmax if step.op.kind == "softmax" else jax.nn.log_softmax
    return [step.x.like(function(step.x.array, axis=physical))]


@builds("layer_norm", "instance_norm")
def norm(step: Step) -> Sequence[View]:
    """Normalisation by the tensor's own statistics."""
    x, rank = step.x, step.x.rank
    layer = step.op.kind == "layer_norm"
    axes = range(step.op.attribute("axis", -1) % rank, rank) if layer else range(2, rank)
    x = x.simple(x.order)
    physical = tuple(a for axis in axes for a in x.axes[axis])
    mean = jnp.mean(x.array, axis=physical, keepdims=True)
    centred = x.array - mean
    variance = jnp.mean(centred * centred, axis=physical, keepdims=True)
    result = centred * lax.rsqrt(variance + step.number(step.op.attribute("epsilon", 1e-5)))
    for index, join in ((1, jnp.multiply), (2, jnp.add)):
        weight = step.get(index)
        if isinstance(weight, Weight):
            shape = weight.shape if layer else (1, *weight.shape, *(1,) * (rank - 2))
            wide = (1,) * (rank - len(shape)) + tuple(shape)
            result = join(result, weight.take(_placed(wide, x.order)))
    return [x.like(result)]


def _placed(shape: tuple[int, ...], order: Sequence[int]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    return lambda w: w.reshape(shape).transpose(order)


@builds("cast")
def cast(step: Step) -> Sequence[View]:
    """Another element type; the program has one float type and 32-bit integers."""
    code = step.op.attribute("to", 1)
    types = {1: step.dtype, 10: step.dtype, 11: step.dtype, 16: step.dtype, 9: "bool"}
    types |= {2: "uint8", 3: "int8", 5: "int16", 6: "int32", 7: "int32", 12: "uint32"}
    if code not in types:
        message = f"{step.op.label}: there is no type number {code} here."
        raise UnsupportedOpError(message)
    return [step.x.like(step.x.array.astype(types[code]))]


@builds("arg_max", "arg_min")
def arg(step: Step) -> Sequence[View]:
    """Position of the largest or least value along one axis."""
    axis = step.op.attribute("axis", 0) % step.x.rank
    x = step.x.simple(step.x.order)
    function = jnp.argmax if step.op.kind == "arg_max" else jnp.argmin
    array = function(x.array, axis=x.axes[axis][0], keepdims=True)
    kept = bool(step.op.attribute("keepdims", 1))
    left = tuple(f for i, f in enumerate(x.axes) if kept or i != axis)
    return [View(array=array, axes=left)]

"""Convolutions, pools and what else slides a window over an image."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.op import Op
from costmodel.runners.xla.step import Step, Weight, builds
from costmodel.runners.xla.view import View, channels_last


@builds("conv")
def conv(step: Step) -> Sequence[View]:
    """A convolution, its filter stored ``(*kernel, in / groups, out)``."""
    op, rank = step.op, step.x.rank
    order = (*range(2, rank), 1, 0)
    filters = step.get(1)
    if isinstance(filters, Weight):
        kernel = filters.take(lambda w: w.transpose(order))
    else:
        kernel = step.view(1).stored(order)
    half = len(op.stride)
    result = lax.conv_general_dilated(
        step.images(),
        kernel,
        window_strides=op.stride,
        padding=list(zip(op.pads[:half], op.pads[half:], strict=True)),
        rhs_dilation=op.dilation,
        dimension_numbers=step.window_letters,
        feature_group_count=op.groups,
    )
    return [step.made(_add_bias(step, result))]


@builds("conv_transpose")
def conv_transpose(step: Step) -> Sequence[View]:
    """A transposed convolution: one with a dilated input and a flipped filter."""
    op = step.op
    spatial, half = step.x.shape[2:], len(op.stride)
    filters = step.get(1)
    if not isinstance(filters, Weight):
        message = f"{op.label}: a transposed convolution needs a constant filter here."
        raise UnsupportedOpError(message)

    def arrange(w: NDArray[Any]) -> NDArray[Any]:
        cin, cout, *taps = w.shape
        split = w.reshape(op.groups, cin // op.groups, cout, *taps)
        joined = np.moveaxis(split, 0, 1).reshape(cin // op.groups, op.groups * cout, *taps)
        flipped = np.flip(joined, axis=tuple(range(2, joined.ndim)))
        return flipped.transpose((*range(2, joined.ndim), 0, 1))

    padding = []
    for axis in range(half):
        reach = (filters.shape[2 + axis] - 1) * op.dilation[axis] + 1
        low = reach - 1 - op.pads[axis]
        spread = (spatial[axis] - 1) * op.stride[axis] + 1
        padding.append((low, op.outputs[0][2 + axis] - spread - low + reach - 1))
    result = lax.conv_general_dilated(
        step.images(),
        filters.take(arrange),
        window_strides=(1,) * half,
        padding=padding,
        lhs_dilation=op.stride,
        rhs_dilation=op.dilation,
        dimension_numbers=step.window_letters,
        feature_group_count=op.groups,
    )
    return [step.made(_add_bias(step, result))]


def _add_bias(step: Step, result: Any) -> Any:
    bias = step.get(2)
    if bias is None:
        return result
    values = bias.take(np.ravel) if isinstance(bias, Weight) else step.view(2).stored((0,))
    shape = [1] * result.ndim
    shape[-1 if step.last else 1] = values.shape[0]
    return result + values.reshape(shape)


@builds("max_pool", "average_pool", "lp_pool")
def pool(step: Step) -> Sequence[View]:
    """A window reduction; positions that ``ceil_mode`` adds are padding."""
    op, kind = step.op, step.op.kind
    if len(op.outputs) > 1 or kind == "lp_pool":
        message = f"{op.label}: this pool is not built: indices or a norm are asked for."
        raise UnsupportedOpError(message)
    half = len(op.stride)
    dilation = op.dilation or (1,) * half
    padding = [_padding(op, axis) for axis in range(half)]
    window = _spread(step, op.kernel, 1)
    arguments = (
        window,
        _spread(step, op.stride, 1),
        _spread(step, padding, (0, 0)),
        _spread(step, (1,) * half, 1),
        _spread(step, dilation, 1),
    )
    images = step.images()
    if kind == "max_pool":
        lowest = -jnp.inf if jnp.issubdtype(images.dtype, jnp.floating) else 0
        result = lax.reduce_window(images, np.asarray(lowest, images.dtype), lax.max, *arguments)
        return [step.made(result)]
    summed = lax.reduce_window(images, np.zeros((), images.dtype), lax.add, *arguments)
    return [step.made(summed / _counts(step, padding, images.dtype))]


def _padding(op: Op, axis: int) -> tuple[int, int]:
    """Padding of one axis before and behind, enough for the last window of ``ceil_mode``."""
    half = len(op.stride)
    dilation = op.dilation[axis] if op.dilation else 1
    reach = (op.kernel[axis] - 1) * dilation + 1
    low = op.pads[axis]
    last = (op.outputs[0][2 + axis] - 1) * op.stride[axis] + reach
    return low, max(last - op.inputs[0][2 + axis] - low, op.pads[half + axis])


def _spread(step: Step, values: Sequence[Any], other: Any) -> tuple[Any, ...]:
    """Values per spatial axis, filled up for batch and channels."""
    return (other, *values, other) if step.last else (other, other, *values)


def _counts(step: Step, padding: Sequence[tuple[int, int]], dtype: Any) -> Any:
    """Elements that each window of an average takes in: a number where all are equal."""
    op, half = step.op, len(padding)
    include = bool(step.op.attribute("count_include_pad", 0))
    total = np.ones((1,) * half)
    for axis in range(half):
        dilation = op.dilation[axis] if op.dilation else 1
        size, (low, _) = op.inputs[0][2 + axis], padding[axis]
        starts = np.arange(op.outputs[0][2 + axis]) * op.stride[axis] - low
        taps = starts[:, None] + np.arange(op.kernel[axis]) * dilation
        before, behind = (op.pads[axis], op.pads[half + axis]) if include else (0, 0)
        inside = ((taps >= -before) & (taps < size + behind)).sum(axis=1)
        shape = [1] * half
        shape[axis] = len(inside)
        total = total * inside.reshape(shape)
    if total.min() == total.max():
        return np.asarray(total.max(), dtype)
    wide = (1, *total.shape, 1) if step.last else (1, 1, *total.shape)
    return np.asarray(total.reshape(wide), dtype)


@builds("global_average_pool", "global_max_pool")
def global_pool(step: Step) -> Sequence[View]:
    """A reduction over all of an image."""
    images = step.images()
    axes = tuple(range(1, images.ndim - 1)) if step.last else tuple(range(2, images.ndim))
    if step.op.kind == "global_max_pool":
        return [step.made(jnp.max(images, axis=axes, keepdims=True))]
    count = np.asarray(prod(images.shape[a] for a in axes), images.dtype)
    return [step.made(jnp.sum(images, axis=axes, keepdims=True) / count)]


@builds("lrn")
def lrn(step: Step) -> Sequence[View]:
    """Local response normalisation: a window over channels."""
    images = step.images()
    size = step.op.attribute("size", 1)
    axis = images.ndim - 1 if step.last else 1
    window, padding = [1] * images.ndim, [(0, 0)] * images.ndim
    window[axis] = size
    padding[axis] = ((size - 1) // 2, size - 1 - (size - 1) // 2)
    squares = lax.reduce_window(
        images * images,
        np.zeros((), images.dtype),
        lax.add,
        window,
        (1,) * images.ndim,
        padding,
    )
    scale = step.number(step.op.attribute("alpha", 1e-4) / size)
    base = step.number(step.op.attribute("bias", 1.0)) + scale * squares
    return [step.made(images * base ** -step.number(step.op.attribute("beta", 0.75)))]


@builds("batch_norm")
def batch_norm(step: Step) -> Sequence[View]:
    """Inference normalisation by stored statistics, computed as a program with arguments does."""
    order = channels_last(step.x.rank) if step.last and step.x.rank > 2 else step.x.order
    x = step.x.simple(order) if step.x.rank > 1 else step.x
    shape = [1] * x.rank
    shape[x.axes[1][0]] = x.shape[1]

    def vector(index: int) -> Any:
        operand = step.get(index)
        if isinstance(operand, Weight):
            return operand.take(np.ravel).reshape(shape)
        return step.view(index).stored((0,)).reshape(shape)

    scale, bias, mean, variance = (vector(index) for index in range(1, 5))
    factor = lax.rsqrt(variance + step.number(step.op.attribute("epsilon", 1e-5))) * scale
    return [x.like((x.array - mean) * factor + bias)]

"""Writes a recipe of HLO instructions as a JAX function again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from costmodel.errors import UnsupportedOpError
from costmodel.hlo_model.module import Array
from costmodel.hlo_model.recipe import DTYPES, Node, Recipe
from costmodel.hlo_model.windows import numbers, window_of
from costmodel.op import Shape

_UNARY: Mapping[str, Callable[[Any], Any]] = {
    "abs": lax.abs, "ceil": lax.ceil, "copy": lambda x: x, "cosine": lax.cos, "erf": lax.erf,
    "exponential": lax.exp, "exponential-minus-one": lax.expm1, "floor": lax.floor,
    "is-finite": lax.is_finite, "log": lax.log, "log-plus-one": lax.log1p,
    "logistic": lax.logistic, "negate": lax.neg, "not": lax.bitwise_not,
    "round-nearest-afz": lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO),
    "round-nearest-even": lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN),
    "rsqrt": lax.rsqrt, "sign": lax.sign, "sine": lax.sin, "sqrt": lax.sqrt, "tan": lax.tan,
    "tanh": lax.tanh, "cbrt": lax.cbrt,
}  # fmt: skip
_NARY: Mapping[str, Callable[..., Any]] = {
    "add": lax.add, "and": lax.bitwise_and, "atan2": lax.atan2, "clamp": lax.clamp,
    "divide": lax.div, "maximum": lax.max, "minimum": lax.min, "multiply": lax.mul,
    "or": lax.bitwise_or, "power": lax.pow, "remainder": lax.rem, "select": lax.select,
    "subtract": lax.sub, "xor": lax.bitwise_xor,
}  # fmt: skip
_COMPARE: Mapping[str, Callable[[Any, Any], Any]] = {
    "EQ": lax.eq, "GE": lax.ge, "GT": lax.gt, "LE": lax.le, "LT": lax.lt, "NE": lax.ne,
}  # fmt: skip
_JOIN: Mapping[str, Callable[[Any, Any], Any]] = {
    "add": lax.add, "maximum": lax.max, "minimum": lax.min, "multiply": lax.mul,
    "and": lax.bitwise_and, "or": lax.bitwise_or,
}  # fmt: skip


def function_of(recipe: Recipe) -> Callable[..., tuple[Any, ...]]:
    """A function of the recipe's operands, as stored, that gives its results, as stored.

    An array that is not stored row-major goes in and out with its axes in storage order.

    Raises:
        UnsupportedOpError: from the function, when it is traced: for an instruction that has no
            form here.
    """

    def run(*operands: Any) -> tuple[Any, ...]:
        values: list[Any] = []
        fed = iter(operands)
        for node in recipe.nodes:
            if node.opcode in {"d", "w"}:
                values.append(_logical(next(fed), node.array))
                continue
            values.append(_emit(node, [values[a] for a in node.args]))
        return tuple(_physical(values[r], recipe.nodes[r].array) for r in recipe.roots)

    return run


def stored_shape(array: Array) -> Shape:
    """Sizes of an array in storage order."""
    return array.dims if array.is_plain else tuple(array.dims[axis] for axis in array.order)


def _logical(value: Any, array: Array) -> Any:
    if array.is_plain:
        return value
    return lax.transpose(value, tuple(array.order.index(axis) for axis in range(len(array.dims))))


def _physical(value: Any, array: Array) -> Any:
    return value if array.is_plain else lax.transpose(value, array.order)


def _emit(node: Node, args: Sequence[Any]) -> Any:
    opcode = node.opcode
    if opcode in _UNARY:
        return _UNARY[opcode](*args)
    if opcode in _NARY:
        return _NARY[opcode](*args)
    writer = _WRITERS.get(opcode)
    if writer is None:
        message = f"The HLO instruction {opcode!r} cannot be rebuilt alone: it has no form here."
        raise UnsupportedOpError(message)
    result = writer(node, args)
    if result.shape != node.array.dims:
        message = f"{opcode} rebuilt alone gives {result.shape}, not {node.array.dims} as it says."
        raise UnsupportedOpError(message)
    return result


def _constant(node: Node, _: Sequence[Any]) -> Any:
    dtype = DTYPES[node.array.dtype]
    if node.array.dims:
        # Values matter only in that they differ: of one number XLA would make something simpler.
        count = prod(node.array.dims)
        values = np.arange(count) if "int" in dtype else 1.0 + np.arange(count) / max(count, 1)
        return jnp.asarray(values.reshape(node.array.dims).astype(dtype))
    text = node.settings
    value: float | int | bool = text == "true" if dtype == "bool" else float(text)
    return np.asarray(int(value) if "int" in dtype else value, dtype=jnp.dtype(dtype))


def _broadcast(node: Node, args: Sequence[Any]) -> Any:
    return lax.broadcast_in_dim(args[0], node.array.dims, numbers(node.setting("dimensions")))


def _slice(node: Node, args: Sequence[Any]) -> Any:
    bounds = [[int(n) for n in b.split(":")] for b in re.findall(r"\[([\d:]+)\]", node.settings)]
    starts, ends = [b[0] for b in bounds], [b[1] for b in bounds]
    return lax.slice(args[0], starts, ends, [(*b, 1)[2] for b in bounds])


def _pad(node: Node, args: Sequence[Any]) -> Any:
    widths = [[int(n) for n in item.split("_")] for item in node.setting("padding").split("x")]
    return lax.pad(args[0], args[1], [(*w, 0)[:3] for w in widths])


def _reduce(node: Node, args: Sequence[Any]) -> Any:
    join = _joined(node)
    return lax.reduce(args[0], args[1], join, numbers(node.setting("dimensions")))


def _reduce_window(node: Node, args: Sequence[Any]) -> Any:
    window = window_of(node.settings, args[0].ndim)
    return lax.reduce_window(
        args[0],
        args[1],
        _joined(node),
        window.size,
        window.stride,
        window.pads,
        base_dilation=window.base_dilation,
        window_dilation=window.dilation,
    )


def _joined(node: Node) -> Callable[[Any, Any], Any]:
    inner = node.setting("with")
    if inner not in _JOIN:
        message = f"A {node.opcode} by {inner!r} cannot be rebuilt alone."
        raise UnsupportedOpError(message)
    return _JOIN[inner]


def _convolution(node: Node, args: Sequence[Any]) -> Any:
    window = window_of(node.settings, args[0].ndim - 2)
    left, right, result = re.split(r"_|->", node.setting("dim_labels"))
    spec = lax.ConvDimensionNumbers(
        lhs_spec=_places(left, "bf"), rhs_spec=_places(right, "oi"), out_spec=_places(result, "bf")
    )
    kernel = args[1]
    if window.reversed:
        kernel = lax.rev(kernel, [right.index(str(i)) for i in window.reversed])
    return lax.conv_general_dilated(
        args[0],
        kernel,
        window.stride,
        window.pads,
        lhs_dilation=window.base_dilation,
        rhs_dilation=window.dilation,
        dimension_numbers=spec,
        feature_group_count=int(node.setting("feature_group_count", "1")),
        batch_group_count=int(node.setting("batch_group_count", "1")),
        preferred_element_type=DTYPES[node.array.dtype],
    )


def _places(labels: str, first: str) -> tuple[int, ...]:
    space = sorted(letter for letter in labels if letter.isdigit())
    return tuple(labels.index(letter) for letter in (*first, *space))


def _dot(node: Node, args: Sequence[Any]) -> Any:
    sides = ("lhs", "rhs")
    contract = tuple(numbers(node.setting(f"{side}_contracting_dims")) for side in sides)
    batch = tuple(numbers(node.setting(f"{side}_batch_dims")) for side in sides)
    return lax.dot_general(
        args[0], args[1], (contract, batch), preferred_element_type=DTYPES[node.array.dtype]
    )


def _gather(node: Node, args: Sequence[Any]) -> Any:
    spec = lax.GatherDimensionNumbers(
        offset_dims=numbers(node.setting("offset_dims")),
        collapsed_slice_dims=numbers(node.setting("collapsed_slice_dims")),
        start_index_map=numbers(node.setting("start_index_map")),
    )
    index = args[1]
    if int(node.setting("index_vector_dim", "0")) == index.ndim:
        index = index.reshape(*index.shape, 1)
    sizes = numbers(node.setting("slice_sizes"))
    return lax.gather(args[0], index, spec, sizes, mode=lax.GatherScatterMode.CLIP)


_WRITERS: Mapping[str, Callable[[Node, Sequence[Any]], Any]] = {
    "bitcast": lambda node, args: lax.reshape(args[0], node.array.dims),
    "broadcast": _broadcast,
    "compare": lambda node, args: _COMPARE[node.setting("direction")](*args),
    "concatenate": lambda node, args: lax.concatenate(
        list(args), numbers(node.setting("dimensions"))[0]
    ),
    "constant": _constant,
    "convert": lambda node, args: lax.convert_element_type(args[0], DTYPES[node.array.dtype]),
    "convolution": _convolution,
    "dot": _dot,
    "gather": _gather,
    "iota": lambda node, _: lax.broadcasted_iota(
        DTYPES[node.array.dtype], node.array.dims, int(node.setting("iota_dimension", "0"))
    ),
    "pad": _pad,
    "reduce": _reduce,
    "reduce-window": _reduce_window,
    "reshape": lambda node, args: lax.reshape(args[0], node.array.dims),
    "reverse": lambda node, args: lax.rev(args[0], numbers(node.setting("dimensions"))),
    "slice": _slice,
    "transpose": lambda node, args: lax.transpose(args[0], numbers(node.setting("dimensions"))),
}

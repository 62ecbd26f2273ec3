"""Multiply-adds of a Keras model, counted in JAX's own trace of it.

Keras must run on JAX: the trace is a list of primitive operations with their sizes, of which
convolutions and dot products are contractions. Nothing of the product takes part.
"""

from __future__ import annotations

from math import prod
from typing import Any

#: Functions whose products are no contractions of the model: JAX resizes by matrices of weights.
_RESIZING = frozenset({"_resize", "_scale_and_translate"})


def multiply_adds(model: Any, values: list[Any]) -> int:
    """Those of one forward pass.

    Args:
        model: on the JAX backend.
        values: an array for each of its inputs.
    """
    import jax
    import keras
    from jax.interpreters.partial_eval import dce_jaxpr

    structure = getattr(model, "input", None)
    packed = keras.tree.pack_sequence_as(structure, values) if structure is not None else values[0]
    traced = jax.make_jaxpr(lambda fed: model(fed, training=False))(packed)
    # Keras calls stacked cells once more than there are steps, for the form of what they return.
    used, _ = dce_jaxpr(traced.jaxpr, [True] * len(traced.jaxpr.outvars))
    return _count(used)


def _count(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if equation.params.get("name") in _RESIZING:
            continue
        if name == "dot_general":
            total += _dot(equation)
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        turns = equation.params["length"] if name == "scan" else 1
        for value in equation.params.values():
            for inner in value if isinstance(value, list | tuple) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    total += turns * _count(inner)
    return total


def _dot(equation: Any) -> int:
    (over, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return int(prod(equation.outvars[0].aval.shape) * prod(left[axis] for axis in over))


def _convolution(equation: Any) -> int:
    """Each output with each tap; of a transposed one each input with each tap.

    JAX writes the latter as a convolution of an input with zeros in between, or with more padding
    than any other has.
    """
    numbers = equation.params["dimension_numbers"]
    read, kernel = (item.aval.shape for item in equation.invars)
    written = equation.outvars[0].aval.shape
    taps = prod(kernel[axis] for axis in numbers.rhs_spec[2:])
    grown = any(
        written[out] > read[axis]
        for out, axis in zip(numbers.out_spec[2:], numbers.lhs_spec[2:], strict=True)
    )
    if max(equation.params["lhs_dilation"]) > 1 or grown:
        filters = kernel[numbers.rhs_spec[0]] // equation.params["feature_group_count"]
        return int(prod(read) * taps * filters)
    return int(prod(written) * taps * kernel[numbers.rhs_spec[1]])

"""The HLO instructions of layers that move values, and the table of all layers' rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costmodel.anticipation.xla_layers import (
    BINARY,
    UNARY,
    NoRuleError,
    Rule,
    Tensor,
    activation,
    batch_norm,
    binary,
    conv,
    gemm,
    global_pool,
    pool,
    softmax,
    stored_shape,
)
from costmodel.anticipation.xla_values import Values
from costmodel.op import Op


def concat(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """Tensors joined along one axis."""
    last, rank = read[0].last, len(op.outputs[0])
    if len({tensor.last for tensor in read}) > 1 or op.weights:
        raise NoRuleError
    axis = op.attribute("axis", 1) % rank
    order = [0, *range(2, rank), 1] if last and rank > 2 else list(range(rank))
    text = f"dimensions={{{order.index(axis)}}}"
    dims = stored_shape(op.outputs[0], last=last)
    operands = [tensor.value for tensor in read]
    result = values.add("concatenate", *operands, dims=dims, settings=text, kernel="concatenate")
    return Tensor(value=result, last=last)


def flatten(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """Other sizes for the same values, where that needs no move."""
    shape, source = op.outputs[0], op.inputs[0]
    if not (len(shape) == 2 and shape[0] == source[0]) and read[0].last:
        raise NoRuleError
    return Tensor(value=values.view(read[0].value, shape), last=False)


def transpose(_: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A change between channels first and last, which is no work in a channels-last program."""
    perm = op.attribute("perm", ())
    rank = len(op.inputs[0])
    if perm == (0, *range(2, rank), 1) and read[0].last:
        return Tensor(value=read[0].value, last=False)
    if perm == (0, rank - 1, *range(1, rank - 1)) and not read[0].last:
        return Tensor(value=read[0].value, last=True)
    raise NoRuleError


def same(_: Values, op: Op, read: Sequence[Tensor]) -> Tensor:  # noqa: ARG001 - one signature
    """Nothing is done at inference."""
    return read[0]


def cut(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A regular piece of a tensor."""
    last, rank = read[0].last, len(op.inputs[0])
    if op.attribute("since", 13) == 1 or len(op.constants) < 3:
        raise NoRuleError
    starts, ends, axes = op.constants[:3]
    steps = op.constants[3] if len(op.constants) > 3 else (1,) * len(starts)
    bounds = [[0, size, 1] for size in op.inputs[0]]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = op.inputs[0][int(axis)]
        if step < 0:
            raise NoRuleError
        low, high = (int(v) + size if v < 0 else min(int(v), size) for v in (start, end))
        bounds[int(axis)] = [low, high, int(step)]
    order = [0, *range(2, rank), 1] if last and rank > 2 else list(range(rank))
    strided = any(b[2] != 1 for b in bounds)
    width = 3 if strided else 2
    text = ",".join(f"[{':'.join(map(str, bounds[a][:width]))}]" for a in order)
    dims = stored_shape(op.outputs[0], last=last)
    value = values.add("slice", read[0].value, dims=dims, settings=f"slice={{{text}}}")
    return Tensor(value=value, last=last)


def pad(values: Values, op: Op, read: Sequence[Tensor]) -> Tensor:
    """A border of one value."""
    last, rank = read[0].last, len(op.inputs[0])
    if op.attribute("mode", "constant") != "constant" or not op.constants:
        raise NoRuleError
    pads = [int(p) for p in op.constants[0]]
    number = float(op.constants[1][0]) if len(op.constants) > 1 and op.constants[1] else 0.0
    if len(pads) != 2 * rank:
        raise NoRuleError
    order = [0, *range(2, rank), 1] if last and rank > 2 else list(range(rank))
    text = "x".join(f"{pads[a]}_{pads[rank + a]}" for a in order)
    dims = stored_shape(op.outputs[0], last=last)
    value = values.add(
        "pad", read[0].value, values.number(number), dims=dims, settings=f"padding={text}"
    )
    return Tensor(value=value, last=last)


#: By kind: what a layer becomes.
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys((*UNARY, "clip", "relu", "sigmoid"), activation),
    **dict.fromkeys(("average_pool", "max_pool"), pool),
    **dict.fromkeys(("global_average_pool", "global_max_pool"), global_pool),
    **dict.fromkeys(("flatten", "reshape", "squeeze", "unsqueeze"), flatten),
    **dict.fromkeys(("dropout", "identity"), same),
    "batch_norm": batch_norm,
    "concat": concat,
    "conv": conv,
    "gemm": gemm,
    "matmul": gemm,
    "pad": pad,
    "slice": cut,
    "softmax": softmax,
    "transpose": transpose,
}

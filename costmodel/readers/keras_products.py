"""Turns Keras's layers and functions that multiply tensors into Ops, and attention, which does.

A product is written as an einsum, because its equation can name the neutral axes in any order. An
anticipated network has the matrix products that exported files have instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from string import ascii_lowercase, ascii_uppercase
from typing import Any

from costmodel.op import Op, Shape
from costmodel.readers.keras_activations import SOFTMAX, Step, UnreadableError, activation
from costmodel.readers.keras_call import Call

Rule = Callable[[Call], list[Step]]


def _einsum_op(
    call: Call,
    equation: str,
    inputs: Sequence[Shape],
    outputs: Sequence[Shape],
    weights: Sequence[Shape] = (),
) -> Op:
    """An einsum over neutral sizes, from an equation over the model's own axes.

    Its weights stand last and keep their own order of axes.
    """
    left, _, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    ranks = [len(size) for size in (*inputs, *weights)]
    if len(terms) != len(ranks) or not right:
        message = f"the equation {equation!r}"
        raise UnreadableError(message)
    plain = [_full(term, rank) for term, rank in zip(terms, ranks, strict=True)]
    moved = [_moved(call, term) for term in plain[: len(inputs)]]
    result = _moved(call, _full(right, len(outputs[0]) if "..." in right else len(right)))
    text = f"{','.join([*moved, *plain[len(inputs) :]])}->{result}"
    return Op(
        kind="einsum",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        weights=tuple(weights),
        attributes=(("equation", text),),
    )


def _full(term: str, rank: int) -> str:
    """A term without its ellipsis; hidden axes are named from the last, as they broadcast."""
    before, dots, after = term.partition("...")
    hidden = rank - len(before) - len(after)
    if hidden < 0 or (hidden and not dots):
        message = f"the term {term!r} of a tensor of {rank} axes"
        raise UnreadableError(message)
    return before + ascii_uppercase[26 - hidden :] + after if hidden else before + after


def _moved(call: Call, term: str) -> str:
    """A term in the neutral order of axes."""
    return "".join(term[call.written(axis, len(term))] for axis in range(len(term)))


def _tensors(call: Call, count: int) -> tuple[Shape, ...]:
    if len(call.inputs) != count:
        message = f"{type(call.layer).__name__} with {len(call.inputs)} tensors"
        raise UnreadableError(message)
    return call.inputs


def _einsum(call: Call) -> list[Step]:
    equation = call.layer.subscripts
    op = _einsum_op(call, equation, _tensors(call, equation.count(",") + 1), call.outputs)
    return [Step(op=op, reads=tuple(range(len(call.inputs))))]


def _matmul(call: Call) -> list[Step]:
    first, second = (len(size) for size in _tensors(call, 2))
    left, right = ("ij" if first > 1 else "j"), ("jk" if second > 1 else "j")
    batch = max(first, second) > 2
    rows, columns = left.replace("j", ""), right.replace("j", "")
    terms = [("..." if rank > 2 else "") + term for rank, term in ((first, left), (second, right))]
    equation = f"{','.join(terms)}->{'...' if batch else ''}{rows}{columns}"
    op = _einsum_op(call, equation, call.inputs, call.outputs)
    return [Step(op=op, reads=(0, 1))]


def _dot(call: Call) -> list[Step]:
    """Keras's Dot layer: the batch is kept, one axis of each tensor is summed."""
    layer, sizes = call.layer, _tensors(call, 2)
    axes = layer.axes if isinstance(layer.axes, tuple | list) else (layer.axes, layer.axes)
    if layer.normalize or any(isinstance(axis, tuple | list) for axis in axes):
        message = "a Dot that normalises, or over several axes"
        raise UnreadableError(message)
    first, second = (axis % len(size) for axis, size in zip(axes, sizes, strict=True))
    left, letters = ["b"], iter(ascii_lowercase[2:])
    left += [next(letters) for _ in sizes[0][1:]]
    right = ["b", *(next(letters) for _ in sizes[1][1:])]
    right[second] = left[first]
    out = [x for x in left if x != left[first]] + [x for x in right[1:] if x != left[first]]
    free = "".join(out)
    op = _einsum_op(call, f"{''.join(left)},{''.join(right)}->{free}", sizes, call.outputs)
    return [Step(op=op, reads=(0, 1))]


def _dot_function(call: Call) -> list[Step]:
    """Numpy's dot: the last axis of one with the last but one of the other."""
    first, second = (len(size) for size in _tensors(call, 2))
    if not first or not second:
        return call.plain("mul")
    left, right = ascii_lowercase[:first], ascii_lowercase[first : first + second]
    place = max(0, second - 2)
    right = right[:place] + left[-1] + right[place + 1 :]
    free = left[:-1] + right.replace(left[-1], "")
    op = _einsum_op(call, f"{left},{right}->{free}", call.inputs, call.outputs)
    return [Step(op=op, reads=(0, 1))]


def _attention_function(call: Call) -> list[Step]:
    """Attention between heads ``(batch, positions, heads, width)``; a mask counts as read."""
    tensors = [call.own_size(size) for size in call.inputs[:3]]
    if len(tensors) < 3 or any(len(size) != 4 for size in tensors):
        message = "attention of other than three tensors of four axes"
        raise UnreadableError(message)
    sizes = tuple((batch, heads, length, width) for batch, length, heads, width in tensors)
    op = Op(kind="attention", inputs=sizes, outputs=call.outputs)
    return [Step(op=op, reads=(0, 1, 2))]


def _einsum_dense(call: Call) -> list[Step]:
    layer, out = call.layer, call.outputs[0]
    return [
        *_projection(call, layer, call.inputs[0], out, reads=0, suffix=""),
        *activation(layer.activation, out, "/bias" if layer.bias is not None else ""),
    ]


def _projection(
    call: Call, dense: Any, size: Shape, out: Shape, *, reads: int | str, suffix: str
) -> list[Step]:
    """An einsum with a kernel, and the bias that is added to it."""
    kernel = tuple(int(length) for length in dense.kernel.shape)
    op = _einsum_op(call, dense.equation, (size,), (out,), (kernel,))
    steps = [Step(op=op, suffix=suffix, reads=(reads,))]
    if dense.bias is not None:
        bias = call.size(dense.bias.shape, len(out))
        total = Op(kind="add", inputs=(out,), outputs=(out,), weights=(bias,))
        steps.append(Step(op=total, suffix=f"{suffix}/bias", reads=(suffix,)))
    return steps


def _heads(call: Call) -> list[Step]:
    """Queries, keys and values are projected, attended to, and projected back."""
    layer = call.layer
    tensors = call.inputs[:3]
    places = (0, 2 if len(tensors) > 2 else min(1, len(tensors) - 1), min(1, len(tensors) - 1))
    if len(call.inputs) > 3 or any(len(size) != 3 for size in tensors):
        message = f"{type(layer).__name__} with a mask, or over several axes"
        raise UnreadableError(message)
    steps: list[Step] = []
    sizes: list[Shape] = []
    # Query, key, value; Keras is called with the query, the value and then the key.
    for name, place in zip(("query", "key", "value"), places, strict=True):
        dense = getattr(layer, f"_{name}_dense")
        heads, width = (int(length) for length in dense.kernel.shape[1:])
        length = tensors[place][call.neutral(1, 3)]
        out = call.neutral_size((tensors[place][0], length, heads, width))
        steps += _projection(call, dense, tensors[place], out, reads=place, suffix=f"/{name}")
        # Attention itself is counted on heads before positions, as ONNX has it.
        sizes.append((tensors[place][0], heads, length, width))
    ends = [
        f"/{name}/bias" if getattr(layer, f"_{name}_dense").bias is not None else f"/{name}"
        for name in ("query", "key", "value")
    ]
    batch, heads, length, _ = sizes[0]
    attended = (batch, heads, length, sizes[2][3])
    attention = Op(kind="attention", inputs=tuple(sizes), outputs=(attended,))
    steps.append(Step(op=attention, suffix="/attention", reads=tuple(ends)))
    middle = call.neutral_size((batch, length, heads, sizes[2][3]))
    dense = layer._output_dense
    last = _projection(call, dense, middle, call.outputs[0], reads="/attention", suffix="/output")
    last[-1] = replace(last[-1], suffix="", op=replace(last[-1].op, outputs=call.outputs))
    return [*steps, *last]


def _attention(call: Call) -> list[Step]:
    """Keras's Attention of one head: scores by dot products, softmax, weighted values."""
    tensors, key, scores = _asked(call)
    if call.layer.score_mode != "dot":
        message = "Attention other than of dot products"
        raise UnreadableError(message)
    first = _einsum_op(call, "bqd,bkd->bqk", (tensors[0], tensors[key]), (scores,))
    return [Step(op=first, suffix="/scores", reads=(0, key)), *_weighted(call, scores)]


def _additive_attention(call: Call) -> list[Step]:
    """Keras's AdditiveAttention: each score sums the tanh of a query and a key, over channels."""
    tensors, key, scores = _asked(call)
    batch, asked, keys = call.own_size(scores)
    width = call.own_size(tensors[0])[-1]
    spread = call.neutral_size((batch, asked, keys, width))
    sides = {
        "/query": (0, call.neutral_size((batch, asked, 1, width))),
        "/key": (key, call.neutral_size((batch, 1, keys, width))),
    }
    steps = [
        Step(
            op=Op(kind="reshape", inputs=(tensors[number],), outputs=(size,)),
            suffix=suffix,
            reads=(number,),
        )
        for suffix, (number, size) in sides.items()
    ]
    both = Op(kind="add", inputs=tuple(size for _, size in sides.values()), outputs=(spread,))
    steps.append(Step(op=both, suffix="/sum", reads=tuple(sides)))
    bent = Op(kind="tanh", inputs=(spread,), outputs=(spread,))
    steps.append(Step(op=bent, suffix="/tanh", reads=("/sum",)))
    last = "/tanh"
    if call.layer.use_scale:
        scaled = Op(kind="mul", inputs=(spread,), outputs=(spread,), weights=((width,),))
        steps.append(Step(op=scaled, suffix="/scale", reads=(last,)))
        last = "/scale"
    axes = (("axes", (call.neutral(-1, 4),)), ("keepdims", 0))
    summed = Op(kind="reduce_sum", inputs=(spread,), outputs=(scores,), attributes=axes)
    return [*steps, Step(op=summed, suffix="/scores", reads=(last,)), *_weighted(call, scores)]


def _asked(call: Call) -> tuple[Sequence[Shape], int, Shape]:
    """Tensors of an attention of one head, which of them is the key, and the size of its scores."""
    tensors = call.inputs
    if not 2 <= len(tensors) <= 3 or len(call.outputs) != 1:
        message = "Attention that returns its scores"
        raise UnreadableError(message)
    key = 2 if len(tensors) > 2 else 1
    batch, asked = tensors[0][0], tensors[0][call.neutral(1, 3)]
    scores = call.neutral_size((batch, asked, tensors[key][call.neutral(1, 3)]))
    return tensors, key, scores


def _weighted(call: Call, scores: Shape) -> list[Step]:
    """Softmax of the scores, and the values by these weights."""
    middle = Op(kind="softmax", inputs=(scores,), outputs=(scores,), attributes=SOFTMAX)
    second = _einsum_op(call, "bqk,bkd->bqd", (scores, call.inputs[1]), call.outputs)
    return [
        Step(op=middle, suffix="/softmax", reads=("/scores",)),
        Step(op=second, reads=("/softmax", 1)),
    ]


def _embedding(call: Call) -> list[Step]:
    """Rows of a table, looked up by number."""
    table = tuple(int(length) for length in call.layer.embeddings.shape)
    return call.plain("gather", weights=(table,), operands="wd")


#: Layers by class name; these may read or write several tensors.
PRODUCT_RULES: dict[str, Rule] = {
    "AdditiveAttention": _additive_attention,
    "Attention": _attention,
    "Dot": _dot,
    "EinsumDense": _einsum_dense,
    "Embedding": _embedding,
    "GroupQueryAttention": _heads,
    "GroupedQueryAttention": _heads,
    "MultiHeadAttention": _heads,
}
#: Functions of ``keras.ops`` by class name.
PRODUCT_FUNCTIONS: dict[str, Rule] = {
    "Dot": _dot_function,
    "DotProductAttention": _attention_function,
    "Einsum": _einsum,
    "Matmul": _matmul,
}

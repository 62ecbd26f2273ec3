"""Multiply-adds of every kind of kernel that multiplies and adds, from the sizes of its operands.

The convention is that of the FLOP counters which papers use: what the operator's definition
multiplies and adds, whatever algorithm carries it out.

- Window positions over padding count; biases, scales, zero points and activations do not.
- A recurrent kernel counts its two matrix products per step of every sequence, with the lengths
  where they are constants; its gates' products element by element do not count.
- Attention counts its projections, ``q @ k`` and the weighted sum of ``v``, for all positions,
  masked or not; softmax does not count.
- An einsum goes pair by pair from the left, as runtimes do: a label that one of a pair alone has
  and nobody needs later is summed away before, without multiplying.
- A deformable convolution counts as a plain one; fetching its samples does not count.

Quantised and block-quantised variants count as the float kernel of the same work. ``None`` is the
answer where the sizes do not say how much it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from costmodel.slots import Attribute, Shape, Slot

#: Attributes that say that an operand is transposed, as ONNX and TensorFlow Lite call them.
_TURNED = {"A": ("transA", "adj_x"), "B": ("transB", "adj_y")}
_ABSENT = Slot(letter="-", index=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a rule may look at.

    Attributes:
        operands: in the operator's own order, a runtime's own parameters left out.
        outputs: sizes of what it writes, at least one.
        attributes: its settings.
    """

    operands: Sequence[Slot]
    outputs: Sequence[Shape]
    attributes: Mapping[str, Attribute]

    def at(self, place: int) -> Slot:
        """The operand of this place; an absent one where there is none."""
        return self.operands[place] if place < len(self.operands) else _ABSENT

    def size(self, place: int) -> Shape:
        """Sizes of the operand of this place; empty where they are not known."""
        return self.at(place).shape

    def number(self, name: str, default: int = 0) -> int:
        """A setting that is a whole number."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def is_turned(self, side: str) -> bool:
        """Whether a product's first (``A``) or second (``B``) operand is transposed."""
        return any(self.number(name) for name in _TURNED[side])

    @property
    def written(self) -> int:
        """Elements of the first output."""
        return prod(self.outputs[0])


Rule = Callable[[Work], int | None]


def multiply_adds(kind: str, work: Work) -> int | None:
    """Multiply-adds of one kernel.

    Args:
        kind: one of ``PRODUCT_KINDS``; others have none.
        work: its sizes.

    Returns:
        Their number, 0 for a kind that multiplies no matrices, or None where the sizes do not say.

    >>> first = Slot(letter="w", index=0, shape=(5, 8))
    >>> second = Slot(letter="d", index=0, shape=(8, 3))
    >>> multiply_adds("matmul", Work(operands=(first, second), outputs=((5, 3),), attributes={}))
    120
    """
    rule = _RULES.get(kind)
    if rule is None:
        return 0
    return rule(work) if work.operands and work.outputs else None


def stored_places(kind: str) -> tuple[int, ...]:
    """Places of the operands of an integer kernel that hold its stored numbers, not activations.

    >>> stored_places("qlinear_conv"), stored_places("matmul")
    ((3, 8), ())
    """
    return _STORED.get(kind, ())


def _product(first: int = 0, second: int = 1) -> Rule:
    """A matrix product of the operands at two places, batched and broadcast as numpy's matmul."""

    def rule(work: Work) -> int | None:
        length = _summed(work, first, second)
        return None if length is None else work.written * length

    return rule


def _summed(work: Work, first: int, second: int) -> int | None:
    """Length of the axis that a matrix product sums over; None where neither operand says it."""
    left, right = work.at(first), work.at(second)
    if left.letter in "dw":
        return _last(work, left.shape)
    if right.letter not in "dw":
        return None
    size = right.shape
    if len(size) < 2:
        return size[0] if size else None
    if not work.is_turned("B"):
        return size[0] if work.number("transBatchB") else size[-2]
    return size[-1]


def _last(work: Work, size: Shape) -> int | None:
    """Summed axis of a product's first operand."""
    if len(size) < 2:
        return size[0] if size else None
    if not work.is_turned("A"):
        return size[-1]
    # The batch axes of a FusedMatMul may stand between the two of its matrices.
    return size[0] if work.number("transBatchA") else size[-2]


def _gemm(work: Work) -> int | None:
    """A product of two matrices; more axes of the first are flattened behind those written."""
    size = work.size(0)
    if len(size) > 2 and not work.is_turned("A"):
        rows = prod(work.outputs[0][:-1])
        return prod(size) // max(rows, 1) * work.written
    return _product()(work)


def _width(work: Work) -> int | None:
    """A product whose second operand is packed, so that the first alone says what is summed."""
    length = work.number("K") or (work.size(0)[-1] if work.size(0) else 0)
    return work.written * length if length else None


def _window(place: int = 1) -> Rule:
    """A convolution by the filters at a place, ``(out, ...)`` in any order of the rest."""

    def rule(work: Work) -> int | None:
        filters, out = work.at(place), work.outputs[0]
        if len(filters.shape) > 2:
            return work.written * prod(filters.shape[1:])
        # Few integers are kept by value: their number over the channels written is the window.
        last = work.number("channels_last") and len(out) > 2
        channels = (out[-1] if last else out[1]) if len(out) > 2 else 0
        if filters.letter != "c" or not channels or filters.num_elements % channels:
            return None
        return work.written * (filters.num_elements // channels)

    return rule


def _transposed_window(place: int = 1) -> Rule:
    """A transposed convolution by the filters at a place, ``(in, out/groups, ...)``."""

    def rule(work: Work) -> int | None:
        read, filters = work.size(0), work.at(place)
        if len(filters.shape) > 2:
            return prod(read) * prod(filters.shape[1:])
        channels = read[1] if len(read) > 2 else 0
        if filters.letter != "c" or not channels or filters.num_elements % channels:
            return None
        return prod(read) * (filters.num_elements // channels)

    return rule


def _recurrent(*, turned: bool = False) -> Rule:
    """A recurrent layer: both matrices once per step, in every direction.

    Its filters are ``(directions, gates * hidden, in)`` and ``(directions, gates * hidden,
    hidden)``, or ``turned`` with the last two axes changed. The input holds ``in`` numbers per step
    of each sequence, whatever the order of its axes.
    """

    def rule(work: Work) -> int | None:
        data, weights = work.at(0), work.size(1)
        if len(weights) == 3:
            width = weights[1] if turned else weights[2]
        else:
            width = data.shape[-1] if data.shape else 0
        matrices = work.at(1).num_elements + work.at(2).num_elements
        if not width or not work.at(1).num_elements or not work.at(2).num_elements:
            return None
        lengths = work.at(4).values
        steps = sum(int(length) for length in lengths) if lengths else prod(data.shape) // width
        return steps * matrices

    return rule


def _convolved_cell(work: Work) -> int | None:
    """A recurrent layer of convolutions: both per step and position of its state.

    Its filters are ``(gates * out, in, ...)`` and ``(gates * out, out, ...)``; the attribute
    ``steps`` says how often it runs, ``positions`` how large one state is without its channels.
    """
    filters, recurrent = work.size(1), work.size(2)
    steps, positions = work.number("steps"), work.number("positions")
    if min(len(filters), len(recurrent)) < 3 or not steps or not positions:
        return None
    return steps * positions * (prod(filters) + prod(recurrent))


def _attention(work: Work) -> int | None:
    """ONNX's Attention, or that of com.microsoft, which projects its input first."""
    if "num_heads" in work.attributes:
        return _projected(past=4)(work)
    query, key = work.size(0), work.size(1)
    if len(query) not in {3, 4} or len(key) != len(query):
        return None
    past = work.size(4)
    return (prod(query) + work.written) * (key[-2] + (past[2] if len(past) == 4 else 0))


def _projected(past: int) -> Rule:
    """Attention that projects its own input by one matrix; ``past`` is the place of its memory."""

    def rule(work: Work) -> int | None:
        data, weights, before = work.size(0), work.size(1), work.size(past)
        if len(data) != 3 or len(weights) != 2:
            return None
        sizes = work.attributes.get("qkv_hidden_sizes")
        wide = int(sizes[0]) if isinstance(sizes, tuple) and sizes else weights[1] // 3
        length = data[1] + (before[3] if len(before) == 5 else 0)
        return prod(data) * weights[1] + (prod(data[:2]) * wide + work.written) * length

    return rule


def _heads(work: Work) -> int | None:
    """com.microsoft's MultiHeadAttention: projected queries, keys and values, packed or apart."""
    query, key, past = work.size(0), work.size(1), work.size(6)
    if len(query) == 5:  # queries, keys and values side by side
        asked, length = prod(query) // 3, query[1]
    elif len(query) == 3 and len(key) in {3, 4, 5}:
        asked, length = prod(query), key[2] if len(key) == 4 else key[1]
    else:
        return None
    length += past[2] if len(past) == 4 else 0
    return (asked + work.written) * length


def _grouped_heads(work: Work) -> int | None:
    """com.microsoft's GroupQueryAttention: keys and values are shared by groups of queries."""
    query, past, total = work.size(0), work.size(3), work.at(6).values
    if len(query) != 3:
        return None
    if len(work.outputs) > 1 and len(work.outputs[1]) == 4:
        length = work.outputs[1][2]
    else:
        length = query[1] + (past[2] if len(past) == 4 else 0)
    return 2 * work.written * (int(total[0]) if total else length)


def _einsum(work: Work) -> int | None:
    """Pair by pair from the left; see above."""
    equation = work.attributes.get("equation")
    if not isinstance(equation, str) or any(item.letter not in "dw" for item in work.operands):
        return None
    sizes = [item.shape for item in work.operands]
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(sizes):
        return None
    rank = max(
        (len(s) - len(t) + 3 for s, t in zip(sizes, terms, strict=True) if "..." in t), default=0
    )
    spelled = [_spelled(term, len(size), rank) for term, size in zip(terms, sizes, strict=True)]
    if any(len(labels) != len(size) for labels, size in zip(spelled, sizes, strict=True)):
        return None
    lengths: dict[str, int] = {}
    for labels, size in zip(spelled, sizes, strict=True):
        for label, length in zip(labels, size, strict=True):
            lengths[label] = max(lengths.get(label, 1), length)
    if arrow:
        wanted = set(_spelled(right, len(right.replace("...", "")) + rank, rank))
    else:  # those that appear once
        every = [label for labels in spelled for label in labels]
        wanted = {label for label in every if every.count(label) == 1 or len(label) > 1}
    return _pairs([set(labels) for labels in spelled], wanted, lengths)


def _spelled(term: str, axes: int, rank: int) -> list[str]:
    """Labels of one operand, those of an ellipsis named from the last one, as they broadcast."""
    before, dots, after = term.partition("...")
    count = axes - len(before) - len(after) if dots else 0
    return [*before, *(f".{rank - count + index}" for index in range(count)), *after]


def _pairs(terms: list[set[str]], wanted: set[str], lengths: Mapping[str, int]) -> int:
    total, done = 0, terms[0]
    for index, other in enumerate(terms[1:], start=1):
        later = wanted.union(*terms[index + 1 :])
        left, right = done & (other | later), other & (done | later)
        total += prod(lengths[label] for label in left | right)
        done = (left | right) & later
    return total


def _by_row(work: Work) -> int | None:
    """One multiply-add per element written and number in a row of the first operand."""
    rows = work.size(0)
    return work.written * rows[-1] if rows else None


_RULES: Mapping[str, Rule] = {
    "affine_grid": _by_row,
    "attention": _attention,
    "causal_conv_with_state": _window(),
    "cdist": _by_row,
    "conv_integer": _window(),
    "conv_lstm": _convolved_cell,
    "conv_transpose_with_dynamic_pads": _transposed_window(),
    "deform_conv": _window(),
    "dynamic_quantize_lstm": _recurrent(turned=True),
    "dynamic_quantize_mat_mul": _product(),
    "einsum": _einsum,
    "fused_mat_mul_activation": _product(),
    "gemm": _gemm,
    "gemm_fast_gelu": _product(),
    "gemm_float8": _product(),
    "group_query_attention": _grouped_heads,
    "gru": _recurrent(),
    "lstm": _recurrent(),
    "mat_mul_bnb4": _width,
    "mat_mul_fp_q4": _width,
    "mat_mul_integer": _product(),
    "mat_mul_integer16": _product(),
    "mat_mul_integer_to_float": _product(),
    "mat_mul_nbits": _width,
    "matmul": _product(),
    "multi_head_attention": _heads,
    "nhwc_conv": _window(),
    "nhwc_fused_conv": _window(),
    "qattention": _projected(past=8),
    "qgemm": _product(0, 3),
    "qlinear_conv": _window(3),
    "qlinear_conv_transpose": _transposed_window(3),
    "qlinear_mat_mul": _product(0, 3),
    "rnn": _recurrent(),
    "transpose_mat_mul": _product(),
}
#: Kinds that multiply and add beside convolutions of float numbers.
PRODUCT_KINDS = frozenset(_RULES)
#: Where integer kernels take their stored numbers, which are no float weights.
_STORED: Mapping[str, tuple[int, ...]] = {
    "conv_integer": (1,),
    "dynamic_quantize_lstm": (1, 2),
    "dynamic_quantize_mat_mul": (1,),
    "mat_mul_bnb4": (1,),
    "mat_mul_fp_q4": (1,),
    "mat_mul_integer": (1,),
    "mat_mul_integer16": (1,),
    "mat_mul_integer_to_float": (1,),
    "mat_mul_nbits": (1,),
    "qattention": (1,),
    "qgemm": (3, 6),
    "qlinear_conv": (3, 8),
    "qlinear_conv_transpose": (3, 8),
    "qlinear_mat_mul": (3,),
}

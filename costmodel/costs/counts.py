"""Counts that need no device: multiply-adds' FLOPs, parameters, activations and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np

from costmodel.op import CONV_KINDS, MATMUL_KINDS, MODEL, SESSION, Op
from costmodel.protocols import Prices, Unit


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Bytes of one element, by the dtype names of ``Op``; four-bit types are packed two to a byte.
DTYPE_BYTES: Mapping[str, float] = {
    "float64": 8, "int64": 8, "uint64": 8, "complex64": 8,
    "float32": 4, "int32": 4, "uint32": 4,
    "float16": 2, "bfloat16": 2, "int16": 2, "uint16": 2,
    "int8": 1, "uint8": 1, "bool": 1, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "int4": 0.5, "uint4": 0.5,
}  # fmt: skip

#: Kinds that move or rename elements and calculate nothing: their FLOPs are truly zero.
MOVES = _words(
    """
    cast cast_like center_crop_pad concat constant constant_of_shape depth_to_space dropout
    expand eye_like flatten gather gather_elements gather_nd identity one_hot pad range
    reorder_input reorder_output reshape reverse_sequence scatter scatter_elements
    scatter_nd shape size slice space_to_depth split squeeze tile transpose trilu unsqueeze
    """
)

#: Element by element: FLOPs per element written are the operands less one, at least one.
ELEMENTWISE = _words(
    """
    abs acos acosh add and asin asinh atan atanh bias_gelu bit_shift bitwise_and bitwise_not
    bitwise_or bitwise_xor ceil celu clip cos cosh div elu equal erf exp fast_gelu floor
    gelu greater greater_or_equal hard_sigmoid hard_swish is_inf is_na_n leaky_relu less
    less_or_equal log max mean min mish mod mul neg not or pow prelu quick_gelu reciprocal
    relu relu6 round selu shrink sigmoid sign silu sin sinh softplus softsign sqrt sub sum
    swish tan tanh thresholded_relu where xor
    """
)

#: One FLOP per element read.
REDUCTIONS = _words(
    """
    arg_max arg_min cum_prod cum_sum global_average_pool global_max_pool hardmax reduce_l1
    reduce_l2 reduce_log_sum reduce_log_sum_exp reduce_max reduce_mean reduce_min
    reduce_prod reduce_sum reduce_sum_square top_k
    """
)

#: One FLOP per window element and element written.
WINDOWS = frozenset({"average_pool", "max_pool", "lp_pool"})

#: FLOPs per element written of kinds with a fixed recipe: softmax takes a maximum, a difference, an
#: exponential, a sum and a quotient; a normalisation with its own statistics takes a mean (1), a
#: variance (3), scales (1) and applies gain and bias (2); with stored statistics only the last two.
RECIPES: Mapping[str, int] = {
    "batch_norm": 2,
    "dequantize_linear": 2,
    "dynamic_quantize_linear": 4,
    "group_normalization": 7,
    "instance_norm": 7,
    "layer_norm": 7,
    "log_softmax": 5,
    "lp_normalization": 3,
    "mean_variance_normalization": 5,
    "quantize_linear": 2,
    "rmsnormalization": 4,
    "simplified_layer_normalization": 4,
    "skip_layer_normalization": 8,
    "softmax": 5,
}

#: Kinds with a rule of their own, below.
_OWN_RULE = frozenset({"lrn", "resize"})

#: Every kind that can be counted. ``session`` does no work of its own: all of its counts are zero.
COUNTED_KINDS = (
    CONV_KINDS | MATMUL_KINDS | MOVES | ELEMENTWISE | REDUCTIONS | WINDOWS | _OWN_RULE
    | frozenset(RECIPES) | {SESSION}
)  # fmt: skip


class _Count:
    """What the four counts share: a loop over Ops, and a reason for each that has no count."""

    _count: Callable[[Op], float | str]

    def __init__(self, unit: Unit) -> None:
        self._unit: Unit = unit

    @property
    def unit(self) -> Unit:
        """Unit of every price."""
        return self._unit

    @property
    def name(self) -> str:
        """Short name for reports; the unit."""
        return self._unit

    @property
    def device(self) -> None:
        """None: a count holds on any device."""
        return

    def price(self, ops: Sequence[Op]) -> Prices:
        """Count each Op exactly; NaN with a reason for a kind outside ``COUNTED_KINDS``."""
        values = np.full(len(ops), np.nan)
        reasons: dict[int, str] = {}
        for position, op in enumerate(ops):
            try:
                counted = uncountable(op) or self._count(op)
            except OverflowError:
                counted = "its sizes are too large to count"
            if isinstance(counted, str):
                reasons[position] = counted
            else:
                values[position] = counted
        return Prices(values=values, low=values.copy(), high=values.copy(), reasons=reasons)


class Flops(_Count):
    """FLOPs: two per multiply-add of a convolution or matrix product, as networks are compared.

    Biases and fused epilogues add nothing, and window positions over padding count, both as in
    the FLOP counters that papers use. Other kinds: see ``MOVES``, ``ELEMENTWISE``, ``REDUCTIONS``,
    ``WINDOWS`` and ``RECIPES``; a transcendental function of one element is one FLOP; LRN over n
    channels takes n + 4 per element; a resize takes two per tap, of which linear has 2 and cubic
    4 per resized axis, and nearest calculates nothing.

    >>> from costmodel.op import conv_op
    >>> op = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3))
    >>> Flops().price([op, Op(kind="quantum_conv")]).values
    array([589824.,     nan])
    """

    def __init__(self) -> None:
        super().__init__("flops")

    @staticmethod
    def _count(op: Op) -> float | str:
        kind = op.kind
        if kind in CONV_KINDS or kind in MATMUL_KINDS:
            return 2.0 * op.macs
        if kind in MOVES or kind == SESSION:
            return 0.0
        if kind in ELEMENTWISE:
            operands = len(op.inputs) + len(op.weights) + len(op.constants)
            return float(op.num_output_elements * max(1, operands - 1))
        if kind in REDUCTIONS:
            return float(op.num_input_elements)
        if kind in WINDOWS:
            return _window_flops(op)
        return _recipe_flops(op)


class Params(_Count):
    """Parameters: constant float elements, channel padding of a blocked layout included."""

    def __init__(self) -> None:
        super().__init__("params")

    @staticmethod
    def _count(op: Op) -> float:
        return float(op.num_weights)


class Activations(_Count):
    """Activations: elements written, also by kinds that a runtime may carry out in place."""

    def __init__(self) -> None:
        super().__init__("activations")

    @staticmethod
    def _count(op: Op) -> float:
        return 0.0 if op.kind == SESSION else float(op.num_output_elements)


class Bytes(_Count):
    """Bytes of all activations and weights, each read or written once, by their element types.

    Small constant operands (axes, scales ...) are left out; weights and outputs are taken to have
    the Op's ``dtype``.
    """

    def __init__(self) -> None:
        super().__init__("bytes")

    @staticmethod
    def _count(op: Op) -> float | str:
        if op.kind == SESSION:
            return 0.0
        dtypes = op.input_types
        if len(dtypes) != len(op.inputs):
            return f"{len(op.inputs)} inputs cannot have {len(dtypes)} element types"
        unknown = {op.dtype, *dtypes} - DTYPE_BYTES.keys()
        if unknown:
            return f"the size of element type {min(unknown)!r} is not known"
        read = sum(
            prod(shape) * DTYPE_BYTES[dtype] for shape, dtype in zip(op.inputs, dtypes, strict=True)
        )
        return read + (op.num_output_elements + op.num_weights) * DTYPE_BYTES[op.dtype]


def _window_flops(op: Op) -> float | str:
    if not op.kernel or min(op.kernel) < 1:
        return f"this {op.kind!r} does not say its 'kernel_shape'"
    return float(op.num_output_elements * prod(op.kernel))


def _recipe_flops(op: Op) -> float | str:
    written = op.num_output_elements
    if op.kind in RECIPES:
        return float(written * RECIPES[op.kind])
    if op.kind == "lrn":
        size = op.attribute("size", 0)
        if size < 1:
            return "this 'lrn' does not say its 'size'"
        return float(written * (size + 4))
    taps = {"nearest": 0, "linear": 2, "cubic": 4}.get(op.attribute("mode", "nearest"))
    if taps is None:
        return f"there is no rule for a resize of mode {op.attribute('mode')!r}"
    if not taps or not op.inputs or not op.outputs:
        return 0.0
    sizes = zip(op.inputs[0], op.outputs[0], strict=False)
    axes = sum(before != after for before, after in sizes)
    return float(2 * written * taps**axes) if axes else 0.0


def uncountable(op: Op) -> str:
    """Why the work of ``op`` cannot be counted; empty if it can."""
    if op.kind == MODEL:
        return "a 'model' row is a whole network; price its Ops instead"
    if op.kind not in COUNTED_KINDS:
        return f"there is no rule that counts the work of kind {op.kind!r}"
    if op.kind in CONV_KINDS:
        complete = bool(op.inputs and op.outputs and op.kernel)
    elif op.kind in MATMUL_KINDS:
        complete = bool(op.outputs and (op.inputs or op.weights))
    else:
        complete = True
    return "" if complete else f"this {op.kind!r} lacks its shapes"

"""Counts that need no device: multiply-adds' FLOPs, parameters, activations and bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2, prod

import numpy as np

from costmodel.kinds import (
    CONV_KINDS,
    ELEMENTWISE,
    MOVES,
    OWN_RULE,
    RECIPES,
    REDUCTIONS,
    UNCOUNTED,
    WINDOWS,
)
from costmodel.op import DTYPE_BYTES, MODEL, SESSION, Op
from costmodel.products import PRODUCT_KINDS, stored_places
from costmodel.protocols import Prices, Unit

#: Every kind that can be counted. ``session`` does no work of its own: all of its counts are zero.
COUNTED_KINDS = (
    CONV_KINDS | PRODUCT_KINDS | MOVES | ELEMENTWISE | REDUCTIONS | WINDOWS | OWN_RULE
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
    """FLOPs: two per multiply-add, as networks are compared; which those are is in ``products``.

    Fused epilogues add nothing, as in the FLOP counters that papers use. Other kinds: see
    ``MOVES``, ``ELEMENTWISE``, ``REDUCTIONS``, ``WINDOWS`` and ``RECIPES`` of ``kinds``; a
    transcendental function of one element is one FLOP; LRN over n channels takes n + 4 per element;
    a resize and a grid sample take two per tap, of which linear has 2 and cubic 4 per axis, and
    nearest calculates nothing; a sample of a region has four taps; a Fourier transform of n complex
    numbers takes 5 n log2(n), of real ones half.

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
        if kind in CONV_KINDS or kind in PRODUCT_KINDS:
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
    """Parameters: constant float elements, channel padding of a blocked layout included.

    Of integer products, whose numbers are no float weights, those at the weights' place count too.
    """

    def __init__(self) -> None:
        super().__init__("params")

    @staticmethod
    def _count(op: Op) -> float:
        if not (places := stored_places(op.kind)):
            return float(op.num_weights)
        slots = op.work_slots()
        stored = [slots[place] for place in places if place < len(slots)]
        return float(op.num_weights + sum(s.num_elements for s in stored if s.letter in "dc"))


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
    rule = _RULES.get(op.kind)
    if rule is not None:
        return rule(op)
    return float(op.num_output_elements * RECIPES[op.kind])


def _lrn_flops(op: Op) -> float | str:
    size = op.attribute("size", 0)
    if size < 1:
        return "this 'lrn' does not say its 'size'"
    return float(op.num_output_elements * (size + 4))


#: Elements that a sampled value is mixed from, per axis.
_TAPS = {"nearest": 0, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}


def _sampled_flops(op: Op, axes: int) -> float | str:
    """Two FLOPs per tap of every element written."""
    mode = op.attribute("mode", "nearest" if op.kind == "resize" else "linear")
    taps = _TAPS.get(mode)
    if taps is None:
        return f"there is no rule for a {op.kind} of mode {mode!r}"
    return float(2 * op.num_output_elements * taps**axes) if taps and axes else 0.0


def _resize_flops(op: Op) -> float | str:
    if not op.inputs or not op.outputs:
        return _sampled_flops(op, 0)
    sizes = zip(op.inputs[0], op.outputs[0], strict=False)
    return _sampled_flops(op, sum(before != after for before, after in sizes))


def _grid_flops(op: Op) -> float | str:
    return _sampled_flops(op, max(0, len(op.outputs[0]) - 2) if op.outputs else 0)


def _region_flops(op: Op) -> float | str:
    samples = op.attribute("sampling_ratio", 0)
    if samples < 1:
        return "how many samples it takes per bin depends on its regions"
    return float(2 * op.num_output_elements * 4 * samples**2)


def _transform_flops(op: Op) -> float | str:
    """Fourier transforms; the last axis of ``dft`` and ``stft`` holds real and imaginary parts."""
    size, out = (op.inputs or ((),))[0], (op.outputs or ((),))[0]
    slots = op.work_slots()
    told = {place: int(slot.values[0]) for place, slot in enumerate(slots) if slot.values}
    if op.kind == "stft":
        window = slots[2].num_elements if len(slots) > 2 else 0
        length = told.get(3, window)
        if len(out) != 4 or not length:
            return "this 'stft' does not say how long its frames are"
        return prod(out[:2]) * (length + _butterflies(length, real=size[-1] == 1))
    if op.kind == "dft":
        axis = told.get(2, op.attribute("axis", 1 if op.attribute("since", 20) < 20 else -2))
        if len(size) < 2 or not -len(size) <= axis < len(size) or not prod(size):
            return "this 'dft' lacks its shapes"
        length, rows = told.get(1, size[axis]), prod(size) // (size[axis] * size[-1])
        return rows * _butterflies(length, real=size[-1] == 1)
    axes = op.attribute("signal_ndim", 1)
    real = size if op.kind == "rfft" else out
    if len(real) < axes or not prod(real):
        return f"this {op.kind!r} lacks its shapes"
    length = prod(real[len(real) - axes :])
    return prod(real) // length * _butterflies(length, real=True)


def _butterflies(length: int, *, real: bool) -> float:
    return (2.5 if real else 5.0) * length * log2(max(length, 1))


_RULES: Mapping[str, Callable[[Op], float | str]] = {
    "dft": _transform_flops,
    "grid_sample": _grid_flops,
    "irfft": _transform_flops,
    "lrn": _lrn_flops,
    "resize": _resize_flops,
    "rfft": _transform_flops,
    "roi_align": _region_flops,
    "stft": _transform_flops,
}


def uncountable(op: Op) -> str:
    """Why the work of ``op`` cannot be counted; empty if it can."""
    if op.kind == MODEL:
        return "a 'model' row is a whole network; price its Ops instead"
    if op.kind in UNCOUNTED:
        return f"{op.kind!r}: {UNCOUNTED[op.kind]}"
    if op.kind not in COUNTED_KINDS:
        return f"there is no rule that counts the work of kind {op.kind!r}"
    return f"this {op.kind!r} lacks its shapes" if op.multiply_adds is None else ""

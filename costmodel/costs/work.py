"""Work: what an Op asks of a device, by kind of loop and by what bounds it.

Whole networks are too few to tell hundreds of kernels apart. They can tell how fast a device is at
a few dozen things: a convolution's multiply-adds by the loop that does them, what is read and
written, weights, and the start of a kernel. Unlike an execution path, such a thing has the same
name on every device and runtime, so that one device's speeds say what to expect of another's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import log2, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.features import is_learnable
from costmodel.costs.likeness import PRODUCT, class_of
from costmodel.kinds import CONV_KINDS
from costmodel.op import SESSION, Op
from costmodel.products import PRODUCT_KINDS

Floats = NDArray[np.float64]

#: Bounds: multiply-adds, activations read and written, weights read, patches of the image gathered
#: for a product, kernels or groups started.
MATHS, READ, WRITTEN, WEIGHTS, PATCHES, CALLS = (
    *("maths", "read", "written"),
    *("weights", "patches", "calls"),
)
#: Multiply-adds per ns by the loop that does them; what a device really does is a factor on it.
_MATHS_PER_NS: Mapping[str, float] = {"depthwise": 1.0, "grouped": 2.0}
_OTHER_MATHS_PER_NS = 5.0
#: Elements read or written per ns, and ms to start a kernel; likewise.
_ELEMENTS_PER_NS = 1.0
_START_MS = 0.005
#: Input channels up to which a convolution reads an image.
_IMAGE = 4
#: Activations that take an exponential or a division per element, alone or fused.
_HEAVY = frozenset(
    {
        *("elu", "gelu", "mish", "quick_gelu", "quickgelu", "sigmoid", "silu", "softmax", "swish"),
        *("hard_sigmoid", "hard_swish", "hardsigmoid", "hardswish", "tanh"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One of the things that a device may be fast or slow at.

    Attributes:
        loop: what runs: ``dense``, ``pointwise``, ``depthwise``, ``elementwise`` ...
        bound: ``maths``, ``read``, ``written``, ``weights``, ``patches`` or ``calls``.
        form: window, stride and layout of a convolution such as ``3/2 plain``, a kind; empty where
            it is all one.
    """

    loop: str
    bound: str
    form: str = ""

    @property
    def is_start(self) -> bool:
        """Whether it is a kernel's or a run's start, which takes its time whatever they do."""
        return self.bound == CALLS and self.loop in {"", SESSION}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Networks (or single kernels) as what they ask for.

    Attributes:
        kernels: all that occur, once.
        counts: ``(networks, kernels)`` how often each runs.
        things: what is asked for.
        amounts: ``(kernels, things)`` in ms at the reference speeds.
    """

    kernels: tuple[Op, ...]
    counts: Floats
    things: tuple[Thing, ...]
    amounts: Floats


def work_of(networks: Sequence[Iterable[Op]], things: Sequence[Thing] = ()) -> Work:
    """What networks ask for.

    Args:
        networks: kernels of each; those whose shapes do not say what they do are left out.
        things: that are known already; those that come up besides are added.
    """
    counted = [Counter(op for op in network if asked(op)) for network in networks]
    place = {op: index for index, op in enumerate(dict.fromkeys(op for c in counted for op in c))}
    counts = np.zeros((len(counted), len(place)))
    for row, counter in enumerate(counted):
        for op, count in counter.items():
            counts[row, place[op]] = count
    names = dict.fromkeys((*things, *(thing for op in place for thing, _ in asked(op))))
    column = {thing: index for index, thing in enumerate(names)}
    amounts = np.zeros((len(place), len(column)))
    for op, row in place.items():
        for thing, amount in asked(op):
            amounts[row, column[thing]] += amount
    return Work(kernels=tuple(place), counts=counts, things=tuple(column), amounts=amounts)


def unlikeness(a: Sequence[Op], b: Sequence[Op]) -> Floats:
    """``(len(a), len(b))``: how many octaves kernels of one loop lie apart; infinite across loops.

    Kernels of one loop that differ in window or stride lie an octave further apart.
    """
    (loops, forms, sizes), (other_loops, other_forms, other_sizes) = _places(a), _places(b)
    squares = (sizes**2).sum(axis=1)[:, None] + (other_sizes**2).sum(axis=1)
    squares = squares - 2.0 * sizes @ other_sizes.T + (forms[:, None] != other_forms)
    alike = loops[:, None] == other_loops
    return np.asarray(np.where(alike, np.sqrt(np.maximum(squares, 0.0)), np.inf))


def _places(ops: Sequence[Op]) -> tuple[NDArray[np.int_], NDArray[np.int_], Floats]:
    """Loop, form, and logarithms of sizes of each kernel; names as numbers."""
    found = [_place(op) for op in ops]
    loops = np.array([hash(loop) for loop, _, _ in found], dtype=np.int64)
    forms = np.array([hash(form) for _, form, _ in found], dtype=np.int64)
    return loops, forms, np.array([sizes for _, _, sizes in found]).reshape(len(ops), 4)


@lru_cache(maxsize=100_000)
def _place(op: Op) -> tuple[str, str, tuple[float, ...]]:
    if op.kind not in CONV_KINDS and op.kind not in PRODUCT_KINDS:
        return _loop(op.kind), _form(op.kind), (log2(max(1, op.num_output_elements)), 0.0, 0.0, 0.0)
    loop, _, form = _product(op)
    filters = op.filters if len(op.filters) > 1 else (1, 1)
    results = prod(op.spatial_out) if op.kind in CONV_KINDS else prod(op.outputs[0][:-1])
    sizes = filters[1], filters[0] / op.groups, results, op.groups
    return loop, form, tuple(log2(max(1.0, size)) for size in sizes)


@lru_cache(maxsize=100_000)
def asked(op: Op) -> tuple[tuple[Thing, float], ...]:
    """What one kernel asks for, in ms at the reference speeds; nothing where its shapes do not say.

    >>> from costmodel.op import conv_op
    >>> op = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3))
    >>> [(thing.bound, round(ms, 3)) for thing, ms in asked(op)][:4]
    [('calls', 0.005), ('maths', 0.059), ('read', 0.001), ('written', 0.002)]
    """
    if not is_learnable(op):
        return ((Thing(loop=SESSION, bound=CALLS), _START_MS),) if op.kind == SESSION else ()
    found = [(Thing(loop="", bound=CALLS), _START_MS)]
    read, written, weights = (
        count / 1e6 / _ELEMENTS_PER_NS
        for count in (op.num_input_elements, op.num_output_elements, op.num_weights)
    )
    if op.kind in CONV_KINDS or op.kind in PRODUCT_KINDS:
        loop, window, form = _product(op)
        speed = _MATHS_PER_NS.get(loop, _OTHER_MATHS_PER_NS)
        found += [
            (Thing(loop=loop, bound=MATHS, form=form), op.macs / 1e6 / speed),
            (Thing(loop=loop, bound=READ, form=form), read),
            (Thing(loop=loop, bound=WRITTEN, form=form), written),
            (Thing(loop=loop, bound=WEIGHTS, form=window), weights),
        ]
        if loop in {"dense", "grouped", "stem"}:
            patches = op.macs / op.filters[0] * (op.groups if loop == "grouped" else 1)
            found.append((Thing(loop=loop, bound=PATCHES, form=form), patches / 1e6))
        if loop in {"depthwise", "grouped"}:
            found.append((Thing(loop=loop, bound=CALLS, form=form), op.groups * _START_MS))
    else:
        moved = read + written + weights
        found.append((Thing(loop=_loop(op.kind), bound=WRITTEN, form=_form(op.kind)), moved))
    found += [
        (Thing(loop="fused", bound=WRITTEN, form=word), written)
        for word in map(_fused, op.epilogue)
        if word
    ]
    return tuple(found)


def _product(op: Op) -> tuple[str, str, str]:
    """Loop, window and form of a convolution or matrix product."""
    if op.kind not in CONV_KINDS:
        rows = prod(op.outputs[0][:-1]) if op.outputs and op.outputs[0] else 1
        return (
            ("vector" if rows == 1 and op.weights else "pointwise" if op.weights else "both"),
            "",
            "",
        )
    taps = prod(op.filters[2:])
    side = round(sqrt(taps)) if taps else 1
    window = "1" if side <= 1 else "3" if side <= 3 else "5" if side <= 5 else "7"
    strided = any(step > 1 for step in op.stride)
    form = f"{window}/2" if strided else window
    # What a runtime keeps in plain layout although it has blocked ones takes its slow kernel.
    form += " plain" if op.implementation and op.layout == "nchw" else ""
    if op.kind == "conv_transpose":
        return "transposed", window, form
    if op.groups > 1:
        return ("depthwise" if op.is_depthwise else "grouped"), window, form
    if taps == 1 and prod(op.spatial_in) == 1:
        return "vector", "", ""
    if op.in_channels <= _IMAGE:
        return "stem", window, form
    return ("pointwise" if taps == 1 else "dense"), window, form


def _loop(kind: str) -> str:
    return "heavy" if kind in _HEAVY else class_of(kind)


def _form(kind: str) -> str:
    return "" if kind in _HEAVY or class_of(kind) == PRODUCT else kind


def _fused(word: str) -> str:
    """What a folded activation or sum costs like; empty where it costs nothing to speak of."""
    if word in _HEAVY:
        return "heavy"
    return {"sum": "add", "add": "add", "mul": "mul"}.get(word, "")

"""What an Op's time depends on: execution path, terms of physics, features of shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from costmodel.op import CONV_KINDS, MATMUL_KINDS, POOL_KINDS, Op

#: Elements of float32 in the widest vector register that matters; padding below it is wasted work.
_VECTOR = 16
#: Physical terms, each a non-negative amount of something that takes time.
TERMS = ("constant", "work", "input", "output", "weight", "expanded", "rows", "taps")
#: Shape features of the residual regression, all logarithms or ratios.
FEATURES = (
    "work",
    "input",
    "output",
    "weight",
    "expanded",
    "in_channels",
    "out_channels",
    "height",
    "width",
    "kernel",
    "stride",
    "dilation",
    "groups",
    "batch",
    "row_fill",
    "out_blocks",
    "reduction",
    "pixels",
    "odd_in",
    "odd_out",
    "odd_width",
    "padding",
    "sum",
    "activation",
    "intensity",
    "footprint",
)


def path_of(op: Op) -> str:
    """The execution path: kernels of one path share one law of time.

    >>> from costmodel.op import conv_op
    >>> path_of(conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(1, 1)))
    'conv/pointwise'
    """
    kind, layout = op.kind, op.layout
    if kind in CONV_KINDS:
        prefix = kind if layout == "nchw" else f"{kind}@{layout}"
        return f"{prefix}/{_conv_shape(op)}"
    if kind in POOL_KINDS:
        return kind if layout == "nchw" else f"{kind}@{layout}"
    name = op.implementation.rpartition(":")[0].rpartition(".")[2]
    return f"{kind}@{name}" if name else kind


def _conv_shape(op: Op) -> str:
    weights = op.weights[0] if op.weights else op.inputs[1]
    if op.groups > 1:
        return "depthwise" if weights[1] == 1 else "grouped"
    if op.layout != "nchw":
        channels = op.inputs[0][1]
        if channels % 4 or channels < _block(op.layout):
            return "stem"
    return "pointwise" if prod(weights[2:]) == 1 else "dense"


@cache
def _block(layout: str) -> int:
    """Channels per block of a layout; 1 in plain ones."""
    digits = "".join(c for c in layout if c.isdigit())
    return int(digits) if digits else 1


def is_learnable(op: Op) -> bool:
    """Whether the Op does work that a shape can predict, unlike ``session`` and ``model``."""
    return op.kind not in {"session", "model"} and bool(op.outputs)


class Table:
    """Terms and features of many Ops as columns.

    Args:
        ops: Ops of any path.

    Attributes:
        terms: ``(len(ops), len(TERMS))`` amounts: multiply-adds or elements in millions.
        features: ``(len(ops), len(FEATURES))`` logarithms and ratios.
    """

    def __init__(self, ops: Sequence[Op]) -> None:
        rows = np.array([_numbers(op) for op in ops], dtype=np.float64).reshape(len(ops), len(_RAW))
        raw = dict(zip(_RAW, rows.T, strict=True))
        self.terms = _terms(raw)
        self.features = _features(raw)


_RAW = (
    "batch", "cin", "cout", "hin", "win", "hout", "wout", "kh", "kw", "stride", "dilation",
    "groups", "inputs", "outputs", "weights", "work", "pads", "sum", "activation", "block",
)  # fmt: skip


def _numbers(op: Op) -> tuple[float, ...]:
    """The plain sizes of one Op; the only Python loop on the way to a price."""
    inputs, outputs, kind = op.inputs, op.outputs, op.kind
    first = inputs[0] if inputs else ()
    out = outputs[0] if outputs else ()
    nhwc = op.layout == "nhwc"
    cin, hin, win = _chw(first, nhwc=nhwc)
    cout, hout, wout = _chw(out, nhwc=nhwc)
    kernel = op.kernel
    kh, kw = (kernel[0], kernel[-1]) if kernel else (1, 1)
    num_in = prod(first) if len(inputs) == 1 else sum(map(prod, inputs))
    num_out = prod(out) if len(outputs) == 1 else sum(map(prod, outputs))
    num_weights = sum(map(prod, op.weights))
    if kind == "conv":
        work = num_out * (cin // op.groups) * prod(kernel)
    elif kind in CONV_KINDS or kind in MATMUL_KINDS:
        work = op.macs
    elif kind in POOL_KINDS:
        work = num_out * prod(kernel) if kernel else num_in
    else:
        work = max(num_in, num_out)
    activation = len(op.epilogue) - ("sum" in op.epilogue)
    return (
        first[0] if first else 1, cin, cout, hin, win, hout, wout, kh, kw,
        op.stride[0] if op.stride else 1, op.dilation[0] if op.dilation else 1, op.groups,
        num_in, num_out, num_weights, work, sum(op.pads), "sum" in op.epilogue, activation,
        _block(op.layout),
    )  # fmt: skip


def _chw(shape: tuple[int, ...], *, nhwc: bool) -> tuple[int, int, int]:
    """Channels, height and width; one row for 2-D data, the last axis as width for 3-D."""
    if len(shape) < 2:
        return (shape[0] if shape else 1), 1, 1
    if len(shape) == 2:
        return shape[1], 1, 1
    if nhwc:
        return shape[-1], shape[1], shape[-2]
    height = prod(shape[2:-1]) if len(shape) > 3 else 1
    return shape[1], height, shape[-1]


Raw = dict[str, NDArray[np.float64]]


def _padded(values: NDArray[np.float64], step: int) -> NDArray[np.float64]:
    return np.ceil(values / step) * step


def _terms(raw: Raw) -> NDArray[np.float64]:
    """Amounts that take time; see ``TERMS``.

    ``work`` is multiply-adds with channels padded to what the kernel computes; ``expanded`` the
    elements of an im2col buffer; ``rows`` the output rows times channel blocks (loop starts);
    ``taps`` the kernel taps per output row (inner loop starts).
    """
    plain = raw["block"] == 1
    pixels = raw["hout"] * raw["wout"]
    # A GEMM's columns are padded to the vector; blocked layouts are padded in the shapes already.
    pad = np.where(plain, _padded(pixels, _VECTOR) / np.maximum(pixels, 1), 1.0)
    taps = raw["kh"] * raw["kw"]
    expanded = np.where(plain & (taps > 1), raw["batch"] * raw["cin"] * taps * pixels, 0.0)
    blocks = np.ceil(raw["cout"] / _VECTOR)
    rows = raw["batch"] * raw["hout"] * blocks
    columns = (
        np.ones_like(pixels),
        raw["work"] * pad / 1e6,
        raw["inputs"] / 1e6,
        raw["outputs"] / 1e6,
        raw["weights"] / 1e6,
        expanded / 1e6,
        rows / 1e6,
        rows * raw["kh"] * np.ceil(raw["cin"] / raw["groups"] / raw["block"]) / 1e6,
    )
    return np.stack(columns, axis=1)


def _features(raw: Raw) -> NDArray[np.float64]:
    """Shape features; see ``FEATURES``."""
    log = np.log2
    pixels = raw["hout"] * raw["wout"]
    per_group = raw["cin"] / raw["groups"]
    bytes_moved = raw["inputs"] + raw["outputs"] + raw["weights"]
    blocks = np.ceil(raw["cout"] / raw["groups"] / _VECTOR)
    columns = (
        log(raw["work"] + 1),
        log(raw["inputs"] + 1),
        log(raw["outputs"] + 1),
        log(raw["weights"] + 1),
        log(per_group * raw["kh"] * raw["kw"] * pixels + 1),
        log(per_group),
        log(raw["cout"] / raw["groups"] + 1e-9),
        log(raw["hout"]),
        log(raw["wout"]),
        log(raw["kh"] * raw["kw"]),
        log(raw["stride"]),
        log(raw["dilation"]),
        log(raw["groups"]),
        log(raw["batch"]),
        _padded(raw["wout"], 6) / np.maximum(raw["wout"], 1),
        np.where(blocks % 4 == 0, 0, blocks % 4) / 4,
        log(per_group * raw["kh"] * raw["kw"]),
        log(pixels),
        (per_group % 4) / 4,
        (raw["cout"] % 16) / 16,
        (raw["wout"] % _VECTOR) / _VECTOR,
        raw["pads"] / np.maximum(raw["hout"] + raw["wout"], 1),
        raw["sum"],
        raw["activation"],
        log(raw["work"] / np.maximum(bytes_moved, 1) + 1e-3),
        log(bytes_moved + 1),
    )
    return np.stack(columns, axis=1)

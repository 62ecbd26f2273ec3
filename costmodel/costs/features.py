"""What an Op's time depends on: execution path, terms of physics, features of shape."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import chain
from math import prod

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.gpu.runtimes import Rules, rules_of
from costmodel.costs.gpu.sizes import Sizes
from costmodel.device import Device
from costmodel.kinds import CONV_KINDS, POOL_KINDS
from costmodel.op import DTYPE_BYTES, Op
from costmodel.pieces import form_of, pieces_of
from costmodel.products import PRODUCT_KINDS

#: Elements of float32 in the widest vector register that matters; padding below it is wasted work.
#: In a blocked layout that is a block.
_VECTOR = 16
#: Channels that a matrix unit takes at once, by the start of a kernel's name. Padding is computed.
#: 128 is the least of all TPU generations ("TPU architecture", Cloud TPU documentation).
_LANES = {"xla:tpu": 128}
#: Output columns and channel blocks that a blocked kernel of MLAS computes at once, and columns
#: where a block is a vector of AVX2: sixteen registers hold twelve sums (SconvKernelFma3.S of ONNX
#: Runtime).
_COLUMNS, _FILTERS = 6, 4
_NARROW, _NARROW_COLUMNS = 8, 3
#: Output channels that its matrix product computes at once.
_ROWS = 6
#: Bytes of float32 beyond which activations spill out of the level-2 cache where it is not known.
_NEAR_BYTES = 1 << 20
#: Weights of one product, in elements, that no last cache holds: 32 MiB of float32.
_FAR_WEIGHTS = 8 << 20
#: Taps along one axis that are looked at one by one; wider windows count whole.
_MOST_TAPS = 64
#: Activations by what they cost per element: a comparison or two, or an exponential.
_LIGHT = frozenset(
    {
        *("leakyrelu", "leaky_relu", "prelu", "clip"),
        *("hardsigmoid", "hard_sigmoid", "hardswish", "hard_swish"),
    }
)
_HEAVY = frozenset(
    {
        *("sigmoid", "tanh", "gelu", "quickgelu", "quick_gelu"),
        *("swish", "silu", "mish", "elu", "selu", "softplus"),
    }
)

#: Physical terms, each a non-negative amount of something that takes time, in millions:
#: ``work`` multiply-adds that are computed, padding skipped or done as the kernel does;
#: ``strided`` the same for strides above 1; ``columns`` and ``filters`` the part of it in
#: incomplete sets of output columns or channel blocks; ``input``, ``output``, ``weight`` elements;
#: ``expanded`` elements of an im2col buffer, ``gathered`` where a stride forbids copying runs;
#: ``rows`` output rows times channel blocks (loop starts), or, channels last, places times groups;
#: ``taps`` inner loop starts, or runs copied into an im2col buffer; ``edges``
#: multiply-adds of output columns that padding touches; ``spill`` bytes beyond the near cache, or
#: of a product's weights beyond the last one;
#: ``light`` and ``heavy`` outputs with an activation of that class; ``calls`` matrix products per
#: run, ``short`` what their incomplete sets of output channels waste; ``pieces`` runs of
#: elements that a kernel without a window takes one by one.
PLAIN_TERMS = ("constant", "work", "input", "output", "weight")
TERMS = (
    *PLAIN_TERMS,
    "strided", "columns", "filters", "expanded", "gathered", "rows", "taps", "edges", "spill",
    "light", "heavy", "calls", "short", "pieces",
)  # fmt: skip
#: What the residual regression sees of a shape beside the make-up of its base latency: logarithms,
#: and how full the kernels' sets of columns, vectors and channels are. More of them made it worse.
FEATURES = (
    "height", "width", "kernel", "stride", "reduction", "out_channels", "groups", "row_fill",
    "columns", "spill", "odd_in", "odd_out",
)  # fmt: skip
#: Logarithms whose range over the rows is the region that a table has seen.
HULL = ("work", "input", "output", "weight", "kernel", "groups")


#: Runtimes that name the kernel they chose for a convolution: OpenVINO's primitives.
_NAMED = ("Convolution:", "GroupConvolution:")


def path_of(op: Op, *, by_name: bool = False) -> str:
    """The execution path: kernels of one path share one law of time.

    Args:
        op: what is executed.
        by_name: whether the runtime's kernels of one layout differ by their names.

    >>> from costmodel.op import conv_op
    >>> path_of(conv_op(in_channels=8, out_channels=8, size=(4, 4), kernel=(1, 1)))
    'conv/pointwise'
    """
    path = _path(op, by_name=by_name)
    types = op.attribute("weight_types", "") if op.attributes else ""
    return f"{path} of {types} weights" if types else path


@cache
def kind_of(path: str) -> str:
    """The kind of the kernels that take an execution path.

    >>> kind_of("max_pool@nhwc of uint8"), kind_of("conv@nchw16c/stem")
    ('max_pool', 'conv')
    """
    return path.partition("/")[0].partition("@")[0].partition(" of ")[0]


def _path(op: Op, *, by_name: bool) -> str:
    kind, layout = op.kind, op.layout
    if kind in CONV_KINDS:
        named = by_name and op.implementation
        prefix = kind if layout == "nchw" and not named else f"{kind}@{layout}"
        if layout == "nhwc" or named or op.implementation.startswith(_NAMED):
            # Here one layout has kernels of several libraries, each with a law of its own.
            prefix = f"{prefix}:{op.implementation}"
        return f"{prefix}/{_conv_shape(op)}"
    if kind in POOL_KINDS:
        name = kind if layout == "nchw" else f"{kind}@{layout}"
        # Means of integers are taken one by one: 20 times the time of the same floats.
        return name if op.dtype.startswith(("float", "bfloat")) else f"{name} of {op.dtype}"
    name = op.implementation.rpartition(":")[0].rpartition(".")[2]
    name = f"{kind}@{name}" if name else kind
    form = _product_form(op) if kind in PRODUCT_KINDS else form_of(op)
    return f"{name}/{form}" if form else name


def _product_form(op: Op) -> str:
    """A row of features times weights, which reading weights bounds; many rows; or no weights."""
    if not op.outputs or not op.outputs[0]:
        return ""
    if not op.weights:
        return "both"
    return "vector" if prod(op.outputs[0][:-1]) == 1 else "rows"


def _conv_shape(op: Op) -> str:
    weights = op.filters
    if op.groups > 1:
        return "depthwise" if weights[1] == 1 else "grouped"
    if _block(op.layout) > 1 and (op.in_channels % 4 or op.in_channels < _block(op.layout)):
        return "stem"
    if prod(op.spatial_out) == 1:
        return "vector"
    direct = set(op.stride) <= {1} or op.layout != "nchw"
    return "pointwise" if prod(weights[2:]) == 1 and direct else "dense"


@cache
def _block(layout: str) -> int:
    """Channels per block of a layout; 1 in plain ones."""
    digits = "".join(c for c in layout if c.isdigit())
    return int(digits) if digits else 1


@cache
def _lanes(implementation: str) -> int:
    """Channels that a kernel's matrix unit takes at once; 1 where it has none."""
    return next((n for name, n in _LANES.items() if implementation.startswith(name)), 1)


@cache
def _skips(implementation: str) -> bool:
    """Whether a kernel of a plain layout leaves out the taps that no window has in the image."""
    return implementation.startswith(_NAMED) and "gemm_" not in implementation


def is_learnable(op: Op) -> bool:
    """Whether the Op does work that a shape can predict, unlike ``session`` and ``model``.

    A convolution or product without the shapes that say how much work it is cannot be learned.
    """
    if op.kind in {"session", "model"} or not op.outputs:
        return False
    if op.kind in CONV_KINDS:
        return bool(op.inputs) and min(len(op.inputs[0]), len(op.filters)) >= 2
    return op.multiply_adds is not None


class Table:
    """Terms and features of many Ops as columns.

    Args:
        ops: Ops of any path.
        device: that runs them. A GPU's have terms and features of their own after those of every
            table; of a processor's terms they have those that hold anywhere.

    Attributes:
        term_names: of the columns of ``terms``; ``TERMS`` first.
        terms: ``(len(ops), len(term_names))`` amounts: multiply-adds or elements in millions.
        features: ``(len(ops), features)`` logarithms and ratios, ``FEATURES`` first.
        paths: the execution path of each Op.
        has_steps: whether time is a staircase in many sizes at once, as on a GPU.
        hull: ``(len(ops), len(HULL))`` logarithms.
        multiply_adds: ``(len(ops),)``, unlike ``terms`` as they are defined; 0 of kinds without.
        bytes: ``(len(ops),)`` read and written, each element once.
    """

    def __init__(self, ops: Sequence[Op], device: Device | None = None) -> None:
        rules = rules_of(device)
        self.has_steps = rules is not None
        self.paths = [path_of(op, by_name=self.has_steps) for op in ops]
        self.term_names: tuple[str, ...] = TERMS
        # One by one: lists of a hundred thousand tuples keep the garbage collector busy.
        numbers = chain.from_iterable(map(_numbers, ops))
        rows = np.fromiter(numbers, np.float64, len(ops) * len(_RAW)).reshape(len(ops), len(_RAW))
        # An axis may be empty; its logarithm has to exist all the same.
        np.maximum(rows[:, :_SIZES], 1.0, out=rows[:, :_SIZES])
        raw = dict(zip(_RAW, rows.T, strict=True))
        self.terms = _terms(raw)
        self.features = _features(raw)
        self.hull = _hull(raw)
        # Of a window that mostly lies outside the image, only what is inside is computed.
        work = np.minimum(raw["work"], 1e6 * self.terms[:, TERMS.index("work")])
        self.multiply_adds = np.where(raw["product"] > 0, work, 0.0)
        self.bytes = (raw["inputs"] + raw["outputs"] + raw["weights"]) * raw["itemsize"]
        if rules is not None:
            self._see_launches(rules, Sizes.of(ops, raw))

    def _see_launches(self, rules: Rules, sizes: Sizes) -> None:
        """Add what a GPU launches, and forget what only a processor's kernels do."""
        terms, features, forms = rules(sizes)
        self.term_names = (*TERMS, *terms)
        self.terms[:, len(PLAIN_TERMS) : TERMS.index("pieces")] = 0.0
        self.terms[:, TERMS.index("work")] = sizes.work / 1e6
        self.terms = np.column_stack([self.terms, *(amount / 1e6 for amount in terms.values())])
        self.features = np.column_stack([self.features, *features.values()])
        self.paths = [
            f"{path.partition('/')[0]}/{form}" if form else path
            for path, form in zip(self.paths, forms, strict=True)
        ]


_RAW = (
    "batch", "cin", "cout", "hin", "win", "hout", "wout", "kh", "kw", "stride", "dilation",
    "groups", "inputs", "outputs", "weights", "work", "top", "bottom", "left", "right", "sum",
    "light", "heavy", "block", "window", "lanes", "product", "itemsize", "pieces", "last", "skips",
)  # fmt: skip
_SIZES = _RAW.index("stride")


def _numbers(op: Op) -> tuple[float, ...]:
    """The plain sizes of one Op; the only Python loop on the way to a price."""
    inputs, outputs, kind = op.inputs, op.outputs, op.kind
    first = inputs[0] if inputs else ()
    out = outputs[0] if outputs else ()
    nhwc = op.layout == "nhwc"
    if len(first) == 4 == len(out) and not nhwc:  # by far the most, and a call costs
        (_, cin, hin, win), (_, cout, hout, wout) = first, out
    else:
        cin, hin, win = _chw(first, nhwc=nhwc)
        cout, hout, wout = _chw(out, nhwc=nhwc)
    is_conv = kind in CONV_KINDS
    kernel = op.filters[2:] if is_conv else op.kernel
    kh, kw = (kernel[0], kernel[-1]) if kernel else (1, 1)
    num_in = prod(first) if len(inputs) == 1 else sum(map(prod, inputs))
    num_out = prod(out) if len(outputs) == 1 else sum(map(prod, outputs))
    num_weights = sum(map(prod, op.weights))
    is_product = is_conv or kind in PRODUCT_KINDS
    if not is_product:
        # A constant operand is read like any other; sampled ones are mostly single numbers.
        num_in, num_weights = num_in + num_weights, 0
    if kind == "conv":
        work = num_out * (cin // op.groups) * prod(kernel)
    elif is_product:
        work = op.macs
    elif kind in POOL_KINDS:
        work = num_out * prod(kernel) if kernel else num_in
    else:
        work = max(num_in, num_out)
    pads = op.pads
    half = len(pads) // 2
    top, bottom = (pads[0], pads[half]) if half else (0, 0)
    left, right = (pads[half - 1], pads[-1]) if half else (0, 0)
    pieces = 0
    if is_product and not is_conv and work and num_out and out:
        # As a product of (rows, shared) by (shared, columns), several of them where none is fixed.
        cin, cout = max(1, work // num_out), out[-1]
        win = prod(out[:-2]) if not num_weights else 1
        hin = max(1, num_out // max(1, cout * win))
        hout, wout = hin, win
    elif not is_product and kind not in POOL_KINDS:
        pieces = pieces_of(op)
    light = heavy = 0
    for item in op.epilogue:
        light |= item in _LIGHT
        heavy |= item in _HEAVY
    return (
        first[0] if first else 1, cin, cout, hin, win, hout, wout, kh, kw,
        op.stride[0] if op.stride else 1, op.dilation[0] if op.dilation else 1, op.groups,
        num_in, num_out, num_weights, work, top, bottom, left, right, "sum" in op.epilogue,
        light, heavy, _block(op.layout), is_conv, _lanes(op.implementation), is_product,
        DTYPE_BYTES.get(op.dtype, 4), pieces, nhwc, _skips(op.implementation),
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


def _padded(values: NDArray[np.float64], step: int | NDArray[np.float64]) -> NDArray[np.float64]:
    return np.ceil(values / step) * step


def _inside(
    raw: Raw, taps: str, source: str, result: str, before: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the taps along one axis, the share that lies in the image in all windows, and in any."""
    count, size, steps = raw[taps], raw[source], raw[result]
    stride = np.maximum(raw["stride"], 1.0)
    total, used = np.zeros_like(count), np.zeros_like(count)
    for tap in range(int(min(count.max(initial=0.0), _MOST_TAPS))):
        shift = tap * raw["dilation"] - raw[before]
        first = np.ceil(np.maximum(-shift, 0.0) / stride)
        last = np.floor((size - 1.0 - shift) / stride)
        within = np.clip(np.minimum(last, steps - 1.0) - first + 1.0, 0.0, None)
        total += np.where(tap < count, within, 0.0)
        used += np.where(tap < count, within > 0, 0.0)
    share = np.clip(total / np.maximum(count * steps, 1.0), 0.0, 1.0)
    many = count > _MOST_TAPS
    return np.where(many, 1.0, share), np.where(many, 1.0, used / np.maximum(count, 1.0))


def _terms(raw: Raw) -> NDArray[np.float64]:
    """Amounts that take time; see ``TERMS``."""
    plain = raw["block"] == 1
    pixels = raw["hout"] * raw["wout"]
    taps = raw["kh"] * raw["kw"]
    # A GEMM's columns are padded to the vector. Blocked kernels skip what of a window lies outside
    # the image: whole rows of it, and single columns where the window is spread.
    spread = raw["dilation"] > 1
    rows_inside, rows_used = _inside(raw, "kh", "hin", "hout", "top")
    columns_inside, columns_used = _inside(raw, "kw", "win", "wout", "left")
    inside = rows_inside * np.where(spread, columns_inside, 1.0)
    # Nor are the weights of taps read that no window has in the image.
    skips = ~plain | (raw["skips"] > 0)
    read = raw["weights"] * np.where(spread & skips, rows_used * columns_used, 1.0)
    factor = np.where(plain, _padded(pixels, _VECTOR) / np.maximum(pixels, 1.0), inside)
    # Of what has no window the last axes are no columns of a product, nor are places channels last.
    last = raw["last"] > 0
    factor = np.where(plain & (last | (raw["window"] == 0)), 1.0, factor)
    factor = np.where(plain & skips, inside, factor)
    factor = np.where(raw["lanes"] > 1, _lane_share(raw), factor)
    work = raw["work"] * np.maximum(factor, 0.01)
    strided = raw["stride"] > 1
    # Columns that padding touches are computed one by one.
    touched = np.ceil(raw["left"] / raw["stride"]) + np.ceil(raw["right"] / raw["stride"])
    edge_share = np.where(plain, 0.0, np.minimum(touched / np.maximum(raw["wout"], 1.0), 1.0))
    middle = np.maximum(raw["wout"] - touched, 0.0)
    left = middle % _columns_at_once(raw)
    column_share = np.where(plain, 0.0, left / np.maximum(raw["wout"], 1.0))
    filters = raw["cout"] / raw["groups"]
    block = _vector(raw)
    blocks = np.ceil(filters / block)
    filter_share = np.where(plain, 0.0, (blocks % _FILTERS) / np.maximum(blocks, 1.0))
    window = plain & ((taps > 1) | strided)
    expanded = np.where(window, raw["batch"] * raw["cin"] * taps * pixels, 0.0)
    per_group = raw["cin"] / raw["groups"]
    # Channels last, a place's channels of one group are a run, and every group has its own row of a
    # product; channels of groups of one are taken side by side.
    alone = (filters == 1) & (per_group == 1)
    places = raw["batch"] * pixels * np.where(alone, 1.0, raw["groups"])
    runs = np.where(last, places, raw["batch"] * raw["cin"] * raw["hout"])
    copies = np.where(window, taps * runs, 0.0)
    rows = raw["batch"] * raw["hout"] * np.ceil(raw["cout"] / block)
    rows = np.where(last, places, rows)
    at_once = np.where(last, np.where(alone, 1, _VECTOR), _ROWS)
    near = (raw["inputs"] + raw["outputs"] + raw["weights"]) * 4.0 - _NEAR_BYTES
    columns = (
        np.full_like(pixels, 1e6),
        work,
        raw["inputs"],
        raw["outputs"],
        read,
        np.where(strided, work, 0.0),
        work * column_share,
        work * filter_share,
        expanded,
        np.where(strided, expanded, 0.0),
        rows,
        np.where(plain, copies, rows * raw["kh"] * np.ceil(per_group / raw["block"])),
        work * edge_share,
        np.maximum(near, 0.0) / 4.0,
        raw["light"] * raw["outputs"],
        raw["heavy"] * raw["outputs"],
        np.where(plain, raw["batch"] * raw["groups"], 0.0),
        np.where(
            plain & (raw["lanes"] == 1),
            work * (_padded(filters, at_once) / np.maximum(filters, 1.0) - 1.0),
            0.0,
        ),
        raw["pieces"],
    )
    terms = np.stack(columns, axis=1) / 1e6
    # Of kernels without a window only the plain amounts and pieces mean anything.
    terms[raw["window"] == 0, len(PLAIN_TERMS) : -1] = 0.0
    far = np.maximum(raw["weights"] - _FAR_WEIGHTS, 0.0) * (raw["product"] > 0) / 1e6
    place = TERMS.index("spill")
    terms[:, place] = np.where(raw["window"] == 0, far, terms[:, place])
    return np.asarray(terms)


def _vector(raw: Raw) -> NDArray[np.float64]:
    """Elements of a vector: of a blocked layout a block."""
    return np.where(raw["block"] == 1, float(_VECTOR), raw["block"])


def _columns_at_once(raw: Raw) -> NDArray[np.float64]:
    """Output columns that a kernel computes at once: narrow vectors leave room for half of them."""
    return np.where(raw["block"] == _NARROW, _NARROW_COLUMNS, _COLUMNS).astype(np.float64)


def _lane_share(raw: Raw) -> NDArray[np.float64]:
    """Work of a matrix unit, which takes whole sets of output channels, over what is asked for."""
    filters = raw["cout"] / raw["groups"]
    dense = filters > 1
    return np.where(dense, _padded(filters, raw["lanes"]) / np.maximum(filters, 1.0), 1.0)


def _features(raw: Raw) -> NDArray[np.float64]:
    """Shape features; see ``FEATURES``."""
    log = np.log2
    per_group = raw["cin"] / raw["groups"]
    filters = raw["cout"] / raw["groups"]
    taps = raw["kh"] * raw["kw"]
    moved = (raw["inputs"] + raw["outputs"] + raw["weights"]) * 4.0
    middle = np.maximum(raw["wout"] - raw["left"] - raw["right"], 0.0)
    vector = np.maximum(raw["lanes"], _vector(raw))
    at_once = _columns_at_once(raw)
    columns = (
        log(raw["hout"]),
        log(raw["wout"]),
        log(taps),
        log(raw["stride"]),
        log(per_group * taps),
        log(filters),
        log(raw["groups"]),
        _padded(raw["wout"], at_once) / np.maximum(raw["wout"], 1.0),
        (middle % at_once) / at_once,
        log(np.maximum(moved / _NEAR_BYTES, 1.0)),
        (per_group % 4) / 4,
        (raw["cout"] % vector) / vector,
    )
    return np.stack(columns, axis=1)


def _hull(raw: Raw) -> NDArray[np.float64]:
    """Logarithms of what decides whether a table has seen the like; see ``HULL``."""
    amounts = (
        raw["work"], raw["inputs"], raw["outputs"], raw["weights"], raw["kh"] * raw["kw"],
        raw["groups"],
    )  # fmt: skip
    return np.log2(np.stack(amounts, axis=1) + 1.0)

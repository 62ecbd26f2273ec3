"""A kernel as a row of somebody's list describes it, and the Op that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from costmodel.errors import InvalidInputError
from costmodel.kinds import CONV_KINDS, ELEMENTWISE, MATMUL_KINDS, POOL_KINDS, UNCOUNTED
from costmodel.model_rows import model_op
from costmodel.op import MODEL, SESSION, Op, Shape
from costmodel.tidy.words import DEPTHWISE

#: What is said about a second operand of a sum or product: as large as the first, one number for
#: each channel (a gate, a scale), or none.
Second = Literal["", "same", "per_channel", "none"]
_BINARY = frozenset(
    [
        "add",
        "sub",
        "mul",
        "div",
        "max",
        "min",
        "pow",
        "sum",
        "equal",
        "greater",
        "less",
        "mod",
        "and",
        "or",
        "xor",
        "squared_difference",
    ]
)
#: Kinds whose work is not told by the size of what they read.
_UNTOLD = frozenset(UNCOUNTED) | {SESSION, "gather", "split", "slice", "pad", "tile", "constant"}


class UnusableRow(InvalidInputError):  # noqa: N818 - it is the row that cannot be used
    """A row that is no kernel; says which column, and what is wrong with it."""

    def __init__(self, column: str, problem: str, values: str = "") -> None:
        """Name what is wrong.

        Args:
            column: of the row.
            problem: the same words for all rows that have it.
            values: those of this row.
        """
        self.column, self.problem, self.values = column, problem, values
        super().__init__(f"{column} {problem}" + (f" ({values})" if values else ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Sizes as a row gives them; None where it does not say.

    Attributes:
        kind: a kind, or ``depthwise_conv``.
        batch: images at once.
        height: of the input.
        width: of the input; the height where it is not said.
        in_channels: channels read, or features of a matrix product.
        out_channels: channels written.
        kernel: height of the window.
        kernel_w: its width; its height where it is not said.
        stride: step down.
        stride_w: step across.
        pad: rows of zeros above, and as many below.
        pad_w: columns of zeros on either side.
        padding: ``same`` or ``valid``, where the zeros are not counted.
        dilation: spacing of the window's taps.
        dilation_w: the same across.
        groups: channel groups.
        out_height: rows written: the zeros follow from it where they are not said.
        out_width: columns written.
        bias: whether a bias is added.
        dtype: element type.
        layout: ``nchw`` or ``nhwc``.
        implementation: the runtime's name of the kernel, where shape decides it.
        epilogue: what is fused.
        parts: tensors of a concatenation, of which ``in_channels`` tells the first.
        second: a second operand that is read, also by an ``add`` in the epilogue.
        name: of a whole network.
    """

    kind: str
    batch: int | None = None
    height: int | None = None
    width: int | None = None
    in_channels: int | None = None
    out_channels: int | None = None
    kernel: int | None = None
    kernel_w: int | None = None
    stride: int | None = None
    stride_w: int | None = None
    pad: int | None = None
    pad_w: int | None = None
    padding: str = ""
    dilation: int | None = None
    dilation_w: int | None = None
    groups: int | None = None
    out_height: int | None = None
    out_width: int | None = None
    bias: bool = False
    dtype: str = "float32"
    layout: str = "nchw"
    implementation: str = ""
    epilogue: tuple[str, ...] = ()
    parts: int | None = None
    second: Second = ""
    name: str = ""


def kernel_op(kernel: Kernel) -> Op:
    """The Op of a described kernel.

    Zeros around the input are what the row says, else what its output's size needs (the odd one at
    the end, as ``same`` does), else those of ``padding``.

    Raises:
        InvalidInputError: if a size is missing, impossible, or contradicts another; names it.

    >>> row = Kernel(
    ...     kind="conv", height=8, in_channels=16, out_channels=32, kernel=3, padding="same"
    ... )
    >>> kernel_op(row).label, kernel_op(row).pads
    ('conv 3x3 16->32 @8x8', (1, 1, 1, 1))
    """
    _require_positive(kernel)
    build = _BUILD.get(kernel.kind, _pointwise)
    return build(kernel)


def _conv(row: Kernel) -> Op:
    read, window = _need(row, "in_channels"), _window(row)
    depthwise = row.kind == DEPTHWISE
    written = row.out_channels or (read if depthwise else _need(row, "out_channels"))
    groups = row.groups or (read if depthwise else 1)
    if depthwise and groups != read:
        refuse("groups", "does not fit a depthwise convolution", f"{groups} of {read} channels")
    if read % groups or written % groups:
        refuse("groups", "does not divide the channels", f"{groups}, {read} -> {written}")
    sizes, stride, dilation = _sizes(row), _stride(row), _dilation(row)
    out, pads = _extent(row, sizes, window, stride, dilation)
    weights: tuple[Shape, ...] = ((written, read // groups, *window),)
    result = _shape(row, written, out)
    seconds = [name for at, name in enumerate(row.epilogue) if _reads_tensor(row.epilogue, at)]
    letters = "d" + "w" * (1 + row.bias) + "d" * len(seconds)
    return Op(
        kind="conv",
        implementation=row.implementation,
        inputs=(_shape(row, read, sizes), *(result for _ in seconds)),
        outputs=(result,),
        weights=(*weights, (written,)) if row.bias else weights,
        dtype=row.dtype,
        layout=row.layout,
        stride=stride,
        pads=pads,
        dilation=dilation,
        groups=groups,
        epilogue=row.epilogue,
        operands=letters if seconds else "",
    )


def _reads_tensor(epilogue: tuple[str, ...], at: int) -> bool:
    """Whether a fused step reads another tensor: a sum does, unless it shifts after a scale."""
    return epilogue[at] in {"add", "sum"} and epilogue[at - 1 : at] != ("mul",)


def _transposed(row: Kernel) -> Op:
    read, written, window = _need(row, "in_channels"), _need(row, "out_channels"), _window(row)
    groups, sizes, stride, dilation = row.groups or 1, _sizes(row), _stride(row), _dilation(row)
    reach = _reach(window, dilation)
    pad = (row.pad or 0, row.pad if row.pad_w is None else row.pad_w)
    full = tuple((s - 1) * step + r for s, step, r in zip(sizes, stride, reach, strict=True))
    if row.out_height is not None:
        out: Shape = (row.out_height, row.out_width or row.out_height)
    elif row.padding == "same":
        out = tuple(s * step for s, step in zip(sizes, stride, strict=True))
    else:
        out = tuple(f - 2 * (p or 0) for f, p in zip(full, pad, strict=True))
    total = tuple(f - o for f, o in zip(full, out, strict=True))
    if min(out) < 1 or read % groups or written % groups:
        refuse("out_size", "does not fit the other sizes", f"{out}, groups {groups}")
    weights: tuple[Shape, ...] = ((read, written // groups, *window),)
    return Op(
        kind="conv_transpose",
        implementation=row.implementation,
        inputs=(_shape(row, read, sizes),),
        outputs=(_shape(row, written, out),),
        weights=(*weights, (written,)) if row.bias else weights,
        dtype=row.dtype,
        layout=row.layout,
        stride=stride,
        pads=(*(t // 2 for t in total), *(t - t // 2 for t in total)),
        dilation=dilation,
        groups=groups,
        epilogue=row.epilogue,
    )


def _pool(row: Kernel) -> Op:
    channels, sizes = _need(row, "in_channels"), _sizes(row)
    window, stride = _window(row), _stride(row)
    out, pads = _extent(row, sizes, window, stride, (1, 1))
    return Op(
        kind=row.kind,
        implementation=row.implementation,
        inputs=(_shape(row, channels, sizes),),
        outputs=(_shape(row, channels, out),),
        dtype=row.dtype,
        layout=row.layout,
        stride=stride,
        pads=pads,
        epilogue=row.epilogue,
        attributes=(("kernel_shape", window),),
    )


def _global_pool(row: Kernel) -> Op:
    channels, sizes = _need(row, "in_channels"), _sizes(row)
    return Op(
        kind=row.kind,
        implementation=row.implementation,
        inputs=(_shape(row, channels, sizes),),
        outputs=(_shape(row, channels, (1, 1)),),
        dtype=row.dtype,
        layout=row.layout,
        epilogue=row.epilogue,
    )


def _product(row: Kernel) -> Op:
    read, written, rows = _need(row, "in_channels"), _need(row, "out_channels"), row.batch or 1
    rows *= (row.height or 1) * (row.width or row.height or 1)
    weights: tuple[Shape, ...] = ((written, read),)
    return Op(
        kind="gemm",
        implementation=row.implementation,
        inputs=((rows, read),),
        outputs=((rows, written),),
        weights=(*weights, (written,)) if row.bias else weights,
        dtype=row.dtype,
        epilogue=row.epilogue,
    )


def _concat(row: Kernel) -> Op:
    first, sizes = _need(row, "in_channels"), _sizes(row)
    parts, total = row.parts or 2, _need(row, "out_channels")
    rest = total - first
    if parts < 2 or rest < parts - 1:
        refuse(
            "out_channels", "is not what the parts make", f"{parts}, the first {first}, of {total}"
        )
    # Only the first part is said; the others are taken as equal, which moves as many elements.
    share, more = divmod(rest, parts - 1)
    channels = (first, *(share + (at < more) for at in range(parts - 1)))
    axis = 3 if row.layout == "nhwc" else 1
    return Op(
        kind="concat",
        implementation=row.implementation,
        inputs=tuple(_shape(row, count, sizes) for count in channels),
        outputs=(_shape(row, total, sizes),),
        dtype=row.dtype,
        layout=row.layout,
        epilogue=row.epilogue,
        attributes=(("axis", axis),),
    )


def _network(row: Kernel) -> Op:
    if not row.name:
        refuse("model", "is missing, the name of the network")
    return model_op(row.name, "", ())


def _pointwise(row: Kernel) -> Op:
    """Kernels that go over their elements once, the same sizes out as in unless others are said."""
    if row.kind in _UNTOLD:
        refuse("op", "is a kind whose work these columns do not tell", row.kind)
    channels = _need(row, "in_channels")
    sizes = _sizes(row) if row.height is not None else ()
    tensor = _shape(row, channels, sizes)
    out = tensor
    if row.kind not in ELEMENTWISE and row.out_height is not None:
        out = _shape(
            row, row.out_channels or channels, (row.out_height, row.out_width or row.out_height)
        )
    second = row.second or ("same" if row.kind in _BINARY else "none")
    others = {"same": (tensor,), "per_channel": (_shape(row, channels, (1,) * len(sizes)),)}
    per_channel = ((channels,),) * 4 if row.kind == "batch_norm" else ()
    return Op(
        kind=row.kind,
        implementation=row.implementation,
        inputs=(tensor, *others.get(second, ())),
        outputs=(out,),
        weights=per_channel,
        dtype=row.dtype,
        layout=row.layout if sizes else "nchw",
        epilogue=row.epilogue,
    )


_BUILD: Mapping[str, Callable[[Kernel], Op]] = {
    **dict.fromkeys(CONV_KINDS, _conv),
    "conv_transpose": _transposed,
    DEPTHWISE: _conv,
    **dict.fromkeys(POOL_KINDS, _pool),
    "global_average_pool": _global_pool,
    "global_max_pool": _global_pool,
    **dict.fromkeys(MATMUL_KINDS, _product),
    "concat": _concat,
    MODEL: _network,
}


def _extent(
    row: Kernel, sizes: Shape, window: Shape, stride: Shape, dilation: Shape
) -> tuple[Shape, Shape]:
    """Sizes written, and the zeros around the input."""
    reach = _reach(window, dilation)
    said = (row.out_height, row.out_height if row.out_width is None else row.out_width)
    zeros = (row.pad, row.pad if row.pad_w is None else row.pad_w)
    axes = [
        _along(row.padding, *each)
        for each in zip(sizes, reach, stride, said, zeros, ("height", "width"), strict=True)
    ]
    return tuple(a[0] for a in axes), (*(a[1] for a in axes), *(a[2] for a in axes))


def _along(
    padding: str, size: int, reach: int, stride: int, out: int | None, pad: int | None, axis: str
) -> tuple[int, int, int]:
    """Size written along one axis, zeros before, zeros after."""
    if out is None and pad is None:
        if padding not in {"same", "valid"}:
            refuse("pad", "is missing, and so are padding (same, valid) and out_size")
        out = -(-size // stride) if padding == "same" else (size - reach) // stride + 1
    before = after = pad or 0
    short = 0 if out is None else (out - 1) * stride + reach - size - before - after
    if pad is None:
        before, after = max(0, short) // 2, (max(0, short) + 1) // 2
        if before >= reach:
            refuse("out_size", "is more than the input can give", f"{out} from {axis} {size}")
    elif 0 < short < stride:  # the size written was rounded up
        after += short
    fitting = (size + before + after - reach) // stride + 1
    if fitting < 1:
        refuse("kernel", "is larger than the padded input", f"{reach} over {axis} {size}")
    if out is not None and out != fitting:
        refuse("out_size", "is not what the other sizes give", f"{out}, not {fitting}")
    return fitting, before, after


def _shape(row: Kernel, channels: int, sizes: Shape) -> Shape:
    batch = row.batch or 1
    return (batch, *sizes, channels) if row.layout == "nhwc" else (batch, channels, *sizes)


def _sizes(row: Kernel) -> Shape:
    height = _need(row, "height")
    return height, row.width or height


def _window(row: Kernel) -> Shape:
    kernel = _need(row, "kernel")
    return kernel, row.kernel_w or kernel


def _stride(row: Kernel) -> Shape:
    stride = row.stride or 1
    return stride, row.stride_w or stride


def _dilation(row: Kernel) -> Shape:
    dilation = row.dilation or 1
    return dilation, row.dilation_w or dilation


def _reach(window: Shape, dilation: Shape) -> Shape:
    return tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))


_POSITIVE = (
    "batch", "height", "width", "in_channels", "out_channels", "kernel", "kernel_w", "stride",
    "stride_w", "dilation", "dilation_w", "groups", "out_height", "out_width", "parts",
)  # fmt: skip


def _require_positive(row: Kernel) -> None:
    for name in _POSITIVE:
        value = getattr(row, name)
        if value is not None and not 1 <= value < 2**31:
            refuse(name, "must be at least 1", str(value))
    for name in ("pad", "pad_w"):
        value = getattr(row, name)
        if value is not None and not 0 <= value < 2**20:
            refuse(name, "must not be negative", str(value))


def _need(row: Kernel, name: str) -> int:
    value = getattr(row, name)
    if value is None:
        refuse(name, f"is missing, which a {row.kind} needs")
    assert isinstance(value, int)
    return value


def refuse(column: str, problem: str, values: str = "") -> NoReturn:
    """Say that a row cannot be used.

    Raises:
        UnusableRow: always.
    """
    raise UnusableRow(column, problem, values)

"""The neighbours of a rebuilt kernel: what it reads, in its layout, and what reads its results.

The plug-in chooses layouts by neighbours, so a kernel is put between neighbours that give it the
layouts it has in its network:

- what a planar kernel reads is fed;
- what a channels-last convolution reads is fed channels last behind a Transpose, which the plug-in
  cancels against the reordering that the convolution asks for: no work;
- what other channels-last kernels read is written by a tiny convolution, and where it is large by a
  Pad that enlarges its result: one pass of writing, as a producer in a network would leave it;
- what a blocked kernel reads is written by a broadcasting Multiply, which takes the layout of what
  it reads: a local response normalisation makes that blocked by 16, a pooling blocked by 8.

Each result is read by a StridedSlice of one element, so that its memory is handed on as in a
network; all elements are joined into one output. A blocked result whose last block is not full
would be reordered as a whole for that, so there a pooling takes single pixels out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import UnsupportedOpError
from costmodel.layouts import block_of
from costmodel.op import Op, Shape
from costmodel.runners.openvino.core import ov
from costmodel.runners.openvino.operations import constant, dequantised, quantised
from costmodel.runners.openvino.steps import PROGRAMS, QUANTISE

#: Numbers in the pool that weights are cut from; larger than any last-level cache we know.
_POOL_SIZE = 24 << 20
#: Spread of the weights: He-normal for 800 inputs, as in the other runners.
_WEIGHT_SCALE = 0.05
_ELEMENTS = {
    "bool": "boolean",
    "float16": "f16",
    "float32": "f32",
    "bfloat16": "bf16",
    "int64": "i64",
    "int32": "i32",
    "int8": "i8",
    "uint8": "u8",
}
#: Elements up to which a convolution writes a tensor as quickly as it starts.
_SMALL = 1 << 13
EIGHT_BITS = frozenset({"int8", "uint8"})
#: The layout that pooling chooses without AVX-512. With it, pooling chooses blocks for so few
#: channels that one block is not full, and normalising for full ones.
_BY_POOLING = "nchw8c"
#: Names of poolings that only read begin with this.
READING = "reads"


@cache
def _pool() -> NDArray[np.float32]:
    pool = np.random.default_rng(7).standard_normal(_POOL_SIZE, dtype=np.float32)
    pool *= _WEIGHT_SCALE
    return pool


@dataclass(slots=True)
class Source:
    """One tensor that replicas read.

    Attributes:
        value: channels first, in the wanted layout.
        plain: what the baseline reads in its place.
        layout: of ``plain``.
    """

    value: Any
    plain: Any
    layout: str = "nchw"


@dataclass(slots=True)
class Draft:
    """A graph under construction."""

    op: Op
    parameters: list[Any] = field(default_factory=list)
    read: list[Any] = field(default_factory=list)
    offset: int = 0

    def parameter(self, shape: Shape, dtype: str) -> Any:
        """A fed tensor."""
        if dtype not in _ELEMENTS:
            message = f"Element type {dtype!r} cannot be rebuilt. Known: {', '.join(_ELEMENTS)}."
            raise UnsupportedOpError(message)
        made = ov.opset13.parameter(list(shape), getattr(ov.Type, _ELEMENTS[dtype]))
        self.parameters.append(made)
        return made

    def weight(self, shape: Shape, *, positive: bool = False) -> NDArray[np.float32]:
        """A view of the pool, never the same twice before the pool ends."""
        count, pool = prod(shape), _pool()
        if count > len(pool):
            values = np.resize(pool, count)
        else:
            start = self.offset % (len(pool) - count + 1) // 16 * 16
            values = pool[start : start + count]
            self.offset += count + 16
        values = values.reshape(shape)
        return np.asarray(np.abs(values) + np.float32(0.5)) if positive else values

    def reader(self, value: Any, index: int, layout: str = "nchw") -> None:
        """Read one element of a tensor.

        Args:
            value: the tensor.
            index: tells readers of one tensor apart.
            layout: that it lies in.
        """
        value = value.output(0) if hasattr(value, "output") else value
        shape = [int(n) for n in value.get_shape()]
        if is_ragged(shape, layout):
            pixel = _single_pixels(value)
            pixel.set_friendly_name(f"{READING}{len(self.read)}")
            value, shape = pixel.output(0), [int(n) for n in pixel.get_output_shape(0)]
        if not shape:
            self.read.append(ov.opset13.unsqueeze(value, np.array([0])))
            return
        at = np.array(np.unravel_index(index % prod(shape), shape), dtype=np.int64)
        ones = np.ones(len(shape), dtype=np.int64)
        self.read.append(ov.opset13.slice(value, at, at + 1, ones))

    def model(self) -> Any:
        """The graph, elements of one rank and type joined into an output each."""
        groups: dict[tuple[int, str], list[Any]] = {}
        for item in self.read:
            key = (len(item.get_output_shape(0)), item.get_output_element_type(0).to_string())
            groups.setdefault(key, []).append(item)
        joined = [ov.opset13.concat(i, 0) if len(i) > 1 else i[0] for i in groups.values()]
        if "bfloat16" in self.op.attribute("output_dtypes", self.op.dtype):
            joined = [_product_of(item) for item in joined]
        results = [ov.opset13.result(item) for item in joined]
        return ov.Model(results, self.parameters, "op")


def is_ragged(shape: Sequence[int], layout: str) -> bool:
    """Whether a tensor lies in blocks of channels of which the last is not full."""
    return len(shape) > 2 and bool(shape[1] % block_of(layout))


def _is_pooled_into(shape: Sequence[int], layout: str) -> bool:
    """Whether it is poolings that ask for a blocked layout."""
    return layout == _BY_POOLING or is_ragged(shape, layout)


def make_source(draft: Draft, shape: Shape, layout: str, dtype: str, *, fed: bool) -> Source:
    """One input tensor in its layout."""
    if len(shape) < 3 or layout == "nchw":
        made = draft.parameter(shape, dtype)
        return Source(value=_real(made, dtype), plain=made)
    if layout == "nhwc" and fed:
        made = draft.parameter((shape[0], *shape[2:], shape[1]), dtype)
        order = np.array([0, len(shape) - 1, *range(1, len(shape) - 1)])
        return Source(value=_real(ov.opset13.transpose(made, order), dtype), plain=made)
    value = _computed(draft, shape, layout)
    if block_of(layout) > 1 and not _stays_apart(draft.op):
        value = settled(value, layout)  # a Multiply would follow its reader, or be taken in by it
    if dtype in EIGHT_BITS:
        value = quantised(value)
        # Whole numbers of 8 bits are kept only where a product reads them too.
        draft.reader(_one_corner(draft, value, dtype).output(0), 0)
    return Source(value=value, plain=value, layout=layout)


def _computed(draft: Draft, shape: Shape, layout: str) -> Any:
    """A tensor written in the run itself, because only kernels leave such layouts."""
    ones = (1,) * (len(shape) - 2)
    if _is_pooled_into(shape, layout):
        two = draft.parameter((*shape[:2], *(2 for _ in ones)), "float32")
        return ov.opset13.multiply(
            _single_pixels(two).output(0), draft.parameter((1, 1, *shape[2:]), "float32")
        )
    if layout != "nhwc":
        one = _one_channel_made_many(draft, shape, ones)
        return ov.opset13.multiply(one, draft.parameter((1, 1, *shape[2:]), "float32"))
    if draft.op.implementation.startswith((f"{QUANTISE}:", "Eltwise:")):
        # Only behind a convolution and a pooling are such kernels left to themselves.
        one = _one_channel_made_many(draft, shape, (shape[2] + 1, *shape[3:]))
        return _pooled(one, (2, *ones[1:])).output(0)
    # A Pad of three axes is planar.
    if len(shape) == 3 or (prod(shape) <= _SMALL and _stays_apart(draft.op)):
        return _one_channel_made_many(draft, shape, shape[2:])
    end = np.array([0, 0, *(n - 1 for n in shape[2:])])
    one = _one_channel_made_many(draft, shape, ones)
    return ov.opset13.pad(one, np.zeros_like(end), end, "constant", np.float32(0.5))


def _pooled(value: Any, stride: Sequence[int]) -> Any:
    """A pooling that takes some pixels as they are."""
    ones, zeros = (1,) * len(stride), (0,) * len(stride)
    return ov.opset13.max_pool(value, stride, ones, zeros, zeros, ones)


def _single_pixels(value: Any) -> Any:
    """The first pixel of every channel."""
    shape = value.get_shape() if hasattr(value, "get_shape") else value.get_output_shape(0)
    return _pooled(value, tuple(int(n) for n in shape)[2:])


def _real(made: Any, dtype: str) -> Any:
    if dtype == "bfloat16":
        return ov.opset13.convert(made, "f32")
    return dequantised(made) if dtype in EIGHT_BITS else made


def _one_channel_made_many(draft: Draft, shape: Shape, pixels: Shape) -> Any:
    """A convolution of one fed channel: the cheapest kernel that writes channels last."""
    fed = draft.parameter((shape[0], 1, *pixels), "float32")
    ones, zeros = [1] * len(pixels), [0] * len(pixels)
    weight = draft.weight((shape[1], 1, *ones)).copy()
    return ov.opset13.convolution(fed, constant(weight), ones, zeros, zeros, ones)


def _stays_apart(op: Op) -> bool:
    """Whether a kernel would not be folded into a convolution before it."""
    generated = op.implementation.partition(":")[0] in PROGRAMS | {QUANTISE}
    return not generated and op.kind != "reorder"


def weights_for(values: NDArray[np.float32], dtype: str, *, channel_axes: int = 1) -> Any:
    """Weights for data of a type: quantised for whole numbers.

    Args:
        values: the weights.
        dtype: of the data.
        channel_axes: leading axes that have a range for each of their positions.
    """
    if dtype not in EIGHT_BITS:
        return constant(values)
    ones = (1,) * (values.ndim - channel_axes)
    top = np.full((*values.shape[:channel_axes], *ones), 0.3, dtype=np.float32)
    bounds = [constant(bound) for bound in (-top, top, -top, top)]
    return ov.opset13.fake_quantize(constant(np.ascontiguousarray(values)), *bounds, 255)


def _product_of(item: Any) -> Any:
    """A product of what was read: only what leads to one is computed in bfloat16."""
    real = ov.opset13.convert(item, "f32")
    flat = ov.opset13.reshape(real, np.array([1, -1]), special_zero=False)
    count = int(np.prod(item.get_output_shape(0)))
    weight = np.full((count, 1), 0.5, dtype=np.float32)
    return ov.opset13.matmul(flat, constant(weight), transpose_a=False, transpose_b=False)


def asking(draft: Draft, value: Any, have: str, layout: str) -> Any:
    """A reader that asks for a layout; a view is one that asks for planar memory.

    Args:
        draft: that it is made for.
        value: what it reads.
        have: the layout that a reordering is to start from.
        layout: the one asked for.
    """
    if layout == "nchw":
        return ov.opset13.reshape(value, np.array([-1]), special_zero=False)
    if layout == "nhwc":
        return _one_corner(draft, value, draft.op.dtype)
    node = value.get_node() if hasattr(value, "get_node") else value
    shape = tuple(int(n) for n in node.get_output_shape(0))
    if not _is_pooled_into(shape, layout):
        return normalised(value)
    if have == "nchw":
        return _single_pixels(value)
    # A pooling would stay channels last; a product takes the layout of its larger operand.
    wider = (*shape[:2], *(n if n > 1 else 2 for n in shape[2:]))
    return ov.opset13.multiply(value, settled(_computed(draft, wider, layout), layout))


def settled(value: Any, layout: str) -> Any:
    """A blocked tensor that is no product, and whose layout does not follow its readers."""
    shape = tuple(int(n) for n in value.get_output_shape(0))
    if not _is_pooled_into(shape, layout):
        return normalised(value)
    return _pooled(value, (1,) * (len(shape) - 2)).output(0)


def _one_corner(draft: Draft, value: Any, dtype: str = "float32") -> Any:
    """A convolution, which asks for channels last, of nothing but the first pixels.

    Strides of a 1x1 convolution would wander to the kernels before it.
    """
    node = value.get_node() if hasattr(value, "get_node") else value
    _, channels, *size = (int(n) for n in node.get_output_shape(0))
    ones, zeros = [1] * len(size), [0] * len(size)
    window = draft.weight((1, channels, *(min(2, n) for n in size))).copy()
    return ov.opset13.convolution(value, weights_for(window, dtype), size, zeros, zeros, ones)


def normalised(value: Any) -> Any:
    """A local response normalisation, which asks for a blocked layout."""
    return ov.opset13.lrn(value, np.array([1]), 1e-4, 0.75, 1.0, 5)

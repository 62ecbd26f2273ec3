"""How phones' runtimes cut a kernel: what one thread computes, and how threads form groups.

These runtimes decide by shape, by rules that are public: TensorFlow Lite's GPU delegate in
``tensorflow/lite/delegates/gpu/common/tasks/conv_generic.cc`` and ``conv_constants.cc`` with
``task/work_group_picking.cc``, PyTorch's Vulkan back end in
``aten/src/ATen/native/vulkan/ops/Convolution.cpp``. Rules of GPUs that no public table is of, Mali
among them, are the delegate's own fall-back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.gpu.sizes import SLICE, Floats, Sizes, ceil_div

#: Bytes of weights that the delegate keeps in an Adreno's constant memory, at most so many slices.
_CONSTANT_BYTES, _CONSTANT_SLICES = 3584, 8
#: Threads of a group at most, and along the channels, where the delegate picks the group's shape.
_MOST_THREADS, _MOST_DEEP = 256, 64
#: Compute units of Apple's A9 and A10, and the delegate's steps of tasks per unit by block size.
_APPLE_UNITS, _APPLE_STEPS = 6, ((64, 8), (32, 4), (16, 2))
#: A group of threads along a line.
_LINE = 32
#: Sides of a group of threads of PyTorch's Vulkan kernels.
_CUBE = 4
#: Winograd's F(4x4, 3x3): outputs along a tile's side, and products per tile.
_TILE, _PRODUCTS = 4, 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How kernels are cut; every array has one entry per Op.

    Attributes:
        block_x: output columns of one thread.
        block_y: output rows of one thread.
        block_z: slices of output channels of one thread.
        depth: loop rounds of one thread: window elements times input slices.
        threads: threads that have something to do.
        groups: groups that are launched.
        size: threads of a group.
        shape: the group's sides along columns, rows and slices.
        is_constant: whether weights lie in constant memory.
    """

    block_x: Floats
    block_y: Floats
    block_z: Floats
    depth: Floats
    threads: Floats
    groups: Floats
    size: Floats
    shape: tuple[Floats, Floats, Floats]
    is_constant: NDArray[np.bool_]

    @property
    def block(self) -> Floats:
        """Slices that one thread computes."""
        return self.block_x * self.block_y * self.block_z


Grid = tuple[Floats, Floats, Floats]
Rule = Callable[[Sizes], Cut]


def delegate_rule(gpu: str) -> Rule:
    """The rule by which TensorFlow Lite's GPU delegate cuts kernels on a GPU.

    Args:
        gpu: the device's name, which holds the GPU's.
    """
    name = gpu.lower()
    rules = (("adreno", _adreno), ("powervr", _powervr), ("apple", _apple))
    generic = next((rule for part, rule in rules if part in name), _generic)
    return lambda sizes: _whole(sizes, generic)


def vulkan_rule(sizes: Sizes) -> Cut:
    """How PyTorch's Vulkan kernels are cut: two by two positions where they are pointwise."""
    side = np.where(sizes.is_named("pw_2x2"), 2.0, 1.0)
    grid = _grid(sizes, side, side, np.ones_like(side))
    cube = (np.full_like(side, _CUBE),) * 3
    flat = grid[2] == 1  # one slice: the group spreads over the plane
    low = flat & (grid[1] < 2 * _CUBE)
    cube = (
        np.where(low, 16.0, np.where(flat, 8.0, cube[0])),
        np.where(flat & ~low, 8.0, cube[1]),
        np.where(flat, 1.0, cube[2]),
    )
    return _cut(sizes, (side, side, np.ones_like(side)), grid, cube)


def _whole(sizes: Sizes, rule: Rule) -> Cut:
    """The delegate's kernels that are no plain convolutions, too."""
    wino = sizes.is_named("winograd")
    tiles = ceil_div(sizes.height, _TILE) * ceil_div(sizes.width, _TILE)
    # Between two transformations a Winograd convolution is products of one element of all tiles.
    asked = replace(
        sizes,
        width=np.where(wino, tiles, sizes.width),
        height=np.where(wino, _PRODUCTS, sizes.height),
        taps=np.where(wino, 1.0, sizes.taps),
    )
    cut = rule(asked)
    row = sizes.is_named("fully_connected")
    lines = np.full_like(cut.size, _LINE)
    return replace(
        cut,
        groups=np.where(row, sizes.slices_out, cut.groups),
        size=np.where(row, lines, cut.size),
        is_constant=cut.is_constant & sizes.is_named("convolution_2d"),
    )


def _grid(sizes: Sizes, x: Floats, y: Floats, z: Floats) -> Grid:
    return (
        ceil_div(sizes.width, x) * sizes.batch,
        ceil_div(sizes.height, y),
        ceil_div(sizes.slices_out, z),
    )


def _cut(
    sizes: Sizes,
    block: tuple[Floats, Floats, Floats],
    grid: Grid,
    shape: tuple[Floats, Floats, Floats],
    groups: Floats | None = None,
    is_constant: NDArray[np.bool_] | None = None,
) -> Cut:
    if groups is None:
        groups = np.prod([ceil_div(n, step) for n, step in zip(grid, shape, strict=True)], axis=0)
    plain = np.zeros(len(sizes.batch), dtype=np.bool_)
    return Cut(
        block_x=block[0],
        block_y=block[1],
        block_z=block[2],
        depth=sizes.taps * sizes.slices_in,
        threads=grid[0] * grid[1] * grid[2],
        groups=groups,
        size=shape[0] * shape[1] * shape[2],
        shape=shape,
        is_constant=plain if is_constant is None else is_constant,
    )


def _by_slices(slices: Floats, step: int = 4) -> Floats:
    """Slices of one thread: as many as divide them, or as waste little."""
    two = (slices % 2 == 0) | (slices >= 4)
    four = (slices % 4 == 0) | (slices >= 2 * step)
    return np.where(four, 4.0, np.where(two, 2.0, slices))


def _adreno(sizes: Sizes) -> Cut:
    slices_in, slices_out = sizes.slices_in, sizes.slices_out
    odd = sizes.filters % SLICE != 0
    by_dot = odd & (
        (sizes.channels % SLICE == 0)
        | (sizes.filters * slices_in < sizes.channels * slices_out)
    )  # fmt: skip
    padded = np.where(by_dot, sizes.filters * slices_in, sizes.channels * slices_out) * SLICE
    is_constant = (
        (padded * sizes.taps * sizes.itemsize <= _CONSTANT_BYTES)
        & (slices_out <= _CONSTANT_SLICES)
        & (sizes.groups == 1)
    )
    side = np.where(is_constant, 1.0, 2.0)
    block = (side, side, np.where(is_constant, slices_out, 2.0))
    grid = _grid(sizes, *block)
    return _cut(sizes, block, grid, _picked_group(grid), is_constant=is_constant)


def _picked_group(grid: Grid) -> tuple[Floats, Floats, Floats]:
    """The group's sides where the delegate picks them: deep first, then along a row."""
    deep = np.ones_like(grid[2])
    for step in range(2, _MOST_DEEP + 1):
        deep = np.where(grid[2] % step == 0, step, deep)
    plane = np.floor(_MOST_THREADS / deep)
    x = np.minimum(grid[0], plane)
    y = np.minimum(np.floor(plane / np.maximum(x, 1.0)), grid[1])
    return x, np.where((y == grid[1]) & (y % 2 == 0), y / 2, y), deep


def _powervr(sizes: Sizes) -> Cut:
    one = np.ones_like(sizes.width)
    block = (2 * one, one, _by_slices(sizes.slices_out))
    grid = _grid(sizes, *block)
    line = (_LINE * one, one, one)
    return _cut(sizes, block, grid, line, ceil_div(grid[0] * grid[1], _LINE) * grid[2])


def _apple(sizes: Sizes) -> Cut:
    one = np.ones_like(sizes.width)
    slices = sizes.slices_out
    tasks = ceil_div(sizes.pixels * slices, _LINE)
    total = one
    for step, size in reversed(_APPLE_STEPS):
        total = np.where(tasks >= _APPLE_UNITS * step, float(size), total)
    four = (total >= 4) & ((slices % 4 == 0) | (slices >= 16))
    two = (total >= 2) & ((slices % 2 == 0) | (slices >= 4))
    deep = np.where(four, 4.0, np.where(two, 2.0, 1.0))
    deep = np.where((total / deep >= 4) & (slices == 3), 3.0, deep)
    block = (one, one, deep)
    x, y, z = grid = _grid(sizes, *block)
    planes = ceil_div(x, 8) * ceil_div(y, 4) * z
    lines, everything = ceil_div(x * y, _LINE) * z, ceil_div(x * y * z, _LINE)
    is_line, is_all = lines < planes, lines > 1.04 * everything
    groups = np.where(is_all, everything, np.where(is_line, lines, planes))
    along = np.where(is_all | is_line, float(_LINE), 8.0)
    return _cut(sizes, block, grid, (along, _LINE / along, one), groups)


def _generic(sizes: Sizes) -> Cut:
    one = np.ones_like(sizes.width)
    block = (one, one, _by_slices(sizes.slices_out))
    grid = _grid(sizes, *block)
    return _cut(sizes, block, grid, _picked_group(grid))

"""A tensor whose logical axes are kept apart from how it is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import jax.numpy as jnp

from costmodel.op import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """An array and the physical axes that make up each logical axis.

    Neutral networks are written channels first, deployed XLA programs are channels last. A view
    says where each written axis is, so transposes, splits and merges of axes cost nothing until
    a layer wants another storage order: as in a program that was written channels last at once.

    Attributes:
        array: the values as stored.
        axes: per logical axis its physical axes, major to minor; physical axes of size 1 may
            belong to none, and a logical axis of size 1 may have none.
    """

    array: Any
    axes: tuple[tuple[int, ...], ...]

    @property
    def shape(self) -> Shape:
        """Logical sizes."""
        return tuple(prod(self.array.shape[a] for a in factors) for factors in self.axes)

    @property
    def rank(self) -> int:
        """Number of logical axes."""
        return len(self.axes)

    @property
    def order(self) -> tuple[int, ...]:
        """Logical axes in the order in which they are stored (by their largest part)."""
        size = self.array.shape
        place: list[int] = []
        for axis, factors in enumerate(self.axes):
            known = [a for a in factors if size[a] > 1] or list(factors)
            # An axis without storage stands beside its neighbour.
            place.append(min(known) if known else (place[-1] if axis else -1))
        return tuple(sorted(range(self.rank), key=lambda axis: (place[axis], axis)))

    def stored(self, order: Sequence[int]) -> Any:
        """The values with one physical axis per logical one, stored in ``order``."""
        size = self.array.shape
        wanted = [a for axis in order for a in self.axes[axis]]
        wanted += [a for a in range(len(size)) if a not in set(wanted)]
        moving = [a for a in wanted if size[a] > 1]
        array = self.array
        if moving != sorted(moving):
            array = jnp.transpose(array, wanted)
        logical = self.shape
        target = tuple(logical[axis] for axis in order)
        return array if array.shape == target else array.reshape(target)

    def simple(self, order: Sequence[int]) -> View:
        """The same tensor, stored plainly in ``order``."""
        return simple(self.stored(order), order)

    def like(self, array: Any) -> View:
        """Another array that is stored in the same way."""
        return View(array=array, axes=self.axes)

    def transposed(self, perm: Sequence[int]) -> View:
        """Logical axes permuted; nothing moves."""
        return View(array=self.array, axes=tuple(self.axes[axis] for axis in perm))

    def reshaped(self, shape: Shape) -> View:
        """Values in logical row-major order under other sizes; moves them only where it must."""
        return _split(self, shape) or _plain(self.stored(range(self.rank)).reshape(shape))


def simple(array: Any, order: Sequence[int]) -> View:
    """A view of an array whose physical axis ``i`` is logical axis ``order[i]``."""
    place = {axis: i for i, axis in enumerate(order)}
    return View(array=array, axes=tuple((place[axis],) for axis in range(len(place))))


def _plain(array: Any) -> View:
    return simple(array, range(array.ndim))


def channels_last(rank: int) -> tuple[int, ...]:
    """Storage order of a channels-first tensor in a channels-last program.

    >>> channels_last(4), channels_last(2)
    ((0, 2, 3, 1), (0, 1))
    """
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def _split(view: View, shape: Shape) -> View | None:
    """``view`` reshaped by cutting and joining stored axes; ``None`` where none can be cut so."""
    size = view.array.shape
    factors = [(a, size[a]) for axis in view.axes for a in axis if size[a] > 1]
    pieces: dict[int, list[int]] = {a: [] for a in range(len(size))}
    found: list[list[tuple[int, int]]] = []
    for wanted in shape:
        parts: list[tuple[int, int]] = []
        left = wanted
        while left > 1:
            if not factors:
                return None
            axis, room = factors.pop(0)
            if left % room == 0:
                take = room
            elif room % left == 0:
                take = left
                factors.insert(0, (axis, room // left))
            else:
                return None
            parts.append((axis, len(pieces[axis])))
            pieces[axis].append(take)
            left //= take
        found.append(parts)
    if factors:
        return None
    start: dict[int, int] = {}
    physical: list[int] = []
    for axis in range(len(size)):
        start[axis] = len(physical)
        physical += pieces[axis] or [1]
    target = tuple(physical)
    array = view.array if target == size else view.array.reshape(target)
    axes = tuple(tuple(start[a] + i for a, i in parts) for parts in found)
    return View(array=array, axes=axes)

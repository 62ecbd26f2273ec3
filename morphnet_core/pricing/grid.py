"""Which widths are priced, and the monotone envelope of what they cost."""

from __future__ import annotations

from math import gcd, lcm

import numpy as np

from morphnet_core.pricing.wiring import Floats

#: Steps between priced widths are multiples of this where the device's block is not known: vector
#: registers and matrix units take channels by four, eight or more.
GRAIN = 8


def grid_widths(size: int, *, block: int, multiple: int, most: int) -> tuple[int, ...]:
    """Widths to price for a group, ascending, the full size last.

    Args:
        size: its full size.
        block: widths between two multiples of it cost as much as the greater; 1 where not known.
        multiple: only multiples of it may be kept.
        most: about how many widths at most.

    >>> grid_widths(6, block=16, multiple=1, most=16)
    (1, 2, 3, 4, 5, 6)
    >>> grid_widths(60, block=16, multiple=1, most=16)
    (16, 32, 48, 60)
    """
    step = multiple
    if size // multiple > most:
        step = lcm(block if block > 1 else GRAIN, multiple)
    widths = [step] if step < size else []
    while size // step > most:
        step *= 2
    widths += [w for w in range(step, size, step) if w not in widths]
    return (*widths, size)


def rounding_of(widths: tuple[int, ...], block: int) -> int:
    """``block`` if all widths but the last are multiples of it, else 1."""
    return block if all(width % block == 0 for width in widths[:-1]) and len(widths) > 1 else 1


def axis_widths(full: int, quantum: int, *, block: int, most: int) -> tuple[int, ...]:
    """Widths of a tensor axis that several groups share; multiples of ``quantum``."""
    if full % quantum:
        quantum = 1
    own = max(1, block // gcd(block, quantum))
    units = grid_widths(full // quantum, block=own, multiple=1, most=most)
    return tuple(quantum * width for width in units)


def envelope(costs: Floats) -> Floats:
    """Least cost of a width or anything wider, on every axis.

    A wider shape can always stand in for a narrower one, padded with zeros, so no width needs to
    cost more than the cheapest wider one. The result grows monotonically with each width.

    Args:
        costs: prices over ascending widths, one axis per width.

    >>> envelope(np.array([1.0, 3.0, 2.0, 4.0]))
    array([1., 2., 2., 4.])
    """
    for axis in range(costs.ndim):
        flipped = np.flip(costs, axis)
        costs = np.flip(np.minimum.accumulate(flipped, axis), axis)
    return costs


def right_edges(profile: Floats, tolerance: float = 1e-9) -> np.ndarray:
    """Positions of a monotone profile after which it rises: the widest width of each plateau.

    >>> right_edges(np.array([1.0, 2.0, 2.0, 4.0]))
    array([0, 2, 3])
    """
    rises = np.diff(profile) > tolerance * np.maximum(profile[1:], 1e-300)
    return np.flatnonzero(np.append(rises, True))

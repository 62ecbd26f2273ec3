"""How tensors lie in memory: sizes in the layouts ``nchw``, ``nhwc`` and ``nchw<block>c``."""

from __future__ import annotations

Sizes = tuple[int, ...]


def physical(shape: Sizes, layout: str) -> Sizes:
    """Sizes as they lie in memory, the channel axis of a blocked layout filled up.

    >>> physical((1, 20, 4, 6), "nhwc"), physical((1, 20, 4, 6), "nchw16c")
    ((1, 4, 6, 20), (1, 32, 4, 6))
    """
    if len(shape) < 3 or layout == "nchw":
        return shape
    if layout == "nhwc":
        return (shape[0], *shape[2:], shape[1])
    block = block_of(layout)
    return (shape[0], -(-shape[1] // block) * block, *shape[2:])


def logical(shape: Sizes, layout: str) -> Sizes:
    """Sizes channels first: the inverse of ``physical`` but for the filling up."""
    if len(shape) < 3 or layout != "nhwc":
        return shape
    return (shape[0], shape[-1], *shape[1:-1])


def block_of(layout: str) -> int:
    """Channels that lie together in a blocked layout; 1 in any other.

    >>> block_of("nchw8c"), block_of("nchw"), block_of("nhwc")
    (8, 1, 1)
    """
    inside = layout.removeprefix("nchw").removesuffix("c")
    return int(inside) if layout.startswith("nchw") and inside else 1

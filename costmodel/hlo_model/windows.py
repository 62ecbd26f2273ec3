"""Reads the window of a convolution or a window reduction from its text."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = re.compile(r"([a-z]+(?:_[a-z]+)*)=([\-\d_x]+?)(?=_[a-z]|\}| |$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A window per spatial axis.

    Attributes:
        size: taps.
        stride: steps.
        pads: before and behind.
        dilation: spacing of taps.
        base_dilation: spacing of the input, above 1 in a transposed convolution.
        reversed: axes along which the taps run backwards.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    base_dilation: tuple[int, ...]
    reversed: tuple[int, ...] = ()


def window_of(settings: str, rank: int) -> Window:
    """The window that ``settings`` holds; one tap per axis where it holds none.

    Args:
        settings: ``window={size=3x3_stride=2x2_pad=0_1x0_1};...``; blanks may stand for ``_``.
        rank: number of axes.

    >>> window_of("window={size=3x3_stride=2x2_pad=0_1x0_1}", 2).pads
    ((0, 1), (0, 1))
    """
    found = re.search(r"window=\{([^}]*)\}", settings)
    fields = dict(_FIELD.findall(found[1])) if found else {}

    def sizes(name: str, default: int = 1) -> tuple[int, ...]:
        text = fields.get(name, "")
        return tuple(int(n) for n in text.split("x")) if text else (default,) * rank

    given = fields.get("pad", "x".join(["0_0"] * rank))
    pairs = [tuple(int(n) for n in item.split("_")) for item in given.split("x")]
    pads = tuple((p[0], p[1]) for p in pairs)
    back = tuple(axis for axis, flag in enumerate(sizes("rhs_reversal", 0)) if flag)
    return Window(
        size=sizes("size"),
        stride=sizes("stride"),
        pads=pads,
        dilation=sizes("rhs_dilate"),
        base_dilation=sizes("lhs_dilate"),
        reversed=back,
    )


def numbers(text: str) -> tuple[int, ...]:
    """Numbers of a list such as ``{0,3}``.

    >>> numbers("{0,3}"), numbers("{}")
    ((0, 3), ())
    """
    return tuple(int(n) for n in re.findall(r"-?\d+", text))

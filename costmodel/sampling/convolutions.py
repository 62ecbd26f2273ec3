"""Families of convolutions that real networks use, each a function from a draw to a probe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from math import prod

from costmodel.op import Shape
from costmodel.sampling.draw import Draw, channels, log_piecewise, log_uniform, pick, weighted
from costmodel.sampling.probe import Padding, Probe

Maker = Callable[[Draw, str], Probe]

#: Bounds of every probe: below, a kernel is all overhead; above, it eats the profile's budget. The
#: upper one just holds the widest layers of VGG.
MACS = (1e4, 2e9)
WEIGHT_BYTES = 40e6
ACTIVATION_BYTES = 40e6
#: Channels of a layer, and channels times image side: networks narrow as images grow.
CHANNELS = (4, 2400)
CHANNELS_TIMES_SIDE = (40.0, 45000.0)

#: Multiply-adds by share of layers: eight in ten between one and three hundred million.
_MACS = ((0.0, 0.1, 0.9, 1.0), (1e4, 1e6, 3e8, 2e9))
#: Weights of a convolution of one pixel, which reading them bounds.
_EXCITE_WEIGHTS = (1e4, 4e6)
#: Shrinks the draw of channel counts, so that six in ten depthwise convolutions have odd ones.
_PRUNED_DEPTHWISE = 0.85
_FOLLOW = (
    (0.50, ("relu", False)),
    (0.17, ("", False)),
    (0.10, ("relu", True)),
    (0.05, ("", True)),
    (0.08, ("clip", False)),
    (0.03, ("sigmoid", False)),
    (0.03, ("hard_swish", False)),
    (0.02, ("leaky_relu", False)),
    (0.02, ("swish", False)),
)
#: Networks made of depthwise convolutions bound their activations, and leave more of them out.
_FOLLOW_MOBILE = (
    (0.28, ("relu", False)),
    (0.22, ("", False)),
    (0.03, ("relu", True)),
    (0.08, ("", True)),
    (0.27, ("clip", False)),
    (0.01, ("sigmoid", False)),
    (0.05, ("hard_swish", False)),
    (0.01, ("leaky_relu", False)),
    (0.05, ("swish", False)),
)
_PADDINGS: tuple[tuple[float, Padding], ...] = (
    (0.78, "symmetric"),
    (0.14, "same"),
    (0.08, "valid"),
)


def _probe(  # noqa: PLR0913 - a convolution has this many sizes
    draw: Draw,
    name: str,
    *,
    size: Shape,
    channels: tuple[int, int],
    kernel: Shape,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    mobile: bool = False,
) -> Probe:
    """Fill in what every family shares: batch, padding, bias, what follows."""
    activation, residual = weighted(draw.follow, _FOLLOW_MOBILE if mobile else _FOLLOW)
    overridable = draw.flags > 0.97
    return Probe(
        name=name,
        kind="conv",
        batch=draw.images(),
        in_channels=channels[0],
        out_channels=channels[1],
        size=size,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        padding=weighted(draw.padding, _PADDINGS),
        bias=draw.flags > 0.08,
        activation=activation,
        # A network adds a shortcut where the image keeps its size.
        residual=residual and stride == 1 and not overridable,
        overridable=overridable,
    )


def _width(draw: Draw, size: Shape, kernel: Shape, stride: int) -> tuple[float, float]:
    """Exact channels (in, out) that bring a dense convolution to the drawn multiply-adds."""
    macs = log_piecewise(draw.amount, *_MACS)
    pixels = draw.images() * prod(-(-s // stride) for s in size)
    ratio = draw.widening()
    into = math.sqrt(macs / (ratio * pixels * prod(kernel)))
    return into, ratio * into


def _dense(draw: Draw, name: str, kernel: Shape, stride: int = 1, dilation: int = 1) -> Probe:
    # Half of all pointwise convolutions stand beside a depthwise one.
    mobile = prod(kernel) == 1 and draw.padding < 0.5
    size = draw.size(5 if stride == 1 else 8, 160)
    into, out = _width(draw, size, kernel, stride)
    channels = draw.channels(into), draw.channels_out(out)
    return _probe(
        draw,
        name,
        size=size,
        channels=channels,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        mobile=mobile,
    )


def _excite(draw: Draw, name: str) -> Probe:
    """The two convolutions of squeeze and excite, and classifiers written as convolutions."""
    weights = log_uniform(draw.amount, *_EXCITE_WEIGHTS)
    ratio = draw.widening() if draw.stride < 0.5 else 0.25
    into = min(max(math.sqrt(weights / ratio), 8.0), float(CHANNELS[1]))
    channels = draw.channels(into), draw.channels_out(max(8.0, weights / into))
    return _probe(draw, name, size=(1, 1), channels=channels, kernel=(1, 1))


def _depthwise(draw: Draw, name: str, sides: tuple[int, ...]) -> Probe:
    side = pick(draw.window, sides)
    stride = 2 if draw.stride < 0.3 else 1
    size = draw.size(5, 160)
    elements = log_uniform(draw.amount, 1.2e3, 2e6)
    # Runtimes that compute blocks of channels have another, slower path for counts that do not fit.
    count = channels(max(6.0, elements / prod(size)), _PRUNED_DEPTHWISE * draw.mode)
    return _probe(
        draw,
        name,
        size=size,
        channels=(count, count),
        kernel=(side, side),
        stride=stride,
        groups=count,
        mobile=True,
    )


def _thin(draw: Draw, name: str) -> Probe:
    """Few channels in and out, at any size: networks for small boards, and heavily pruned ones."""
    side = 1 if draw.window < 0.35 else 3
    into = log_uniform(draw.amount, 1, 32)
    out = log_uniform(draw.ratio, 3, 48)
    return _probe(
        draw,
        name,
        size=draw.size(6, 180),
        channels=(draw.channels(into), draw.channels_out(out)),
        kernel=(side, side),
        stride=2 if draw.stride < 0.2 else 1,
    )


def _stem(draw: Draw, name: str) -> Probe:
    colours = weighted(draw.mode, ((0.62, 3), (0.2, 1), (0.1, 4), (0.04, 2), (0.04, 6)))
    side, stride = weighted(
        draw.window,
        (
            *((0.3, (3, 2)), (0.24, (3, 1)), (0.2, (7, 2)), (0.08, (5, 1)), (0.05, (5, 2))),
            *((0.05, (11, 4)), (0.03, (7, 1)), (0.05, (4, 4))),
        ),
    )
    size = draw.size(24, 330)
    out = draw.channels_out(log_uniform(draw.amount, 5, 110))
    return _probe(
        draw, name, size=size, channels=(colours, out), kernel=(side, side), stride=stride
    )


def _wide(draw: Draw, name: str) -> Probe:
    side = weighted(draw.window, ((0.62, 5), (0.3, 7), (0.04, 9), (0.04, 11)))
    return _dense(draw, name, (side, side), stride=2 if draw.stride < 0.25 else 1)


def _asymmetric(draw: Draw, name: str) -> Probe:
    length = pick(draw.window, (3, 3, 5, 7, 7))
    return _dense(draw, name, (1, length) if draw.stride < 0.5 else (length, 1))


def _dilated(draw: Draw, name: str) -> Probe:
    return _dense(draw, name, (3, 3), dilation=pick(draw.window, (2, 2, 3, 4)))


def _grouped(draw: Draw, name: str) -> Probe:
    groups = weighted(draw.window, ((3, 2), (1, 3), (3, 4), (2, 8), (1, 16), (2, 32)))
    side, stride = weighted(draw.stride, ((0.5, (3, 1)), (0.2, (3, 2)), (0.3, (1, 1))))
    size = draw.size(5, 112)
    # Groups divide the work: as many times the channels give the same multiply-adds.
    into, out = (width * math.sqrt(groups) for width in _width(draw, size, (side, side), stride))
    each = draw.channels(max(1.0, into / groups)), draw.channels_out(max(1.0, out / groups))
    if draw.snap < 0.4:  # whole vectors of channels, which runtimes compute on another path
        each = 16 * math.ceil(each[0] / 16), 16 * math.ceil(each[1] / 16)
    return _probe(
        draw,
        name,
        size=size,
        channels=(groups * each[0], groups * each[1]),
        kernel=(side, side),
        stride=stride,
        groups=groups,
    )


def _head(draw: Draw, name: str) -> Probe:
    """Detection heads and per-pixel classifiers: few outputs of many inputs."""
    side = 3 if draw.stride < 0.5 else 1
    size = draw.size(4, 128)
    into = log_uniform(draw.amount, 8, 700)
    out = max(1, round(log_uniform(draw.ratio, 1, 30)))
    return _probe(draw, name, size=size, channels=(draw.channels(into), out), kernel=(side, side))


#: Share of each family among convolutions, after what the networks of model zoos are made of.
FAMILIES: Mapping[str, tuple[float, Maker]] = {
    "dense3": (0.20, partial(_dense, kernel=(3, 3))),
    "pointwise": (0.20, partial(_dense, kernel=(1, 1))),
    "depthwise3": (0.15, partial(_depthwise, sides=(3,))),
    "stem": (0.08, _stem),
    "dense3_strided": (0.06, partial(_dense, kernel=(3, 3), stride=2)),
    "wide": (0.06, _wide),
    "thin": (0.05, _thin),
    "asymmetric": (0.05, _asymmetric),
    "depthwise_wide": (0.05, partial(_depthwise, sides=(5, 5, 5, 7))),
    "grouped": (0.05, _grouped),
    "dilated": (0.03, _dilated),
    "pointwise_strided": (0.03, partial(_dense, kernel=(1, 1), stride=2)),
    "head": (0.03, _head),
    "excite": (0.04, _excite),
}


def is_realistic(probe: Probe) -> bool:
    """Whether a convolution keeps the bounds of this module and fits its own window."""
    least = 1 if probe.name.startswith(("stem", "thin")) else CHANNELS[0]
    side = math.sqrt(prod(probe.size))
    reach = tuple((k - 1) * probe.dilation + 1 for k in probe.kernel)
    return (
        all(r <= 2 * s for r, s in zip(reach, probe.size, strict=True))
        and min(probe.out_size) >= 1
        and MACS[0] <= probe.macs <= MACS[1]
        and probe.weight_bytes <= WEIGHT_BYTES
        and probe.activation_bytes <= ACTIVATION_BYTES
        and least <= probe.in_channels <= CHANNELS[1]
        and probe.out_channels <= CHANNELS[1]
        and (side == 1 or least == 1 or CHANNELS_TIMES_SIDE[0] <= probe.in_channels * side)
        and probe.in_channels * side <= CHANNELS_TIMES_SIDE[1]
    )

"""Families of the kernels around convolutions: pools, products, joins, element-wise and layout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from math import prod

from costmodel.sampling.convolutions import Maker
from costmodel.sampling.draw import Draw, log_uniform, pick, weighted
from costmodel.sampling.probe import Padding, Probe

#: Elements of an activation, from a late stage of a thinned network to an early one of a wide one.
_ELEMENTS = (2e3, 2e6)
#: Weights of a dense layer: what decides its time, so what is spread evenly.
_WEIGHTS = (1e3, 6e6)
#: Usual numbers of classes.
_CLASSES = (10, 100, 1000, 1000)
#: Share of products that work on many places at once, and their most multiply-adds.
_PLACES_SHARE = 0.25
_PLACES_MACS = 3e8
#: Upper bound of weights and activations of one probe, in bytes.
BYTES = 160e6
#: The widest layers of AlexNet and VGG (its input of 25088 features, with fewer outputs). No other
#: probe has over 60 MB of weights, which take long to load on small boards.
LARGE_PRODUCTS = ((9216, 4096), (25088, 1024))


def _probe(draw: Draw, name: str, kind: str, **fields: object) -> Probe:
    """A probe on an activation of drawn size; ``fields`` override."""
    size = draw.size(4, 160)
    exact = log_uniform(draw.amount, *_ELEMENTS) / prod(size)
    values: dict[str, object] = {
        "batch": draw.images(),
        "in_channels": draw.channels(min(2048.0, max(3.0, exact))),
        "size": size,
        **fields,
    }
    return Probe(name=name, kind=kind, **values)  # type: ignore[arg-type]


def _elementwise(kind: str, *variants: str) -> Maker:
    """A family whose variants take turns."""

    def make(draw: Draw, name: str) -> Probe:
        return _probe(draw, name, kind, variant=pick(draw.window, variants or ("",)))

    return make


def _max_pool(draw: Draw, name: str) -> Probe:
    side, stride, padding = weighted(
        draw.window,
        (
            *((0.35, (3, 2, "symmetric")), (0.35, (2, 2, "valid"))),
            *((0.2, (3, 1, "symmetric")), (0.05, (5, 1, "symmetric")), (0.05, (3, 2, "valid"))),
        ),
    )
    return _window(draw, name, "max_pool", side, stride, padding)


def _average_pool(draw: Draw, name: str) -> Probe:
    side, stride, padding = weighted(
        draw.window,
        (
            *((0.3, (2, 2, "valid")), (0.3, (3, 1, "symmetric")), (0.15, (3, 2, "symmetric"))),
            *((0.15, (7, 1, "valid")), (0.1, (5, 3, "valid"))),
        ),
    )
    variant = "count_pads" if draw.flags < 0.3 else ""
    return _window(draw, name, "average_pool", side, stride, padding, variant)


def _window(
    draw: Draw, name: str, kind: str, side: int, stride: int, padding: str, variant: str = ""
) -> Probe:
    shape: Padding = "valid" if padding == "valid" else "symmetric"
    size = tuple(max(side, s) for s in draw.size(7, 112))
    # Half of them in whole blocks of channels and behind a convolution, since those take the
    # blocked kernel, or an integer network's that works channels last.
    blocked = max(16, 16 * round(log_uniform(draw.amount, *_ELEMENTS) / prod(size) / 16))
    fields: dict[str, object] = {}
    if draw.mode_out < 0.5:
        fields["in_channels"] = min(2048, blocked)
        variant = f"blocked_{variant}" if variant else "blocked"
    return _probe(
        draw,
        name,
        kind,
        size=size,
        kernel=(side, side),
        stride=stride,
        padding=shape,
        variant=variant,
        **fields,
    )


def _global_pool(kind: str) -> Maker:
    def make(draw: Draw, name: str) -> Probe:
        exact = log_uniform(draw.amount, 16, 2048)
        count = 16 * math.ceil(exact / 16) if draw.mode_out < 0.4 else draw.channels(exact)
        return _probe(draw, name, kind, size=draw.size(4, 64), in_channels=count)

    return make


def _features(draw: Draw) -> tuple[int, int]:
    """Features that a dense layer reads and writes; half of these are usual numbers of classes."""
    weights = log_uniform(draw.amount, *_WEIGHTS)
    if draw.ratio < 0.5:
        classes = pick(draw.ratio * 2, _CLASSES)
        return draw.channels(min(4096.0, max(16.0, weights / classes))), classes
    wide = math.sqrt(log_uniform(2 * draw.ratio - 1, 1 / 8, 8))
    into, out = (max(4.0, math.sqrt(weights) * side) for side in (wide, 1 / wide))
    return draw.channels(into), draw.channels_out(out)


def _gemm(draw: Draw, name: str) -> Probe:
    into, out = _features(draw)
    return Probe(
        name=name,
        kind="gemm",
        batch=draw.images(),
        in_channels=into,
        out_channels=out,
        activation="relu" if draw.follow < 0.35 else "",
        variant="plain" if draw.window < 0.3 else "",
    )


def _large_gemm(draw: Draw, name: str) -> Probe:
    into, out = pick(draw.window, LARGE_PRODUCTS)
    return Probe(name=name, kind="gemm", in_channels=into, out_channels=out, activation="relu")


def _matmul(draw: Draw, name: str) -> Probe:
    """Dense layers as TensorFlow writes them, of one row of features or of one per place."""
    into, out = _features(draw)
    places = 1
    if draw.window < _PLACES_SHARE:
        places = round(min(log_uniform(draw.place, 4, 400), _PLACES_MACS / (into * out)))
    return Probe(
        name=name,
        kind="matmul",
        batch=draw.images(),
        in_channels=into,
        out_channels=out,
        size=(max(1, places), 1),
    )


def _concat(draw: Draw, name: str) -> Probe:
    parts = pick(draw.window, (2, 2, 3, 4))
    probe = _probe(draw, name, "concat", parts=parts)
    other = probe.in_channels
    if draw.stride < 0.6:
        other = draw.channels_out(max(1.0, probe.in_channels * log_uniform(draw.ratio, 0.1, 1.0)))
    return _probe(draw, name, "concat", parts=parts, out_channels=other)


def _sum(draw: Draw, name: str) -> Probe:
    return _probe(draw, name, "sum", parts=pick(draw.window, (2, 2, 3)))


def _softmax(draw: Draw, name: str) -> Probe:
    if draw.window < 0.6:
        classes = pick(draw.ratio, _CLASSES)
        classes = classes if draw.mode_out < 0.6 else round(log_uniform(draw.amount, 2, 2000))
        return Probe(name=name, kind="softmax", batch=draw.images(), in_channels=classes)
    return Probe(
        name=name,
        kind="softmax",
        variant="boxes",
        batch=draw.images(),
        in_channels=pick(draw.ratio, (2, 2, 21, 81)),
        out_channels=round(log_uniform(draw.amount, 400, 20000)),
    )


def _lrn(draw: Draw, name: str) -> Probe:
    """Early and large images, as the networks before batch normalisation have it."""
    size = draw.size(8, 120)
    count = draw.channels(min(log_uniform(draw.amount, 16, 384), _ELEMENTS[1] / prod(size)))
    return _probe(draw, name, "lrn", size=size, in_channels=count)


def _resize(draw: Draw, name: str) -> Probe:
    forms = ("nearest", "blocked nearest", "blocked linear", "linear", "blocked linear")
    variant = pick(draw.window, forms)
    scale = pick(draw.stride, (2, 2, 4, 8, 16))
    exact = log_uniform(draw.amount, 1e3, 1.2e6 / scale**2)
    size = draw.size(4, 160 // scale)
    count = draw.channels(min(512.0, max(3.0, exact / prod(size))))
    return _probe(draw, name, "resize", variant=variant, size=size, in_channels=count, stride=scale)


def _transpose(draw: Draw, name: str) -> Probe:
    variant = weighted(draw.window, ((0.5, "to_nhwc"), (0.2, "to_nchw"), (0.3, "shuffle")))
    return _grouped(draw, name, "transpose", variant, pick(draw.stride, (2, 3, 4, 8)))


def _reshape(draw: Draw, name: str) -> Probe:
    variant = weighted(draw.window, ((0.35, "flatten"), (0.35, "shuffle"), (0.3, "boxes")))
    return _grouped(draw, name, "reshape", variant, pick(draw.stride, (2, 3, 4, 8)))


def _grouped(draw: Draw, name: str, kind: str, variant: str, groups: int) -> Probe:
    """A probe whose channels divide into ``groups``; heads (to_nhwc, boxes) are thin."""
    size = draw.size(4, 80)
    thin = variant == "boxes" or (variant == "to_nhwc" and draw.stride < 0.5)
    wish = (
        log_uniform(draw.amount, 3, 40)
        if thin
        else (log_uniform(draw.amount, *_ELEMENTS) / prod(size))
    )
    count = draw.channels(min(2048.0, max(1.0, wish)))
    groups = groups if variant in {"shuffle", "boxes"} else 1
    count = groups * max(1, round(count / groups))
    return _probe(draw, name, kind, variant=variant, groups=groups, size=size, in_channels=count)


def _flatten(draw: Draw, name: str) -> Probe:
    """What comes before a dense layer: the last images, or the one place that a pool left."""
    side = 1 if draw.window < 0.5 else min(draw.size(2, 14))
    return _relabelled(draw, name, "flatten", side)


def _squeeze(kind: str) -> Maker:
    """Drops, or adds, the image axes of a pooled tensor."""

    def make(draw: Draw, name: str) -> Probe:
        return _relabelled(draw, name, kind, 1)

    return make


def _relabelled(draw: Draw, name: str, kind: str, side: int) -> Probe:
    count = draw.channels(log_uniform(draw.amount, 8, 2048))
    batch = draw.images()
    return Probe(name=name, kind=kind, batch=batch, in_channels=count, size=(side, side))


def _split(draw: Draw, name: str) -> Probe:
    parts = pick(draw.window, (2, 2, 3, 4))
    probe = _probe(draw, name, "split", parts=parts)
    return _probe(draw, name, "split", parts=parts, in_channels=max(parts, probe.in_channels))


def _batch_norm(draw: Draw, name: str) -> Probe:
    variant = "blocked" if draw.window < 0.45 else ""
    activation = "relu" if draw.follow < 0.7 else ""
    return _probe(draw, name, "batch_norm", variant=variant, activation=activation)


def _layer_norm(draw: Draw, name: str) -> Probe:
    exact = log_uniform(draw.amount, 48, 800)
    return _probe(draw, name, "layer_norm", size=draw.size(4, 32), in_channels=draw.channels(exact))


def _conv_transpose(draw: Draw, name: str) -> Probe:
    side = pick(draw.window, (2, 4, 3))
    size = draw.size(4, 48)
    macs = log_uniform(draw.amount, 1e5, 1e8)
    into = math.sqrt(macs / (0.5 * side * side * prod(size)))
    into = min(512.0, max(2.0, into))
    return _probe(
        draw,
        name,
        "conv_transpose",
        size=size,
        batch=1,
        in_channels=draw.channels(into),
        out_channels=draw.channels_out(max(1.0, into / 2)),
        kernel=(side, side),
        stride=2,
    )


def _depth_to_space(draw: Draw, name: str) -> Probe:
    probe = _probe(draw, name, "depth_to_space")
    count = 4 * max(1, round(probe.in_channels / 4))
    return _probe(draw, name, "depth_to_space", in_channels=count)


#: Share of each family among all other kernels; those of most networks come first.
FAMILIES: Mapping[str, tuple[float, Maker]] = {
    "max_pool": (5, _max_pool),
    "average_pool": (4, _average_pool),
    "gemm": (5, _gemm),
    "add": (4, _elementwise("add", "same", "channel", "same", "scalar", "colours")),
    "concat": (5, _concat),
    "global_average_pool": (3, _global_pool("global_average_pool")),
    "relu": (3, _elementwise("relu")),
    "mul": (
        4.5,
        _elementwise("mul", "gate", "same", "gate", "channel", "scalar", "spatial", "colours"),
    ),
    "transpose": (4, _transpose),
    "reshape": (3, _reshape),
    "softmax": (3, _softmax),
    "batch_norm": (5, _batch_norm),
    "resize": (7, _resize),
    "sigmoid": (2.5, _elementwise("sigmoid")),
    "clip": (2.5, _elementwise("clip")),
    "lrn": (4, _lrn),
    "matmul": (5, _matmul),
    "squeeze": (2.5, _squeeze("squeeze")),
    "unsqueeze": (2, _squeeze("unsqueeze")),
    "flatten": (2.5, _flatten),
    "slice": (3, _elementwise("slice", "space", "channels")),
    "pad": (3, _elementwise("pad", "space", "channels")),
    "sum": (2.5, _sum),
    "reduce_mean": (2.5, _elementwise("reduce_mean", "blocked", "")),
    "split": (2.5, _split),
    "hard_sigmoid": (2.5, _elementwise("hard_sigmoid")),
    "hard_swish": (1.0, _elementwise("hard_swish")),
    "leaky_relu": (2.5, _elementwise("leaky_relu")),
    "prelu": (2.5, _elementwise("prelu")),
    "sub": (2.5, _elementwise("sub", "same", "channel", "scalar", "colours")),
    "div": (2.5, _elementwise("div", "same", "channel", "scalar", "colours")),
    "exp": (2.5, _elementwise("exp")),
    "tanh": (2.5, _elementwise("tanh")),
    "conv_transpose": (3, _conv_transpose),
    "global_max_pool": (2.5, _global_pool("global_max_pool")),
    "instance_norm": (2.5, _elementwise("instance_norm")),
    "layer_norm": (2.5, _layer_norm),
    "elu": (2.5, _elementwise("elu")),
    "depth_to_space": (2.5, _depth_to_space),
    "large_gemm": (3, _large_gemm),
}


def is_realistic(probe: Probe) -> bool:
    """Whether a probe is small enough to be lowered, and reads more than a few numbers."""
    return (
        probe.weight_bytes <= BYTES
        and probe.activation_bytes <= BYTES / 4
        and prod(probe.size) * probe.in_channels >= 2
        and min(probe.out_size, default=1) >= 1
    )

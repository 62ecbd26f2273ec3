"""Small networks of every family, which a profile times whole to learn what sums do not say.

A kernel timed alone finds its data where it left it, and a quiet moment as short as itself; in a
network neither holds. How far the two are apart is learned on these networks, whose kernels are in
the same table. Families follow the published designs named below; widths, depths and image sizes
are drawn, so that no network that anybody ships is among them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod, sqrt

import onnx

from costmodel.errors import InvalidInputError
from costmodel.op import Shape
from costmodel.sampling.draw import log_uniform
from costmodel.sampling.graph import GraphWriter
from costmodel.sampling.layers import activate

#: Sides of the images, and of those that networks of many weights look at.
_SIDES, _SMALL_SIDES = (96, 112, 128, 160, 192, 224), (64, 80, 96, 112)
#: MiB of weights, from networks that stay in the near cache to those that leave the last one.
_WEIGHT_MIB = (1.0, 120.0)
#: From so many on a network looks at small images.
_MANY_MIB = 24.0
#: How far widths may be scaled to come to those weights.
_SCALES = (0.4, 8.0)
#: Attempts to come to them.
_ATTEMPTS = 5
#: What the names of own networks begin with, and more characters than any has.
PREFIX, _LONGEST_NAME = "own-", 40
#: Classes of the last dense layer.
_CLASSES = (10, 100, 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnNetwork:
    """One network of the profiler's own.

    Attributes:
        name: ``own-FAMILY-NUMBER``, and ``-SEED`` for another seed than 0.
        family: key of ``FAMILIES``.
        model: its ONNX model.
    """

    name: str
    family: str
    model: onnx.ModelProto


@dataclass(frozen=True, slots=True, kw_only=True)
class _Map:
    """A tensor on its way through a network: name and shape, channels second."""

    name: str
    shape: Shape

    @property
    def channels(self) -> int:
        return self.shape[1]


class _Net:
    """Writes layers the way networks export them; every layer has weights of its own."""

    def __init__(
        self, draw: random.Random, writer: GraphWriter, scale: float, *, small: bool
    ) -> None:
        self.draw = draw
        self.writer = writer
        self.scale = scale
        self.small = small
        self.round = draw.choice((1, 8, 8, 16))

    def image(self, sides: tuple[int, ...] = _SIDES) -> _Map:
        side = self.draw.choice(_SMALL_SIDES if self.small else sides)
        shape = (1, 3, side, side)
        return _Map(name=self.writer.feed("image", shape), shape=shape)

    def width(self, low: float, high: float) -> int:
        """Channels between two counts, log-uniform, in this network's own rounding."""
        exact = log_uniform(self.draw.random(), low, high) * self.scale
        return max(self.round, round(exact / self.round) * self.round, 4)

    def conv(
        self, x: _Map, out: int, kernel: int = 3, *, stride: int = 1, groups: int = 1, act: str = ""
    ) -> _Map:
        weight = self.writer.weight((out, x.channels // groups, kernel, kernel))
        bias = self.writer.weight((out,))
        pad = (kernel - 1) // 2
        name = self.writer.node(
            "Conv", x.name, weight, bias, kernel_shape=(kernel, kernel), strides=(stride, stride),
            pads=(pad,) * 4, group=groups,
        )  # fmt: skip
        size = ((side + 2 * pad - kernel) // stride + 1 for side in x.shape[2:])
        return _Map(name=activate(self.writer, name, act), shape=(x.shape[0], out, *size))

    def each(self, x: _Map, kernel: int, *, stride: int = 1, act: str = "") -> _Map:
        return self.conv(x, x.channels, kernel, stride=stride, groups=x.channels, act=act)

    def pool(self, x: _Map, kernel: int = 2, stride: int = 2, *, average: bool = False) -> _Map:
        pad = (kernel - 1) // 2
        name = self.writer.node(
            "AveragePool" if average else "MaxPool", x.name, kernel_shape=(kernel, kernel),
            strides=(stride, stride), pads=(pad,) * 4,
        )  # fmt: skip
        size = ((side + 2 * pad - kernel) // stride + 1 for side in x.shape[2:])
        return _Map(name=name, shape=(*x.shape[:2], *size))

    def add(self, x: _Map, y: _Map, act: str = "") -> _Map:
        name = self.writer.node("Add", x.name, y.name)
        return _Map(name=activate(self.writer, name, act), shape=x.shape)

    def concat(self, *parts: _Map) -> _Map:
        name = self.writer.node("Concat", *(part.name for part in parts), axis=1)
        channels = sum(part.channels for part in parts)
        return _Map(name=name, shape=(parts[0].shape[0], channels, *parts[0].shape[2:]))

    def squeeze_excite(self, x: _Map, inner: int, gate: str) -> _Map:
        pooled = self.writer.node("GlobalAveragePool", x.name)
        y = self.conv(_Map(name=pooled, shape=(1, x.channels, 1, 1)), inner, 1, act="relu")
        y = self.conv(y, x.channels, 1, act=gate)
        return _Map(name=self.writer.node("Mul", x.name, y.name), shape=x.shape)

    def reshape(self, x: _Map, shape: Shape) -> _Map:
        name = self.writer.node("Reshape", x.name, self.writer.integers(shape))
        return _Map(name=name, shape=shape)

    def transpose(self, x: _Map, order: tuple[int, ...]) -> _Map:
        name = self.writer.node("Transpose", x.name, perm=order)
        return _Map(name=name, shape=tuple(x.shape[i] for i in order))

    def norm(self, x: _Map) -> _Map:
        width = (x.shape[-1],)
        scale, shift = self.writer.positive(width), self.writer.weight(width)
        name = self.writer.node("LayerNormalization", x.name, scale, shift, axis=-1)
        return _Map(name=name, shape=x.shape)

    def linear(self, x: _Map, out: int, act: str = "") -> _Map:
        """A dense layer over the last axis, as exporters write it for tokens."""
        weight = self.writer.weight((x.shape[-1], out))
        name = self.writer.node("MatMul", x.name, weight)
        name = self.writer.node("Add", name, self.writer.weight((out,)))
        return _Map(name=activate(self.writer, name, act), shape=(*x.shape[:-1], out))

    def product(self, x: _Map, y: _Map) -> _Map:
        name = self.writer.node("MatMul", x.name, y.name)
        return _Map(name=name, shape=(*x.shape[:-1], y.shape[-1]))

    def mean(self, x: _Map, axes: tuple[int, ...]) -> _Map:
        name = self.writer.node("ReduceMean", x.name, axes=axes, keepdims=0)
        return _Map(name=name, shape=tuple(n for i, n in enumerate(x.shape) if i not in axes))

    def dense(self, x: _Map, out: int, act: str = "") -> _Map:
        weight = self.writer.weight((out, x.shape[-1]))
        name = self.writer.node("Gemm", x.name, weight, self.writer.weight((out,)), transB=1)
        return _Map(name=activate(self.writer, name, act), shape=(x.shape[0], out))

    def classify(self, x: _Map) -> None:
        """Pool over the image and give classes, as most networks end."""
        name = self.writer.node("GlobalAveragePool", x.name)
        name = self.writer.node("Flatten", name, axis=1)
        self.scores(_Map(name=name, shape=x.shape[:2]))

    def give(self, x: _Map) -> None:
        self.writer.result(x.name, x.shape)

    def scores(self, x: _Map) -> None:
        self.give(self.dense(x, self.draw.choice(_CLASSES)))


def _residual(net: _Net) -> None:
    """He et al. 2016, section 4.2: two 3x3 convolutions a block."""
    width = net.width(16, 96)
    x = net.conv(net.image(), width, 7, stride=2, act="relu")
    x = net.pool(x, 3)
    for stage in range(4):
        for block in range(net.draw.choice((1, 2))):
            stride = 2 if stage and not block else 1
            y = net.conv(x, width, 3, stride=stride, act="relu")
            y = net.conv(y, width)
            if stride > 1 or x.channels != width:
                x = net.conv(x, width, 1, stride=stride)
            x = net.add(y, x, "relu")
        width = round(width * net.draw.choice((1.5, 2, 2)))
    net.classify(x)


def _bottleneck(net: _Net) -> None:
    """He et al. 2016 with three convolutions a block; groups as in Xie et al. 2017."""
    width = net.width(24, 96)
    x = net.pool(net.conv(net.image(), width, 7, stride=2, act="relu"), 3)
    for stage in range(4):
        groups = net.draw.choice((1, 1, 4)) if width % 4 == 0 else 1
        out = width * net.draw.choice((2, 4))
        for block in range(net.draw.choice((1, 2))):
            stride = 2 if stage and not block else 1
            y = net.conv(x, width, 1, act="relu")
            y = net.conv(y, width, 3, stride=stride, groups=groups, act="relu")
            y = net.conv(y, out, 1)
            if stride > 1 or x.channels != out:
                x = net.conv(x, out, 1, stride=stride)
            x = net.add(y, x, "relu")
        width *= 2
    net.classify(x)


def _plain(net: _Net) -> None:
    """Simonyan and Zisserman 2014: a chain, then wide dense layers with most of the weights."""
    width = net.width(12, 40)
    x = net.image(_SIDES[:4])
    for stage in range(4):
        for _ in range(1 if not stage else net.draw.choice((1, 2))):
            x = net.conv(x, width, act="relu")
        x = net.pool(x)
        width = min(2 * width, round(256 * max(1.0, net.scale)))
    flat = _Map(name=net.writer.node("Flatten", x.name, axis=1), shape=(1, prod(x.shape[1:])))
    net.scores(net.dense(flat, net.width(256, 2048), "relu"))


def _dense(net: _Net) -> None:
    """Huang et al. 2017 (DenseNet): each layer reads all before it."""
    growth = net.width(12, 32)
    x = net.pool(net.conv(net.image(), 2 * growth, 7, stride=2, act="relu"), 3)
    for stage in range(3):
        for _ in range(net.draw.choice((3, 4))):
            y = _normed(net, x)
            y = net.conv(y, 4 * growth, 1, act="relu")
            x = net.concat(x, net.conv(y, growth))
        if stage < 2:
            x = net.pool(net.conv(_normed(net, x), x.channels // 2, 1), average=True)
    net.classify(_normed(net, x))


def _normed(net: _Net, x: _Map) -> _Map:
    """A normalisation that no convolution before it can take in."""
    width = (x.channels,)
    operands = net.writer.positive(width), net.writer.weight(width), net.writer.weight(width)
    name = net.writer.node("BatchNormalization", x.name, *operands, net.writer.positive(width))
    return _Map(name=net.writer.node("Relu", name), shape=x.shape)


def _inverted(net: _Net, *, act: str, excite: str) -> None:
    """Sandler et al. 2018 (MobileNetV2); with gates Howard et al. 2019, Tan and Le 2019."""
    width = net.width(12, 32)
    x = net.conv(net.image(), width, 3, stride=2, act=act)
    for stage in range(5):
        kernel = net.draw.choice((3, 3, 5))
        for block in range(net.draw.choice((1, 2))):
            stride = 2 if stage in {0, 1, 2, 4} and not block else 1
            y = net.conv(x, net.draw.choice((3, 4, 6)) * x.channels, 1, act=act)
            y = net.each(y, kernel, stride=stride, act=act)
            if excite and stage:
                y = net.squeeze_excite(y, max(4, y.channels // net.draw.choice((4, 16))), excite)
            y = net.conv(y, width, 1)
            x = net.add(y, x) if y.shape == x.shape else y
        width = max(width, net.round * round(width * net.draw.uniform(1.2, 1.9) / net.round))
    net.classify(net.conv(x, net.width(320, 1280), 1, act=act))


def _mobile(net: _Net) -> None:
    _inverted(net, act="clip", excite="")


def _gated(net: _Net) -> None:
    act = net.draw.choice(("hard_swish", "swish"))
    _inverted(net, act=act, excite="hard_sigmoid" if act == "hard_swish" else "sigmoid")


def _separable(net: _Net) -> None:
    """Howard et al. 2017 (MobileNet): depthwise and pointwise in turn."""
    width = net.width(16, 48)
    x = net.conv(net.image(), width, 3, stride=2, act="relu")
    for stride in (1, 2, 1, 2, 1, 2, 1, 2):
        x = net.each(x, 3, stride=stride, act="relu")
        width = width * 2 if stride == 2 and width < 512 * net.scale else width
        x = net.conv(x, width, 1, act="relu")
    net.classify(x)


def _shuffled(net: _Net) -> None:
    """Ma et al. 2018 (ShuffleNetV2): half of the channels pass by, then all are shuffled."""
    width = 2 * net.width(16, 64)
    x = net.pool(net.conv(net.image(), 24, 3, stride=2, act="relu"), 3)
    for _ in range(3):
        half = width // 2
        left = net.conv(net.each(x, 3, stride=2), half, 1, act="relu")
        right = net.conv(x, half, 1, act="relu")
        right = net.conv(net.each(right, 3, stride=2), half, 1, act="relu")
        x = _shuffle(net, net.concat(left, right))
        for _ in range(2):
            parts = net.writer.nodes(
                "Split", x.name, net.writer.integers((half, half)), outputs=2, axis=1
            )
            kept, used = (_Map(name=n, shape=(1, half, *x.shape[2:])) for n in parts)
            used = net.conv(used, half, 1, act="relu")
            used = net.conv(net.each(used, 3), half, 1, act="relu")
            x = _shuffle(net, net.concat(kept, used))
        width *= 2
    net.classify(net.conv(x, 2 * width, 1, act="relu"))


def _shuffle(net: _Net, x: _Map) -> _Map:
    batch, channels, *size = x.shape
    parted = net.reshape(x, (batch, 2, channels // 2, *size))
    return net.reshape(net.transpose(parted, (0, 2, 1, 3, 4)), x.shape)


def _branched(net: _Net) -> None:
    """Szegedy et al. 2015 (Inception): windows of several sizes side by side."""
    x = net.pool(net.conv(net.image(), net.width(16, 48), 7, stride=2, act="relu"), 3)
    x = net.pool(net.conv(x, net.width(64, 128), 3, act="relu"), 3)
    for stage in range(3):
        parts = [net.conv(x, net.width(24, 96), 1, act="relu")]
        for kernel in (3, 5):
            inner = net.conv(x, net.width(16, 96), 1, act="relu")
            parts.append(net.conv(inner, net.width(24, 128), kernel, act="relu"))
        parts.append(net.conv(net.pool(x, 3, 1), net.width(16, 64), 1, act="relu"))
        x = net.concat(*parts)
        x = net.pool(x, 3) if stage == 1 else x
    net.classify(x)


def _u_shaped(net: _Net) -> None:
    """Ronneberger et al. 2015 (U-Net): down, up again, and a path across at every size."""
    width = net.width(8, 24)
    x = net.image(_SIDES[:4])
    across: list[_Map] = []
    for _ in range(3):
        x = net.conv(net.conv(x, width, act="relu"), width, act="relu")
        across.append(x)
        x, width = net.pool(x), 2 * width
    x = net.conv(x, width, act="relu")
    for other in reversed(across):
        scales = net.writer.floats((1.0, 1.0, 2.0, 2.0))
        name = net.writer.node(
            "Resize", x.name, "", scales, mode="nearest", nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )  # fmt: skip
        x = _Map(name=name, shape=(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
        x = net.conv(net.concat(x, other), other.channels, act="relu")
    net.give(net.conv(x, 2, 1, act="sigmoid"))


def _mixed(net: _Net) -> None:
    """Liu et al. 2022 (ConvNeXt): wide depthwise windows, then dense layers channels last."""
    width = net.width(32, 128)
    x = net.conv(net.image(), width, 4, stride=4)
    for stage in range(3):
        if stage:
            width *= 2
            x = net.conv(x, width, 2, stride=2)
        for _ in range(net.draw.choice((1, 2))):
            y = net.transpose(net.each(x, 7), (0, 2, 3, 1))
            y = net.linear(net.linear(net.norm(y), 4 * width, "gelu"), width)
            x = net.add(x, net.transpose(y, (0, 3, 1, 2)))
    tokens = net.norm(net.mean(x, (2, 3)))
    net.scores(tokens)


def _attention(net: _Net) -> None:
    """Dosovitskiy et al. 2021 (ViT): patches as tokens, attention and dense layers in turn."""
    size = net.draw.choice((32, 64))
    heads = max(1, net.width(128, 384) // size)
    width, inner = heads * size, heads * size * net.draw.choice((2, 4))
    patch = net.draw.choice((8, 16))
    x = net.conv(net.image(_SIDES[:3] if patch == 8 else _SIDES), width, patch, stride=patch)
    count = prod(x.shape[2:])
    x = net.transpose(net.reshape(x, (1, width, count)), (0, 2, 1))
    for _ in range(net.draw.choice((2, 3))):
        x = net.add(x, _attend(net, net.norm(x), heads, size))
        x = net.add(x, net.linear(net.linear(net.norm(x), inner, "gelu"), width))
    net.scores(net.mean(net.norm(x), (1,)))


def _attend(net: _Net, x: _Map, heads: int, size: int) -> _Map:
    """Multi-head attention, written out as exporters do."""
    batch, count, width = x.shape

    def head(order: tuple[int, ...]) -> _Map:
        return net.transpose(net.reshape(net.linear(x, width), (batch, count, heads, size)), order)

    query, key, value = head((0, 2, 1, 3)), head((0, 2, 3, 1)), head((0, 2, 1, 3))
    scores = net.product(query, key)
    scaled = net.writer.node("Mul", scores.name, net.writer.scalar(size**-0.5))
    shares = net.writer.node("Softmax", scaled, axis=-1)
    mixed = net.product(_Map(name=shares, shape=scores.shape), value)
    mixed = net.reshape(net.transpose(mixed, (0, 2, 1, 3)), (batch, count, width))
    return net.linear(mixed, width)


#: Families in the order in which a profile takes them: the third, seventh and eleventh of a turn
#: have most weights.
FAMILIES: Mapping[str, Callable[[_Net], None]] = {
    "mobile": _mobile,
    "residual": _residual,
    "bottleneck": _bottleneck,
    "gated": _gated,
    "dense": _dense,
    "shuffled": _shuffled,
    "plain": _plain,
    "separable": _separable,
    "attention": _attention,
    "u_shaped": _u_shaped,
    "mixed": _mixed,
    "branched": _branched,
}


def own_networks(count: int, seed: int = 0) -> Iterator[OwnNetwork]:
    """The first ``count`` networks of a seed; families take turns.

    Args:
        count: networks.
        seed: same seed, same networks; those of a smaller count come first.

    Raises:
        InvalidInputError: if a number is negative.

    >>> [network.name for network in own_networks(2)]
    ['own-mobile-0', 'own-residual-1']
    """
    if count < 0 or seed < 0:
        message = f"Networks are counted from 0. Received: count={count}, seed={seed}."
        raise InvalidInputError(message)
    return (own_network(number, seed) for number in range(count))


def own_network(number: int, seed: int = 0) -> OwnNetwork:
    """The network of a number, counted from 0, and a seed."""
    family = list(FAMILIES)[number % len(FAMILIES)]
    mib = log_uniform(_spread(number + 1), *_WEIGHT_MIB)
    draws = f"{seed}/{number}"
    scale = 1.0
    for _ in range(_ATTEMPTS):  # weights grow about with the square of widths
        counter = _Counter()
        _write(family, draws, counter, scale, mib)
        scale *= sqrt(mib * 2**20 / (4 * max(counter.elements, 1)))
        scale = min(max(scale, _SCALES[0]), _SCALES[1])
    writer = GraphWriter(shared=False)
    _write(family, draws, writer, scale, mib)
    name = f"{PREFIX}{family}-{number}" + (f"-{seed}" if seed else "")
    return OwnNetwork(name=name, family=family, model=writer.model())


def named_network(name: str) -> OwnNetwork | None:
    """The own network of this name, made again; None for any other name.

    >>> named_network("own-residual-1").family, named_network("resnet50")
    ('residual', None)
    """
    family, _, rest = name.removeprefix(PREFIX).partition("-")
    number, _, seed = rest.partition("-")
    known = name.startswith(PREFIX) and family in FAMILIES and len(name) < _LONGEST_NAME
    if not known or not number.isdecimal() or not (seed or "0").isdecimal():
        return None
    found = own_network(int(number), int(seed or 0))
    return found if found.name == name else None


def _write(family: str, draws: str, writer: GraphWriter, scale: float, mib: float) -> None:
    """Write one network; the same text draws the same at every scale."""
    FAMILIES[family](_Net(random.Random(draws + family), writer, scale, small=mib >= _MANY_MIB))


class _Counter(GraphWriter):
    """Counts the elements of weights instead of making them."""

    def __init__(self) -> None:
        super().__init__(shared=False)
        self.elements = 0

    def weight(self, shape: Shape) -> str:
        self.elements += prod(shape)
        return ""

    positive = weight


def _spread(number: int) -> float:
    """Numbers in (0, 1) of which any first ones are spread (van der Corput 1935)."""
    found, half = 0.0, 0.5
    while number:
        found += half * (number & 1)
        number, half = number >> 1, half / 2
    return found

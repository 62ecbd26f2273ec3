"""Small networks written by hand, and cost models whose law is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from costmodel.device import Device
from costmodel.network import Layer, Network
from costmodel.op import Op, Shape, conv_op
from costmodel.protocols import Prices
from costmodel.runners.fake import law_ms
from morphnet_core.groups import Grouping, find_groups

#: A device whose kernels work on blocks of 16 channels, with conversions between layouts.
BLOCKED = Device(name="board", runtime="onnxruntime", isa="avx512")


class Builder:
    """Writes a network layer by layer; every method returns the tensor it wrote."""

    def __init__(self, channels: int = 3, side: int = 16) -> None:
        self.layers: list[Layer] = []
        self.sizes: dict[str, Shape] = {"image": (1, channels, side, side)}

    def put(self, name: str, op: Op, *inputs: str) -> str:
        self.layers.append(Layer(name=name, op=op, inputs=inputs, outputs=(name,)))
        self.sizes[name] = op.outputs[0]
        return name

    def conv(self, name: str, x: str, width: int, kernel: int = 3, **more: int) -> str:
        size = self.sizes[x]
        op = conv_op(
            in_channels=size[1],
            out_channels=width,
            size=size[2:],
            kernel=(kernel, kernel),
            **more,  # type: ignore[arg-type]
        )
        return self.put(name, op, x)

    def depthwise(self, name: str, x: str) -> str:
        return self.conv(name, x, self.sizes[x][1], groups=self.sizes[x][1])

    def relu(self, name: str, x: str) -> str:
        return self.put(name, Op(kind="relu", inputs=(self.sizes[x],), outputs=(self.sizes[x],)), x)

    def block(self, name: str, x: str, width: int, kernel: int = 3) -> str:
        return self.relu(f"{name}_relu", self.conv(name, x, width, kernel))

    def merge(self, name: str, kind: str, *parts: str) -> str:
        sizes = tuple(self.sizes[part] for part in parts)
        out = max(sizes)
        if kind == "concat":
            out = (out[0], sum(size[1] for size in sizes), *out[2:])
        op = Op(kind=kind, inputs=sizes, outputs=(out,))
        if kind == "concat":
            op = replace(op, attributes=(("axis", 1),))
        return self.put(name, op, *parts)

    def head(self, x: str, classes: int = 10) -> Network:
        size = self.sizes[x]
        pooled = (size[0], size[1], 1, 1)
        pool = self.put(
            "pool", Op(kind="global_average_pool", inputs=(size,), outputs=(pooled,)), x
        )
        flat = Op(kind="reshape", inputs=(pooled,), outputs=(size[:2],), constants=(size[:2],))
        flat_name = self.put("flat", flat, pool)
        gemm = Op(
            kind="gemm",
            inputs=(size[:2],),
            outputs=((1, classes),),
            weights=((size[1], classes), (classes,)),
            attributes=(("alpha", 1.0), ("beta", 1.0), ("transA", 0), ("transB", 0)),
        )
        return self.network(self.put("logits", gemm, flat_name))

    def network(self, *outputs: str) -> Network:
        network = Network(
            name="net",
            layers=tuple(self.layers),
            inputs={"image": self.sizes["image"]},
            outputs=outputs,
        )
        network.check()
        return network


def chain(width: int = 48) -> Network:
    net = Builder()
    return net.head(net.block("c2", net.block("c1", "image", width), 2 * width))


def residual(width: int = 48) -> Network:
    net = Builder()
    stem = net.block("stem", "image", width)
    inner = net.conv("b2", net.block("b1", stem, 2 * width), width)
    joined = net.relu("out", net.merge("add", "add", inner, stem))
    return net.head(net.block("tail", joined, width))


def concat(width: int = 48) -> Network:
    net = Builder()
    stem = net.block("stem", "image", width)
    parts = [net.block("left", stem, width, 1), net.block("right", stem, 2 * width)]
    return net.head(net.block("tail", net.merge("join", "concat", *parts), width))


def depthwise(width: int = 48) -> Network:
    net = Builder()
    wide = net.block("expand", net.block("stem", "image", width), 2 * width, 1)
    deep = net.relu("deep_relu", net.depthwise("deep", wide))
    return net.head(net.block("project", deep, width, 1))


def gated(width: int = 64) -> Network:
    """Squeeze and excite: its product is plain, so that three readers share two conversions."""
    net = Builder()
    x = net.block("stem", "image", width)
    pooled = (1, width, 1, 1)
    op = Op(kind="global_average_pool", inputs=(net.sizes[x],), outputs=(pooled,))
    gate = net.conv("gate", net.block("squeeze", net.put("mean", op, x), 16, 1), width, 1)
    sigmoid = net.put("sigmoid", Op(kind="sigmoid", inputs=(pooled,), outputs=(pooled,)), gate)
    scaled = net.merge("scale", "mul", x, sigmoid)
    parts = [net.conv(name, scaled, 32, 1) for name in ("one", "two")]
    return net.head(net.merge("both", "add", *parts))


def dropped(width: int = 48) -> Network:
    """A Dropout between a convolution and the sum that it takes in."""
    net = Builder()
    stem = net.block("stem", "image", width)
    inner = net.conv("inner", stem, width)
    size = net.sizes[inner]
    drop = net.put("drop", Op(kind="identity", inputs=(size,), outputs=(size,)), inner)
    return net.head(net.block("tail", net.merge("add", "add", drop, stem), width))


def repeated(width: int = 44) -> Network:
    """Two equal activations of a plain concatenation, one of which is executed."""
    net = Builder()
    parts = [net.conv(name, "image", width, 1) for name in ("left", "right")]
    joined = net.merge("join", "concat", *parts)
    first, second = net.relu("relu1", joined), net.relu("relu2", joined)
    both = [net.conv("up", first, 32), net.conv("down", second, 32, 1)]
    return net.head(net.merge("sum", "add", *both))


NETWORKS: dict[str, Callable[..., Network]] = {
    "chain": chain,
    "residual": residual,
    "concat": concat,
    "depthwise": depthwise,
    "gated": gated,
    "dropped": dropped,
    "repeated": repeated,
}


class Law:
    """A cost model that follows a law, and remembers what it was asked.

    Args:
        law: price of an Op; NaN where there is none.
    """

    unit = "ms"
    name = "law"
    device = None

    def __init__(self, law: Callable[[Op], float] = law_ms) -> None:
        self.law = law
        self.asked: list[list[Op]] = []

    def price(self, ops: Sequence[Op]) -> Prices:
        self.asked.append(list(ops))
        values = np.array([self.law(op) for op in ops])
        missing = np.flatnonzero(np.isnan(values)).tolist()
        reasons = {i: f"no law for {ops[i].kind}" for i in missing}
        return Prices(values=values, low=values, high=values, reasons=reasons)


def alive_of(grouping: Grouping, counts: dict[str, int]) -> np.ndarray:
    """The first so many units of the named groups, and all of the others."""
    alive = grouping.full()
    for group in grouping.groups:
        kept = counts.get(group.name, group.size)
        alive[group.start + kept : group.start + group.size] = False
    assert set(counts) <= {group.name for group in grouping.groups}
    return alive


class Tools:
    """What the tests of this folder share."""

    networks = NETWORKS
    blocked = BLOCKED
    builder = Builder
    law = Law
    alive_of = staticmethod(alive_of)

    @staticmethod
    def grouping(name: str, width: int = 48) -> Grouping:
        return find_groups(NETWORKS[name](width))

    @staticmethod
    def random_counts(grouping: Grouping, seed: int, least: int = 1) -> dict[str, int]:
        rng = np.random.default_rng(seed)
        return {
            group.name: int(rng.integers(least, group.size + 1))
            for group in grouping.groups
            if not group.frozen
        }

"""Random networks of what OpenVINO's rules know, written to be anticipated exactly."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

#: Not 1: a single channel lies the same way in every layout, and the plug-in takes either.
CHANNELS = (2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 20, 24, 31, 32, 33, 48, 64, 66)
_WINDOW = {"kernel_shape": [3, 3], "pads": [1] * 4}


class Builder:
    """Writes a small ONNX model node by node; every method returns the tensor it wrote."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(0)
        self.fed = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))

    def stored(self, values: np.ndarray) -> str:
        """Keep an array; its name."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def weight(self, *shape: int) -> str:
        """Keep normal numbers; their name."""
        return self.stored(self.rng.normal(size=shape).astype(np.float32))

    def op(self, op_type: str, *reads: str, **attributes: object) -> str:
        """Add an operation."""
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, reads, [name], name=f"n{name}", **attributes))
        return name

    def conv(
        self,
        read: str,
        cin: int,
        cout: int,
        kernel: int = 3,
        groups: int = 1,
        stride: int = 1,
        bias: int = 1,
    ) -> str:
        """Add a convolution that keeps the size, but for its stride."""
        operands = [read, self.weight(cout, cin // groups, kernel, kernel)]
        operands += [self.weight(cout)] if bias else []
        return self.op(
            "Conv", *operands, pads=[kernel // 2] * 4, strides=[stride] * 2, group=groups
        )

    def norm(self, read: str, channels: int) -> str:
        """Add a normalisation of a batch."""
        values = [self.stored(np.full(channels, v, np.float32)) for v in (1.1, 0.1, 0.2, 0.9)]
        return self.op("BatchNormalization", read, *values)

    def save(self, path: Path, *outputs: str) -> Path:
        """Write the model, which returns ``outputs``; its path."""
        given = [onnx.ValueInfoProto(name=name) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", [self.fed], given, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        return path


Block = Callable[[Builder, str, int, random.Random], tuple[str, int]]


def random_net(seed: int, path: Path) -> Path:
    """A stem, then blocks of every sort, then a classifier."""
    draw = random.Random(seed)
    channels = draw.choice(CHANNELS)
    build = Builder((1, 3, 12, 12))
    y = build.op("Relu", build.norm(build.conv("x", 3, channels, bias=0), channels))
    return _finish(build, y, channels, draw, path)


def random_planar_net(seed: int, path: Path) -> Path:
    """As ``random_net``, but memory is not channels last from the start, and batches vary."""
    draw = random.Random(seed)
    channels = draw.choice(CHANNELS)
    build = Builder((draw.choice([1, 2]), channels, 12, 12))
    y = build.op("Relu", "x") if draw.random() < 0.3 else "x"
    y, channels = draw.choice([pooled, pooled, gated, local, normalised])(build, y, channels, draw)
    return _finish(build, y, channels, draw, path)


def _finish(build: Builder, y: str, channels: int, draw: random.Random, path: Path) -> Path:
    for _ in range(draw.randint(1, 3)):
        y, channels = BLOCKS[draw.choice(sorted(BLOCKS))](build, y, channels, draw)
    y = build.op("Flatten", build.op("GlobalAveragePool", y))
    y = build.op("Gemm", y, build.weight(10, channels), build.weight(10), transB=1)
    return build.save(path, y)


def plain(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    after = draw.choice(CHANNELS)
    y = build.conv(y, channels, after, draw.choice([1, 3, 5]), stride=draw.choice([1, 1, 2]))
    return build.op(draw.choice(["Relu", "Sigmoid", "Tanh"]), y), after


def residual(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    inner = build.op("Relu", build.norm(build.conv(y, channels, channels), channels))
    inner = build.norm(build.conv(inner, channels, channels), channels)
    total = build.op("Add", inner, y) if draw.random() < 0.5 else build.op("Add", y, inner)
    return build.op("Relu", total), channels


def separable(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    after = draw.choice(CHANNELS)
    y = build.op("Relu", build.conv(y, channels, channels, groups=channels))
    return build.op("Relu", build.conv(y, channels, after, 1)), after


def grouped(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    wide = 2 * draw.choice(CHANNELS)
    y = build.conv(y, channels, wide, 1)
    return build.op("Relu", build.conv(y, wide, wide, draw.choice([1, 3]), groups=2)), wide


def branches(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    other = draw.choice(CHANNELS)
    first = build.op("Relu", build.conv(y, channels, channels))
    second = build.op("Relu", build.conv(y, channels, other, 1))
    return build.op("Concat", first, second, axis=1), channels + other


def pooled(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    kind = draw.choice(["MaxPool", "AveragePool"])
    return build.op(kind, y, strides=[draw.choice([1, 2])] * 2, **_WINDOW), channels


def normalised_first(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    inner = build.op("Relu", build.norm(y, channels))
    return build.op("Concat", y, build.conv(inner, channels, 8), axis=1), channels + 8


def normalised(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    """Ends in another kernel: elementwise ones that several others read are not modelled."""
    y = build.norm(y, channels)
    y = build.op("Relu", y) if draw.random() < 0.5 else y
    return draw.choice([plain, pooled])(build, y, channels, draw)


def local(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    if channels % 16:  # another kernel, left without a name
        y, channels = build.conv(y, channels, 32, 1), 32
    return build.op("LRN", y, size=5, alpha=1e-4, beta=0.75, bias=1.0), channels


def gated(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    mean = build.op("GlobalAveragePool", y)
    hidden = build.op("Relu", build.conv(mean, channels, 8, 1))
    y = build.op("Mul", y, build.op("Sigmoid", build.conv(hidden, 8, channels, 1)))
    return build.conv(y, channels, 24, 1), 24


def pooled_branch(build: Builder, y: str, channels: int, draw: random.Random) -> tuple[str, int]:
    """A pooling beside a convolution, joined as in an inception network."""
    pool = build.op("MaxPool", y, strides=[1, 1], **_WINDOW)
    other = draw.choice(CHANNELS)
    pool = build.op("Relu", build.conv(pool, channels, other, 1))
    return build.op(
        "Concat", build.op("Relu", build.conv(y, channels, other)), pool, axis=1
    ), 2 * other


BLOCKS: Mapping[str, Block] = {
    block.__name__: block
    for block in (
        plain, residual, separable, grouped, branches, pooled, normalised_first, normalised, local,
        gated, pooled_branch,
    )
}  # fmt: skip

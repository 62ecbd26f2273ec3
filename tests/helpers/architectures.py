"""Networks of well-known architectures, by name: written here, or brought by the onnx package.

Weights are random; which layers there are, their sizes, their wiring and how an exporter spelled
them are those of the published files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper
from random_networks import Builder

#: ImageNet networks of the onnx package, whose weights are computed when they are loaded.
LIGHT = (
    "light_bvlc_alexnet",
    "light_densenet121",
    "light_inception_v1",
    "light_inception_v2",
    "light_resnet50",
    "light_shufflenet",
    "light_squeezenet",
    "light_vgg19",
    "light_zfnet512",
)
#: Of these, networks nearly all of whose weights lie in one fully connected layer.
WIDE = ("light_bvlc_alexnet", "light_vgg19", "light_zfnet512")
LIGHT_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


class Net(Builder):
    """A network whose values keep their scale from layer to layer."""

    def weight(self, *shape: int) -> str:
        """He's initialisation of a kernel, small values of a vector."""
        scale = np.sqrt(2 / np.prod(shape[1:])) if len(shape) > 1 else 0.1
        return self.constant(self.values.normal(0.0, scale, shape), np.float32)

    def full(self, x: str, inputs: int, outputs: int) -> str:
        """A fully connected layer as PyTorch writes it."""
        return self.op("Gemm", x, self.weight(outputs, inputs), self.weight(outputs), transB=1)

    def norm(self, x: str, channels: int) -> str:
        """A normalisation of positive scale and variance."""
        values = (
            self.constant(self.values.uniform(low, high, channels), np.float32)
            for low, high in ((0.9, 1.1), (-0.1, 0.1), (-0.1, 0.1), (0.9, 1.1))
        )
        return self.op("BatchNormalization", x, *values, epsilon=1e-5, momentum=0.9)

    def scalar(self, value: ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """A node that returns a constant, as PyTorch's older exporter writes them."""
        array = np.asarray(value, dtype)
        return self.op("Constant", value=numpy_helper.from_array(array))

    def model(
        self,
        *outputs: str,
        sizes: Sequence[Sequence[int]] = (),
        ir_version: int = 8,
        overridable: bool = False,
    ) -> onnx.ModelProto:
        """The model.

        Args:
            outputs: tensors it returns.
            sizes: of the outputs, where ONNX's inference does not find them.
            ir_version: of the file's format.
            overridable: whether weights are inputs too, as in files of old.
        """
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, size)
            for name, size in zip_longest(outputs, sizes)
        ]
        inputs = list(self.inputs)
        if overridable:
            inputs += [
                helper.make_tensor_value_info(w.name, w.data_type, w.dims) for w in self.weights
            ]
        graph = helper.make_graph(self.nodes, "g", inputs, infos, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        return onnx.shape_inference.infer_shapes(
            helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
        )


def mnist() -> onnx.ModelProto:
    """Two convolutions and a product, as CNTK wrote them: biases apart, a reshaped weight."""
    net = Net((1, 1, 28, 28), opset=8)
    flat_weight = net.op("Reshape", net.weight(16, 4, 4, 10), net.ints(256, 10))
    y, channels = "x", 1
    for filters, window in ((8, 2), (16, 3)):
        y = net.conv(y, channels, filters, 5, bias=False, auto_pad="SAME_UPPER")
        y = net.op("Relu", net.op("Add", y, net.weight(filters, 1, 1)))
        y = net.op("MaxPool", y, kernel_shape=[window] * 2, strides=[window] * 2)
        channels = filters
    y = net.op("MatMul", net.op("Reshape", y, net.ints(1, 256)), flat_weight)
    return net.model(net.op("Add", y, net.weight(1, 10)), ir_version=3, overridable=True)


def resnet20(sides: int = 32) -> onnx.ModelProto:
    """He's network of 20 layers for CIFAR, normalisations folded; shortcuts skip and pad."""
    net = Net(("N", 3, sides, sides), opset=13)
    y = net.op("Relu", net.conv("x", 3, 16, strides=[1, 1]))
    channels = 16
    for width in (16, 32, 64):
        for block in range(3):
            stride = 2 if block == 0 and width > 16 else 1
            inner = net.op("Relu", net.conv(y, channels, width, strides=[stride] * 2))
            inner = net.conv(inner, width, width, strides=[1, 1])
            if stride == 2:
                bounds = [net.ints(*v) for v in ((0, 0), (1000, 1000), (2, 3), (2, 2))]
                half = width // 4
                pads = net.ints(0, half, 0, 0, 0, half, 0, 0)
                y = net.op("Pad", net.op("Slice", y, *bounds), pads, net.floats(0.0))
            y = net.op("Relu", net.op("Add", inner, y))
            channels = width
    flat = net.op("Flatten", net.op("GlobalAveragePool", y), axis=1)
    return net.model(net.full(flat, 64, 10))


def _separable(net: Net, x: str, channels: int, filters: int, *, relu: bool = True) -> str:
    """YuNet's unit: a product per pixel, then a depthwise convolution."""
    y = net.conv(x, channels, filters, 1)
    y = net.conv(y, filters, filters, groups=filters)
    return net.op("Relu", y) if relu else y


def yunet(sides: int = 320) -> onnx.ModelProto:
    """A detector of faces: separable units, a pyramid of features, twelve outputs."""
    net = Net((1, 3, sides, sides), opset=11)
    y = net.op("Relu", net.conv("x", 3, 16, strides=[2, 2]))
    y = _separable(net, y, 16, 16)
    levels = []
    channels = 16
    for widths in ((16, 32, 32, 64), (64, 64), (64, 64), (64, 64)):
        y = net.op("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
        for width in widths:
            y = _separable(net, y, channels, width)
            channels = width
        levels.append(y)
    top = _separable(net, levels[3], 64, 64)
    pyramid = [top]
    for lower in (levels[2], levels[1]):
        scales = net.floats(1, 1, 2, 2)
        larger = net.op(
            "Resize", top, net.floats(), scales, mode="nearest", nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        )  # fmt: skip
        top = _separable(net, net.op("Add", lower, larger), 64, 64)
        pyramid.insert(0, top)
    heads = {}
    for name, width in (("cls", 1), ("bbox", 4), ("obj", 1), ("kps", 10)):
        for level, stride in zip(pyramid, (8, 16, 32), strict=True):
            heads[name, stride] = _separable(net, level, 64, width, relu=False)
    outputs = []
    for name, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            y = net.op("Transpose", heads[name, stride], perm=[0, 2, 3, 1])
            y = net.op("Reshape", y, net.ints(1, -1, width))
            outputs.append(net.op("Sigmoid", y) if width == 1 else y)
    return net.model(*outputs, ir_version=6)


def _listed(net: Net, x: str, width: int) -> str:
    """A head's boxes one below the other, with the sizes computed in the graph."""
    y = net.op("Transpose", x, perm=[0, 2, 3, 1])
    batch = net.op("Gather", net.op("Shape", y), net.scalar(0, np.int64), axis=0)
    sizes = [batch, net.scalar(-1, np.int64), net.scalar(width, np.int64)]
    target = net.op("Concat", *(net.op("Unsqueeze", size, axes=[0]) for size in sizes), axis=0)
    return net.op("Reshape", y, target)


def ultraface() -> onnx.ModelProto:
    """A single-shot detector: normalised separable units, anchors decoded in the graph."""
    net = Net((1, 3, 240, 320), opset=9)

    def unit(x: str, channels: int, filters: int, kernel: int, stride: int = 1) -> str:
        groups = channels if channels == filters and kernel == 3 else 1
        y = net.conv(x, channels, filters, kernel, groups=groups, bias=False, strides=[stride] * 2)
        return net.op("Relu", net.norm(y, filters))

    def head(x: str, channels: int, width: int) -> str:
        y = net.op("Relu", net.conv(x, channels, channels, groups=channels))
        return net.conv(y, channels, width, 1)

    y, channels = unit("x", 3, 16, 3, 2), 16
    scores, boxes = [], []
    # Per stage: widths with strides of the separable units, and anchors a pixel.
    stages = (
        ([(32, 1), (32, 2), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1)], 3),
        ([(128, 2), (128, 1), (128, 1)], 2),
        ([(256, 2), (256, 1)], 2),
    )
    for widths, anchors in stages:
        for width, stride in widths:
            y = unit(unit(y, channels, channels, 3, stride), channels, width, 1)
            channels = width
        scores.append(_listed(net, head(y, channels, 2 * anchors), 2))
        boxes.append(_listed(net, head(y, channels, 4 * anchors), 4))
    y = net.op("Relu", net.conv(y, 256, 64, 1))
    y = net.op("Relu", net.conv(y, 64, 64, groups=64, strides=[2, 2]))
    y = net.op("Relu", net.conv(y, 64, 256, 1))
    scores.append(_listed(net, net.conv(y, 256, 6), 2))
    boxes.append(_listed(net, net.conv(y, 256, 12), 4))
    chances = net.op("Softmax", net.op("Concat", *scores, axis=1), axis=2)
    offsets = net.op("Concat", *boxes, axis=1)
    sizes = ((1, 4420, 2), (1, 4420, 4))
    return net.model(chances, _corners(net, offsets), sizes=sizes, ir_version=4, overridable=True)


def _corners(net: Net, offsets: str, count: int = 4420) -> str:
    """Corners of boxes from offsets of anchors, operator by operator."""
    last = np.iinfo(np.int64).max

    def first_two(x: str) -> str:
        return net.op("Slice", x, axes=[2], starts=[0], ends=[2])

    def last_two(x: str) -> str:
        return net.op("Slice", x, axes=[2], starts=[2], ends=[last])

    def anchors() -> str:
        return net.scalar(net.values.uniform(0.01, 0.9, (1, count, 2)))

    shift = net.op("Mul", net.op("Mul", first_two(offsets), net.scalar(0.1)), anchors())
    middle = net.op("Add", shift, anchors())
    grown = net.op("Exp", net.op("Mul", last_two(offsets), net.scalar(0.2)))
    box = net.op("Concat", middle, net.op("Mul", grown, anchors()), axis=2)
    ends = []
    for kind in ("Sub", "Add"):
        centre, size = first_two(box), last_two(box)
        ends.append(net.op(kind, centre, net.op("Div", size, net.scalar(2.0))))
    return net.op("Concat", *ends, axis=2)


def mobilenet_v3(sides: int = 64) -> onnx.ModelProto:
    """Inverted residuals with squeeze-and-excite and hard swishes, as in MobileNetV3 Small."""
    net = Net((1, 3, sides, sides), opset=14)

    def unit(x: str, channels: int, filters: int, kernel: int, act: str, **more: Any) -> str:
        y = net.conv(x, channels, filters, kernel, **more)
        return net.op(act, y) if act else y

    def excite(x: str, channels: int) -> str:
        inner = max(8, channels // 4)
        y = unit(net.op("GlobalAveragePool", x), channels, inner, 1, "Relu")
        y = net.op("HardSigmoid", net.conv(y, inner, channels, 1), alpha=1 / 6, beta=0.5)
        return net.op("Mul", x, y)

    y, channels = unit("x", 3, 16, 3, "HardSwish", strides=[2, 2]), 16
    # Kernel, inner width, outer width, squeeze-and-excite, activation, stride: the paper's table.
    for kernel, wide, width, gated, act, stride in (
        (3, 16, 16, True, "Relu", 2),
        (3, 72, 24, False, "Relu", 2),
        (3, 88, 24, False, "Relu", 1),
        (5, 96, 40, True, "HardSwish", 2),
        (5, 240, 40, True, "HardSwish", 1),
        (5, 120, 48, True, "HardSwish", 1),
    ):
        inner = unit(y, channels, wide, 1, act) if wide > channels else y
        inner = unit(inner, wide, wide, kernel, act, groups=wide, strides=[stride] * 2)
        inner = excite(inner, wide) if gated else inner
        inner = net.conv(inner, wide, width, 1)
        y = net.op("Add", inner, y) if stride == 1 and width == channels else inner
        channels = width
    y = unit(y, channels, 288, 1, "HardSwish")
    y = net.op("HardSwish", net.full(net.op("Flatten", net.op("GlobalAveragePool", y)), 288, 512))
    return net.model(net.full(y, 512, 10))


WRITTEN: Mapping[str, Callable[[], onnx.ModelProto]] = {
    made.__name__: made for made in (mnist, mobilenet_v3, resnet20, ultraface, yunet)
}
#: Every network there is, by name.
NAMES = (*LIGHT, *WRITTEN)


@cache
def _folder() -> Path:
    return Path(mkdtemp(prefix="architectures-"))


@cache
def network_file(name: str) -> Path:
    """The ONNX file of a network of ``NAMES``; those that are made are written once a process."""
    if name in LIGHT and name not in WIDE:
        return LIGHT_FOLDER / f"{name}.onnx"
    path = _folder() / f"{name}.onnx"
    onnx.save(_narrowed(name) if name in WIDE else WRITTEN[name](), path)
    return path


def _narrowed(name: str) -> onnx.ModelProto:
    """The network with fully connected layers of 256 units in place of 4096.

    The weights are made when the network is loaded: nine tenths of its time and up to half a
    gigabyte would go into one product.
    """
    model = onnx.load(LIGHT_FOLDER / f"{name}.onnx")
    for item in model.graph.initializer:
        if "fc" in item.name and item.name.endswith("__SHAPE"):
            sizes = numpy_helper.to_array(item)
            item.CopyFrom(numpy_helper.from_array(np.where(sizes == 4096, 256, sizes), item.name))
    return model

"""Small ONNX models that together hold most kinds of kernels, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Draft:
    """A model under construction; methods add a node and return the tensor it writes."""

    def __init__(self, *shape: int | str, dtype: int = TensorProto.FLOAT, opset: int = 17) -> None:
        self.inputs = [helper.make_tensor_value_info("x", dtype, list(shape))]
        self.nodes: list[onnx.NodeProto] = []
        self.inits: list[onnx.TensorProto] = []
        self.opset = opset
        self.rng = np.random.default_rng(0)

    def node(self, op_type: str, *reads: str, writes: int = 1, **attributes: Any) -> str:
        domain = str(attributes.pop("domain", ""))
        name = f"{op_type.lower()}{len(self.nodes)}"
        written = [f"{name}_y{i}" if i else f"{name}_y" for i in range(writes)]
        made = helper.make_node(op_type, reads, written, name=name, domain=domain, **attributes)
        self.nodes.append(made)
        return written[0]

    def const(self, value: object, dtype: type[np.generic] = np.float32) -> str:
        name = f"const{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def weight(self, *shape: int, dtype: type[np.generic] = np.float32) -> str:
        return self.const(self.rng.normal(size=shape) * 0.1, dtype)

    def conv(
        self, read: str, cin: int, cout: int, kernel: int = 3, stride: int = 1, groups: int = 1
    ) -> str:
        return self.node(
            "Conv",
            read,
            self.weight(cout, cin // groups, kernel, kernel),
            self.weight(cout),
            kernel_shape=[kernel] * 2,
            strides=[stride] * 2,
            pads=[kernel // 2] * 4,
            group=groups,
        )

    def bn(self, read: str, channels: int) -> str:
        ones = [self.const(np.full(channels, v)) for v in (1.1, 0.1, 0.2, 0.9)]
        return self.node("BatchNormalization", read, *ones)

    def done(self, *outputs: str, dtype: int | None = None) -> onnx.ModelProto:
        infos = [onnx.ValueInfoProto(name=name) for name in outputs]
        if dtype is not None:
            infos = [helper.make_tensor_value_info(name, dtype, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, self.inits)
        domains = {node.domain for node in self.nodes if node.domain}
        imports = [helper.make_opsetid("", self.opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in sorted(domains)]
        model = helper.make_model(graph, opset_imports=imports, ir_version=8)
        return onnx.shape_inference.infer_shapes(model)


def conv_relu() -> onnx.ModelProto:
    d = Draft(1, 16, 12, 12)
    return d.done(d.node("Relu", d.conv("x", 16, 32)))


def chain() -> onnx.ModelProto:
    d = Draft(1, 3, 16, 16)
    y = d.node("Relu", d.conv("x", 3, 32, stride=2))
    y = d.node("Relu", d.conv(y, 32, 32))
    y = d.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = d.conv(y, 32, 64, kernel=1)
    return d.done(d.node("Relu", d.conv(y, 64, 32)))


def residual() -> onnx.ModelProto:
    d = Draft(1, 32, 8, 8)
    a = d.node("Relu", d.conv("x", 32, 32))
    b = d.node("Relu", d.conv(a, 32, 32))
    c = d.node("Relu", d.node("Add", d.conv(b, 32, 32), a))
    return d.done(d.conv(c, 32, 16, kernel=1))


def folded_bn() -> onnx.ModelProto:
    d = Draft(1, 16, 8, 8)
    y = d.node("Relu", d.bn(d.conv("x", 16, 16), 16))
    return d.done(d.node("Relu", d.bn(d.conv(y, 16, 32, kernel=1), 32)))


def odd_channels() -> onnx.ModelProto:
    d = Draft(1, 3, 10, 10)
    y = d.node("Relu", d.conv("x", 3, 18))
    y = d.node("Relu", d.conv(y, 18, 37))
    return d.done(d.node("Relu", d.conv(y, 37, 23, stride=2)))


def depthwise() -> onnx.ModelProto:
    d = Draft(1, 32, 9, 9)
    y = d.node("Relu", d.conv("x", 32, 32, groups=32))
    y = d.node("Clip", d.conv(y, 32, 48, kernel=1), d.const(0.0), d.const(6.0))
    return d.done(d.conv(y, 48, 48, groups=4))


def pools() -> onnx.ModelProto:
    d = Draft(2, 16, 13, 13)
    y = d.conv("x", 16, 16)
    window: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    a = d.node("MaxPool", y, **window)
    b = d.node("AveragePool", y, count_include_pad=1, **window)
    c = d.node("AveragePool", "x", auto_pad="SAME_LOWER", kernel_shape=[4, 4], strides=[3, 3])
    e = d.node("MaxPool", "x", ceil_mode=1, kernel_shape=[2, 2], strides=[2, 2])
    f, g = d.node("GlobalAveragePool", a), d.node("GlobalMaxPool", b)
    return d.done(f, g, c, e)


def branches() -> onnx.ModelProto:
    d = Draft(1, 32, 7, 7)
    y = d.node("Relu", d.conv("x", 32, 32))
    twins = [d.node("Relu", d.conv(y, 32, 16, kernel=1)) for _ in range(2)]
    other = d.node("Relu", d.conv(y, 32, 24))
    y = d.node("Concat", *twins, other, axis=1)
    return d.done(d.conv(y, 56, 16))


def classifier() -> onnx.ModelProto:
    d = Draft(3, 8, 4, 4)
    y = d.node("Flatten", "x")
    y = d.node("Relu", d.node("Gemm", y, d.weight(64, 128), d.weight(64), transB=1))
    y = d.node("Gemm", y, d.weight(64, 10), d.weight(10))
    y = d.node("Add", d.node("MatMul", y, d.weight(10, 10)), d.weight(10))
    return d.done(d.node("Softmax", y))


def old_classifier() -> onnx.ModelProto:
    d = Draft(1, 16, 6, 6, opset=9)
    y = d.node("LRN", "x", size=5, alpha=1e-4, beta=0.75, bias=1.0)
    y = d.node("Dropout", d.conv(y, 16, 32), ratio=0.5)
    y = d.node("Upsample", y, d.const([1.0, 1.0, 2.0, 2.0]), mode="nearest")
    y = d.node("GlobalAveragePool", y)
    return d.done(d.node("Softmax", y))


def resize() -> onnx.ModelProto:
    d = Draft(1, 8, 5, 5)
    scales = d.const([1.0, 1.0, 2.0, 2.0])
    sizes = d.const([1, 8, 7, 9], np.int64)
    half: dict[str, Any] = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    a = d.node("Resize", "x", "", scales, mode="nearest", **half)
    return d.done(a, d.node("Resize", "x", "", "", sizes, mode="linear"))


def shuffle() -> onnx.ModelProto:
    d = Draft(1, 24, 6, 6)
    y = d.node("Relu", d.conv("x", 24, 32, groups=4))
    y = d.node("Reshape", y, d.const([1, 4, 8, 6, 6], np.int64))
    y = d.node("Transpose", y, perm=[0, 2, 1, 3, 4])
    y = d.node("Reshape", y, d.const([1, 32, 6, 6], np.int64))
    return d.done(d.conv(y, 32, 32, groups=32))


def slices() -> onnx.ModelProto:
    d = Draft(1, 12, 9, 9)
    bounds = [d.const(v, np.int64) for v in ([1, 2], [8, 9], [2, 3], [1, 2])]
    a = d.node("Slice", "x", *bounds)
    b = d.node("Pad", a, d.const([0, 0, 1, 1, 0, 2, 1, 1], np.int64), d.const(0.5))
    c = d.node("Pad", b, d.const([0, 0, 1, 1, 0, 0, 2, 2], np.int64), mode="reflect")
    d.node("Split", "x", d.const([4, 8], np.int64), writes=2, axis=1)
    name = d.nodes[-1].name
    return d.done(c, f"{name}_y", f"{name}_y1")


def split_18() -> onnx.ModelProto:
    d = Draft(2, 12, 5, opset=18)
    y = d.node("Split", "x", writes=3, axis=1, num_outputs=3)
    mean = d.node("ReduceMean", y, d.const([2], np.int64), keepdims=1)
    peak = d.node("ReduceMax", f"{y}2", keepdims=0)
    return d.done(mean, f"{y}1", peak)


def bn_left_over() -> onnx.ModelProto:
    d = Draft(1, 16, 8, 8)
    y = d.node("Relu", d.bn("x", 16))
    return d.done(d.conv(d.node("Relu", d.bn(d.conv(y, 16, 32), 32)), 32, 8))


def elementwise() -> onnx.ModelProto:
    d = Draft(1, 20, 7, 7)
    y = d.conv("x", 20, 20)
    for op_type in ("Sigmoid", "Tanh", "HardSigmoid", "Elu", "Softplus", "Exp", "Neg", "Abs"):
        y = d.node(op_type, y)
    y = d.node("LeakyRelu", d.conv(y, 20, 20), alpha=0.2)
    y = d.node("HardSwish", y)
    y = d.node("PRelu", y, d.weight(20, 1, 1))
    y = d.node("Mul", y, d.node("GlobalAveragePool", y))
    y = d.node("Div", d.node("Sub", y, "x"), d.const(2.0))
    y = d.node("Max", d.node("Sqrt", d.node("Mul", y, y)), "x")
    return d.done(d.node("Where", d.node("Greater", y, "x"), y, "x"))


def transposed_conv() -> onnx.ModelProto:
    d = Draft(1, 16, 6, 6)
    w, b = d.weight(16, 8, 2, 2), d.weight(8)
    y = d.node("ConvTranspose", "x", w, b, strides=[2, 2], kernel_shape=[2, 2])
    w = d.weight(8, 4, 3, 3)
    shape: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}
    return d.done(d.node("ConvTranspose", y, w, group=2, **shape))


def transformer() -> onnx.ModelProto:
    d = Draft(1, 10, 32)
    y = d.node("LayerNormalization", "x", d.weight(32), d.weight(32), axis=-1)
    q = d.node("MatMul", y, d.weight(32, 32))
    k = d.node("Transpose", d.node("MatMul", y, d.weight(32, 32)), perm=[0, 2, 1])
    y = d.node("MatMul", d.node("Softmax", d.node("MatMul", q, k)), y)
    return d.done(d.node("Erf", y))


def integers() -> onnx.ModelProto:
    d = Draft(1, 12, 5, 5)
    shape = d.node("Shape", d.node("NonZero", "x"))
    first = d.node("Gather", shape, d.const(0, np.int64))
    best = d.node("ArgMax", "x", axis=1, keepdims=0)
    d.node("TopK", "x", d.const([3], np.int64), writes=2, axis=1)
    top = d.nodes[-1].name
    half = d.node("Cast", best, to=TensorProto.FLOAT)
    mask = d.node("Cast", d.node("Equal", best, best), to=TensorProto.INT32)
    rows = d.node("Gather", "x", d.const([0, 5, 7], np.int64), axis=1)
    flat = d.node(
        "Unsqueeze", d.node("Squeeze", rows, d.const([0], np.int64)), d.const([0], np.int64)
    )
    tiled = d.node("Expand", d.node("ReduceSum", flat, keepdims=1), d.const([1, 2, 2, 2], np.int64))
    return d.done(first, half, mask, f"{top}_y", f"{top}_y1", tiled)


def rank_3_and_5() -> onnx.ModelProto:
    d = Draft(1, 8, 30)
    a = d.node("Relu", d.node("Conv", "x", d.weight(16, 8, 5), d.weight(16), pads=[2, 2]))
    cube = d.node("Reshape", a, d.const([1, 16, 5, 3, 2], np.int64))
    return d.done(d.node("Conv", cube, d.weight(8, 16, 3, 3, 1), pads=[1, 1, 0, 1, 1, 0]))


def computed_weights() -> onnx.ModelProto:
    d = Draft(1, 8, 6, 6)
    pooled = d.node("GlobalAveragePool", "x")
    kernel = d.node(
        "Mul", d.node("Reshape", pooled, d.const([1, 8, 1, 1], np.int64)), d.weight(4, 8, 3, 3)
    )
    return d.done(d.node("Conv", "x", kernel, pads=[1, 1, 1, 1]))


def qdq() -> onnx.ModelProto:
    d = Draft(1, 16, 8, 8)
    scale, zero = d.const(0.05), d.const(0, np.uint8)
    y = d.node("DequantizeLinear", d.node("QuantizeLinear", "x", scale, zero), scale, zero)
    stored = d.const(d.rng.integers(-9, 9, (32, 16, 3, 3)), np.int8)
    weight = d.node("DequantizeLinear", stored, d.const(0.01), d.const(0, np.int8))
    y = d.node("Relu", d.node("Conv", y, weight, pads=[1, 1, 1, 1]))
    y = d.node("DequantizeLinear", d.node("QuantizeLinear", y, scale, zero), scale, zero)
    return d.done(d.node("MaxPool", y, kernel_shape=[2, 2]))


def float16() -> onnx.ModelProto:
    d = Draft(1, 16, 8, 8, dtype=TensorProto.FLOAT16)
    y = d.node("Conv", "x", d.weight(32, 16, 3, 3, dtype=np.float16), pads=[1, 1, 1, 1])
    y = d.node("Add", d.node("Relu", y), d.const(1.0, np.float16))
    return d.done(d.node("GlobalAveragePool", y))


MODELS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    made.__name__: made
    for made in (
        bn_left_over, branches, chain, classifier, computed_weights, conv_relu, depthwise,
        elementwise, float16, folded_bn, integers, odd_channels, old_classifier, pools, qdq,
        rank_3_and_5, residual, resize, shuffle, slices, split_18, transformer, transposed_conv,
    )
}  # fmt: skip

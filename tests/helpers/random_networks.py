"""Small ONNX networks, written node by node or drawn at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

#: Channel counts around the blocks of both instruction sets, and the ones pruning makes.
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 12, 15, 16, 17, 20, 24, 28, 30, 32, 33, 36, 40, 48, 50, 64, 66)
TO_NHWC, FROM_NHWC = (0, 2, 3, 1), (0, 3, 1, 2)


class Builder:
    """Writes a small ONNX model node by node; every method returns the tensor it wrote."""

    def __init__(self, shape: Sequence[int | str], opset: int = 17) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count, self.opset = 0, opset
        self.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        self.values = np.random.default_rng(0)

    def name(self, prefix: str = "t") -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def constant(self, value: ArrayLike, dtype: type[np.generic]) -> str:
        name = self.name("k")
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(self.values.uniform(0.1, 0.9, shape), np.float32)

    def ints(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def floats(self, *values: float) -> str:
        return self.constant(values, np.float32)

    def fed(self, *sizes: int) -> str:
        """One more input."""
        name = f"in{len(self.inputs)}"
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes))
        return name

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        out = self.name()
        self.nodes.append(helper.make_node(op_type, inputs, [out], name=f"n_{out}", **attributes))
        return out

    def conv(
        self, x: str, channels: int, filters: int, kernel: int = 3, *, groups: int = 1,
        bias: bool = True, **more: Any,
    ) -> str:  # fmt: skip
        if "auto_pad" not in more:
            more.setdefault("pads", [kernel // 2] * 4)
        operands = [x, self.weight(filters, channels // groups, kernel, kernel)]
        operands += [self.weight(filters)] if bias else []
        return self.op("Conv", *operands, group=groups, kernel_shape=[kernel] * 2, **more)

    def norm(self, x: str, channels: int) -> str:
        return self.op("BatchNormalization", x, *(self.weight(channels) for _ in range(4)))

    def save(self, path: Path, *outputs: str) -> Path:
        """Write the model, which returns ``outputs``, and return ``path``."""
        infos = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, self.weights)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        path.write_bytes(model.SerializeToString())
        return path


class RandomNet:
    """A random network of what convolutional networks are made of, as a list of live tensors."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.batch = self.random.choice([1, 1, 1, 2])
        side, channels = self.random.choice([7, 8, 12]), self.random.choice(CHANNELS)
        self.build = Builder((self.batch, channels, side, side), self.random.choice([13, 17, 18]))
        self.live = [("x", channels, side)]
        for _ in range(self.random.randint(2, 14)):
            tensor = self.random.choice(self.live[-3:])
            kinds = (self.conv, self.conv, self.activate, self.norm, self.join, self.join,
                     self.concat, self.pool, self.excite, self.resize, self.pad, self.scale,
                     self.shuffle, self.copy)  # fmt: skip
            self.random.choice(kinds)(*tensor)

    def save(self, path):
        tensor, channels, _ = self.live[-1]
        outputs = [tensor] if tensor != "x" else [self.build.op("Relu", "x")]
        if self.random.random() < 0.4:
            flat = self.build.op("Flatten", self.build.op("GlobalAveragePool", tensor))
            head = self.build.op("MatMul", flat, self.build.weight(channels, 10))
            outputs.append(self.build.op("Add", head, self.build.weight(10)))
        elif self.random.random() < 0.3:
            outputs.append(self.build.op("Transpose", tensor, perm=TO_NHWC))
        other = self.random.choice(self.live)[0]
        if self.random.random() < 0.3 and other not in {"x", *outputs}:
            outputs.append(other)
        return self.build.save(path, *outputs)

    def conv(self, x, channels, side):
        pick, more = self.random.choice, {}
        kernel, stride, filters, groups = pick([1, 3, 5]), pick([1, 1, 2]), pick(CHANNELS), 1
        if self.random.random() < 0.25:
            groups, filters = channels, channels * pick([1, 1, 2])
        elif channels % 2 == 0 and self.random.random() < 0.15:
            groups, filters = 2, 2 * pick([1, 4, 8, 16, 32])
        if self.random.random() < 0.2:
            more["auto_pad"] = pick(["SAME_UPPER", "SAME_LOWER"])
        bias = self.random.random() < 0.6
        y = self.build.conv(
            x, channels, filters, kernel, groups=groups, bias=bias, strides=[stride] * 2, **more
        )
        side = -(-side // stride)
        self.live.append((y, filters, side))
        if self.random.random() < 0.5:
            self.live.append((self.build.norm(y, filters), filters, side))
        if self.random.random() < 0.5:
            self.live.append((self.build.op("Relu", self.live[-1][0]), filters, side))

    def activate(self, x, channels, side):
        build = self.build
        kind = self.random.choice(["Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Elu",
                                   "Clip", "Silu", "PRelu", "Exp", "HardSwish"])  # fmt: skip
        if kind == "Clip":
            bounds = [(0.0, 6.0), (-1.0, 2.0)][self.random.randrange(2)]
            y = build.op("Clip", x, *(build.constant(b, np.float32) for b in bounds))
        elif kind == "Silu":
            y = build.op("Mul", x, build.op("Sigmoid", x))
        elif kind == "PRelu":
            y = build.op("PRelu", x, build.weight(channels, 1, 1))
        else:
            y = build.op("Relu" if kind == "HardSwish" and build.opset < 14 else kind, x)
        self.live.append((y, channels, side))

    def norm(self, x, channels, side):
        self.live.append((self.build.norm(x, channels), channels, side))

    def join(self, x, channels, side):
        other = self.random.choice([t for t in self.live if t[1:] == (channels, side)])[0]
        kind = self.random.choice(["Add", "Add", "Add", "Sum", "Mul", "Sub"])
        operands = self.random.choice([(x, other), (other, x)])
        self.live.append((self.build.op(kind, *operands), channels, side))

    def concat(self, x, channels, side):
        others = [t for t in self.live if t[2] == side]
        chosen = [self.random.choice(others) for _ in range(self.random.choice([1, 1, 2]))]
        width = channels + sum(t[1] for t in chosen)
        y = self.build.op("Concat", x, *(t[0] for t in chosen), axis=1)
        self.live.append((y, width, side))

    def pool(self, x, channels, side):
        kind = self.random.choice(["MaxPool", "AveragePool"])
        if self.random.random() < 0.3 or side < 3:
            self.live.append((self.build.op(f"Global{kind}", x), channels, 1))
            return
        stride = self.random.choice([1, 2])
        y = self.build.op(kind, x, kernel_shape=[3, 3], strides=[stride] * 2, pads=[1] * 4)
        self.live.append((y, channels, (side - 1) // stride + 1))

    def excite(self, x, channels, side):
        build = self.build
        hidden = build.op("Relu", build.conv(build.op("GlobalAveragePool", x), channels, 8, 1))
        gate = build.op("Sigmoid", build.conv(hidden, 8, channels, 1))
        kind = self.random.choice(["Mul", "Mul", "Add"])
        self.live.append((build.op(kind, x, gate), channels, side))

    def resize(self, x, channels, side):
        if side > 16:
            return
        mode = self.random.choice(["nearest", "linear"])
        rule = self.random.choice(["asymmetric", "half_pixel", "align_corners"])
        more = {"nearest_mode": "floor"} if self.random.random() < 0.7 else {}
        scales = self.build.floats(1, 1, 2, 2)
        y = self.build.op(
            "Resize", x, "", scales, mode=mode, coordinate_transformation_mode=rule, **more
        )
        self.live.append((y, channels, 2 * side))

    def pad(self, x, channels, side):
        low, high = self.random.choice([(0, 0), (1, 1), (0, 1)])
        pads = self.build.ints(0, 0, low, low, 0, 0, high, high)
        self.live.append((self.build.op("Pad", x, pads), channels, side + low + high))

    def scale(self, x, channels, side):
        kind = self.random.choice(["Mul", "Add"])
        sizes = self.random.choice([(channels, 1, 1), (1, channels, 1, 1), (), (1, 1, 1, 1)])
        operands = (x, self.build.weight(*sizes))
        operands = operands if self.random.random() < 0.7 else operands[::-1]
        self.live.append((self.build.op(kind, *operands), channels, side))

    def shuffle(self, x, channels, side):
        if channels % 2:
            return
        split = self.build.ints(self.batch, 2, channels // 2, side, side)
        whole = self.build.ints(self.batch, channels, side, side)
        y = self.build.op("Transpose", self.build.op("Reshape", x, split), perm=[0, 2, 1, 3, 4])
        self.live.append((self.build.op("Reshape", y, whole), channels, side))

    def copy(self, x, channels, side):
        kind = self.random.choice(["Identity", "Dropout"])
        self.live.append((self.build.op(kind, x), channels, side))


class QuantisableNet(RandomNet):
    """Without channel shuffles and copies of what is returned, where the rules for int8 stop."""

    def shuffle(self, x, channels, side):
        self.conv(x, channels, side)

    copy = shuffle

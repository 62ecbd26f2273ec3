"""Random small ONNX networks: ranks, element types, operator sets, wiring, control flow.

A network is a list of live tensors; each step reads some of the last ones and writes a new one, in
the spelling that the operator set has for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from model_zoo.case import Case, Draft
from model_zoo.onnx_operators import NEWEST, OLDEST

Shape = tuple[int, ...]
CHANNELS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 24, 32)


class Net:
    """One network under way: float tensors of one element type.

    Args:
        seed: of everything about it.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        pick = self.random.choice
        self.opset = self.random.randint(OLDEST, NEWEST)
        self.draft = Draft(self.opset, seed)
        self.dtype: Any = pick([np.float32] * 8 + [np.float16])
        self.live: list[tuple[str, Shape]] = []
        self.seed = seed

    # Writing

    def weight(self, *shape: int) -> str:
        return self.draft.weight(*shape, dtype=self.dtype)

    def put(self, kind: str, *reads: str, size: Shape, **more: Any) -> str:
        name = self.draft.node(kind, *reads, **more)
        self.live.append((name, size))
        return name

    def feed(self, *shape: int) -> tuple[str, Shape]:
        name = self.draft.feed(*shape, dtype=self.dtype)
        self.live.append((name, shape))
        return name, shape

    def pick(self, rank: int) -> tuple[str, Shape]:
        """One of the last tensors of so many axes."""
        fitting = [item for item in self.live if len(item[1]) == rank]
        return self.random.choice(fitting[-3:])

    def reduced(self, kind: str, x: str, shape: Shape, axes: Sequence[int], keep: int) -> None:
        size = tuple(
            1 if i in axes else s for i, s in enumerate(shape) if keep or i not in axes
        )  # fmt: skip
        moved = 13 if kind == "ReduceSum" else 18
        if self.opset >= moved:
            self.put(kind, x, self.draft.ints(*axes), size=size, keepdims=keep)
        else:
            self.put(kind, x, size=size, axes=list(axes), keepdims=keep)

    # Steps on maps: (batch, channels, *sides)

    def conv(self, x: str, shape: Shape) -> None:
        pick = self.random.choice
        batch, channels, *sides = shape
        rank, kernel, stride = len(sides), pick([1, 3]), pick([1, 1, 2])
        groups, filters = 1, pick(CHANNELS)
        if self.random.random() < 0.3:
            groups, filters = channels, channels * pick([1, 2])
        elif channels % 2 == 0 and self.random.random() < 0.3:
            groups, filters = 2, 2 * pick([1, 3, 8])
        more: dict[str, Any] = {"pads": [kernel // 2] * 2 * rank}
        if self.random.random() < 0.2:
            more = {"auto_pad": pick(["SAME_UPPER", "SAME_LOWER"])}
        reads = [x, self.weight(filters, channels // groups, *(kernel,) * rank)]
        reads += [self.weight(filters)] if pick([True, False]) else []
        size = (batch, filters, *(-(-side // stride) for side in sides))
        self.put("Conv", *reads, size=size, group=groups, strides=[stride] * rank, **more)

    def transposed_conv(self, x: str, shape: Shape) -> None:
        batch, channels, *sides = shape
        if max(sides) > 8:
            return
        filters = self.random.choice(CHANNELS)
        weight = self.weight(channels, filters, *(2,) * len(sides))
        size = (batch, filters, *(2 * side for side in sides))
        self.put("ConvTranspose", x, weight, size=size, strides=[2] * len(sides))

    def norm(self, x: str, shape: Shape) -> None:
        channels = shape[1]
        kind = self.random.choice(["batch", "batch", "instance", "group", "layer"])
        if kind == "instance":
            self.put("InstanceNormalization", x, *(self.weight(channels) for _ in range(2)),
                     size=shape)  # fmt: skip
        elif kind == "group" and self.opset >= 21 and channels % 2 == 0:
            self.put("GroupNormalization", x, *(self.weight(channels) for _ in range(2)),
                     size=shape, num_groups=2)  # fmt: skip
        elif kind == "layer" and self.opset >= 17:
            self.put("LayerNormalization", x, self.weight(*shape[1:]), size=shape, axis=1)
        else:
            self.put("BatchNormalization", x, *(self.weight(channels) for _ in range(4)),
                     size=shape)  # fmt: skip

    def pool(self, x: str, shape: Shape) -> None:
        batch, channels, *sides = shape
        kind = self.random.choice(["MaxPool", "AveragePool"])
        if self.random.random() < 0.25 or min(sides) < 3:
            self.put(f"Global{kind}", x, size=(batch, channels, *(1,) * len(sides)))
            return
        stride = self.random.choice([1, 2])
        size = (batch, channels, *((side - 1) // stride + 1 for side in sides))
        self.put(kind, x, size=size, kernel_shape=[3] * len(sides), pads=[1] * 2 * len(sides),
                 strides=[stride] * len(sides))  # fmt: skip

    def excite(self, x: str, shape: Shape) -> None:
        channels, ones = shape[1], (1,) * (len(shape) - 2)
        pooled = self.draft.node("GlobalAveragePool", x)
        low = self.draft.node("Conv", pooled, self.weight(4, channels, *ones))
        high = self.draft.node(
            "Conv", self.draft.node("Relu", low), self.weight(channels, 4, *ones)
        )
        self.put("Mul", x, self.draft.node("Sigmoid", high), size=shape)

    def concat(self, x: str, shape: Shape) -> None:
        fitting = [t for t in self.live if t[1][:1] + t[1][2:] == shape[:1] + shape[2:]
                   and len(t[1]) == len(shape)]  # fmt: skip
        other, size = self.random.choice(fitting)
        self.put("Concat", x, other, size=(shape[0], shape[1] + size[1], *shape[2:]), axis=1)

    def resize(self, x: str, shape: Shape) -> None:
        if len(shape) != 4 or max(shape[2:]) > 8 or self.dtype is not np.float32:
            return
        size = (*shape[:2], 2 * shape[2], 2 * shape[3])
        scales = [1.0, 1.0, 2.0, 2.0]
        mode = self.random.choice(["nearest", "linear"])
        if self.opset >= 11:
            none = "" if self.opset >= 13 else self.draft.const([])
            self.put("Resize", x, none, self.draft.const(scales), size=size, mode=mode)
        elif self.opset == 10:
            self.put("Resize", x, self.draft.const(scales), size=size, mode=mode)
        elif self.opset == 9:
            self.put("Upsample", x, self.draft.const(scales), size=size, mode=mode)
        else:
            self.put("Upsample", x, size=size, mode=mode, scales=scales)

    def pad(self, x: str, shape: Shape) -> None:
        rank = len(shape) - 2
        amount = [0, 0, *(1,) * rank, 0, 0, *(0,) * rank]
        size = (*shape[:2], *(side + 1 for side in shape[2:]))
        if self.opset >= 11:
            self.put("Pad", x, self.draft.ints(*amount), size=size)
        else:
            self.put("Pad", x, size=size, pads=amount)

    def shuffle(self, x: str, shape: Shape) -> None:
        if shape[1] % 2:
            return
        split = (shape[0], 2, shape[1] // 2, *shape[2:])
        y = self.draft.node("Reshape", x, self.draft.ints(*split))
        order = [0, 2, 1, *range(3, len(split))]
        y = self.draft.node("Transpose", y, perm=order)
        self.put("Reshape", y, self.draft.ints(*shape), size=shape)

    def last(self, x: str, shape: Shape) -> None:
        """A stretch in channels-last, as converters write it."""
        rank = len(shape)
        there, back = [0, *range(2, rank), 1], [0, rank - 1, *range(1, rank - 1)]
        y = self.draft.node("Transpose", x, perm=there)
        y = self.draft.node("Add", y, self.weight(shape[1]))
        self.put("Transpose", y, size=shape, perm=back)

    # Steps on any tensor

    def activate(self, x: str, shape: Shape) -> None:
        kinds = ["Relu", "Sigmoid", "Tanh", "LeakyRelu", "Elu", "HardSigmoid", "Softplus", "Clip",
                 "Swish", "PRelu", "Gelu", "Exp"]  # fmt: skip
        kind = self.random.choice(kinds)
        if self.dtype is np.float64 and kind in {"HardSigmoid", "Softplus", "LeakyRelu"}:
            kind = "Relu"
        if kind == "Clip":
            if self.opset >= 11:
                bounds = [self.draft.const(bound, self.dtype) for bound in (0.0, 6.0)]
                self.put("Clip", x, *bounds, size=shape)
            else:
                self.put("Clip", x, size=shape, min=0.0, max=6.0)
        elif kind == "Swish":
            self.put("Mul", x, self.draft.node("Sigmoid", x), size=shape)
        elif kind == "PRelu":
            slope = self.weight(*(shape[1] if i == 1 else 1 for i in range(1, len(shape))))
            self.put("PRelu", x, slope, size=shape)
        elif kind == "Gelu":
            self._gelu(x, shape)
        else:
            self.put(kind, x, size=shape)

    def _gelu(self, x: str, shape: Shape) -> None:
        if self.opset >= 20:
            self.put("Gelu", x, size=shape)
            return
        if self.opset < 9:
            self.put("Tanh", x, size=shape)
            return
        half, one, root = (self.draft.const(v, self.dtype) for v in (0.5, 1.0, 1.4142135))
        error = self.draft.node("Erf", self.draft.node("Div", x, root))
        scaled = self.draft.node("Mul", x, self.draft.node("Add", error, one))
        self.put("Mul", scaled, half, size=shape)

    def join(self, x: str, shape: Shape) -> None:
        other = self.random.choice([t for t in self.live if t[1] == shape])[0]
        reads = self.random.choice([(x, other), (other, x)])
        self.put(self.random.choice(["Add", "Add", "Mul", "Sub", "Max"]), *reads, size=shape)

    def scale(self, x: str, shape: Shape) -> None:
        sizes = self.random.choice([(), (1,), shape[-1:], shape])
        reads = x, self.weight(*sizes)
        reads = reads if self.random.random() < 0.7 else reads[::-1]
        self.put(self.random.choice(["Mul", "Add", "Sub"]), *reads, size=shape)

    def split(self, x: str, shape: Shape) -> None:
        width = shape[1]
        if width < 2:
            return
        parts = [width // 2, width - width // 2]
        if self.opset >= 13:
            self.draft.node("Split", x, self.draft.ints(*parts), axis=1, writes=2)
        else:
            self.draft.node("Split", x, axis=1, split=parts, writes=2)
        for name, part in zip(self.draft.nodes[-1].output, parts, strict=True):
            self.live.append((name, (shape[0], part, *shape[2:])))

    def slice(self, x: str, shape: Shape) -> None:
        end = max(1, shape[1] - 1)
        size = (shape[0], end, *shape[2:])
        if self.opset >= 10:
            ends = [self.draft.ints(v) for v in (0, end, 1)]
            self.put("Slice", x, *ends, size=size)
        else:
            self.put("Slice", x, size=size, starts=[0], ends=[end], axes=[1])

    def copy(self, x: str, shape: Shape) -> None:
        self.put(self.random.choice(["Identity", "Dropout"]), x, size=shape)

    def reduce(self, x: str, shape: Shape) -> None:
        kind = self.random.choice(["ReduceMean", "ReduceSum", "ReduceMax"])
        self.reduced(kind, x, shape, (len(shape) - 1,), 1)

    # Steps on sequences: (batch, time, width), and on rows: (batch, width)

    def matmul(self, x: str, shape: Shape) -> None:
        out = self.random.choice(CHANNELS)
        self.put("MatMul", x, self.weight(shape[-1], out), size=(*shape[:-1], out))

    def dense(self, x: str, shape: Shape) -> None:
        out = self.random.choice(CHANNELS)
        turned = self.random.choice([0, 1])
        sizes = (out, shape[-1]) if turned else (shape[-1], out)
        reads = [x, self.weight(*sizes), self.weight(out)]
        self.put("Gemm", *reads, size=(shape[0], out), transB=turned)

    def mixed(self, x: str, shape: Shape) -> None:
        """A product whose constant stands first: over time or over the batch."""
        out = self.random.choice(CHANNELS)
        self.put("MatMul", self.weight(out, shape[-2]), x, size=(*shape[:-2], out, shape[-1]))

    def turned_gemm(self, x: str, shape: Shape) -> None:
        out = self.random.choice(CHANNELS)
        reads = self.weight(out, shape[0]), x, self.weight(shape[1])
        self.put("Gemm", *reads, size=(out, shape[1]))

    def attend(self, x: str, shape: Shape) -> None:
        width = shape[-1]
        q, k, v = (self.draft.node("MatMul", x, self.weight(width, width)) for _ in range(3))
        scores = self.draft.node("MatMul", q, self.draft.node("Transpose", k, perm=[0, 2, 1]))
        scores = self.draft.node("Mul", scores, self.draft.const(0.3, self.dtype))
        weights = self.draft.node("Softmax", scores, axis=2)
        self.put("MatMul", weights, v, size=shape)

    def layer_norm(self, x: str, shape: Shape) -> None:
        if self.opset >= 17:
            self.put("LayerNormalization", x, self.weight(shape[-1]), self.weight(shape[-1]),
                     size=shape, axis=-1)  # fmt: skip
            return
        axes: dict[str, Any] = {} if self.opset >= 18 else {"axes": [-1]}
        if self.opset < 11:
            axes = {"axes": [len(shape) - 1]}
        mean = self.draft.node("ReduceMean", x, **axes)
        centred = self.draft.node("Sub", x, mean)
        squared = self.draft.node("Mul", centred, centred)
        variance = self.draft.node("ReduceMean", squared, **axes)
        eps = self.draft.const(1e-3, self.dtype)
        root = self.draft.node("Sqrt", self.draft.node("Add", variance, eps))
        self.put("Mul", self.draft.node("Div", centred, root), self.weight(shape[-1]), size=shape)

    def recurrent(self, x: str, shape: Shape) -> None:
        if self.dtype is not np.float32:
            return
        kind, gates = self.random.choice([("LSTM", 4), ("GRU", 3), ("RNN", 1)])
        ways, hidden = self.random.choice([1, 2]), self.random.choice([3, 4, 8])
        time_first = self.draft.node("Transpose", x, perm=[1, 0, 2])
        weights = (
            self.weight(ways, gates * hidden, shape[2]), self.weight(ways, gates * hidden, hidden)
        )  # fmt: skip
        direction = "bidirectional" if ways == 2 else "forward"
        y = self.draft.node(kind, time_first, *weights, hidden_size=hidden, direction=direction)
        y = self.draft.node("Transpose", y, perm=[2, 0, 1, 3])
        size = (shape[0], shape[1], ways * hidden)
        self.put("Reshape", y, self.draft.ints(*size), size=size)

    def einsum(self, x: str, shape: Shape) -> None:
        if self.opset < 12:
            return
        out = self.random.choice(CHANNELS)
        equation, size = self.random.choice([
            ("btc,cd->btd", (shape[0], shape[1], out)), ("btc,cd->bdt", (shape[0], out, shape[1])),
            ("...c,cd->...d", (shape[0], shape[1], out)),
        ])  # fmt: skip
        self.put("Einsum", x, self.weight(shape[2], out), size=size, equation=equation)

    def conv_between(self, x: str, shape: Shape) -> None:
        """A 1-D convolution over time between two transposes."""
        y = self.draft.node("Transpose", x, perm=[0, 2, 1])
        out = self.random.choice(CHANNELS)
        y = self.draft.node("Conv", y, self.weight(out, shape[2], 3), pads=[1, 1])
        self.put("Transpose", y, size=(shape[0], shape[1], out), perm=[0, 2, 1])

    # Control flow, functions, quantisation

    def branch(self, x: str, shape: Shape) -> None:
        kind = TensorProto.FLOAT
        if self.dtype is not np.float32 or self.opset < 11:
            return
        makes = [helper.make_graph([helper.make_node(op, [x], [f"{op}_{len(self.live)}"])], op, [],
                 [helper.make_tensor_value_info(f"{op}_{len(self.live)}", kind, list(shape))])
                 for op in ("Relu", "Neg")]  # fmt: skip
        flag = self.draft.const(True, np.bool_)  # noqa: FBT003 - a value
        if self.random.random() < 0.5:
            rank = list(range(len(shape)))
            total = (
                self.draft.node("ReduceSum", x, self.draft.ints(*rank), keepdims=0)
                if self.opset >= 13
                else self.draft.node("ReduceSum", x, axes=rank, keepdims=0)
            )
            flag = self.draft.node("Greater", total, self.draft.const(0.5))
        self.put("If", flag, size=shape, then_branch=makes[0], else_branch=makes[1])

    def function(self, x: str, shape: Shape) -> None:
        if self.opset < 13 or self.draft.functions:
            return
        opsets = [helper.make_opsetid("", self.opset)]
        nodes = [
            helper.make_node("Sigmoid", ["a"], ["s"]),
            helper.make_node("Mul", ["a", "s"], ["b"]),
        ]
        self.draft.functions.append(
            helper.make_function("own", "Silu", ["a"], ["b"], nodes, opsets)
        )
        self.put("Silu", x, size=shape, domain="own")

    def quantised(self, x: str, shape: Shape) -> None:
        if self.dtype is not np.float32 or self.opset < 13:
            return
        scale, zero = self.draft.const(0.02), self.draft.const(0, np.int8)
        y = self.draft.node("QuantizeLinear", x, scale, zero)
        self.put("DequantizeLinear", y, scale, zero, size=shape)

    # Whole networks

    def maps(self, rank: int) -> None:
        pick = self.random.choice
        side = {1: 12, 2: 8, 3: 4}[rank]
        self.feed(pick([1, 1, 2]), pick([1, 2, 3, 4, 8]), *(side,) * rank)
        steps = [self.conv] * 5 + [self.activate] * 3 + [
            self.norm, self.norm, self.pool, self.join, self.join, self.concat, self.excite,
            self.resize, self.pad, self.shuffle, self.last, self.scale, self.split, self.slice,
            self.copy, self.reduce, self.transposed_conv, self.branch, self.function,
            self.quantised]  # fmt: skip
        self.run(rank + 2, steps)
        x, shape = self.pick(rank + 2)
        if self.random.random() < 0.6:
            y = self.draft.node("Flatten", self.draft.node("GlobalAveragePool", x))
            self.live.append((y, (shape[0], shape[1])))
            self.dense(*self.live[-1])
        if self.random.random() < 0.2:
            self.put("Softmax", *self.live[-1][:1], size=self.live[-1][1])

    def sequences(self) -> None:
        self.feed(
            self.random.choice([1, 2]), self.random.choice([4, 7]), self.random.choice(CHANNELS)
        )
        steps = [self.matmul] * 3 + [
            self.mixed, self.attend, self.attend, self.layer_norm, self.layer_norm, self.recurrent,
            self.einsum, self.conv_between, self.activate, self.join, self.scale, self.reduce,
            self.copy, self.branch, self.function, self.slice]  # fmt: skip
        self.run(3, steps)

    def rows(self) -> None:
        self.feed(self.random.choice([1, 3, 8]), self.random.choice(CHANNELS))
        steps = [self.dense] * 3 + [
            self.matmul, self.mixed, self.turned_gemm, self.activate, self.activate, self.join,
            self.scale, self.split, self.copy, self.reduce, self.function,
            self.quantised]  # fmt: skip
        self.run(2, steps)

    def run(self, rank: int, steps: Sequence[Callable[[str, Shape], None]]) -> None:
        for _ in range(self.random.randint(2, 12)):
            self.random.choice(steps)(*self.pick(rank))
            if self.random.random() < 0.05:
                self.feed(*self.pick(rank)[1])

    def finish(self, name: str) -> Case:
        read = {reads for node in self.draft.nodes for reads in node.input}
        fed = {item.name for item in self.draft.inputs}
        loose = [tensor for tensor, _ in self.live if tensor not in read and tensor not in fed]
        outputs = loose[-3:] or [self.draft.node("Relu", self.live[-1][0])]
        inner = [tensor for tensor, _ in self.live if tensor not in fed and tensor not in outputs]
        if inner and self.random.random() < 0.3:
            outputs.append(self.random.choice(inner))
        if self.random.random() < 0.15:
            self.random.shuffle(self.draft.nodes)
        if self.random.random() < 0.15:
            for node in self.draft.nodes:
                node.name = ""
        if self.random.random() < 0.15:
            _store_in_nodes(self.draft)
        external = self.random.random() < 0.1
        case = self.draft.case(name, *outputs, external=external)
        if self.random.random() < 0.25:
            return _opened(case, self.random)
        return case


def _store_in_nodes(draft: Draft) -> None:
    """Weights as Constant nodes."""
    nodes = [helper.make_node("Constant", [], [item.name], value=item) for item in draft.inits]
    draft.nodes[:0] = nodes
    draft.inits.clear()


def _opened(case: Case, rng: random.Random) -> Case:
    """The same with an open first dimension of every input, under one of many names."""
    feeds = case.values()
    name = rng.choice(["batch", "N", "", "batch_size", "-1", "unk__0"])
    for item in case.model.graph.input:
        dim = item.type.tensor_type.shape.dim[0]
        size = dim.dim_value
        if size != 1:
            continue
        dim.Clear()
        if name == "-1":
            dim.dim_value = -1
        elif name:
            dim.dim_param = name
    return Case(name=case.name, model=case.model, feeds=feeds, external=case.external)


def names(count: int, seed: int = 0) -> list[str]:
    """Seeds as names."""
    return [str(seed * 1_000_000 + index) for index in range(count)]


def make(name: str) -> Case:
    """The network of one seed."""
    net = Net(int(name))
    way = net.random.choice(["1", "2", "2", "2", "3", "sequences", "sequences", "rows"])
    if way in {"sequences", "rows"} and net.random.random() < 0.1:
        net.dtype = np.float64  # the runtime has no convolutions of it
    if way == "sequences":
        net.sequences()
    elif way == "rows":
        net.rows()
    else:
        net.maps(int(way))
    return net.finish(name)

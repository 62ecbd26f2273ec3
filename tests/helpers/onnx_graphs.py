"""ONNX graphs with real weights, written step by step or drawn at random, and a law of costs."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from costmodel.device import Device
from costmodel.op import CONV_KINDS, MATMUL_KINDS, SESSION
from costmodel.protocols import Prices, Unit

SIDE = 6


class Graph:
    """Collects nodes; every tensor is ``(1, channels, side, side)`` until a head is added."""

    def __init__(self, seed=0, *, opset=17, batch=1):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.constants, self.outputs = [], [], []
        self.opset = opset
        self.inputs = [
            helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])
        ]
        self.sizes = {"image": (1, 3, SIDE, SIDE)}

    def constant(self, value, dtype=np.float32):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype=dtype), name))
        return name

    def integers(self, *values):
        return self.constant(values, np.int64)

    def normal(self, *shape):
        fan = max(1, prod(shape[1:]))
        return self.constant(self.rng.standard_normal(shape) * sqrt(2.0 / fan))

    def positive(self, *shape):
        return self.constant(self.rng.uniform(0.5, 1.5, shape))

    def nodes_of(self, kind, *reads, sizes, **attributes):
        stem = f"{kind.lower()}{len(self.nodes)}"
        names = [stem] if len(sizes) == 1 else [f"{stem}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node(kind, reads, names, name=stem, **attributes))
        self.sizes.update(zip(names, sizes, strict=True))
        return names

    def node(self, kind, *reads, size=None, **attributes):
        size = self.sizes[reads[0]] if size is None else size
        return self.nodes_of(kind, *reads, sizes=[size], **attributes)[0]

    def width(self, name):
        return self.sizes[name][1]

    def conv(self, name, out, *, kernel=3, groups=1, bias=True):
        weight = self.normal(out, self.width(name) // groups, kernel, kernel)
        reads = (name, weight, self.normal(out)) if bias else (name, weight)
        size = (1, out, *self.sizes[name][2:])
        pads = [kernel // 2] * 4
        return self.node("Conv", *reads, size=size, group=groups, pads=pads)

    def depthwise(self, name, times=1):
        return self.conv(name, self.width(name) * times, groups=self.width(name))

    def transposed(self, name, out, *, groups=1):
        weight = self.normal(self.width(name), out // groups, 3, 3)
        size = (1, out, *self.sizes[name][2:])
        reads = (name, weight, self.normal(out))
        return self.node("ConvTranspose", *reads, size=size, group=groups, pads=[1, 1, 1, 1])

    def batch_norm(self, name):
        width = self.width(name)
        values = self.positive(width), self.normal(width), self.normal(width), self.positive(width)
        return self.node("BatchNormalization", name, *values)

    def gate(self, name, inner):
        """Squeeze and excite."""
        width = self.width(name)
        pooled = self.node("GlobalAveragePool", name, size=(1, width, 1, 1))
        low = self.node("Relu", self.conv(pooled, inner, kernel=1))
        high = self.node("Sigmoid", self.conv(low, width, kernel=1))
        return self.node("Mul", name, high)

    def concat(self, *names):
        total = sum(self.width(name) for name in names)
        return self.node("Concat", *names, size=(1, total, *self.sizes[names[0]][2:]), axis=1)

    def shuffle(self, name, parts):
        _, width, *sides = self.sizes[name]
        split = (1, parts, width // parts, *sides)
        made = self.node("Reshape", name, self.integers(*split), size=split)
        turned = (1, width // parts, parts, *sides)
        mixed = self.node("Transpose", made, size=turned, perm=[0, 2, 1, 3, 4])
        return self.node("Reshape", mixed, self.integers(1, width, *sides), size=(1, width, *sides))

    def flat(self, name, how="Flatten"):
        count = prod(self.sizes[name])
        if how == "Flatten":
            return self.node("Flatten", name, size=(1, count))
        if how == "fixed":
            return self.node("Reshape", name, self.integers(1, count), size=(1, count))
        if how == "rest":
            return self.node("Reshape", name, self.integers(0, -1), size=(1, count))
        shape = self.node("Shape", name, size=(4,))
        batch = self.node("Gather", shape, self.integers(0), size=(1,), axis=0)
        last = self.integers(count if how == "computed" else -1)
        target = self.node("Concat", batch, last, size=(2,), axis=0)
        return self.node("Reshape", name, target, size=(1, count))

    def dense(self, name, out, *, turned=False, product=False):
        width = self.sizes[name][-1]
        if product:
            made = self.node("MatMul", name, self.normal(width, out), size=(1, out))
            return self.node("Add", made, self.normal(out))
        weight = self.normal(out, width) if turned else self.normal(width, out)
        return self.node("Gemm", name, weight, self.normal(out), size=(1, out), transB=int(turned))

    def model(self, *outputs):
        infos = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * len(self.sizes[name]))
            for name in outputs
        ]
        graph = helper.make_graph(self.nodes, "net", self.inputs, infos, self.constants)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        onnx.checker.check_model(model)
        return model


def bottleneck(width=13, inner=27, *, out=10):
    """Two residual blocks of odd widths."""
    graph = Graph()
    stream = graph.node("Relu", graph.batch_norm(graph.conv("image", width)))
    for _ in range(2):
        deep = graph.node("Relu", graph.depthwise(graph.conv(stream, inner, kernel=1)))
        stream = graph.node("Add", graph.conv(deep, width, kernel=1), stream)
    pooled = graph.node("GlobalAveragePool", stream, size=(1, width, 1, 1))
    return graph.model(graph.dense(graph.flat(pooled), out))


class Drawing(Graph):
    """A graph whose next step is drawn."""

    def __init__(self, draw):
        super().__init__(seed=draw(st.integers(0, 99)))
        self.draw = draw
        self.open = ["image"]

    def pick(self, *, wanted=None):
        names = [n for n in self.open[-5:] if wanted is None or wanted(self.width(n))]
        return self.draw(st.sampled_from(names)) if names else None

    def odd(self):
        return self.draw(st.sampled_from([3, 5, 7, 9, 13]))

    def step(self):
        name = self.draw(st.sampled_from([n for n in dir(self) if n.startswith("draw_")]))
        made = getattr(self, name)()
        if made is not None:
            self.open.append(made)

    def draw_conv(self):
        return self.conv(self.pick(), self.odd(), kernel=self.draw(st.sampled_from([1, 3])))

    def draw_transposed(self):
        return self.transposed(self.pick(), self.odd())

    def draw_grouped(self):
        parts = self.draw(st.sampled_from([2, 3]))
        name = self.pick(wanted=lambda width: width % parts == 0 and width > parts)
        kind = self.draw(st.sampled_from([self.conv, self.transposed]))
        return name and kind(name, parts * self.odd(), groups=parts)

    def draw_depthwise(self):
        name = self.pick(wanted=lambda width: 1 < width < 14)
        return name and self.depthwise(name, self.draw(st.sampled_from([1, 2])))

    def draw_norm(self):
        return self.batch_norm(self.pick())

    def draw_instance_norm(self):
        name = self.pick()
        width = self.width(name)
        reads = name, self.positive(width), self.normal(width)
        return self.node("InstanceNormalization", *reads)

    def draw_activation(self):
        kinds = ["Relu", "Sigmoid", "HardSwish", "Softplus", "Exp", "LeakyRelu", "Tanh"]
        made = self.node(self.draw(st.sampled_from(kinds)), self.pick())
        return self.node("Tanh", made)  # so that nothing grows without bound

    def draw_prelu(self):
        name = self.pick()
        return self.node("PRelu", name, self.positive(self.width(name), 1, 1))

    def draw_constant(self):
        name = self.pick()
        kind = self.draw(st.sampled_from(["Add", "Sub", "Mul", "Div", "Max"]))
        width = self.width(name)
        shapes = [(), (1, 1, 1), (SIDE,), (width, 1, 1), (1, width, 1, SIDE)]
        shape = self.draw(st.sampled_from(shapes))
        return self.node(kind, name, self.positive(*shape))

    def draw_join(self):
        first = self.pick()
        other = self.pick(wanted=lambda width: width == self.width(first))
        return self.node(self.draw(st.sampled_from(["Add", "Mul", "Max"])), first, other)

    def draw_residual(self):
        name = self.pick()
        inner = self.node("Relu", self.conv(name, self.odd()))
        return self.node("Add", self.conv(inner, self.width(name), kernel=1), name)

    def draw_gate(self):
        return self.gate(self.pick(), self.odd())

    def draw_concat(self):
        return self.concat(*(self.pick() for _ in range(self.draw(st.integers(2, 3)))))

    def draw_slice(self):
        name = self.pick()
        start = self.draw(st.integers(0, self.width(name) - 1))
        end = self.draw(st.integers(start + 1, self.width(name)))
        operands = [self.integers(value) for value in (start, end, 1)]
        return self.node("Slice", name, *operands, size=(1, end - start, SIDE, SIDE))

    def draw_split(self):
        name = self.pick(wanted=lambda width: width % 2 == 0)
        if name is None:
            return None
        half = self.width(name) // 2
        said = self.draw(st.booleans())
        reads = (name, self.integers(half, half)) if said else (name,)
        first, second = self.nodes_of("Split", *reads, sizes=[(1, half, SIDE, SIDE)] * 2, axis=1)
        self.open.append(first)
        return second

    def draw_pad(self):
        name = self.pick(wanted=lambda width: width < 14)
        if name is None:
            return None
        pads = self.integers(0, 1, 0, 0, 0, 2, 0, 0)
        return self.node("Pad", name, pads, size=(1, self.width(name) + 3, SIDE, SIDE))

    def draw_shuffle(self):
        name = self.pick(wanted=lambda width: width % 2 == 0)
        return name and self.shuffle(name, 2)

    def draw_resize(self):
        name = self.pick()
        size = self.sizes[name]
        if self.draw(st.booleans()):
            return self.node("Resize", name, "", "", self.integers(*size))
        return self.node("Resize", name, "", self.constant([1.0, 1.0, 1.0, 1.0]))

    def head(self):
        read = {name for node in self.nodes for name in node.input}
        loose = [name for name in dict.fromkeys(self.open) if name not in read]
        last = self.concat(*loose)  # all of them: what nobody reads is not written again
        if self.draw(st.booleans()):
            last = self.node("GlobalAveragePool", last, size=(1, self.width(last), 1, 1))
        ways = ["Flatten", "fixed", "rest", "computed", "computed rest"]
        flat = self.flat(last, self.draw(st.sampled_from(ways)))
        hidden = self.node("Relu", self.dense(flat, self.odd(), turned=self.draw(st.booleans())))
        return self.dense(hidden, 3, product=self.draw(st.booleans()))


@st.composite
def drawn_models(draw):
    """A small network with all that a convolutional one may have."""
    drawing = Drawing(draw)
    drawing.open = [drawing.conv("image", drawing.odd())]
    for _ in range(draw(st.integers(2, 8))):
        drawing.step()
    outputs = [drawing.head()]
    if draw(st.booleans()):
        outputs.append(drawing.conv(drawing.pick(), 5, kernel=1))
    return drawing.model(*outputs)


DEVICE = Device(name="board", runtime="onnxruntime", provenance="estimated")


def up(width, block):
    return -(-width // block) * block


class Blocks:
    """A device that works on blocks of channels and is slow at widths that are no multiple of 4."""

    unit: Unit = "ms"
    name = "blocks"
    device = DEVICE

    def __init__(self, *, block=16, slow=2.0, unknown=lambda _: False):
        self.block = block
        self.slow = slow
        self.unknown = unknown

    def price(self, ops):
        values = np.array([self._ms(op) for op in ops])
        missing = {i: "nobody knows" for i, value in enumerate(values) if np.isnan(value)}
        return Prices(values=values, low=values, high=values, reasons=missing)

    def _ms(self, op):
        if self.unknown(op):
            return float("nan")
        if op.kind == SESSION:
            return 0.001
        if op.kind in CONV_KINDS or op.kind in MATMUL_KINDS:
            read, written = op.in_channels, op.out_channels
            whole = up(written, self.block) * (1 if op.is_depthwise else up(read, self.block))
            slow = self.slow if written % 4 else 1.0
            return 1e-6 * slow * whole * prod(op.spatial_out) * prod(op.kernel)
        return 1e-7 * sum(prod(size) for size in op.outputs)


def widths(model):
    """Sizes of the stored constants, largest first."""
    return sorted((tuple(item.dims) for item in model.graph.initializer), key=prod, reverse=True)

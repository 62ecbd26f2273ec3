"""Turns a float network into a quantised one, as ONNX Runtime's own tool would (QDQ format).

Tensors that an integer kernel could read or write get a QuantizeLinear and a DequantizeLinear; the
runtime then fuses what lies between them into integer kernels, and what it cannot fuse runs in
float with conversions around it, which are Ops as any other. Chosen as the runtime's documentation
advises for x86-64: activations ``uint8`` with a zero point, weights ``int8`` symmetric with one
scale per output channel (U8S8), biases ``int32``. TensorRT takes symmetric
``int8`` activations only.

Activation scales are numbers made up here, all different: no kernel's time depends on their values,
but two tensors of equal scale can save a kernel its rescaling, which real networks seldom have.

Unlike ``onnxruntime.quantization.quantize_static``, normalisations that could not be folded into a
convolution stay float, as do Gather, Where, ArgMax and TopK; what pads is a setting; and a kernel
that passes values on is quantised wherever any reader of its operand is, however the nodes are
ordered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from costmodel.onnx_model.walk import node_reads

#: Operators whose operands and results are all quantised.
QUANTISED = frozenset(
    {"Add", "AveragePool", "Clip", "Concat", "Conv", "ConvTranspose", "Flatten", "Gemm"}
    | {"GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "Relu", "Reshape"}
    | {"Resize", "Sigmoid", "Slice", "Softmax", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
#: Of these, the ones that pass values on: their results are in their first operand's scale, and
#: they are quantised only where that operand is.
DIRECT = frozenset(
    {"AveragePool", "Flatten", "MaxPool", "Reshape", "Resize", "Slice", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)
#: The same for operators that quantise their operand themselves.
_SAME_SCALE = DIRECT | {"Pad", "Split"}
#: Activations that a quantised result's range already applies; seen only after one reader.
_REMOVABLE = frozenset({"Clip", "Relu"})
#: Operators whose second operand is a weight with a scale per output channel.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_POSITIVE = frozenset({"Clip", "Relu", "Sigmoid", "Softmax"})
#: Operators of a network that somebody has quantised before.
INTEGER = frozenset({"ConvInteger", "DequantizeLinear", "MatMulInteger", "QLinearConv"}) | {
    "QGemm",
    "QLinearAdd",
    "QLinearMatMul",
    "QuantizeLinear",
}
#: Scales, all so small that no quantised result exceeds the bounds of a ReLU6 before it.
_STEP, _STEP_GROWTH, _STEPS = 0.015, 0.003, 100
_INT32_MOST = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    """Names of the stored scale and zero point of one activation, and the scale's value."""

    scale: str
    zero: str
    step: float


def is_quantised(model: onnx.ModelProto) -> bool:
    """Whether a network holds integer kernels or conversions already."""
    return any(node.op_type in INTEGER for node in model.graph.node)


def quantise(model: onnx.ModelProto, *, symmetric: bool = False) -> None:
    """Insert conversions around everything that has an integer kernel, in place.

    Args:
        model: of operator set 13 or newer, constants folded, with the types of its tensors.
        symmetric: signed activations without a zero point.
    """
    _Quantiser(model.graph, symmetric=symmetric).run()


@dataclass(slots=True, eq=False, kw_only=True)
class _Wanted:
    """What is to be quantised.

    Attributes:
        activations: tensors, each with the one whose scale it has; itself if that is its own.
        weights: stored tensors, each with the axis of its output channels.
    """

    activations: dict[str, str] = field(default_factory=dict)
    weights: dict[str, int] = field(default_factory=dict)


class _Quantiser:
    """Plans on the whole graph, then rewrites it."""

    def __init__(self, graph: onnx.GraphProto, *, symmetric: bool) -> None:
        self.graph = graph
        self.symmetric = symmetric
        self.stored = {item.name: item for item in graph.initializer}
        self.outputs = {item.name for item in graph.output}
        self.inputs = {item.name for item in graph.input} - set(self.stored)
        self.floats = self._floats()
        self.readers = self._count_readers()
        self.wanted = _Wanted()
        self.positive: set[str] = set()
        self.made: list[onnx.NodeProto] = []
        self.scales: dict[str, _Scale] = {}
        #: Names that results of the model have before they are quantised and restored.
        self.renamed: dict[str, str] = {}

    def run(self) -> None:
        """Quantise the graph."""
        known = -1
        while known != len(self.wanted.activations):  # a later reader may have wanted a tensor
            known = len(self.wanted.activations)
            for node in list(self.graph.node):
                self._plan(node)
        nodes = list(self.graph.node)
        for index, node in enumerate(nodes):
            self._rewire(index, node)
        for name in [n for n in self.outputs if n in self.wanted.activations]:
            self._returned(name, nodes)
        before = [self._pair(name) for name in self.wanted.activations if name in self.inputs]
        del self.graph.node[:]
        self.graph.node.extend(self.made)
        self.graph.node.extend(node for pair in before for node in pair)
        for node in nodes:
            self.graph.node.append(node)
            for written in node.output:
                name = self.renamed.get(written, written)
                if name in self.wanted.activations:
                    self.graph.node.extend(self._pair(name, source=written))
        self._drop_unread()

    def _count_readers(self) -> dict[str, int]:
        count: dict[str, int] = dict.fromkeys(self.outputs, 1)
        for node in self.graph.node:
            for name in node.input:
                count[name] = count.get(name, 0) + 1
            for name in set(node_reads(node)) - set(node.input):  # graphs inside keep their names
                count[name] = count.get(name, 0) + 2
        return count

    def _floats(self) -> set[str]:
        graph = self.graph
        infos: Iterable[onnx.ValueInfoProto] = (*graph.input, *graph.output, *graph.value_info)
        found = {i.name for i in infos if i.type.tensor_type.elem_type == TensorProto.FLOAT}
        return found | {n for n, i in self.stored.items() if i.data_type == TensorProto.FLOAT}

    def _plan(self, node: onnx.NodeProto) -> None:
        if node.op_type in _POSITIVE:
            self.positive.add(node.output[0])
        if not _is_quantised(node) or node.output[0] not in self.floats:
            return
        first = node.input[0]
        if node.op_type in DIRECT | _REMOVABLE and first not in self.wanted.activations:
            return
        if node.op_type in _REMOVABLE and self._replace(node):
            return
        for index, name in enumerate(node.input):
            if name in self.floats and not self._is_setting(node, index):
                self._want_operand(node, index, name)
        same = node.op_type in _SAME_SCALE and not self._pads_otherwise(node)
        for name in filter(None, node.output):
            if same:
                self.wanted.activations[name] = first
            else:
                self.wanted.activations.setdefault(name, name)

    def _want_operand(self, node: onnx.NodeProto, index: int, name: str) -> None:
        if name not in self.stored:
            self.wanted.activations.setdefault(name, name)
        elif node.op_type in _WEIGHTED and index == 1:
            self.wanted.weights.setdefault(name, _channel_axis(node, self.stored[name]))
        elif node.op_type in _WEIGHTED and index == 2:
            pass  # biases are quantised where they are read: their scale is their node's
        else:
            self.wanted.activations.setdefault(name, name)

    @staticmethod
    def _is_setting(node: onnx.NodeProto, index: int) -> bool:
        return index > 0 and node.op_type in {"Clip", "Pad", "Resize"}

    def _pads_otherwise(self, node: onnx.NodeProto) -> bool:
        """Whether a Pad writes a constant that its operand's scale may not hold."""
        if node.op_type != "Pad":
            return False
        mode = next((item.s for item in node.attribute if item.name == "mode"), b"constant")
        if mode != b"constant" or len(node.input) < 3 or not node.input[2]:
            return False
        value = self.stored.get(node.input[2])
        return value is None or bool(numpy_helper.to_array(value).any())

    def _replace(self, node: onnx.NodeProto) -> bool:
        """Let the kernel before a Relu or Clip write its result, if nothing else reads it."""
        source, target = node.input[0], node.output[0]
        alone = self.readers.get(source) == 1 and source not in self.inputs
        if not alone or self.wanted.activations[source] != source:
            return False  # read elsewhere too, or in the scale of what it was made from
        for other in self.graph.node:
            if source in other.output:
                other.output[list(other.output).index(source)] = target
                break
        self.graph.node.remove(node)
        del self.wanted.activations[source]
        self.wanted.activations[target] = target
        return True

    def _rewire(self, index: int, node: onnx.NodeProto) -> None:
        """Let a node read what was quantised and restored."""
        quantised = _is_quantised(node)
        for position, name in enumerate(node.input):
            if name in self.wanted.activations and not self._is_setting(node, position):
                if name in self.stored:
                    node.input[position] = self._constant(name) if quantised else name
                else:
                    node.input[position] = f"{name}_dequantized"
            elif quantised and name in self.wanted.weights and position == 1:
                node.input[position] = self._weight(name)
            elif quantised and node.op_type in _WEIGHTED and position == 2 and name in self.stored:
                node.input[position] = self._bias(node, name, index)

    def _returned(self, name: str, nodes: Iterable[onnx.NodeProto]) -> None:
        """The caller gets the restored tensor under the output's own name."""
        for node in nodes:
            for position, written in enumerate(node.output):
                if written == name:
                    node.output[position] = f"{name}_float"
                    self.renamed[f"{name}_float"] = name
            for position, read in enumerate(node.input):
                if read == f"{name}_dequantized":
                    node.input[position] = name

    def _pair(self, name: str, source: str = "") -> list[onnx.NodeProto]:
        scale = self._scale(name)
        inner = f"{name}_quantized"
        restored = name if name in self.outputs else f"{name}_dequantized"
        constants = [scale.scale, scale.zero]
        pair = [
            helper.make_node(
                "QuantizeLinear", [source or name, *constants], [inner], name=f"{name}_to_int8"
            )
        ]
        if name in self.outputs or self.readers.get(name):
            pair.append(
                helper.make_node(
                    "DequantizeLinear", [inner, *constants], [restored], name=f"{name}_to_float"
                )
            )
        return pair

    def _scale(self, name: str) -> _Scale:
        owner = name
        while self.wanted.activations[owner] != owner:
            owner = self.wanted.activations[owner]
        if owner not in self.scales:
            step = _STEP * (1 + _STEP_GROWTH * (len(self.scales) % _STEPS))
            offset = 0 if owner in self.positive or self.symmetric else 128
            zero = np.asarray(offset, dtype=np.int8 if self.symmetric else np.uint8)
            self.scales[owner] = _Scale(
                scale=self._store(f"{owner}_scale", np.asarray(step, dtype=np.float32)),
                zero=self._store(f"{owner}_zero_point", zero),
                step=step,
            )
        return self.scales[owner]

    def _constant(self, name: str) -> str:
        """A stored operand that is no weight, quantised as an activation."""
        restored = f"{name}_dequantized"
        if any(restored in node.output for node in self.made):
            return restored
        values = numpy_helper.to_array(self.stored[name])
        low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
        kind: type[np.integer[Any]] = np.int8 if self.symmetric else np.uint8
        step = max((high - low) / 255, 1e-8)
        zero = round(-low / step)
        if self.symmetric:
            step, zero = max(high, -low, 1e-8) / 127, 0
        bounds = np.iinfo(kind)
        stored = np.clip(np.rint(values / step) + zero, bounds.min, bounds.max)
        return self._restore(name, stored.astype(kind), np.float32(step), np.asarray(zero, kind))

    def _weight(self, name: str) -> str:
        restored = f"{name}_dequantized"
        if any(restored in node.output for node in self.made):
            return restored
        values = numpy_helper.to_array(self.stored[name])
        axis = self.wanted.weights[name]
        others = tuple(i for i in range(values.ndim) if i != axis)
        most = np.abs(values).max(axis=others) if values.size else np.ones(values.shape[axis])
        scale = np.where(most > 0, most / 127, 1.0).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        stored = np.clip(np.rint(values / scale.reshape(shape)), -127, 127).astype(np.int8)
        zero = np.zeros(scale.shape, dtype=np.int8)
        return self._restore(name, stored, scale, zero, axis=axis)

    def _bias(self, node: onnx.NodeProto, name: str, index: int) -> str:
        """A bias in the scale of its node's products; any other would need a rescaling."""
        weight = node.input[1].removesuffix("_dequantized")
        factors = self.stored.get(f"{weight}_scale")
        data = node.input[0].removesuffix("_dequantized")
        values = numpy_helper.to_array(self.stored[name])
        if factors is None or data not in self.wanted.activations:
            return name
        steps = numpy_helper.to_array(factors) * np.float32(self._scale(data).step)
        if values.ndim != 1 or values.shape != steps.shape:
            if values.size != steps.size:
                return name
            values = values.reshape(-1)
        stored = np.clip(np.rint(values / steps.astype(np.float64)), -_INT32_MOST, _INT32_MOST)
        zero = np.zeros(steps.shape, dtype=np.int32)
        own = f"{name}_{index}"
        return self._restore(own, stored.astype(np.int32), steps.astype(np.float32), zero, axis=0)

    def _restore(
        self, name: str, *values: NDArray[np.generic] | np.generic, **settings: int
    ) -> str:
        """Store values with their scale and zero point; the name of what is restored from them."""
        parts = ("quantized", "scale", "zero_point")
        operands = [
            self._store(f"{name}_{part}", np.asarray(item))
            for part, item in zip(parts, values, strict=True)
        ]
        restored = f"{name}_dequantized"
        self.made.append(
            helper.make_node(
                "DequantizeLinear", operands, [restored], name=f"{name}_to_float", **settings
            )
        )
        return restored

    def _store(self, name: str, values: NDArray[np.generic]) -> str:
        item = numpy_helper.from_array(values, name)
        self.stored[name] = item
        self.graph.initializer.append(item)
        return name

    def _drop_unread(self) -> None:
        read = {name for node in self.graph.node for name in node_reads(node)} | self.outputs
        kept = [item for item in self.graph.initializer if item.name in read]
        del self.graph.initializer[:]
        self.graph.initializer.extend(kept)
        del self.graph.value_info[:]


def _is_quantised(node: onnx.NodeProto) -> bool:
    return node.op_type in QUANTISED and node.domain in {"", "ai.onnx"}


def _channel_axis(node: onnx.NodeProto, weight: onnx.TensorProto) -> int:
    """Axis of a weight's output channels."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        flag = next((item.i for item in node.attribute if item.name == "transB"), 0)
        return 0 if flag else 1
    return max(0, len(weight.dims) - 1) if node.op_type == "MatMul" else 1

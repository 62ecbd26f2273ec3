"""Writes ONNX graphs of many small independent parts, with cheap random weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import prod, sqrt

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from costmodel.op import Shape

#: Opset of every written graph.
OPSET = 17
#: File version of every written graph; the oldest that holds ``OPSET``.
IR_VERSION = 8
#: Random numbers that all weights are cut from.
_POOL = 1 << 18


@cache
def _pool() -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(_POOL, dtype=np.float32)


class GraphWriter:
    """Collects nodes; weights of one shape are one tensor, shared by all that ask for it.

    Lowering reads shapes and kernels, never results, so that weights need only look like real ones:
    normal, and scaled by He's rule so that no value grows or dies.

    Args:
        shared: False gives every layer weights of its own, for a network that is to be timed: where
            its weights come from is part of its time.
    """

    def __init__(self, *, shared: bool = True) -> None:
        """Start an empty graph."""
        self._shared = shared
        self._pool = _pool()
        # Written into the model at once: each copy of hundreds of MB of weights takes its time.
        self._model = onnx.ModelProto(ir_version=IR_VERSION)
        self._model.opset_import.append(helper.make_opsetid("", OPSET))
        self._graph = self._model.graph
        self._graph.name = "probes"
        self._constants: dict[str, onnx.TensorProto] = {}
        self._tensors = 0

    def feed(self, name: str, shape: Shape, *, dtype: int = TensorProto.FLOAT) -> str:
        """A graph input; returns its name."""
        self._graph.input.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def weight(self, shape: Shape) -> str:
        """A normal constant with He's variance for a fan-in of ``prod(shape[1:])``."""
        name = self._named("weight", shape)
        if name not in self._constants:
            scale = np.float32(sqrt(2.0 / max(1, prod(shape[1:]))))
            self._fill(name, shape, self._pool[: prod(shape)] * scale)
        return name

    def _fill(self, name: str, shape: Shape, values: NDArray[np.float32]) -> None:
        """Keep a constant of some values, repeated where they are too few."""
        tensor = self._graph.initializer.add(name=name, data_type=TensorProto.FLOAT, dims=shape)
        whole, rest = divmod(prod(shape), max(1, values.size))
        tensor.raw_data = b"".join([values.tobytes()] * whole + [values[:rest].tobytes()])
        self._constants[name] = tensor

    def _named(self, what: str, shape: Shape) -> str:
        name = f"{what}_" + "x".join(map(str, shape))
        return name if self._shared else f"{name}_{self._fresh()}"

    def overridable(self, shape: Shape) -> str:
        """A weight that is a graph input too, as old exporters write it: no runtime may fold it."""
        name = f"default_{self._fresh()}"
        shared = self._constants[self.weight(shape)]
        mine = self._graph.initializer.add()
        mine.CopyFrom(shared)
        mine.name = name
        self._constants[name] = mine
        return self.feed(name, shape)

    def positive(self, shape: Shape) -> str:
        """A constant between 0.5 and about 5: variances, scales, slopes, divisors."""
        name = self._named("positive", shape)
        if name not in self._constants:
            self._fill(name, shape, np.abs(self._pool[: prod(shape)]) + np.float32(0.5))
        return name

    def integers(self, values: Sequence[int]) -> str:
        """A constant vector of int64: axes, sizes, pads."""
        return self._kept("integers_" + "_".join(map(str, values)), np.array(values, np.int64))

    def floats(self, values: Sequence[float]) -> str:
        """A constant vector of float32: resize scales."""
        return self._kept("floats_" + "_".join(map(str, values)), np.array(values, np.float32))

    def scalar(self, value: float) -> str:
        """A constant without axes: clip bounds."""
        return self._kept(f"scalar_{value}", np.array(value, np.float32))

    def index(self, value: int) -> str:
        """A constant of int64 without axes: the one place that is gathered."""
        return self._kept(f"index_{value}", np.array(value, np.int64))

    def _kept(self, name: str, array: NDArray[np.generic]) -> str:
        if name not in self._constants:
            self._graph.initializer.append(numpy_helper.from_array(array, name))
            self._constants[name] = self._graph.initializer[-1]
        return name

    def node(self, kernel: str, *inputs: str, **attributes: object) -> str:
        """Add a node with one output; returns the output's name."""
        return self.nodes(kernel, *inputs, outputs=1, **attributes)[0]

    def nodes(
        self, kernel: str, *inputs: str, outputs: int, **attributes: object
    ) -> tuple[str, ...]:
        """Add a node with several outputs; returns their names."""
        stem = self._fresh()
        names = tuple(f"t{stem}_{i}" for i in range(outputs))
        node = helper.make_node(kernel, inputs, names, name=f"{kernel}_{stem}", **attributes)
        self._graph.node.append(node)
        return names

    def result(self, name: str, shape: Shape | None = None) -> None:
        """Make a tensor a graph output.

        Args:
            name: the tensor.
            shape: its sizes, if it is of float32; else both are left to inference.
        """
        output = onnx.ValueInfoProto(name=name)
        if shape is not None:
            output = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self._graph.output.append(output)

    def model(self) -> onnx.ModelProto:
        """The model as far as it is written."""
        return self._model

    def _fresh(self) -> int:
        self._tensors += 1
        return self._tensors

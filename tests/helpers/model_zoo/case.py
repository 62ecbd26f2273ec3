"""One model of the zoo, with what it is fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An ONNX model.

    Attributes:
        name: unique within its family.
        model: what is written to the file.
        feeds: values of inputs that may not be arbitrary numbers, or whose sizes are open.
        sizes: the open dimensions, as a user binds them.
        external: whether weights go into a file beside it, those in Constant nodes as well.
    """

    name: str
    model: onnx.ModelProto
    feeds: Mapping[str, Any] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    external: bool = False

    def save(self, folder: Path) -> Path:
        """Write the file; its path."""
        path = folder / "model.onnx"
        copy = onnx.ModelProto()
        copy.CopyFrom(self.model)
        options: dict[str, Any] = {}
        if self.external:
            options = {
                "save_as_external_data": True,
                "location": "model.data",
                "size_threshold": 200,
                "convert_attribute": True,
            }
        onnx.save(copy, str(path), **options)
        return path

    def values(self) -> dict[str, Any]:
        """Something for every input, the same every time."""
        stored = {item.name for item in self.model.graph.initializer}
        rng = np.random.default_rng(0)
        return {
            item.name: self.feeds[item.name] if item.name in self.feeds else _value(item, rng)
            for item in self.model.graph.input
            if item.name not in stored
        }


def _value(item: onnx.ValueInfoProto, rng: np.random.Generator) -> Any:
    """Random numbers of an input's type and size; an open dimension is 1."""
    kind = item.type.tensor_type
    shape = [max(1, dim.dim_value) for dim in kind.shape.dim]
    if kind.elem_type == TensorProto.STRING:
        return np.full(shape, "a", dtype=object)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    if dtype == np.bool_:
        return np.ones(shape, dtype=dtype)
    if np.issubdtype(dtype, np.integer):
        return rng.integers(0, 2, shape).astype(dtype)
    return rng.uniform(0.1, 0.9, shape).astype(dtype)


class Draft:
    """A model under construction; methods add a node and return the tensor it writes."""

    def __init__(self, opset: int = 17, seed: int = 0) -> None:
        self.opset = opset
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.inits: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.feeds: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}

    def feed(self, *shape: int | str, dtype: Any = np.float32, value: Any = None) -> str:
        """A new input."""
        name = f"x{len(self.inputs)}" if self.inputs else "x"
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        if value is not None:
            self.feeds[name] = np.asarray(value, dtype=dtype)
            shape = shape or self.feeds[name].shape
        self.inputs.append(helper.make_tensor_value_info(name, kind, list(shape)))
        return name

    def const(self, value: Any, dtype: Any = np.float32) -> str:
        """A stored tensor."""
        name = f"c{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(np.asarray(value).astype(dtype), name))
        return name

    def weight(self, *shape: int, dtype: Any = np.float32) -> str:
        """A stored tensor of small random numbers."""
        return self.const(self.rng.uniform(0.1, 0.5, shape), dtype)

    def ints(self, *values: int) -> str:
        """A stored list of whole numbers."""
        return self.const(values, np.int64)

    def node(self, kind: str, *reads: str, writes: int = 1, **attributes: Any) -> str:
        """A node, ``domain`` among its attributes; its first output."""
        domain = str(attributes.pop("domain", ""))
        name = f"{kind}_{len(self.nodes)}"
        names = [f"{name}.{index}" for index in range(writes)]
        self.nodes.append(
            helper.make_node(kind, list(reads), names, name=name, domain=domain, **attributes)
        )
        return names[0]

    def conv(self, x: str, cin: int, cout: int, kernel: int = 3, rank: int = 2, **more: Any) -> str:
        """A convolution that keeps the sizes unless ``more`` says otherwise."""
        groups = more.pop("group", 1)
        dtype = more.pop("dtype", np.float32)
        if "auto_pad" not in more:
            more.setdefault("pads", [kernel // 2] * 2 * rank)
        weight = self.weight(cout, cin // groups, *(kernel,) * rank, dtype=dtype)
        return self.node("Conv", x, weight, self.weight(cout, dtype=dtype), group=groups, **more)

    def case(self, name: str, *outputs: str, ir: int = 0, **more: Any) -> Case:
        """The case that returns ``outputs``."""
        infos = [onnx.ValueInfoProto(name=item) for item in outputs]
        graph = helper.make_graph(self.nodes, "g", self.inputs, infos, self.inits)
        domains = {node.domain for node in self.nodes} | {
            item.domain for function in self.functions for item in function.opset_import
        }
        versions = {"ai.onnx.ml": 5} if self.opset >= 18 else {"ai.onnx.ml": 2}
        imports = [helper.make_opsetid("", self.opset)]
        imports += [
            helper.make_opsetid(domain, versions.get(domain, 1))
            for domain in sorted(domains - {""})
        ]
        model = helper.make_model(
            graph,
            opset_imports=imports,
            functions=self.functions,
            ir_version=ir or (8 if self.opset < 21 else 10),
        )
        return Case(name=name, model=model, feeds=self.feeds, sizes=self.sizes, **more)

"""Rebuilds one Op as a graph of its own: the same kernel, in the same layout, R times over."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from costmodel.errors import UnsupportedOpError
from costmodel.onnx_model.nodes import OPSET
from costmodel.op import CONV_KINDS, POOL_KINDS, SESSION, Constant, Op, Shape, Slot
from costmodel.runners.ort.bound import MAX_BYTES, aligned
from costmodel.runners.ort.integer import has_parameters, parameters
from costmodel.runners.ort.operands import PROVIDER
from costmodel.runners.ort.session import random_input
from costmodel.runners.ort.weights import (
    OUTPUT_DTYPE,
    POOL_SIZE,
    WEIGHT_DTYPES,
    element_of,
    weight_dtypes,
    weight_view,
)

_IR = 8
#: Activations that the replicas of one run move through together. In a network a kernel's input was
#: written, and its output last used, a few kernels ago: a near cache's worth of other data lies
#: between. Whole networks over their sums of kernels spread by 10 % with none of it, by 6 % with
#: this; with twice as much the sums came out 10 % too high.
TURN_BYTES = 4 << 20
#: What lies between in a network also grows with the kernel, whose neighbours are as large: about
#: so many times what it moves itself. Concatenations and maps of 6 MiB took 2 to 4 times as long
#: in networks as alone, where they stayed in the last cache.
_NEIGHBOURS = 5
#: More than any cache that one thread gets; beyond it nothing becomes colder.
_FAR_BYTES = 128 << 20
#: Most buffers that one operand takes turns in.
_MAX_TURNS = 32
#: Kernels that only relabel memory: timed in a chain that goes there and back.
RELABEL = frozenset({"reshape", "flatten", "squeeze", "unsqueeze"})
#: Elementwise kernels work in place in a network, so their replicas form chains, one for each turn.
_NO_CHAIN = frozenset({"gather", "slice", "pad", "concat", "transpose", "resize"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """A graph of one Op.

    Attributes:
        model: serialised ONNX; its weights are placeholders.
        feed: input values by name.
        weights: weight values by name, views of one shared pool.
        inline: whether the runtime lets the values replace placeholders of another shape; else
            the placeholders are external data.
        readers: ``Shape`` nodes in the graph, which cost a little time of their own.
        ordered: whether the runtime must be told to run nodes as they are written, so that kernels
            that work in place take turns.
    """

    model: bytes
    feed: dict[str, NDArray[np.generic]]
    weights: dict[str, NDArray[np.generic]]
    inline: bool
    readers: int = 0
    ordered: bool = False


def num_turns(op: Op, replicas: int) -> int:
    """Buffers that each activation of a rebuilt Op takes turns in, at most one per replica."""
    moved = max(4 * (op.num_input_elements + op.num_output_elements), 1)
    neighbours = min(_NEIGHBOURS, -(-_FAR_BYTES // moved))
    return max(1, min(replicas, _MAX_TURNS, max(-(-TURN_BYTES // moved), neighbours)))


def rebuild(op: Op, replicas: int) -> Rebuilt:
    """A model that executes ``op`` ``replicas`` times per run, ``RELABEL`` kinds about twice that.

    Every replica has weights of its own, cut from one pool: in a network each kernel's weights have
    left the near caches by the time it runs again.

    Activations take turns in ``num_turns`` buffers. An output is read by a ``Shape`` node that many
    replicas later, so that its memory is handed on as in a real network; without a reader the
    runtime keeps them all and the caches overflow. A kernel that works in place, as sums and
    activations do, works on its own result of a turn ago: what it reads was written as long ago as
    what others read.

    Args:
        op: an Op that lowering returned.
        replicas: copies of the kernel in the graph.

    Raises:
        UnsupportedOpError: if the Op cannot be rebuilt, with the reason.
    """
    if op.kind == SESSION:
        return _session_graph(op)
    tensors = (*op.inputs, *op.outputs, *op.weights)
    if max((prod(shape) for shape in tensors), default=0) * 4 > MAX_BYTES:
        message = f"{op.label}: a tensor is larger than {MAX_BYTES >> 30} GiB."
        raise UnsupportedOpError(message)
    if not op.implementation:
        message = f"{op.label} is as written; only executed Ops, from `lower`, can be timed."
        raise UnsupportedOpError(message)
    # Views of the pool cost nothing to keep; larger weights are copies of hundreds of megabytes.
    build = _build_cached if op.num_weights <= POOL_SIZE else _build
    try:
        return build(op, replicas)
    except UnsupportedOpError:
        raise
    except (IndexError, OverflowError, TypeError, ValueError) as error:
        message = f"The fields of {op.label} ({op.implementation}) make no kernel: {error}."
        raise UnsupportedOpError(message) from error


def _build(op: Op, replicas: int) -> Rebuilt:
    return _Graph(op).build(replicas)


@lru_cache(maxsize=4096)
def _build_cached(op: Op, replicas: int) -> Rebuilt:
    return _build(op, replicas)


def _session_graph(op: Op) -> Rebuilt:
    """As many tiny inputs and outputs as the network has, and nothing to compute."""
    num_in, num_out = max(1, len(op.inputs)), max(1, len(op.outputs))
    names = [f"x{i}" for i in range(num_in)]
    nodes = [helper.make_node("Identity", [names[i % num_in]], [f"y{i}"]) for i in range(num_out)]
    make = helper.make_tensor_value_info
    outs = [make(f"y{i}", TensorProto.FLOAT, [1]) for i in range(num_out)]
    feed: dict[str, NDArray[np.generic]] = {n: np.ones(1, dtype=np.float32) for n in names}
    return Rebuilt(
        model=_tiny_model(SESSION, nodes, names, outs), feed=feed, weights={}, inline=True
    )


def readers_graph(readers: int) -> Rebuilt:
    """A graph that only reads one small input ``readers`` times, to time what a reader costs."""
    nodes = [helper.make_node("Shape", ["x0"], [f"y{i}"]) for i in range(readers)]
    outs = [helper.make_tensor_value_info(f"y{readers - 1}", TensorProto.INT64, [1])]
    feed: dict[str, NDArray[np.generic]] = {"x0": np.ones(1, dtype=np.float32)}
    return Rebuilt(
        model=_tiny_model("readers", nodes, ["x0"], outs),
        feed=feed,
        weights={},
        inline=True,
        readers=readers,
    )


def _tiny_model(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[str],
    outputs: Sequence[onnx.ValueInfoProto],
) -> bytes:
    """A model whose inputs are single numbers."""
    make = helper.make_tensor_value_info
    model = _model_of(name, OPSET)
    model.graph.node.extend(nodes)
    model.graph.input.extend(make(n, TensorProto.FLOAT, [1]) for n in inputs)
    model.graph.output.extend(outputs)
    return model.SerializeToString()  # type: ignore[no-any-return]


def _model_of(name: str, opset: int) -> onnx.ModelProto:
    """A model of an empty graph."""
    domains = ("com.microsoft", "com.microsoft.nchwc")
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    model = onnx.ModelProto(ir_version=_IR, opset_import=imports)
    model.graph.name = name
    return model


class _Graph:
    """Collects operands and nodes of one rebuilt Op.

    Replicas differ by names: what else a node and a placeholder say is written once and copied.
    """

    def __init__(self, op: Op) -> None:
        self.op = op
        self.model = _model_of("op", op.attribute("since", OPSET))
        self.graph = self.model.graph
        self.feed: dict[str, NDArray[np.generic]] = {}
        self.weights: dict[str, NDArray[np.generic]] = {}
        self.offset = 0
        # Shape inference of standard operators refuses placeholders of another shape.
        self.inline = op.implementation.startswith("com.microsoft.nchwc:")
        self.weight_dtypes = weight_dtypes(op)
        self.placeholders: dict[int, onnx.TensorProto] = {}
        self.kernel = self._kernel()
        for dtype in (*op.input_types, *self.weight_dtypes):
            element_of(dtype)
        self.readers = 0
        slots = op.slots()
        self.slots = [self._operand(slot, position) for position, slot in enumerate(slots)]
        if has_parameters(op):
            weights = self.weight_dtypes
            self._add_parameters(
                {
                    position: slot.dtype or weights[slot.index]
                    for position, slot in enumerate(slots)
                    if slot.letter in "dw"
                }
            )

    def _operand(self, slot: Slot, position: int) -> str:
        """Create one operand and return its tensor name."""
        if slot.letter == "d":
            name = f"x{slot.index}"
            self.feed[name] = random_input(slot.shape, slot.dtype)
        elif slot.letter == "w":
            name = f"w{slot.index}"
        elif slot.letter == "c":
            name = f"c{slot.index}"
            shape = () if self._is_scalar(position, slot.values) else (len(slot.values),)
            element = element_of(slot.dtype)
            self.graph.initializer.append(
                helper.make_tensor(name, element, shape, list(slot.values))
            )
        else:
            return ""
        return name

    def _add_parameters(self, dtypes: Mapping[int, str]) -> None:
        """Scales and zero points of an integer kernel; they are the same for all replicas."""
        for position, tensor in parameters(self.op, dtypes).items():
            self.graph.initializer.append(tensor)
            self.slots[position] = tensor.name
        for position, letter in enumerate(self.op.operands):
            if letter == "=":  # a Concat's own scale and zero point come first
                is_scale = self.op.operands[position - 1] in "dw"
                self.slots[position] = self.slots[0 if is_scale else 1]

    def _is_scalar(self, position: int, values: Constant) -> bool:
        """Whether a one-element constant is written as a scalar by its operator's definition."""
        kind = self.op.kind
        if len(values) != 1:
            return False
        if kind == "gather":
            return len(self.op.outputs[0]) < len(self.op.inputs[0])
        return kind == "clip" or (kind == "pad" and position == 2)

    def _weights_of(self, replica: int, slots: Sequence[str]) -> list[str]:
        """Operand names of one replica, its weights created on the way."""
        names = list(slots)
        for position, slot in enumerate(slots):
            if slot.startswith("w"):
                name = f"{slot}_{replica}"
                self._weight(name, int(slot[1:]))
                names[position] = name
        return names

    def _weight(self, name: str, index: int) -> None:
        """Add a view of the pool and a placeholder for it."""
        shape, dtype = self.op.weights[index], self.weight_dtypes[index]
        self.weights[name], self.offset = weight_view(shape, dtype, self.offset)
        tensor = self.graph.initializer.add()
        tensor.CopyFrom(self._placeholder(index))
        tensor.name = name

    def _placeholder(self, index: int) -> onnx.TensorProto:
        """What stands in the graph for each replica's weight of an index."""
        if index in self.placeholders:
            return self.placeholders[index]
        shape, dtype = self.op.weights[index], self.weight_dtypes[index]
        tensor = self.placeholders[index] = TensorProto(data_type=element_of(dtype))
        if self.inline:
            tensor.dims.append(1)
            tensor.raw_data = bytes(4)
            return tensor
        tensor.dims.extend(shape)
        tensor.data_location = TensorProto.EXTERNAL
        length = prod(shape) * np.dtype(dtype).itemsize
        for key, value in (("location", "pool"), ("offset", "0"), ("length", str(length))):
            tensor.external_data.add(key=key, value=value)
        return tensor

    def build(self, replicas: int) -> Rebuilt:
        """The graph with ``replicas`` copies of the kernel."""
        turns = num_turns(self.op, replicas)
        chain = self._chain_operand() if replicas > 1 else None
        if self.op.kind in RELABEL:
            outs = self._there_and_back(replicas)
        else:
            outs = self._in_turns(replicas, turns, chain)
        if self.op.kind in RELABEL and replicas > 1:
            shape = np.asarray(self.op.inputs[0], dtype=np.int64)
            self.graph.initializer.append(onnx.numpy_helper.from_array(shape, "back"))
        make = helper.make_tensor_value_info
        self.graph.input.extend(
            make(n, element_of(str(v.dtype)), v.shape) for n, v in self.feed.items()
        )
        self.graph.output.extend(
            self._result(name, shape) for name, shape in zip(outs, self.op.outputs, strict=True)
        )
        return Rebuilt(
            model=self.model.SerializeToString(),
            feed=self.feed,
            weights=self.weights,
            inline=self.inline,
            readers=self.readers,
            ordered=chain is not None and turns > 1,
        )

    def _there_and_back(self, replicas: int) -> list[str]:
        """Write a chain that relabels and takes the label off again; returns its results."""
        slots, outs = list(self.slots), [""]
        for index in range(replicas):
            outs = [f"y{index}_0"]
            self._node(self._weights_of(index, slots), outs, index)
            if index < replicas - 1:
                self._back(outs[0], f"b{index}", index)
                slots[0] = f"b{index}"
        return outs

    def _in_turns(self, replicas: int, turns: int, chain: int | None) -> list[str]:
        """Write copies that take turns in their buffers; returns the results of the last one.

        Args:
            replicas: copies.
            turns: buffers of each activation.
            chain: position of the operand that a copy works on in place, its own result of a turn
                ago; None where it writes elsewhere.
        """
        self._take_turns(turns)
        current = [self._in_turn(self.slots, turn) for turn in range(turns)]
        outs: list[str] = []
        unread: deque[list[str]] = deque()
        for index in range(replicas):
            outs = [f"y{index}_{k}" for k in range(len(self.op.outputs))]
            slots = current[index % turns]
            self._node(self._weights_of(index, slots), outs, index)
            is_last = index == replicas - 1
            if chain is not None:
                slots[chain] = outs[0]
            if not is_last and (chain is None or index + turns >= replicas):
                unread.append(outs)
            if chain is None and len(unread) == turns:
                self._read(unread.popleft())
        for later in unread:
            self._read(later)
        return outs

    def _take_turns(self, turns: int) -> None:
        """Feed every activation ``turns`` times over."""
        for name in list(self.feed):
            for turn in range(1, turns):
                self.feed[f"{name}_{turn}"] = aligned(self.feed[name], copy=True)

    def _in_turn(self, slots: Sequence[str], turn: int) -> list[str]:
        """Operand names, each activation's replaced by that of its buffer for this turn."""
        return [f"{name}_{turn}" if f"{name}_{turn}" in self.feed else name for name in slots]

    def _read(self, names: Sequence[str]) -> None:
        """Write nodes that read outputs nobody else does."""
        self.readers += len(names)
        for name in names:
            self.graph.node.add(op_type="Shape", input=[name], output=[f"s_{name}"])

    def _result(self, name: str, shape: Shape) -> onnx.ValueInfoProto:
        """Declare an output; its type is left to the runtime, as the Op holds one for all."""
        if self.inline:  # the runtime would take the sizes from the placeholders
            return helper.make_tensor_value_info(name, element_of(self.op.dtype), shape)
        return onnx.ValueInfoProto(name=name)

    def _chain_operand(self) -> int | None:
        """Position of the operand that in a network shares memory with the output, if any."""
        op = self.op
        if "sum" in op.epilogue:
            return 3
        elementwise = (
            op.kind not in CONV_KINDS | POOL_KINDS | _NO_CHAIN
            and len(op.outputs) == 1
            and op.layout == "nchw"
            and not op.kind.startswith("reorder")
            and not has_parameters(op)
        )
        for position, name in enumerate(self.slots):
            if name.startswith("x") and elementwise and self._fits(position, int(name[1:])):
                return position
        return None

    def _fits(self, position: int, index: int) -> bool:
        """Whether a replica's output can be the next one's operand: its shape and element type."""
        op = self.op
        if op.inputs[index] != op.outputs[0]:
            return False
        domain, _, op_type = op.implementation.rpartition(":")
        opset = op.attribute("since", OPSET)
        if domain or not onnx.defs.has(op_type, opset):
            return op.input_types[index] == op.dtype
        schema = onnx.defs.get_schema(op_type, opset, "")
        operands, results = schema.inputs, schema.outputs
        # The last operand of a variadic kernel stands for all that follow.
        operand = operands[min(position, len(operands) - 1)]
        return str(operand.type_str) == str(results[0].type_str)

    def _node(self, inputs: Sequence[str], outputs: Sequence[str], index: int) -> None:
        """Write one copy of the kernel."""
        node = self.graph.node.add()
        node.CopyFrom(self.kernel)
        node.input.extend(inputs)
        node.output.extend(outputs)
        node.name = f"n{index}"

    def _kernel(self) -> onnx.NodeProto:
        """What all copies of the kernel have in common."""
        domain, _, op_type = self.op.implementation.rpartition(":")
        node = helper.make_node(op_type, [], [], domain=domain)
        for name, value in self._attributes().items():
            node.attribute.append(helper.make_attribute(name, value))
        return node

    def _attributes(self) -> dict[str, object]:
        op = self.op
        found: dict[str, object] = {k: v for k, v in op.attributes if k not in _NO_ATTRIBUTES}
        if op.kind in CONV_KINDS or (op.kind in POOL_KINDS and op.stride):
            found |= {"strides": op.stride, "pads": op.pads}
            if op.dilation and set(op.dilation) != {1}:
                found["dilations"] = op.dilation
        if op.kind in CONV_KINDS:
            found |= {"group": op.groups, "kernel_shape": op.kernel}
        activation = [item for item in op.epilogue if item != "sum"]
        if activation:
            found["activation"] = _ACTIVATIONS.get(activation[0], activation[0].capitalize())
        return found

    def _back(self, source: str, target: str, index: int) -> None:
        """Write the node that takes a label off again."""
        self.graph.node.add(
            op_type="Reshape", input=[source, "back"], output=[target], name=f"back{index}"
        )


#: Attributes of an Op that say something about it, not to the kernel.
_NO_ATTRIBUTES = frozenset({"since", OUTPUT_DTYPE, PROVIDER, WEIGHT_DTYPES})
_ACTIVATIONS = {"hardsigmoid": "HardSigmoid", "hardswish": "HardSwish", "leakyrelu": "LeakyRelu"}

"""Asks OpenVINO which kernels it executes for a model, from its own execution graph."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import onnx

from costmodel.errors import ModelFormatError
from costmodel.network import Layer, Network, session_op
from costmodel.op import SESSION, Op
from costmodel.runners.openvino.core import compile_model
from costmodel.runners.openvino.describe import NotDescribed, describe
from costmodel.runners.openvino.executed import Node, counters, executed_nodes
from costmodel.runners.openvino.model import Written, model_nodes, read_model
from costmodel.runners.openvino.steps import find_steps
from costmodel.runners.openvino.workload import fill_inputs, runtime_reason

#: Runs that each kernel's share of time is the mean of.
_RUNS = 8


def lower(model: onnx.ModelProto, name: str, threads: int, dtype: str) -> Network:
    """The executed Ops of a model whose input sizes are all bound.

    Args:
        model: as the user wrote it; its nodes are renamed in place.
        name: the network's name.
        threads: of one inference.
        dtype: of the runner.

    Raises:
        ModelFormatError: if the runtime cannot load or run the model.
    """
    written = read_model(model, name, dtype)
    try:
        compiled = compile_model(written.model, threads, dtype, counters=True)
        request = compiled.create_infer_request()
        fill_inputs(request, compiled, name)
        request.infer()
        first = counters(request)  # means over all runs, the slow first one included
        for _ in range(_RUNS):
            request.infer()
        means = counters(request)
        times = {k: max(0.0, (v * (_RUNS + 1) - first[k]) / _RUNS) for k, v in means.items()}
        lowering = _Lowering(written, executed_nodes(compiled, times))
    except RuntimeError as error:
        message = f"{name}: OpenVINO reads this model but cannot run it: {runtime_reason(error)}"
        raise ModelFormatError(message) from error
    return lowering.network(name)


class _Lowering:
    """Turns an execution graph into a Network."""

    def __init__(self, written: Written, nodes: Sequence[Node]) -> None:
        self.written = written
        self.nodes = {node.name: node for node in nodes}
        self.model = model_nodes(written.model)
        self.claimed = {name for node in nodes for name in node.originals}
        self.covers = find_covers(written, [node for node in nodes if node.runs])
        self._tensors: dict[tuple[str, int], tuple[str, ...]] = {}

    def tensors(self, name: str, port: int) -> tuple[str, ...]:
        """What one output of a node is made of: several tensors where it is a view of them."""
        key = (name, port)
        if key not in self._tensors:
            node = self.nodes[name]
            found: tuple[str, ...]
            if node.layer == "Input":
                found = (name,)
            elif node.runs:
                found = (f"{name}:{port}",)
            else:
                found = tuple(
                    tensor
                    for source, index in node.reads
                    if not self.nodes[source].constant
                    for tensor in self.tensors(source, index)
                )
            self._tensors[key] = found
        return self._tensors[key]

    def network(self, name: str) -> Network:
        """The network, its last layer the session."""
        layers: list[Layer] = []
        unread: dict[str, str] = {}
        shares: dict[str, float] = {}
        total = sum(node.ms for node in self.nodes.values() if node.runs) or 1.0
        for index, node in enumerate(node for node in self.nodes.values() if node.runs):
            covers = self.covers.get(node.name, ())
            title = f"{covers[-1] if covers else node.layer}/n{index}"
            try:
                op = self._op(node)
            except NotDescribed as reason:
                unread[title] = str(reason)
                shares[title] = node.ms / total
                continue
            layers.append(self._layer(title, node, op, covers, node.ms / total))
        inputs = {n.name: n.shapes[0] for n in self.nodes.values() if n.layer == "Input"}
        ends = [n.reads[0] for n in self.nodes.values() if n.layer == "Output"]
        outputs = tuple(tensor for end in ends for tensor in self.tensors(*end))
        layers.append(Layer(name=SESSION, op=session_op(len(inputs), len(outputs))))
        return Network(
            name=name,
            layers=tuple(layers),
            inputs=inputs,
            outputs=outputs,
            unread=unread,
            unread_shares=shares,
            source="lowered",
        )

    def _op(self, node: Node) -> Op:
        steps = find_steps(node, self.model, self.claimed)
        reads = [(s, port) for s, port in node.reads if not self.nodes[s].constant]
        return describe(node, steps, [self.nodes[s] for s, _ in reads], [port for _, port in reads])

    def _layer(
        self, title: str, node: Node, op: Op, covers: tuple[str, ...], share: float
    ) -> Layer:
        sources = [item for item in node.reads if not self.nodes[item[0]].constant]
        return Layer(
            name=title,
            op=op,
            inputs=tuple(tensor for item in sources for tensor in self.tensors(*item)),
            outputs=tuple(f"{node.name}:{port}" for port in range(len(node.shapes))),
            covers=covers,
            share=share,
        )


def find_covers(written: Written, running: Sequence[Node]) -> dict[str, tuple[str, ...]]:
    """Names of the written nodes that each executed node, by name, carries out.

    OpenVINO's names lead to most of them; what has no kernel of its own was folded into the next
    one, or into the last.
    """
    home: dict[int, str] = {}
    for node in running:
        for original in node.originals:
            position = written.position(original)
            if position is not None:
                home.setdefault(position, node.name)
    _settle_rest(home, written)
    found: dict[str, list[str]] = defaultdict(list)
    for position, name in enumerate(written.names):
        if position in home:
            found[home[position]].append(name)
    return {name: tuple(items) for name, items in found.items()}


def _settle_rest(home: dict[int, str], written: Written) -> None:
    """Give written nodes without a kernel of their own that of a reader, else of a source."""
    for position in reversed(range(len(written.names))):
        heirs = [home[r] for r in written.readers.get(position, ()) if r in home]
        if position not in home and heirs:
            home[position] = heirs[0]
    for position in range(len(written.names)):  # sources come before their readers
        for reader in written.readers.get(position, ()):
            if position in home:
                home.setdefault(reader, home[position])

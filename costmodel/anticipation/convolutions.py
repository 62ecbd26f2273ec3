"""What is executed on a GPU of which only convolutions were recorded: cuDNN's and MIOpen's.

TensorFlow 1.x with cuDNN was timed a layer at a time, with its bias and its activation: one row
stands for all three. MIOpen's records ("find-db") are of the convolution alone, and what follows it
is a kernel of its own. Which algorithm was fastest is known after the fact only, so an Op does not
say. Every other kind of layer stays as it is written; a table of convolutions has no price for it,
and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from costmodel.anticipation.deployed import drop_idle, fold_norms, fold_tail, plain
from costmodel.anticipation.graph import Graph, Node, graph_from, layers_from
from costmodel.device import Device
from costmodel.kinds import op_type_of
from costmodel.layouts import physical
from costmodel.network import Layer, Network
from costmodel.op import Op

#: Activations that TensorFlow 1.x's layer was timed with.
_CUDNN_TAILS = frozenset({"relu", "sigmoid", "tanh"})


def execute_cudnn(network: Network, device: Device) -> tuple[Layer, ...]:
    """The layers that TensorFlow 1.x runs with cuDNN, channels last.

    Args:
        network: from a reader.
        device: its ``dtype`` is what they calculate in.
    """

    def with_activation(graph: Graph, node: Node) -> None:
        tail = fold_tail(graph, node, _CUDNN_TAILS)
        node.op = replace(_last(plain(node.op)), epilogue=(tail,) if tail else ())

    return _executed(network, device, with_activation)


def execute_miopen(network: Network, device: Device) -> tuple[Layer, ...]:
    """The convolutions that MIOpen runs, and what is left of the network.

    Args:
        network: from a reader.
        device: its ``dtype`` is what they calculate in.
    """

    def alone(graph: Graph, node: Node) -> None:
        node.op = plain(node.op)
        if len(node.op.weights) > 1:
            _split_bias(graph, node)

    return _executed(network, device, alone)


def _executed(
    network: Network, device: Device, run: Callable[[Graph, Node], None]
) -> tuple[Layer, ...]:
    """The layers of a network for inference, each of whose convolutions is made what runs."""
    graph = graph_from(network, (op_type_of(layer.op.kind) for layer in network.layers))
    drop_idle(graph)
    fold_norms(graph)
    for node in list(graph.nodes.values()):
        if node.op.kind == "conv":
            run(graph, node)
    for node in graph.nodes.values():
        node.op = replace(node.op, dtype=device.dtype)
    return layers_from(graph)


def _split_bias(graph: Graph, node: Node) -> None:
    """The bias as a kernel of its own behind the convolution."""
    size, bias = node.op.outputs[0], node.op.weights[1]
    raw, target = f"{node.out}/raw", node.out
    node.op = replace(node.op, weights=node.op.weights[:1])
    graph.rewire(node, reads=node.reads, writes=[raw])
    op = Op(kind="bias_add", inputs=(size,), outputs=(size,), weights=(bias,))
    graph.add(
        Node(name=f"{node.name}/bias", op_type="BiasAdd", op=op, reads=[raw], writes=[target])
    )


def _last(op: Op) -> Op:
    return replace(
        op,
        layout="nhwc",
        inputs=tuple(physical(size, "nhwc") for size in op.inputs),
        outputs=tuple(physical(size, "nhwc") for size in op.outputs),
    )

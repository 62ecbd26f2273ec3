"""What ONNX Runtime's CPU provider executes at full optimisation (observed on 1.32, x86 and ARM).

Passes in the runtime's own order: graph rewriting (``ort_fold``, with ``ort_transpose`` and
``ort_products``), activations into the kernels before them (``ort_activation``), the parts of a
transformer (``ort_transformer``) and what matrix products take in (``ort_products``), the blocked
NCHWc layout (``ort_blocked``), and sums into the convolutions that stayed plain
(``ort_activation`` again). Every rule was found by letting the runtime write its optimised graph
for small models that differ in one thing, and is held against it by
tests/costmodel/anticipation/test_ort.py and test_ort_products.py. Not modelled: other operators
that the runtime expands into several.
"""

from __future__ import annotations

from dataclasses import replace

from costmodel.anticipation.graph import Graph, Node, graph_from, layers_from
from costmodel.anticipation.ort_activation import fuse_activations, fuse_sums
from costmodel.anticipation.ort_blocked import block_layout
from costmodel.anticipation.ort_fold import fold
from costmodel.anticipation.ort_int8 import quantise
from costmodel.anticipation.ort_nhwc import move_channels
from costmodel.anticipation.ort_products import fuse_products
from costmodel.anticipation.ort_transformer import fuse_transformer
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.instruction_sets import find_instruction_set
from costmodel.kinds import op_type_of
from costmodel.network import Layer, Network
from costmodel.op import Op

#: Element types and providers that there are rules for; a device need not name its provider.
DTYPES = frozenset({"float32", "int8"})
PROVIDERS = frozenset({"", "CPUExecutionProvider"})
#: Attributes that only layers as written have: weights that a caller may replace, which layers have
#: the same weights, a factor that is one number, an operator's own name, padding that was computed.
_MARKS = ("overridable", "weights", "number", "operator", "auto_pad")


def execute_ort(network: Network, device: Device) -> tuple[Layer, ...]:
    """The kernels that ONNX Runtime executes for a network as written.

    Args:
        network: from a reader.
        device: its ``isa`` decides the channel block; one without blocked kernels, or that is not
            known, runs plain ones.
            Its ``dtype`` may be ``int8``: the network is then quantised as the runner does it.

    Raises:
        InvalidInputError: for another element type or provider, or an instruction set whose
            kernels no rule says.
    """
    instructions = find_instruction_set(device.isa)
    if device.dtype not in DTYPES or device.provider not in PROVIDERS:
        message = (
            f"There are no rules for {device.dtype} networks on ONNX Runtime's {device.provider}, "
            f"only for {' and '.join(sorted(DTYPES))} on the CPU provider. Predict on that device, "
            "where the runtime is asked itself."
        )
        raise InvalidInputError(message)
    if device.dtype == "float32" and not instructions.float_rules:
        message = (
            f"There are no rules for float32 networks on ONNX Runtime with {device.isa} "
            "instructions, for which it lays some convolutions out otherwise. Predict on that "
            "device, where the runtime is asked itself, or give a table of an int8 runner."
        )
        raise InvalidInputError(message)
    graph = graph_from(network, (op_type(layer.op) for layer in network.layers))
    _set_marks(graph, keep_overridable=device.dtype != "int8")
    fold(graph, gates=device.dtype == "float32")
    if device.dtype == "int8":
        quantise(graph)
    fuse_activations(graph)
    if device.dtype == "float32":
        fuse_transformer(graph)
        fuse_products(graph)
    block = instructions.block
    if block > 1:
        block_layout(graph, block)
    fuse_sums(graph)
    if device.dtype == "int8":
        move_channels(graph)
    _name_kernels(graph, block)
    return layers_from(graph)


def _set_marks(graph: Graph, *, keep_overridable: bool) -> None:
    """Move what is no work from the Ops to their nodes.

    Args:
        graph: changed in place.
        keep_overridable: whether weights that a caller may replace stay as they are; a conversion
            stores all of them anew.
    """
    for node in graph.nodes.values():
        settings = dict(node.op.attributes)
        marks = _MARKS if node.op.stride else _MARKS[:-1]
        node.marks = {name: settings.pop(name) for name in marks if name in settings}
        if not keep_overridable:
            node.marks.pop("overridable", None)
        if len(settings) < len(node.op.attributes):
            node.op = replace(node.op, attributes=tuple(settings.items()))
        if "operator" in node.marks:
            node.domain, _, node.op_type = str(node.marks["operator"]).partition(":")


def op_type(op: Op) -> str:
    """ONNX name of a kind.

    >>> op_type(Op(kind="global_average_pool")), op_type(Op(kind="lrn"))
    ('GlobalAveragePool', 'LRN')
    """
    if op.kind == "resize" and op.attribute("since", 10) in {7, 9}:
        return "Upsample"
    return op_type_of(op.kind)


def _name_kernels(graph: Graph, block: int) -> None:
    for node in graph.nodes.values():
        layout = f"nchw{block}c" if node.domain.endswith("nchwc") else node.op.layout
        node.op = replace(node.op, implementation=_kernel(node), layout=layout)


def _kernel(node: Node) -> str:
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type

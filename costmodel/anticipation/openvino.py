"""What OpenVINO's CPU plug-in executes in float32 on AVX-512 and AVX2 (observed on 2026.4).

Three passes: what is folded (``openvino_fold``), layouts and reorderings (``openvino_layout``), and
the names of the kernels, which depend on sizes only where convolutions are grouped. Every
convolution works channels last, and the staircase lies inside the kernels; blocks of channels
remain to poolings and normalisations of planar memory. What differs between instruction sets
stands in one table, ``openvino_isa``.

Held against ``lower`` by tests/costmodel/anticipation/test_openvino.py. Not modelled, and left
without a kernel, so that nobody prices them by mistake: most of what moves elements (Transpose,
Resize, unusual Slices and Pads), attention, programs with products, and local response
normalisations over other than 5 channels or of no multiple of 16. Elementwise kernels whose result
is also read by other than elementwise ones are sometimes computed twice by the plug-in; here they
never are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from costmodel.anticipation.graph import Graph, Node, graph_from, layers_from
from costmodel.anticipation.openvino_fold import VIEWS, fold, is_elementwise
from costmodel.anticipation.openvino_isa import PLUGIN_FACTS, PluginFacts
from costmodel.anticipation.openvino_layout import LAST, decide_layouts, is_generated
from costmodel.device import PROCESSOR_ISA, Device
from costmodel.errors import InvalidInputError
from costmodel.network import Layer, Network
from costmodel.op import Attribute, Op

#: Attributes that only layers as written have.
_WRITTEN = frozenset({"auto_pad", "overridable", "weights"})
#: Operator set since which a Softmax keeps its axes.
_SOFTMAX_KEEPS_AXES = 13
#: Types of kernels by kind; generated for the instruction set, unless named.
_KERNELS: Mapping[str, str] = {
    "average_pool": "Pooling",
    "concat": "Concatenation:ref_f32",
    "global_average_pool": "Reduce",
    "global_max_pool": "Reduce",
    "max_pool": "Pooling",
    "shuffle_channels": "ShuffleChannels",
    "softmax": "Softmax",
}
#: Types that are generated for what the processor has, even where the runtime is capped below it.
_BY_PROCESSOR = frozenset({"Reduce", "ShuffleChannels"})
_MEANS = {"global_average_pool": "ReduceMean", "global_max_pool": "ReduceMax"}


def execute_openvino(network: Network, device: Device) -> tuple[Layer, ...]:
    """The kernels that OpenVINO executes for a network as written.

    Args:
        network: from a reader.
        device: one of float32 and of an instruction set that the rules were seen on.

    Raises:
        InvalidInputError: if the device is another.
    """
    isa = PLUGIN_FACTS.get(device.isa)
    if device.dtype != "float32" or isa is None:
        message = (
            f"There are rules for OpenVINO in float32 on {' and '.join(PLUGIN_FACTS)} only, "
            f"not in {device.dtype} on {device.isa or 'an unknown instruction set'}. Predict on "
            "that device, where OpenVINO is asked itself."
        )
        raise InvalidInputError(message)
    processor = PLUGIN_FACTS.get(str(dict(device.options).get(PROCESSOR_ISA, "")), isa)
    graph = graph_from(network, (layer.op.kind for layer in network.layers))
    for node in graph.nodes.values():
        _clean(node)
    fold(graph)
    for node in graph.nodes.values():
        _describe(node)
    decide_layouts(graph, isa, processor)
    _look_through(graph)
    for node in graph.nodes.values():
        if node.op.kind == "softmax":
            node.op = _softmax(node.op)
        if node.op.kind != "reorder":
            node.op = replace(node.op, implementation=_kernel(graph, node, isa, processor))
    return layers_from(graph)


def _clean(node: Node) -> None:
    settings = dict(node.op.attributes)
    node.marks = {name: settings.pop(name) for name in _WRITTEN if name in settings}
    node.op = replace(node.op, attributes=tuple(settings.items()))


def _look_through(graph: Graph) -> None:
    """Views are no kernels: whoever reads one reads what it is a view of."""
    for node in graph.ordered():
        if _is_in_place(node.op) and node.out not in graph.returned:
            _part(graph, node)
            continue
        if node.op.kind in VIEWS and node.reads:
            heirs = [*graph.readers.get(node.out, ()), graph.producer.get(node.reads[0])]
            covers = node.covers
            if graph.bypass(node):
                for heir in heirs[:1]:
                    if heir is not None and heir.name in graph.nodes:
                        heir.covers[:0] = covers


def _is_in_place(op: Op) -> bool:
    """Whether tensors are joined by being written one behind the other."""
    whole = op.layout != LAST or prod(op.outputs[0][1:-1]) == 1
    return op.kind == "concat" and op.outputs[0][0] == 1 and whole


def _part(graph: Graph, joined: Node) -> None:
    """Let the readers of a joined tensor read its parts."""
    heirs = [*graph.readers.get(joined.out, ()), graph.producer.get(joined.reads[0])]
    for reader in dict.fromkeys(graph.readers.get(joined.out, ())):
        reads = [
            part
            for name in reader.reads
            for part in (joined.reads if name == joined.out else [name])
        ]
        graph.rewire(reader, reads=reads, writes=reader.writes)
    graph.remove(joined)
    for heir in heirs[:1]:
        if heir is not None:
            heir.covers[:0] = joined.covers


def _describe(node: Node) -> None:
    """Say what a kernel does in the words of the runner's ``lower``."""
    op = node.op
    if op.kind in {"max_pool", "average_pool"}:
        node.op = _pool(op)
    elif op.kind in _MEANS:
        reduced = tuple(range(2, len(op.inputs[0])))
        node.op = _named(replace(op, constants=(reduced,)), keep_dims=1, type=_MEANS[op.kind])
    elif op.kind == "concat":
        node.op = _named(op, **dict(op.attributes), type="Concat")
    elif op.kind == "pad" and len(op.constants) in {1, 2} and op.operands in {"", "dc", "dcc"}:
        node.op = _pad(op)
    elif op.kind == "slice" and len(op.constants) == 4 and op.operands in {"", "dcccc"}:
        starts, ends, axes, steps = op.constants
        node.op = _named(
            replace(op, constants=(starts, ends, steps, axes)), opset="opset8", type="Slice"
        )
    elif op.kind == "lrn":
        node.op = _named(replace(op, constants=((1,),)), **dict(op.attributes), type="LRN")


def _named(op: Op, **attributes: Attribute) -> Op:
    return replace(op, attributes=tuple(sorted(attributes.items())))


def _pad(op: Op) -> Op:
    ends, value = op.constants[0], (*op.constants[1:], (0.0,))[0]
    half = len(ends) // 2
    settings: dict[str, Attribute] = {"opset": "opset12", "scalars": (2,), "type": "Pad"}
    settings["pad_mode"] = op.attribute("mode", "constant")
    return replace(
        op,
        constants=(ends[:half], ends[half:], value),
        constant_dtypes=("int64", "int64", op.dtype),
        attributes=tuple(sorted(settings.items())),
    )


def _pool(op: Op) -> Op:
    found: dict[str, Attribute] = {"kernel_shape": op.kernel}
    found["rounding_type"] = "ceil" if op.attribute("ceil_mode") else "floor"
    if op.kind == "max_pool":
        found["opset"] = "opset8"
        return replace(op, attributes=tuple(sorted(found.items())))
    found["exclude-pad"] = int(not op.attribute("count_include_pad"))
    return replace(op, attributes=tuple(sorted(found.items())), dilation=())


def _softmax(op: Op) -> Op:
    since, axis = op.attribute("since", 1), op.attribute("axis", -1)
    shape = op.inputs[0]
    if since < _SOFTMAX_KEEPS_AXES:
        axis %= len(shape)
        shape, axis = (prod(shape[:axis]), prod(shape[axis:])), 1
    found = (("axis", axis), ("opset", "opset8"), ("type", "Softmax"))
    return replace(op, inputs=(shape,), outputs=(shape,), attributes=found)


def _kernel(graph: Graph, node: Node, isa: PluginFacts, processor: PluginFacts) -> str:
    """The kernel's name; empty where the rules know none."""
    op = node.op
    if op.kind == "conv":
        return f"Convolution:{_convolution(op, isa)}_f32"
    if op.kind == "gemm" and op.attributes == (("transB", 1),):
        return f"FullyConnected:{f'brgemm_{isa.vector}' if op.epilogue else 'gemm_mlas'}_f32"
    if is_elementwise(op):
        return f"{'Eltwise' if _follows_pooling(graph, node) else 'Subgraph'}:jit_{isa.vector}_f32"
    if op.kind in {"pad", "slice"} and op.attribute("type"):
        return "Pad:ref_f32" if op.kind == "pad" else "StridedSlice:ref_f32"
    if op.kind == "lrn":
        return f"Lrn:jit_{isa.vector}_f32" if is_generated(op) else ""
    found = _KERNELS.get(op.kind, "")
    if not found or ":" in found:
        return found
    return f"{found}:jit_{(processor if found in _BY_PROCESSOR else isa).vector}_f32"


def _follows_pooling(graph: Graph, node: Node) -> bool:
    """Whether it comes behind a mean, or behind a convolution and a pooling of maxima.

    These would take it in as int8, so no program is made of it.
    """
    before = graph.producer.get(node.reads[0])
    pooled = False
    while before is not None and graph.sole_reader(before) is node:
        if before.op.kind != "max_pool":
            return before.op.kind == ("conv" if pooled else "average_pool")
        node, pooled = before, True
        before = graph.producer.get(node.reads[0])
    return False


def _convolution(op: Op, isa: PluginFacts) -> str:
    if op.is_depthwise and op.weights[0][0] == op.groups:
        return f"brgconv_{isa.vector}_dw"
    if op.groups > 1 and op.weights[0][1] <= isa.few_channels:
        return f"jit_{isa.vector}"
    return f"brgconv_{isa.vector}" + ("_1x1" if set(op.kernel) == {1} else "")

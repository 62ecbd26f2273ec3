"""What OpenVINO's CPU plug-in executes in float32 on AVX-512 (observed on 2026.4).

Three passes: what is folded (``openvino_fold``), layouts and reorderings (``openvino_layout``), and
the names of the kernels, which depend on sizes only where convolutions are grouped: up to 16
channels of input a group run in the older kernel. There is no block of channels in a layout: every
convolution works channels last, and the staircase lies inside the kernels.

Held against ``lower`` by tests/costmodel/anticipation/test_openvino.py. Not modelled, and left
without a kernel, so that nobody prices them by mistake: most of what moves
elements (Transpose, Resize, unusual Slices and Pads), attention, and programs with products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

from costmodel.anticipation.graph import Graph, Node, graph_from, layers_from
from costmodel.anticipation.openvino_fold import VIEWS, fold, is_elementwise
from costmodel.anticipation.openvino_layout import decide_layouts
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.network import Layer, Network
from costmodel.op import Attribute, Op

#: Attributes that only layers as written have.
_WRITTEN = frozenset({"auto_pad", "overridable", "weights"})
#: Channels of input a group up to which a grouped convolution runs in the older kernel.
_FEW_CHANNELS = 16
#: Operator set since which a Softmax keeps its axes.
_SOFTMAX_KEEPS_AXES = 13
_KERNELS: Mapping[str, str] = {
    "average_pool": "Pooling:jit_avx512_f32",
    "concat": "Concatenation:ref_f32",
    "global_average_pool": "Reduce:jit_avx512_f32",
    "global_max_pool": "Reduce:jit_avx512_f32",
    "lrn": "Lrn:jit_avx512_f32",
    "max_pool": "Pooling:jit_avx512_f32",
    "shuffle_channels": "ShuffleChannels:jit_avx512_f32",
    "softmax": "Softmax:jit_avx512_f32",
}
_MEANS = {"global_average_pool": "ReduceMean", "global_max_pool": "ReduceMax"}


def execute_openvino(network: Network, device: Device) -> tuple[Layer, ...]:
    """The kernels that OpenVINO executes for a network as written.

    Args:
        network: from a reader.
        device: one of float32 and AVX-512; the rules were seen nowhere else.

    Raises:
        InvalidInputError: if the device is another.
    """
    if (device.dtype, device.isa) != ("float32", "avx512"):
        message = (
            f"There are rules for OpenVINO in float32 on avx512 only, not in {device.dtype} on "
            f"{device.isa or 'an unknown instruction set'}. Use the runner's lower() there."
        )
        raise InvalidInputError(message)
    graph = graph_from(network, (layer.op.kind for layer in network.layers))
    for node in graph.nodes.values():
        _clean(node)
    fold(graph)
    for node in graph.nodes.values():
        _describe(node)
    decide_layouts(graph)
    _look_through(graph)
    for node in graph.nodes.values():
        if node.op.kind == "softmax":
            node.op = _softmax(node.op)
        if node.op.kind != "reorder":
            node.op = replace(node.op, implementation=_kernel(graph, node))
    return layers_from(graph)


def _clean(node: Node) -> None:
    settings = dict(node.op.attributes)
    node.marks = {name: settings.pop(name) for name in _WRITTEN if name in settings}
    node.op = replace(node.op, attributes=tuple(settings.items()))


def _look_through(graph: Graph) -> None:
    """Views are no kernels: whoever reads one reads what it is a view of."""
    for node in graph.ordered():
        if node.op.kind in VIEWS and node.reads:
            heirs = [*graph.readers.get(node.out, ()), graph.producer.get(node.reads[0])]
            covers = node.covers
            if graph.bypass(node):
                for heir in heirs[:1]:
                    if heir is not None and heir.name in graph.nodes:
                        heir.covers[:0] = covers


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


def _kernel(graph: Graph, node: Node) -> str:
    """The kernel's name; empty where the rules know none."""
    op = node.op
    if op.kind == "conv":
        return f"Convolution:{_convolution(op)}"
    if op.kind == "gemm" and op.attributes == (("transB", 1),):
        return f"FullyConnected:{'brgemm_avx512_f32' if op.epilogue else 'gemm_mlas_f32'}"
    if is_elementwise(op):
        return f"{'Eltwise' if _follows_pooling(graph, node) else 'Subgraph'}:jit_avx512_f32"
    if op.kind in {"pad", "slice"} and op.attribute("type"):
        return "Pad:ref_f32" if op.kind == "pad" else "StridedSlice:ref_f32"
    return _KERNELS.get(op.kind, "")


def _follows_pooling(graph: Graph, node: Node) -> bool:
    """Whether it comes behind a convolution and a pooling: these would take it in as int8."""
    before = graph.producer.get(node.reads[0])
    pooled = False
    while before is not None and before.op.kind == "max_pool" and graph.sole_reader(before) is node:
        node, pooled = before, True
        before = graph.producer.get(node.reads[0])
    return (
        pooled
        and before is not None
        and before.op.kind == "conv"
        and graph.sole_reader(before) is node
    )


def _convolution(op: Op) -> str:
    if op.is_depthwise and op.weights[0][0] == op.groups:
        return "brgconv_avx512_dw_f32"
    if op.groups > 1 and op.weights[0][1] <= _FEW_CHANNELS:
        return "jit_avx512_f32"
    return "brgconv_avx512_1x1_f32" if set(op.kernel) == {1} else "brgconv_avx512_f32"

"""What PyTorch Mobile executes on Vulkan for a network as written.

The model is optimised for mobile first (``optimize_for_mobile(backend="vulkan")``): normalisations
go into the convolutions before them, and a clamp (relu, relu6) right behind a convolution into it;
every other layer is a kernel of its own. Which kernel a convolution gets is told by its window and
groups (aten/src/ATen/native/vulkan/ops/Convolution.cpp). Records do not say whether a clamp is
inside, so an Op does not either. Held against 100 networks' kernels on two phones by
scripts/bench/phone_networks.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from costmodel.anticipation.deployed import as_product, drop_idle, fold_norms, fold_tail, plain
from costmodel.anticipation.graph import graph_from, layers_from
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.kinds import op_type_of
from costmodel.network import Layer, Network
from costmodel.op import Op, Shape

DTYPES = ("float16", "float32")
_CLAMPS = frozenset({"clip", "relu", "relu6"})
#: Windows with a depthwise kernel of their own.
_DEPTHWISE: Mapping[Shape, str] = {(3, 3): "_3x3", (5, 5): "_5x5"}
#: Vulkan's names of kinds that it calls otherwise.
_NAMES = {
    **dict.fromkeys(_CLAMPS, "clamp"),
    "average_pool": "avg_pool2d",
    "batch_norm": "batchnorm",
    "concat": "cat",
    "gemm": "addmm",
    "global_average_pool": "mean",
    "hard_swish": "hardswish",
    "max_pool": "max_pool2d",
}


def execute_pytorch_vulkan(network: Network, device: Device) -> tuple[Layer, ...]:
    """The kernels that PyTorch Mobile runs on Vulkan for a network as written.

    Args:
        network: from a reader.
        device: its ``dtype`` is what the kernels calculate in.

    Raises:
        InvalidInputError: for another element type.
    """
    if device.dtype not in DTYPES:
        message = (
            f"There are no rules for {device.dtype} networks on PyTorch Mobile with Vulkan, only "
            f"for {' and '.join(DTYPES)}. Give a table of one of these."
        )
        raise InvalidInputError(message)
    graph = graph_from(network, (op_type_of(layer.op.kind) for layer in network.layers))
    drop_idle(graph)
    fold_norms(graph)
    for node in list(graph.nodes.values()):
        if node.op.kind == "conv":
            fold_tail(graph, node, _CLAMPS)
    for node in graph.nodes.values():
        node.op = _executed(node.op, device.dtype)
    return layers_from(graph)


def family_of(op: Op) -> str:
    """Vulkan's name of the kernel that runs for one layer.

    >>> from costmodel.op import conv_op
    >>> family_of(conv_op(in_channels=8, out_channels=8, size=(9, 9), kernel=(3, 3), groups=8))
    'vulkan.conv2d_dw_3x3'
    """
    name = _NAMES.get(op.kind, op.kind)
    if op.kind == "conv":
        name = "conv2d"
        if op.is_depthwise:
            name += f"_dw{_DEPTHWISE.get(op.kernel, '')}"
        elif op.groups == 1 and set(op.kernel) == {1}:
            name += "_pw_2x2"
    return f"vulkan.{name}"


def _executed(op: Op, dtype: str) -> Op:
    if op.kind == "gemm" and len(op.inputs) == 1 and op.weights:
        op = as_product(op)
    family, op = family_of(op), plain(op)
    if op.kind == "conv" and len(op.weights) == 1:
        op = replace(op, weights=(*op.weights, op.weights[0][:1]))  # zeros are added all the same
    if op.kind == "average_pool" and op.kernel == op.spatial_in:
        op = replace(op, kind="global_average_pool", attributes=(), stride=(), pads=())
    return replace(op, implementation=family, dtype=dtype)

"""The blocked NCHWc layout: which kernels ONNX Runtime moves into it, and where it converts.

A tensor in this layout has its channels padded to the block (16 on AVX-512, 8 on other x86). The
runtime walks the graph once, in running order. Convolutions and pools enter the layout by
themselves, with a ReorderInput before them if their input is not in it yet; other kernels join only
if all of their inputs are in it already. At the end every blocked tensor that a plain kernel or
the caller still wants gets one ReorderOutput.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import isclose

from costmodel.anticipation.graph import Graph, Node
from costmodel.anticipation.ort_activation import activation_settings
from costmodel.anticipation.ort_fold import channel_sizes, reshape_op
from costmodel.anticipation.ort_layout import (
    NCHWC,
    TO_NHWC,
    Blocked,
    Layout,
    is_blocked_conv,
    is_transpose,
)
from costmodel.op import Op

#: ReorderInput copies four channels at a time; with others a convolution stays plain.
_ALIGNMENT = 4
#: Activations that a blocked convolution takes in; others were folded before if at all.
_FUSED = frozenset({"HardSigmoid", "Relu", "Sigmoid", "Tanh"})
#: Slope and offset of the hard sigmoid that makes a product a hard swish.
_HARD_SWISH = (1 / 6, 0.5)
#: Coordinate rules for which there is a blocked Upsample, per interpolation.
_UPSAMPLES = {
    "linear": frozenset({"align_corners", "asymmetric", "half_pixel"}),
    "nearest": frozenset({"asymmetric"}),
}


def block_layout(graph: Graph, block: int) -> None:
    """Move what can be moved, then convert back what is still wanted plain.

    Args:
        graph: changed in place.
        block: channels per block.
    """
    layout = Layout(graph, block)
    for node in graph.ordered():
        rule = _RULES.get(node.op_type)
        if rule is not None and node.op.dtype == "float32" and len(node.op.outputs[0]) == 4:
            rule(layout, node)
    layout.finish()


def _conv(layout: Layout, node: Node) -> None:
    """Convolutions enter where their channels allow.

    Seen, for block B: ungrouped with fewer than B input channels reads the plain layout directly;
    ungrouped otherwise needs input channels divisible by 4; depthwise (one filter per channel)
    needs channels divisible by 4; grouped needs input channels per group and output channels per
    group divisible by B. Output channels alone are free: they are padded.
    """
    op = node.op
    if not node.fixed or not op.weights or len(op.weights[0]) != 4 or len(op.inputs) > 1:
        return
    if conv_misfit(op, layout.block):
        return
    out_channels, in_channels, *kernel = op.weights[0]
    groups, filter_in, takes = op.groups, in_channels, True
    if op.is_depthwise and out_channels == op.groups:
        groups = layout.padded(out_channels)
    elif op.groups == 1 and in_channels < layout.block:
        takes = False
    elif op.groups == 1:
        filter_in = layout.padded(in_channels)
    padded = layout.padded(out_channels)
    weights = ((padded, filter_in, *kernel), *((padded,) for _ in op.weights[1:]))
    node.op = replace(op, weights=weights, groups=groups)
    node.op_type, node.domain = "Conv", NCHWC
    if takes:
        layout.take(node)
    layout.enter(node)


def conv_misfit(op: Op, block: int) -> str:
    """Why the channels of a convolution keep it in the plain layout; empty where they do not.

    Args:
        op: with four axes of constant weights, at its own channels rather than padded ones.
        block: channels per block.

    >>> from costmodel.op import conv_op
    >>> conv_misfit(conv_op(in_channels=54, out_channels=64, size=(8, 8), kernel=(3, 3)), 16)
    'its 54 input channels are no multiple of 4'
    """
    out_channels, in_channels = op.weights[0][:2]
    if op.groups == 1:
        odd = in_channels >= block and in_channels % _ALIGNMENT
        return f"its {in_channels} input channels are no multiple of {_ALIGNMENT}" if odd else ""
    if out_channels % _ALIGNMENT:
        return f"its {out_channels} channels are no multiple of {_ALIGNMENT}"
    if in_channels == 1 and out_channels == op.groups:
        return ""
    each = out_channels // op.groups
    if in_channels % block or each % block:
        return f"its groups of {in_channels} to {each} channels do not fill blocks of {block}"
    return ""


def _pool(layout: Layout, node: Node) -> None:
    """Pools enter where their channels fill whole blocks; not with a second output.

    Seen: a global pool does not enter after a plain kernel, only after a blocked one or at the
    model's input.
    """
    if len(node.writes) > 1 or node.op.inputs[0][1] % layout.block:
        return
    source = node.reads[0]
    plain = source not in layout.blocked and source in layout.graph.producer
    if node.op_type.startswith("Global") and plain:
        return
    settings = tuple(pair for pair in node.op.attributes if pair[0] != "since")
    node.op = replace(node.op, attributes=settings)
    node.domain = NCHWC
    layout.take(node)
    layout.enter(node)


def _add(layout: Layout, node: Node) -> None:
    """Add and Sum join; one of two operands is added by the convolution that makes the other.

    Seen: the first operand is tried first; the convolution must have no other reader, no
    activation, and no sum yet. Operands of different spatial sizes are added in five axes.
    """
    inputs = layout.inputs(node)
    if inputs is None:
        return
    if len({item.logical for item in inputs}) > 1:
        _add_broadcast(layout, node, inputs)
        return
    if len(inputs) == 2:
        for index in (0, 1):
            if _fuse_sum(layout, node, inputs[index], inputs[1 - index]):
                return
    layout.join(node)


def _fuse_sum(layout: Layout, node: Node, into: Blocked, other: Blocked) -> bool:
    conv = into.node
    if not is_blocked_conv(conv) or into.starting_uses != 1 or conv.op.epilogue:
        return False
    op = conv.op
    letters = op.order.ljust(3, "-") + "d"
    sizes = (*op.inputs, other.node.op.outputs[0])
    conv.op = replace(op, inputs=sizes, operands=letters, epilogue=("sum",))
    into.uses -= 1
    other.uses -= 1
    layout.graph.rewire(conv, reads=[*conv.reads, other.tensor], writes=conv.writes)
    layout.merge(node, into)
    return True


def _add_broadcast(layout: Layout, node: Node, inputs: list[Blocked]) -> None:
    """Per-channel values added to a map: both are seen as [N, C/B, H, W, B]."""
    if len(inputs) != 2 or len({item.logical[:2] for item in inputs}) > 1:
        return
    block, target, logical = layout.block, node.out, node.op.outputs[0]
    views = []
    for item in inputs:
        flat = layout.physical(item.logical)
        split = (flat[0], flat[1] // block, *flat[2:], block)
        op = reshape_op(flat, split, (0, split[1], 0, 0, block), "float32")
        views.append(layout.view(item.tensor, "split", op))
        item.uses -= 1
    whole = layout.physical(logical)
    wide = (whole[0], whole[1] // block, *whole[2:], block)
    node.op = replace(node.op, inputs=tuple(view.op.outputs[0] for view in views), outputs=(wide,))
    uses = layout.graph.uses(target)
    reads = [view.out for view in views]
    layout.graph.rewire(node, reads=reads, writes=[f"{target}/split"])
    joined = layout.view(
        node.out, "joined", reshape_op(wide, whole, (0, whole[1], 0, 0), "float32")
    )
    layout.record(target, joined, joined.out, logical, uses)


def _mul(layout: Layout, node: Node) -> None:
    """Mul joins for equal sizes; by channel constants it becomes a depthwise convolution.

    Seen: a product of a map with per-channel activations (squeeze and excite) does not join.
    """
    op = node.op
    if len(op.inputs) == 1 and len(op.weights) == 1:
        if node.fixed and op.weights[0] in channel_sizes(op.inputs[0][1], 4):
            _scale(layout, node, bias=False)
        return
    inputs = layout.inputs(node)
    if inputs is None or len({item.logical for item in inputs}) > 1:
        return
    if len(inputs) == 2 and any(
        _fuse_hard_swish(layout, node, into, gate) for into, gate in (inputs, inputs[::-1])
    ):
        return
    layout.join(node)


def _fuse_hard_swish(layout: Layout, node: Node, into: Blocked, gate: Blocked) -> bool:
    """A convolution's result times its own hard sigmoid, x / 6 + 1 / 2, goes into the convolution.

    Seen: neither may have another reader, and the product may not be returned.
    """
    conv, gating = into.node, gate.node.op
    line = zip(
        (gating.attribute("alpha", 0.2), gating.attribute("beta", 0.5)), _HARD_SWISH, strict=True
    )
    if (
        not is_blocked_conv(conv)
        or set(conv.op.epilogue) - {"sum"}
        or gate.node.op_type != "HardSigmoid"
        or gate.node.reads != [into.tensor]
        or not all(isclose(value, seen, rel_tol=1e-6) for value, seen in line)
        or (into.starting_uses, gate.starting_uses) != (2, 1)
        or node.out in layout.graph.returned
    ):
        return False
    conv.op = replace(conv.op, epilogue=(*conv.op.epilogue, "hardswish"))
    into.uses -= 1
    gate.uses -= 1
    layout.graph.remove(gate.node)
    conv.covers += gate.node.covers
    layout.merge(node, into)
    return True


def _batch_norm(layout: Layout, node: Node) -> None:
    """A BatchNormalization of a blocked tensor becomes a depthwise convolution."""
    if node.fixed and len(node.op.weights) == 4:
        _scale(layout, node, bias=True)


def _scale(layout: Layout, node: Node, *, bias: bool) -> None:
    if node.reads[0] not in layout.blocked:
        return
    channels = layout.padded(node.op.inputs[0][1])
    filters = (channels, 1, 1, 1)
    node.op = Op(
        kind="conv",
        inputs=node.op.inputs,
        outputs=node.op.outputs[:1],
        weights=(filters, (channels,)) if bias else (filters,),
        stride=(1, 1),
        pads=(0, 0, 0, 0),
        dilation=(1, 1),
        groups=channels,
    )
    node.op_type, node.domain = "Conv", NCHWC
    layout.take(node)
    layout.enter(node)


def _concat(layout: Layout, node: Node) -> None:
    """Concat of channels joins if every part fills whole blocks; seen: not for axis -3."""
    inputs = layout.inputs(node)
    if inputs is None or node.op.attribute("axis") != 1:
        return
    if not any(item.logical[1] % layout.block for item in inputs):
        layout.join(node)


def _activation(layout: Layout, node: Node) -> None:
    """Activations go into a convolution that has none, or work on the blocked tensor."""
    inputs = layout.inputs(node)
    if inputs is None:
        return
    (source,) = inputs
    conv = source.node
    idle = is_blocked_conv(conv) and not set(conv.op.epilogue) - {"sum"}
    if node.op_type not in _FUSED or not idle or source.starting_uses != 1:
        layout.join(node)
        return
    epilogue = (*conv.op.epilogue, node.op_type.lower())
    settings = activation_settings(node)
    conv.op = replace(conv.op, epilogue=epilogue, attributes=(*conv.op.attributes, *settings))
    source.uses -= 1
    layout.merge(node, source)


def _transpose(layout: Layout, node: Node) -> None:
    """A Transpose of a blocked tensor to channels-last is one conversion."""
    source = layout.blocked.get(node.reads[0])
    if source is None or not is_transpose(node, TO_NHWC):
        return
    source.uses -= 1
    node.op_type, node.domain = "ReorderOutput", NCHWC
    node.op = Op(
        kind="reorder_output",
        inputs=source.node.op.outputs[:1],
        outputs=node.op.outputs,
        attributes=(("channels", source.logical[1]), ("channels_last", 1)),
    )
    layout.graph.rewire(node, reads=[source.tensor], writes=node.writes)


def _resize(layout: Layout, node: Node) -> None:
    """Enlarging by whole numbers has a blocked kernel for some coordinate rules.

    Seen: not before operator set 9.
    """
    early = node.op.attribute("since") == 7
    if early or node.reads[0] not in layout.blocked or len(node.reads) > 1:
        return
    rule, mode = _interpolation(node.op)
    before, after = node.op.inputs[0], node.op.outputs[0]
    whole = all(b % a == 0 for a, b in zip(before, after, strict=True))
    if rule not in _UPSAMPLES.get(mode, ()) or before[:2] != after[:2] or not whole:
        return
    scales = tuple(b // a for a, b in zip(before, after, strict=True))
    settings = (("coordinate_transformation_mode", rule), ("mode", mode), ("scales", scales))
    node.op = Op(kind="resize", inputs=(before,), outputs=(after,), attributes=settings)
    node.op_type, node.domain = "Upsample", NCHWC
    layout.take(node)
    layout.enter(node)


def _interpolation(op: Op) -> tuple[str, str]:
    """Coordinate rule and mode of a Resize; the rule is empty where it rounds otherwise than down.

    Before operator set 11 there was one rule and no choice.
    """
    mode = op.attribute("mode", "nearest")
    if op.attribute("since") in {7, 9, 10}:
        return "asymmetric", mode
    if mode == "nearest" and op.attribute("nearest_mode") != "floor":
        return "", mode
    return op.attribute("coordinate_transformation_mode", "half_pixel"), mode


#: By operator. Of the activations, LeakyRelu, Clip and Elu were seen not to join.
_RULES: dict[str, Callable[[Layout, Node], None]] = {
    "Add": _add,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Conv": _conv,
    "FusedConv": _conv,
    "Mul": _mul,
    "Resize": _resize,
    "Sum": _add,
    "Transpose": _transpose,
    "Upsample": _resize,
    **dict.fromkeys(("Gelu", "HardSigmoid", "QuickGelu", "Relu", "Sigmoid", "Tanh"), _activation),
    **dict.fromkeys(("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"), _pool),
}

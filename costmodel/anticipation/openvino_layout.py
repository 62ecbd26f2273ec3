"""Which layout OpenVINO's CPU plug-in keeps each tensor in, and where it reorders."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from costmodel.anticipation.graph import Graph, Node
from costmodel.anticipation.openvino_fold import VIEWS
from costmodel.anticipation.openvino_isa import PluginFacts
from costmodel.layouts import block_of, logical, physical
from costmodel.op import Attribute, Op, Shape

PLANAR, LAST = "nchw", "nhwc"
POOLS = frozenset({"average_pool", "max_pool"})
_MEANS = frozenset({"global_average_pool", "global_max_pool"})
#: Kinds that work in blocks of channels only where every block is full, and else in another layout.
_FULL_BLOCKS = {"concat": PLANAR, "pad": LAST, "softmax": PLANAR}
#: Channels of which the generated local response normalisation takes a multiple, and over which it
#: takes the mean.
_NORMALISED, _NORMALISED_OVER = 16, 5
#: Kinds that need planar memory.
_FLAT = VIEWS | {"gemm", "matmul"}
#: From this many elements on, planar and channels-last memory are exchanged by another kernel.
_LARGE = 48 << 10
#: Channels and pixels for which channels-last memory is made planar by a kernel of its own.
_FEW, _MANY, _PIXELS = 16, 64, 128


def decide_layouts(graph: Graph, isa: PluginFacts, processor: PluginFacts) -> None:
    """Give every kernel its layout, and put reorderings where two differ.

    Args:
        graph: kernels as folded.
        isa: that the runtime uses.
        processor: that the processor has, by which means are generated.
    """
    layouts = dict.fromkeys(graph.inputs, PLANAR)
    for node in graph.ordered():
        have = [layouts.get(name, PLANAR) for name in node.reads]
        cancelled = _cancelled(graph, node, have)
        if cancelled:
            node.op = replace(node.op, kind="reshape")  # a view: memory stays as it is
            layouts[node.out] = cancelled
            continue
        want = _wanted(node.op, have, processor if node.op.kind in _MEANS else isa)
        reads = [
            _reordered(graph, name, node.op.inputs[i], old, want, isa)
            if _differs(node.op.inputs[i], old, want)
            else name
            for i, (name, old) in enumerate(zip(node.reads, have, strict=True))
        ]
        if reads != node.reads:
            graph.rewire(node, reads=reads, writes=node.writes)
        layouts.update((name, want) for name in node.writes)
        _settle(node, want)
    for name in graph.outputs:
        if layouts.get(name, PLANAR) != PLANAR:
            _return_planar(graph, name, layouts[name], isa)


def _cancelled(graph: Graph, node: Node, have: list[str]) -> str:
    """Layout of a Transpose that only renames axes; empty for any other kernel.

    One to channels first, read by convolutions alone, and one of channels-last memory back.
    """
    perm = node.op.attribute("perm")
    rank = len(node.op.outputs[0])
    if node.op.kind != "transpose" or rank < 4:
        return ""
    readers = graph.readers.get(node.out, ())
    forward = perm == (0, rank - 1, *range(1, rank - 1)) and node.out not in graph.returned
    if forward and have == [PLANAR] and all(r.op.kind == "conv" for r in readers):
        return LAST
    back = perm == (0, *range(2, rank), 1)
    return PLANAR if back and have == [LAST] else ""


def _differs(shape: Shape, have: str, want: str) -> bool:
    return len(shape) >= 3 and have != want


def _wanted(op: Op, have: list[str], isa: PluginFacts) -> str:
    """The layout that a kernel works in, given those of what it reads."""
    if op.kind in {"conv", "conv_transpose"}:
        return LAST
    if op.kind in _FLAT or not have:
        return PLANAR
    if op.kind == "lrn":
        return _normalised_in(op, have[0], isa)
    if op.kind in POOLS and have == [PLANAR] and prod(op.inputs[0][2:]) > 1:
        return PLANAR if isa.pools_planar(op.inputs[0][1]) else isa.blocked
    # What is only broadcast has no say.
    own = [
        old for old, shape in zip(have, op.inputs, strict=True) if shape == op.outputs[0]
    ] or have
    blocked = next((layout for layout in own if layout not in {PLANAR, LAST}), "")
    if op.kind == "softmax" and not blocked:
        return PLANAR
    if op.kind in _MEANS and blocked:
        return blocked if blocked == isa.blocked else PLANAR
    if op.kind in _FULL_BLOCKS and blocked:
        full = all(shape[1] % block_of(blocked) == 0 for shape in op.inputs)
        return blocked if full else _FULL_BLOCKS[op.kind]
    return LAST if LAST in own else blocked or PLANAR


def is_generated(op: Op) -> bool:
    """Whether a local response normalisation is one that the rules know a kernel for."""
    channels, over = op.inputs[0][1], op.attribute("size")
    return channels % _NORMALISED == 0 and over == _NORMALISED_OVER


def _normalised_in(op: Op, have: str, isa: PluginFacts) -> str:
    """Layout of a local response normalisation, which knows no channels-last memory."""
    if have not in {PLANAR, LAST}:
        return have
    blocked = isa.normalises_in_blocks and is_generated(op) and prod(op.inputs[0][2:]) > 1
    return isa.blocked if blocked else PLANAR


def _settle(node: Node, layout: str) -> None:
    op = node.op
    node.op = replace(
        op,
        layout=layout if len(op.outputs[0]) >= 3 else PLANAR,
        inputs=tuple(physical(shape, layout) for shape in op.inputs),
        outputs=tuple(physical(shape, layout) for shape in op.outputs),
    )


def _reordered(
    graph: Graph, name: str, shape: Shape, have: str, want: str, isa: PluginFacts
) -> str:
    """Reorder a tensor, once for all of its readers; return what the reordering writes."""
    fresh = f"{name}/{want}"
    if fresh not in graph.nodes:
        op = reorder_op(shape, have, want, isa)
        graph.add(Node(name=fresh, op_type="Reorder", op=op, reads=[name], writes=[fresh]))
    return fresh


def _return_planar(graph: Graph, name: str, have: str, isa: PluginFacts) -> None:
    """Put a reordering between a kernel and the tensor that the network returns."""
    node = graph.producer[name]
    shape = node.op.outputs[node.writes.index(name)]
    inner = f"{name}/{have}"
    for reader in list(dict.fromkeys(graph.readers.get(name, ()))):
        reads = [inner if item == name else item for item in reader.reads]
        graph.rewire(reader, reads=reads, writes=reader.writes)
    graph.rewire(node, reads=node.reads, writes=[inner if w == name else w for w in node.writes])
    op = reorder_op(logical(shape, have), have, PLANAR, isa)
    graph.add(Node(name=f"{name}/returned", op_type="Reorder", op=op, reads=[inner], writes=[name]))


def reorder_op(shape: Shape, have: str, want: str, isa: PluginFacts) -> Op:
    """A reordering of a tensor of logical sizes ``shape``."""
    sizes = physical(shape, want)
    attributes: tuple[tuple[str, Attribute], ...] = (("input_layouts", have),)
    if shape[1] % block_of(want):
        attributes = (("channels", shape[1]), *attributes)
    return Op(
        kind="reorder",
        implementation=f"Reorder:{_reorder_kernel(shape, have, want, isa)}",
        inputs=(sizes,),
        outputs=(sizes,),
        layout=want,
        attributes=attributes,
    )


def _reorder_kernel(shape: Shape, have: str, want: str, isa: PluginFacts) -> str:
    """Seen with 14 numbers of channels and 15 sizes, batch 1, in both directions."""
    channels, pixels = shape[1], prod(shape[2:])
    if {have, want} != {PLANAR, LAST}:
        return _block_kernel(channels, pixels, have, want)
    small = have == LAST and _FEW <= channels <= _MANY and pixels >= _PIXELS
    if channels == 1 or pixels == 1 or small:
        return "reorder_f32"
    if prod(shape) > _LARGE and isa.transposes_by_matrix:
        return "reorder_brgemm_f32"
    return "jit_f32" if {channels, pixels} & {8, 16} else "jit_uni_f32"


def _block_kernel(channels: int, pixels: int, have: str, want: str) -> str:
    """Kernel of a reordering to or from blocks of channels."""
    block = max(block_of(have), block_of(want))
    if channels == block and (pixels == 1 or LAST in {have, want}):
        return "reorder_f32"
    planar = PLANAR in {have, want} and pixels > 1
    return "jit_f32" if planar and channels % block == 0 else "jit_uni_f32"

"""Makes sure that a rebuilt graph runs the kernel that an Op names, as often as it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import prod

from costmodel.errors import UnsupportedOpError
from costmodel.layouts import physical
from costmodel.op import Op
from costmodel.runners.openvino.executed import Node
from costmodel.runners.openvino.neighbours import READING
from costmodel.runners.openvino.rebuild import KERNEL, input_layouts, output_layouts

#: Readers and what joins them: not the same in number in both graphs.
_READING = frozenset({"StridedSlice", "Concatenation", "Broadcast", "Reshape"})


def verify(op: Op, full: Sequence[Node], baseline: Sequence[Node], replicas: int) -> None:
    """Compare what the two graphs execute.

    Args:
        op: from lowering.
        full: nodes of the graph with the kernels.
        baseline: nodes of the graph without.
        replicas: how many kernels there should be.

    Raises:
        UnsupportedOpError: if another primitive, type, layout or number of kernels would run, or
            anything else that the baseline lacks.
    """
    found = _kernels(op, full)
    if len(found) != replicas:
        message = (
            f"{op.label}: rebuilt alone, {replicas} copies become {len(found)} kernels of their "
            "own, so they would run together with others."
        )
        raise UnsupportedOpError(message)
    by_name = {node.name: node for node in full}
    wanted = _facts(op)
    for node in found:
        facts = _node_facts(op, node, by_name)
        for name, value in wanted.items():
            if facts[name] != value:
                message = (
                    f"{op.label}: rebuilt alone, its {name} is {facts[name]}, not {value} as in "
                    "the network it comes from."
                )
                raise UnsupportedOpError(message)
    kernels = {node.name for node in found}
    rest = Counter(_kind(n) for n in full if _counts(n) and n.name not in kernels)
    rest.subtract(Counter(_kind(n) for n in baseline if _counts(n)))
    extra = {name: count for name, count in rest.items() if count}
    if extra:
        message = f"{op.label}: rebuilt alone, it brings other kernels with it: {extra}."
        raise UnsupportedOpError(message)


def _kernels(op: Op, nodes: Sequence[Node]) -> list[Node]:
    """The nodes that carry out the Op's own operations."""
    if op.kind == "reorder":
        sources = {name for n in nodes if _is_ours(n) for name, _ in n.reads[:1]}
        return [n for n in nodes if n.name in sources and n.layer == "Reorder" and n.runs]
    layer = op.implementation.partition(":")[0]
    ours = [node for node in nodes if _is_ours(node) and node.layer == layer]
    # What turns the one element that a reader takes into a float has a name like the kernel's.
    single = max(map(prod, op.outputs)) == 1
    return [n for n in ours if single or max(map(prod, n.shapes)) > 1]


def _is_ours(node: Node) -> bool:
    return any(name.startswith(KERNEL) for name in node.originals) and not node.constant


def _counts(node: Node) -> bool:
    """Whether a neighbour must be in both graphs alike."""
    if not node.runs or node.layer in _READING or node.name.startswith(READING):
        return False
    # What joins the readers' elements may be reordered, which is nothing; larger things may not.
    return max(map(prod, node.shapes), default=0) > _SMALL


_SMALL = 256


def _kind(node: Node) -> str:
    return f"{node.implementation} {node.layouts[0]} {node.dtypes[0]}"


def _facts(op: Op) -> dict[str, object]:
    dtypes = str(op.attribute("output_dtypes", ",".join([op.dtype] * len(op.outputs))))
    return {
        "kernel": op.implementation,
        "layout": tuple(output_layouts(op)),
        "type written": tuple(dtypes.split(",")),
        "layout read": tuple(input_layouts(op)),
        "type read": op.input_types,
        "size written": op.outputs,
    }


def _node_facts(op: Op, node: Node, by_name: dict[str, Node]) -> dict[str, object]:
    reads = [(by_name[name], port) for name, port in node.reads if not by_name[name].constant]
    return {
        "kernel": node.implementation,
        "layout": node.layouts,
        "type written": node.dtypes,
        "layout read": tuple(source.layouts[port] for source, port in reads),
        "type read": tuple(source.dtypes[port] for source, port in reads),
        "size written": tuple(physical(shape, op.layout) for shape in node.shapes),
    }

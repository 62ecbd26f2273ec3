"""Reads a compiled model's execution graph: which nodes run, with which primitive and layout."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from costmodel.op import Shape
from costmodel.runners.openvino.core import DTYPES

#: Primitives of nodes that the plug-in optimises away: views and constants.
_NOTHING = "unknown_"
#: What is read of the notes on a node; turning one into text takes as long as many nodes run.
_NOTED = (
    *("layerType", "originalLayersNames", "outputLayouts", "outputPrecisions", "primitiveType"),
)
#: Node types at the border of the graph.
BORDER = frozenset({"Input", "Const", "Output"})
_BLOCKED = re.compile(r"aBc?d?e?(\d+)b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of an execution graph.

    Attributes:
        name: unique.
        layer: the plug-in's type, such as ``Convolution`` or ``Reorder``.
        primitive: the kernel, such as ``brgconv_avx512_f32``.
        layouts: of each output: ``nchw``, ``nhwc``, ``nchw16c``, or the plug-in's own word.
        dtypes: of each output, as numpy names them.
        originals: names of the model's nodes that it carries out, in order.
        reads: name and output position of what each input comes from.
        shapes: logical sizes of each output, channels first whatever the layout.
        constant: whether it depends on nothing that the model is fed: it ran while compiling.
        ms: mean time of one execution, to the microsecond; 0 where nobody looked.
    """

    name: str
    layer: str
    primitive: str
    layouts: tuple[str, ...]
    dtypes: tuple[str, ...]
    originals: tuple[str, ...]
    reads: tuple[tuple[str, int], ...]
    shapes: tuple[Shape, ...]
    constant: bool
    ms: float = 0.0

    @property
    def implementation(self) -> str:
        """Type and primitive: the runtime's own name of the kernel."""
        return f"{self.layer}:{self.primitive}"

    @property
    def runs(self) -> bool:
        """Whether inference executes it: no border, no constant, no view of memory."""
        view = self.primitive.startswith(_NOTHING) and self.ms == 0.0
        # A transposition that the plug-in cancelled keeps a reordering in name only.
        faked = self.layer == "Reorder" and self.name.endswith("_fake")
        return not (self.layer in BORDER or self.constant or view or faked)


#: Words in names of generated kernels, and the instruction sets they are generated for.
_VECTORS = {"avx512": "avx512", "avx2": "avx2", "sse42": "sse"}


def instruction_set(compiled: Any) -> str:
    """The vector instructions that a model's kernels are generated for; empty where none tells.

    The processor may have more: the environment can cap what the runtime uses.
    """
    names = [node.primitive for node in executed_nodes(compiled) if node.runs]
    found = [isa for word, isa in _VECTORS.items() if any(word in name for name in names)]
    return found[0] if found else ""


def counters(request: Any) -> dict[str, float]:
    """Mean milliseconds of each node over all runs of a request; each is cut to a microsecond."""
    return {p.node_name: p.real_time.total_seconds() * 1e3 for p in request.get_profiling_info()}


def executed_nodes(compiled: Any, times: Mapping[str, float] | None = None) -> list[Node]:
    """Every node of a compiled model in running order.

    Args:
        compiled: from ``compile_model``.
        times: milliseconds by node, where somebody looked.
    """
    found: dict[str, Node] = {}
    for item in compiled.get_runtime_model().get_ordered_ops():
        node = _node(item, found, times or {})
        found[node.name] = node
    return list(found.values())


def _node(item: Any, before: Mapping[str, Node], times: Mapping[str, float]) -> Node:
    noted = item.get_rt_info()
    info = {key: noted[key].astype(str) for key in _NOTED if key in noted}
    sources = [entry.get_source_output() for entry in item.inputs()]
    reads = tuple((s.get_node().get_friendly_name(), s.get_index()) for s in sources)
    shapes = tuple(tuple(int(n) for n in output.get_shape()) for output in item.outputs())
    layouts = info["outputLayouts"].split(",")
    dtypes = info["outputPrecisions"].split(",")
    name = item.get_friendly_name()
    layer = info["layerType"]
    return Node(
        name=name,
        layer=layer,
        primitive=info["primitiveType"],
        layouts=tuple(layout_name(text) for text in _each(layouts, len(shapes))),
        dtypes=tuple(DTYPES.get(text, text) for text in _each(dtypes, len(shapes))),
        originals=tuple(part for part in info.get("originalLayersNames", "").split(",") if part),
        reads=reads,
        shapes=shapes,
        constant=layer == "Const" or (bool(reads) and all(before[n].constant for n, _ in reads)),
        ms=times.get(name, 0.0),
    )


def _each(items: list[str], count: int) -> list[str]:
    """One entry per output; the plug-in writes equal ones once."""
    return items if len(items) == count else [items[0]] * count


def layout_name(text: str) -> str:
    """A layout in the words of ``Op.layout``; the plug-in's own word where it has none.

    >>> layout_name("abcd"), layout_name("acdb"), layout_name("aBcd16b"), layout_name("ab")
    ('nchw', 'nhwc', 'nchw16c', 'nchw')
    >>> layout_name("Acdb8a")
    'Acdb8a'
    """
    if text == "abcdefgh"[: len(text)]:
        return "nchw"
    if len(text) > 2 and text == f"a{'cdefgh'[: len(text) - 2]}b":
        return "nhwc"
    blocked = _BLOCKED.fullmatch(text)
    return f"nchw{blocked[1]}c" if blocked else text


def is_known(layout: str) -> bool:
    """Whether ``Op.layout`` has a word for a layout."""
    return layout in {"nchw", "nhwc"} or (layout.startswith("nchw") and layout.endswith("c"))

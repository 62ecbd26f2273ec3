"""What normalisations become in ONNX Runtime where no kernel of its own carries them out.

Keras writes the formulas of its normalisations out, so that an exported file holds their means,
differences and products; ONNX's GroupNormalization is a function of such kernels as well. Seen with
trained scales and offsets. Not modelled: where the runtime puts Transposes between them, and the
few kernels that work on sizes alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod

from costmodel.anticipation.graph import Graph, Node
from costmodel.kinds import op_type_of
from costmodel.op import Op, Shape

_MEAN = (("keepdims", 1), ("since", 13))
#: Version of GroupNormalization since which it has a scale per channel.
_PER_CHANNEL = 21
_SUM = (("keepdims", 1), ("noop_with_empty_axes", 1), ("since", 13))


class _Kernels:
    """Kernels that take the place of one node, each reading tensors by name."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.source = node.reads[0]
        self._graph = graph
        self._node = node
        self._sizes: dict[str, Shape] = {self.source: node.op.inputs[0]}
        self._made: list[Node] = []
        graph.remove(node)

    def add(
        self,
        kind: str,
        *reads: str,
        size: Shape = (),
        weights: tuple[Shape, ...] = (),
        constants: tuple[Shape, ...] = (),
        **attributes: object,
    ) -> str:
        """One kernel; ``size`` is what it writes where that is not what it reads first."""
        node = self._node
        out = f"{node.out}/{kind}{len(self._made)}"
        given = {k: v for k, v in attributes.items() if v is not None}
        op = Op(
            kind=kind,
            inputs=tuple(self._sizes[name] for name in reads),
            outputs=(size or self._sizes[reads[0]],),
            weights=weights,
            constants=constants,
            dtype=node.op.dtype,
            attributes=tuple(sorted(given.items())),  # type: ignore[arg-type]
        )
        self._sizes[out] = op.outputs[0]
        name = f"{node.name}/{kind}{len(self._made)}"
        made = Node(name=name, op_type=op_type_of(kind), op=op, reads=list(reads), writes=[out])
        self._made.append(made)
        return out

    def finish(self) -> None:
        """Put the kernels into the graph; the last one writes what the node wrote."""
        *before, last = self._made
        for node in before:
            self._graph.add(node)
        last.name, last.writes, last.covers = (
            self._node.name,
            self._node.writes[:1],
            self._node.covers,
        )
        self._graph.add(last)


def expand_norms(graph: Graph) -> None:
    """Replace every normalisation that no kernel of the runtime carries out."""
    for node in list(graph.nodes.values()):
        rule = _RULES.get(node.op.kind)
        # What a file holds has the version of its operator; those of these kinds have kernels.
        in_file = node.op.attribute("since", 0) or node.op.attribute("axis") is not None
        if rule is None or (in_file and node.op.kind != "group_norm") or len(node.op.inputs) != 1:
            continue
        kernels = _Kernels(graph, node)
        rule(kernels, node.op)
        kernels.finish()


def _along(op: Op) -> tuple[tuple[int, ...], Shape, tuple[Shape, ...]]:
    """Axes of the statistics, their sizes, and the parameters as they are broadcast."""
    size = op.inputs[0]
    given = op.attribute("axes")
    axes = tuple(int(axis) for axis in given) if isinstance(given, tuple) else (1,)
    shared = tuple(1 if axis in axes else length for axis, length in enumerate(size))
    kept = tuple(length if axis in axes else 1 for axis, length in enumerate(size))
    return axes, shared, (kept,) * len(op.weights)


def _rms_norm(kernels: _Kernels, op: Op) -> None:
    axes, shared, weights = _along(op)
    source = kernels.source
    square = kernels.add("mul", source, source)
    mean = kernels.add("reduce_mean", square, size=shared, axes=axes, **dict(_MEAN))
    factor = _one_over(kernels, mean)
    if weights:
        factor = kernels.add("mul", factor, size=op.inputs[0], weights=weights[:1])
    kernels.add("mul", source, factor)


def _unit_norm(kernels: _Kernels, op: Op) -> None:
    axes, shared, _ = _along(op)
    source = kernels.source
    square = kernels.add("mul", source, source)
    total = kernels.add("reduce_sum", square, size=shared, constants=(axes,), **dict(_SUM))
    root = kernels.add("reciprocal", kernels.add("sqrt", total))
    kernels.add("mul", source, kernels.add("min", root, weights=((1,) * len(shared),)))


def _layer_norm(kernels: _Kernels, op: Op) -> None:
    axes, shared, weights = _along(op)
    source, size = kernels.source, op.inputs[0]
    mean, factor = _statistics(kernels, source, axes, shared)
    if weights:
        factor = kernels.add("mul", factor, size=size, weights=weights[:1])
    less = kernels.add("mul", kernels.add("neg", mean), factor, size=size if weights else shared)
    if len(weights) > 1:
        less = kernels.add("add", less, size=size, weights=weights[1:])
    kernels.add("add", kernels.add("mul", source, factor), less)


def _group_norm(kernels: _Kernels, op: Op) -> None:
    """By groups of channels, as Keras writes it out."""
    if op.attribute("since", 0):
        _group_function(kernels, op)
        return
    size, groups = op.inputs[0], op.attribute("num_groups", 1)
    groups = size[1] if groups == -1 else groups
    apart = (size[0], groups, size[1] // groups, *size[2:])
    axes = tuple(range(2, len(apart)))
    shared = (*apart[:2], *(1 for _ in apart[2:]))
    split = kernels.add("reshape", kernels.source, size=apart, constants=(apart,))
    mean, factor = _statistics(kernels, split, axes, shared)
    per_channel = (1, *apart[1:3], *(1 for _ in apart[3:]))
    wide = (size[0], *per_channel[1:])
    if op.weights:
        factor = kernels.add("mul", factor, size=wide, weights=(per_channel,))
    less = kernels.add("mul", kernels.add("neg", mean), factor, size=wide if op.weights else shared)
    if len(op.weights) > 1:
        less = kernels.add("add", less, size=wide, weights=(per_channel,))
    moved = kernels.add("add", kernels.add("mul", split, factor), less)
    kernels.add("reshape", moved, size=size, constants=(size,))


def _group_function(kernels: _Kernels, op: Op) -> None:
    """ONNX's function; one scale and offset per group, or since version 21 per channel."""
    size, groups = op.inputs[0], op.attribute("num_groups", 1)
    split = (*size[:1], groups, size[1] // groups, *size[2:])
    rows, since = (size[0], groups, prod(size[1:]) // groups), op.attribute("since", 18)
    shared, mean = (size[0], groups, 1), {"noop_with_empty_axes": 0, "keepdims": 1, "since": 18}
    source = kernels.source
    if since >= _PER_CHANNEL:
        source = kernels.add("cast", source, **_cast(op))
    apart = kernels.add("reshape", source, size=split, constants=(split,))
    apart = kernels.add("reshape", apart, size=rows, constants=((0, 0, -1),))
    square = kernels.add("mul", apart, apart)
    means = [
        kernels.add("reduce_mean", item, size=shared, constants=((2,),), **mean)
        for item in (apart, square)
    ]
    variance = kernels.add("sub", means[1], kernels.add("mul", means[0], means[0]))
    root = kernels.add("sqrt", kernels.add("add", variance, weights=((1,),)))
    done = kernels.add("div", kernels.add("sub", apart, means[0]), root)
    scaled = rows
    if since >= _PER_CHANNEL:
        scaled = (*size[:2], prod(size[2:]))
        done = kernels.add("reshape", done, size=size, constants=(size,))
        done = kernels.add("reshape", done, size=scaled, constants=((0, 0, -1),))
        done = kernels.add("cast", done, **_cast(op))
    done = kernels.add("mul", done, weights=((1, scaled[1], 1),))
    done = kernels.add("add", done, weights=((1, scaled[1], 1),))
    kernels.add("reshape", done, size=size, constants=(size,))


def _cast(op: Op) -> dict[str, int]:
    """Attributes of the Casts that the function of version 21 has around its statistics."""
    return {"saturate": 1, "since": _PER_CHANNEL, "to": 1 if op.dtype == "float32" else 10}


def _statistics(
    kernels: _Kernels, source: str, axes: tuple[int, ...], shared: Shape
) -> tuple[str, str]:
    """The mean and one over the deviation."""
    mean = kernels.add("reduce_mean", source, size=shared, axes=axes, **dict(_MEAN))
    difference = kernels.add("sub", source, mean)
    square = kernels.add("mul", difference, difference)
    variance = kernels.add("reduce_mean", square, size=shared, axes=axes, **dict(_MEAN))
    return mean, _one_over(kernels, variance)


def _one_over(kernels: _Kernels, variance: str) -> str:
    """One over the root of a variance that is kept off zero."""
    safe = kernels.add("add", variance, weights=((),))
    return kernels.add("reciprocal", kernels.add("sqrt", safe))


_RULES: Mapping[str, Callable[[_Kernels, Op], None]] = {
    "group_norm": _group_norm,
    "layer_norm": _layer_norm,
    "rms_norm": _rms_norm,
    "unit_norm": _unit_norm,
}

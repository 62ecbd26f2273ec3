"""Puts kernels on nodes of the model's own file: a fused kernel on the node that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from costmodel.kinds import kind_of
from costmodel.onnx_model.naming import NamedModel
from costmodel.viewers.kernels import Kernel, Result, kernels_of, total

#: Operators that do most of the work of what they are fused with.
_HEAVY = frozenset(
    {"Attention", "Conv", "ConvInteger", "ConvTranspose", "Gemm", "MatMul", "MatMulInteger"}
    | {"MultiHeadAttention", "QLinearConv", "QLinearMatMul"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Kernels by the node of the graph that shows their time.

    Attributes:
        nodes: by name of the node, in the order of the kernels.
        covered: of nodes that a kernel carries out together with another, by name: the node that
            shows its time.
        lost: kernels that no node stands for.
        share: part of the predicted time that is on nodes, 0 to 1; of the number of kernels where
            none has a price.
    """

    nodes: Mapping[str, tuple[Kernel, ...]]
    covered: Mapping[str, str]
    lost: tuple[Kernel, ...]
    share: float


def place(found: Result, graph: NamedModel) -> Placed:
    """Put every kernel on one node.

    Args:
        found: what was predicted, or predicted and measured.
        graph: the model that it was predicted for.
    """
    nodes: dict[str, list[Kernel]] = {}
    covered: dict[str, str] = {}
    lost: list[Kernel] = []
    kernels = kernels_of(found)
    for kernel in kernels:
        homes = tuple(dict.fromkeys(graph.homes[n] for n in kernel.layers if n in graph.homes))
        if not homes:
            lost.append(kernel)
            continue
        anchor = _anchor(kernel, homes, graph.op_types)
        nodes.setdefault(anchor, []).append(kernel)
        if not kernel.added:
            covered.update({name: anchor for name in homes if name != anchor})
    return Placed(
        nodes={name: tuple(items) for name, items in nodes.items()},
        covered={name: anchor for name, anchor in covered.items() if name not in nodes},
        lost=tuple(lost),
        share=_share(kernels, lost),
    )


def _anchor(kernel: Kernel, homes: tuple[str, ...], op_types: Mapping[str, str]) -> str:
    """The node that a kernel is about: of its own kind, else one that does much, else its last."""
    kind = kernel.op.kind if kernel.op is not None else ""
    for name in homes:
        if kind_of(op_types[name]) == kind:
            return name
    return next((name for name in homes if op_types[name] in _HEAVY), homes[-1])


def _share(kernels: tuple[Kernel, ...], lost: list[Kernel]) -> float:
    """Part of the predicted time that is on nodes; of the kernels, where none has a price."""
    whole = total(item.predicted for item in kernels)
    if whole > 0:
        missing = total(item.predicted for item in lost)
        return 1.0 - (missing / whole if missing > 0 else 0.0)
    return 1.0 - len(lost) / max(1, len(kernels))

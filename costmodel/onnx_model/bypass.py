"""The same ONNX graph without some layers that change no size."""

from __future__ import annotations

import onnx

from costmodel.onnx_model.walk import node_reads, rename_reads


def bypass(model: onnx.ModelProto, old: str, new: str) -> onnx.ModelProto | None:
    """A copy in which readers of one tensor read another, without what nobody reads any more.

    Args:
        model: not changed.
        old: tensor that is read no more.
        new: tensor of the same size, written before it.

    Returns:
        None where ``old`` is a result of the model, which must go on being written.
    """
    if old in {item.name for item in model.graph.output}:
        return None
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        rename_reads(node, {old: new})
    _drop_unread(changed.graph)
    return changed


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Leave out nodes none of whose results anybody reads; nodes are in running order."""
    wanted = {item.name for item in graph.output}
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node_reads(node))
    del graph.node[:]
    graph.node.extend(reversed(kept))
    stored = [item for item in graph.initializer if item.name in wanted]
    del graph.initializer[:]
    graph.initializer.extend(stored)

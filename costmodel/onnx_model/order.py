"""Puts the nodes of an ONNX graph into an order in which they can run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from pathlib import Path

import onnx

from costmodel.errors import ModelFormatError
from costmodel.onnx_model.walk import node_reads


def sort_nodes(path: Path, graph: onnx.GraphProto) -> None:
    """Sort the nodes in place: each as soon as it can run, the earlier one first.

    Args:
        path: where the model came from, for messages.
        graph: graphs inside its nodes are left to the runtimes.

    Raises:
        ModelFormatError: if there is no such order, a tensor is written twice, or an output never.
    """
    fed = {item.name for item in (*graph.input, *graph.initializer)} | {""}
    fed |= {item.values.name for item in graph.sparse_initializer}
    nodes = list(graph.node)
    writers = _writers(path, nodes, fed)
    reads = [[name for name in node_reads(node) if name not in fed] for node in nodes]
    order = _order(path, nodes, reads, writers)
    lost = [item.name for item in graph.output if item.name not in fed and item.name not in writers]
    if lost:
        message = (
            f"{path}: its output {lost[0]!r} is written by no node. The file is damaged, or was "
            "cut in the wrong place; export it again."
        )
        raise ModelFormatError(message)
    if order != list(range(len(nodes))):
        del graph.node[:]
        graph.node.extend(nodes[index] for index in order)


def _writers(path: Path, nodes: Sequence[onnx.NodeProto], fed: set[str]) -> dict[str, int]:
    """Which node writes each tensor."""
    writers: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in fed or name in writers:
                message = f"{path}: tensor {name!r} is written twice. Export it again."
                raise ModelFormatError(message)
            writers[name] = index
    return writers


def _order(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    reads: Sequence[Sequence[str]],
    writers: Mapping[str, int],
) -> list[int]:
    """Positions of the nodes in running order."""
    waits = [0] * len(nodes)
    readers: list[list[int]] = [[] for _ in nodes]
    for index, names in enumerate(reads):
        for name in names:
            if name not in writers:
                raise ModelFormatError(
                    _stuck(path, nodes[index], name, "nothing writes that tensor")
                )
            readers[writers[name]].append(index)
            waits[index] += 1
    ready = [index for index, count in enumerate(waits) if not count]
    heapify(ready)
    order: list[int] = []
    while ready:
        order.append(heappop(ready))
        for reader in readers[order[-1]]:
            waits[reader] -= 1
            if not waits[reader]:
                heappush(ready, reader)
    if len(order) < len(nodes):
        done = set(order)
        index = next(index for index, count in enumerate(waits) if count)
        name = next(name for name in reads[index] if writers[name] not in done)
        raise ModelFormatError(_stuck(path, nodes[index], name, "the nodes form a cycle"))
    return order


def _stuck(path: Path, node: onnx.NodeProto, name: str, why: str) -> str:
    return f"{path}: node {node.name!r} ({node.op_type}) reads {name!r}, but {why}."

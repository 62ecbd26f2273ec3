"""Layers by the names that their author gave them: of a PyTorch export, the paths of its modules.

PyTorch's exporters name nodes after operators. The module is in the name of its weight, in the
node's metadata (``dynamo``; where a normalisation was folded in, it may be told instead), or in the
scopes of the node's name (the exporter before that).
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable

import onnx

from costmodel.network import Layer
from morphnet_core.alignment import Source

#: Key under which PyTorch's exporter writes the modules around a node, outermost first, and the
#: operator itself.
SCOPES = "pkg.torch.onnx.name_scopes"
_WEIGHT = ".weight"


def layer_names(source: Source, layers: Iterable[Layer]) -> dict[str, str]:
    """Names of layers, by what the network calls them.

    Args:
        source: the network.
        layers: some of its layers.

    Returns:
        A name for each layer, the same where the file tells no other, or where two layers have it:
        a function that a module calls twice is no layer of its own.
    """
    nodes = source.model.graph.node
    found = {layer.name: module_of(nodes[source.nodes[layer.outputs[0]]]) for layer in layers}
    uses = Counter(found.values())
    return {title: name if name and uses[name] == 1 else title for title, name in found.items()}


def module_of(node: onnx.NodeProto) -> str:
    """Path of the module that a node is of; empty where the file does not tell."""
    weight = str(node.input[1]) if len(node.input) > 1 else ""
    if weight.endswith(_WEIGHT) and len(weight) > len(_WEIGHT):
        return weight.removesuffix(_WEIGHT)
    told = {item.key: item.value for item in node.metadata_props}
    return _read_scopes(told.get(SCOPES, "")) or _joined(node.name)


def _read_scopes(text: str) -> str:
    """The innermost module of a list such as ``['', 'layer1', 'layer1.0', 'conv2d']``."""
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ""
    whole = isinstance(found, list) and len(found) > 1 and all(isinstance(i, str) for i in found)
    return found[-2] if whole else ""


def _joined(name: str) -> str:
    """The module of a node's name, whose scopes have as much of the path as they please.

    >>> _joined("/layer1/layer1.0/conv1/Conv"), _joined("/features/features.1/features.1.0/Conv")
    ('layer1.0.conv1', 'features.1.0')
    """
    first, *scopes = name.split("/")
    if first or len(scopes) < 2:
        return ""
    path, before = "", ""
    for scope in scopes[:-1]:
        longer = before and scope.startswith(f"{before}.")
        parent = path.removesuffix(before).removesuffix(".") if longer else path
        path, before = f"{parent}.{scope}" if parent else scope, scope
    return path

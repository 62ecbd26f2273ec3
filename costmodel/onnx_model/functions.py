"""Writes the bodies of a model's own functions where they are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import onnx
import onnx.inliner

from costmodel.errors import LimitError, ModelFormatError
from costmodel.limits import limits
from costmodel.onnx_model.walk import Body, all_bodies, inner_graphs

#: Domain, name and overload.
_Key = tuple[str, str, str]

_WRITTEN_OUT = (
    "Export it with functions written out already (onnx.inliner does that, or the exporter)."
)


def inline_functions(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without functions of its own: what they do is done by plain nodes.

    Args:
        path: where the model came from, for messages.
        model: may change.

    Raises:
        ModelFormatError: if a function calls itself, stands for too many nodes, or does not fit
            the operator sets of the model.
    """
    if not model.functions:
        return model
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    _check_calls(path, model, functions)
    _write_defaults(model, functions)
    imports = _import_domains(model)
    alien = [
        f for f in model.functions if any(o.version != imports[o.domain] for o in f.opset_import)
    ]
    try:
        inlined = _converted(model, functions) if alien else None
        if inlined is None:
            # Runtimes take the nodes of a function as of the model's operator sets, too.
            for function in alien:
                for item in function.opset_import:
                    item.version = imports[item.domain]
            inlined = onnx.inliner.inline_local_functions(model)
    except Exception as error:
        message = f"{path}: its functions cannot be written out ({error}). {_WRITTEN_OUT}"
        raise ModelFormatError(message) from error
    left = next(_calls(inlined, functions), None)
    if left is not None:
        name = "::".join(filter(None, left))
        message = f"{path}: its function {name} cannot be written out. {_WRITTEN_OUT}"
        raise ModelFormatError(message)
    _drop_unused(inlined)
    return inlined


def _converted(
    model: onnx.ModelProto, functions: Mapping[_Key, onnx.FunctionProto]
) -> onnx.ModelProto | None:
    """The model with functions of other operator sets converted; None where onnx cannot."""
    try:
        inlined = onnx.inliner.inline_local_functions(model, convert_version=True)
    except Exception:
        # Conversion knows few operators; most mean the same in both sets, and need none.
        return None
    return None if any(_calls(inlined, functions)) else inlined


def _write_defaults(model: onnx.ModelProto, functions: Mapping[_Key, onnx.FunctionProto]) -> None:
    """Let calls name the attributes that a function has values for, which onnx forgets."""
    for body in all_bodies(model):
        for node in body.node:
            called = functions.get(_key(node))
            if called is not None and called.attribute_proto:
                given = {item.name for item in node.attribute}
                node.attribute.extend(i for i in called.attribute_proto if i.name not in given)


def _import_domains(model: onnx.ModelProto) -> dict[str, int]:
    """Let the model import all operator sets that its functions do; their versions by domain."""
    imports = {item.domain: item.version for item in model.opset_import}
    for function in model.functions:
        for item in function.opset_import:
            if item.domain not in imports:
                model.opset_import.append(item)
                imports[item.domain] = item.version
    return imports


def _drop_unused(model: onnx.ModelProto) -> None:
    """Forget domains of functions, which runtimes may look for."""
    del model.functions[:]
    used = {node.domain for body in all_bodies(model) for node in body.node} | {""}
    kept = [item for item in model.opset_import if item.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(kept)


def _calls(model: onnx.ModelProto, functions: Mapping[_Key, object]) -> Iterator[_Key]:
    """Calls of functions that are in the graph."""
    for node in _nodes(model.graph):
        if _key(node) in functions:
            yield _key(node)


def _key(node: onnx.NodeProto) -> _Key:
    return node.domain, node.op_type, node.overload


def _nodes(body: Body) -> Iterator[onnx.NodeProto]:
    """Nodes of a body and of the graphs inside them."""
    waiting: list[Iterable[onnx.NodeProto]] = [body.node]
    while waiting:
        for node in waiting.pop():
            yield node
            waiting.extend(graph.node for graph in inner_graphs(node))


def _check_calls(
    path: Path, model: onnx.ModelProto, functions: Mapping[_Key, onnx.FunctionProto]
) -> None:
    """Refuse functions that call themselves, and those that stand for too much."""
    calls = {key: Counter(map(_key, _nodes(body))) for key, body in functions.items()}
    inner = {key: found.keys() & functions.keys() for key, found in calls.items()}
    most = limits()
    sizes: dict[_Key, int] = {}
    for _ in range(most.nesting):  # onnx descends into each
        ready = [k for k, found in inner.items() if k not in sizes and sizes.keys() >= found]
        if not ready:
            break
        counted = {k: sum(n * sizes.get(c, 1) for c, n in calls[k].items()) for k in ready}
        sizes.update(counted)
    left = next((key for key in functions if key not in sizes), None)
    if left is not None:
        name = "::".join(filter(None, left))
        message = (
            f"{path}: its function {name} calls itself, or calls are more than {most.nesting} "
            f"deep; neither can be written out. Deeper calls: --limit nesting={len(functions)}."
        )
        raise LimitError(message)
    total = sum(sizes.get(_key(node), 1) for node in _nodes(model.graph))
    most.require("nodes", total, path)

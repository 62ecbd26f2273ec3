"""The calls of a Keras model in order, with the names that the network gives their tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.errors import ModelFormatError
from costmodel.readers.keras import graph_of
from morphnet_core.surgery.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of a layer, an operation or a nested model.

    Attributes:
        node: the call as Keras records it.
        origin: path of what is called.
        reads: names in the network of the tensors read.
        writes: names of those returned.
        inner: the calls inside, of a nested model.
    """

    node: Any
    origin: str
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    inner: Scope | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The calls of one model.

    Attributes:
        owner: the model; ``graph`` is its functional form, which it is itself unless sequential.
        graph: the functional model.
        path: path of the model with a slash at its end; empty for the outermost.
        steps: the calls in an order in which they can run.
    """

    owner: Any
    graph: Any
    path: str
    steps: tuple[Step, ...]


def trace(model: Any, plan: Plan) -> Scope:
    """All calls of a model, nested models entered.

    Raises:
        ModelFormatError: if the model has no graph of layers, or is not the plan's.
    """
    return _Tracer(plan).scope(model, "", None)


def functional(model: Any) -> Any:
    """The graph of layers of a functional or sequential model.

    Raises:
        ModelFormatError: if it has none.
    """
    graph = graph_of(model)
    if graph is None:
        message = (
            f"The model {getattr(model, 'name', model)!r} ({type(model).__name__}) has no graph of "
            "layers, so it cannot be rebuilt with other widths. Build it with the functional API; "
            "call a sequential model on an input once."
        )
        raise ModelFormatError(message)
    return graph


class _Tracer:
    """Follows the calls in the order in which the reader of Keras models numbers them."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._calls: Counter[str] = Counter()
        self._names: dict[int, str] = {}

    def scope(self, model: Any, path: str, read: Sequence[str] | None) -> Scope:
        graph = functional(model)
        if read is None:
            read = [item.name for item in graph.inputs]
            missing = [name for name in read if name not in self._plan.grouping.units]
            if missing:
                message = (
                    f"The grouping knows no input {missing[0]!r} of model {model.name!r}, so it is "
                    "of another model. Find the groups of this very model, or leave it out."
                )
                raise ModelFormatError(message)
        self._names.update({id(t): n for t, n in zip(graph.inputs, read, strict=True)})
        steps = [
            self._step(node, path)
            for depth in sorted(graph._nodes_by_depth, reverse=True)
            for node in graph._nodes_by_depth[depth]
            if not node.is_input
        ]
        return Scope(owner=model, graph=graph, path=path, steps=tuple(steps))

    def _step(self, node: Any, path: str) -> Step:
        operation = node.operation
        origin = f"{path}{operation.name}"
        reads = tuple(self._names[id(item)] for item in node.arguments.keras_tensors)
        inner = None
        if graph_of(operation) is not None:
            inner = self.scope(operation, f"{origin}/", reads)
            writes = tuple(self._names[id(item)] for item in inner.graph.outputs)
        else:
            writes = self._plan.outputs(origin, self._calls[origin])
            self._calls[origin] += 1
        self._names.update({id(t): n for t, n in zip(node.outputs, writes, strict=True)})
        return Step(node=node, origin=origin, reads=reads, writes=writes, inner=inner)

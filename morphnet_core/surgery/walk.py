"""The one walk over a model's graph that builds the new network beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from costmodel.errors import ModelFormatError
from morphnet_core.surgery.constants import constant_values
from morphnet_core.surgery.merges import Merge, merged
from morphnet_core.surgery.operations import OperationView, adapted_arguments, adapted_operation
from morphnet_core.surgery.plan import Plan, Positions
from morphnet_core.surgery.recut import View
from morphnet_core.surgery.remake import Maker
from morphnet_core.surgery.repeats import repeats
from morphnet_core.surgery.trace import Scope, Step, trace
from morphnet_core.surgery.values import DEAD, FlattenError, ReviveError, Value


class Walk:
    """Builds the model of a plan.

    Args:
        plan: what becomes of every tensor.
        maker: makes the layers.
        carry: whether constants of dead branches are worked out and kept.
        flat: paths of nested models whose layers are called in the model around them.
    """

    def __init__(self, plan: Plan, maker: Maker, *, carry: bool, flat: frozenset[str]) -> None:
        self._plan = plan
        self._maker = maker
        self._carry = carry
        self._flat = flat
        self._nested: dict[str, tuple[Any, Scope]] = {}
        #: Names taken in the model under construction, innermost last.
        self._taken: list[set[str]] = []
        #: Layers called in the model under construction, innermost last.
        self._called: list[list[Any]] = []

    def build(self, model: Any) -> Any:
        """The new model.

        Raises:
            ReviveError: if a constant is left that no layer can stand for.
            FlattenError: if a nested model cannot stay one.
            ModelFormatError: if a layer cannot be rebuilt.
        """
        scope = trace(model, self._plan)
        reads = [item.name for item in scope.graph.inputs]
        made, outputs = self._model(scope, reads)
        for value, name in zip(outputs, scope.graph.outputs, strict=True):
            if not value.is_live:
                raise ReviveError(value.lacking, f"output {name.name!r}")
        return made()

    def _model(self, scope: Scope, reads: Sequence[str]) -> tuple[Any, list[Value]]:
        """A function that makes the model of a scope, and what became of its outputs."""
        inputs = [
            self._input(item, name) for item, name in zip(scope.graph.inputs, reads, strict=True)
        ]
        self._taken.append({layer.name for layer in scope.graph.operations})
        self._called.append([])
        values = {
            id(old): Value(tensor=new) for old, new in zip(scope.graph.inputs, inputs, strict=True)
        }
        outputs = self._visit(scope, values)
        self._taken.pop()
        called = self._called.pop()

        def made() -> Any:
            return _assembled(scope, inputs, [value.tensor for value in outputs], called)

        return made, outputs

    def _input(self, tensor: Any, name: str) -> Any:
        """The input of a new model; that of a nested one may have fewer channels."""
        positions = self._plan.positions(name)
        shape = list(tensor.shape)
        if not positions.whole:
            shape[self._plan.axis(name)] = positions.count
        layer = tensor._keras_history.operation
        config = {**layer.get_config(), "batch_shape": tuple(shape)}
        return type(layer).from_config(config).output

    def _visit(self, scope: Scope, values: dict[int, Value]) -> list[Value]:
        for step in scope.steps:
            operands = [values[id(item)] for item in step.node.arguments.keras_tensors]
            results = self._call(step, operands)
            values.update({id(item): v for item, v in zip(step.node.outputs, results, strict=True)})
        return [values[id(item)] for item in scope.graph.outputs]

    def _call(self, step: Step, operands: Sequence[Value]) -> Sequence[Value]:
        if step.inner is not None:
            return self._call_model(step, step.inner, operands)
        written = [self._plan.positions(name) for name in step.writes]
        if all(self._plan.is_gone(name) for name in step.writes):
            return [DEAD] * len(written)
        if all(item.is_live for item in operands):
            return self._apply(step, [item.tensor for item in operands], written)
        if not any(item.is_live for item in operands):
            return constant_values(step, operands, self._plan, carry=self._carry)
        merge = Merge(
            step=step,
            operands=operands,
            positions=[self._plan.positions(name) for name in step.reads],
            axis=self._plan.axis(step.writes[0]),
            again=lambda tensors: self._operation(step, written)(tensors),
            carry=self._carry,
            adds=self._plan.adds,
            name=self._free_name(f"{step.node.operation.name}_constant"),
        )
        result = merged(merge)
        self._check(step, result, written[0], step.writes[0])
        return [Value(tensor=result)]

    def _call_model(self, step: Step, inner: Scope, operands: Sequence[Value]) -> Sequence[Value]:
        """Call a nested model, as one where all its inputs and outputs are live."""
        if inner.path in self._flat:
            values = {
                id(old): value for old, value in zip(inner.graph.inputs, operands, strict=True)
            }
            return self._visit(inner, values)
        known = self._nested.get(inner.path)
        if not all(item.is_live for item in operands):
            raise FlattenError(inner.path)
        if known is None:
            made, outputs = self._model(inner, step.reads)
            if not all(value.is_live for value in outputs):
                raise FlattenError(inner.path)
            known = self._nested[inner.path] = (made(), inner)
        elif not self._alike(known[1], inner):
            raise FlattenError(inner.path)
        tensors = {
            id(old): new.tensor
            for old, new in zip(step.node.arguments.keras_tensors, operands, strict=True)
        }
        args, kwargs = step.node.arguments.fill_in(tensors)
        self._called[-1].append(known[0])
        results = keras.tree.flatten(known[0](*args, **kwargs))
        return [Value(tensor=item) for item in results]

    def _alike(self, first: Scope, second: Scope) -> bool:
        """Whether two calls of a nested model keep the same channels everywhere."""
        for one, two in zip(first.steps, second.steps, strict=True):
            for a, b in zip(one.reads + one.writes, two.reads + two.writes, strict=True):
                if not self._plan.positions(a).same(self._plan.positions(b)):
                    return False
            if one.inner and two.inner and not self._alike(one.inner, two.inner):
                return False
        return True

    def _apply(
        self, step: Step, tensors: Sequence[Any], written: Sequence[Positions]
    ) -> list[Value]:
        """Call the layer or operation on live tensors."""
        node = step.node
        if len(tensors) == 1 and repeats(
            node.operation, node.arguments.keras_tensors[0], tensors[0]
        ):
            return [Value(tensor=tensors[0])]
        args, kwargs = node.arguments.fill_in(
            {id(old): new for old, new in zip(node.arguments.keras_tensors, tensors, strict=True)}
        )
        if not isinstance(node.operation, keras.layers.Layer):
            view = self._operation_view(step, written)
            args = adapted_arguments(view, args)
            if type(node.operation).__name__ == "Split" and sum(p.count > 0 for p in written) == 1:
                return [Value(tensor=tensors[0]) if p.count else DEAD for p in written]
        results = iter(keras.tree.flatten(self._operation(step, written)(*args, **kwargs)))
        values = []
        for name, positions in zip(step.writes, written, strict=True):
            if not positions.count and type(node.operation).__name__ == "Split":
                values.append(DEAD)
                continue
            result = next(results)
            self._check(step, result, positions, name)
            values.append(Value(tensor=result))
        return values

    def _operation(self, step: Step, written: Sequence[Positions]) -> Any:
        """The new layer or operation of a step."""
        old = step.node.operation
        if not isinstance(old, keras.layers.Layer):
            made = adapted_operation(self._operation_view(step, written))
            if step.origin.rpartition("/")[0] + "/" in self._flat:
                made.name = self._free_name(made.name)
            return made
        view = View(
            layer=old,
            read=self._plan.positions(step.reads[0]),
            written=written[0],
            channel_axis=self._plan.axis(step.writes[0]),
            title=step.origin,
        )
        flat = f"{step.origin.rpartition('/')[0]}/" in self._flat

        def name(made: int) -> str:
            return self._free_name(step.origin) if made or flat else old.name

        layer = self._maker.layer(view, name)
        self._called[-1].append(layer)
        return layer

    def _operation_view(self, step: Step, written: Sequence[Positions]) -> OperationView:
        first = step.node.arguments.keras_tensors[0]
        return OperationView(
            operation=step.node.operation,
            read=[self._plan.positions(name) for name in step.reads],
            written=written,
            read_axis=self._plan.axis(step.reads[0]),
            rank=len(first.shape),
            written_axis=self._plan.axis(step.writes[0]),
            title=step.origin,
        )

    def _free_name(self, wanted: str) -> str:
        """A name that no layer of the model under construction has: of a path, its end first."""
        taken = self._taken[-1]
        short = wanted.rpartition("/")[2]
        name = short if short not in taken else wanted.replace("/", "_")
        stem, count = name, 1
        while name in taken:
            count += 1
            name = f"{stem}_{count}"
        taken.add(name)
        return name

    def _check(self, step: Step, tensor: Any, positions: Positions, name: str) -> None:
        """Raise ``ModelFormatError`` unless a new tensor is as wide as planned."""
        axis = self._plan.axis(name)
        if len(tensor.shape) <= axis or tensor.shape[axis] in {positions.count, None}:
            return
        message = (
            f"Layer {step.origin!r} ({type(step.node.operation).__name__}) would return "
            f"{tensor.shape[axis]} channels where {positions.count} of {positions.size} are kept. "
            "Its channels cannot be cut; exclude the layers that write them: "
            "find_groups(..., exclude=[...])."
        )
        raise ModelFormatError(message)


def _assembled(
    scope: Scope, inputs: Sequence[Any], outputs: Sequence[Any], called: Sequence[Any]
) -> Any:
    """A model with the structure of inputs and outputs, and the name, of the old one."""
    owner, graph = scope.owner, scope.graph
    layers_only = all(isinstance(item, keras.layers.Layer) for item in called)
    if isinstance(owner, keras.Sequential) and layers_only and called:
        made = keras.Sequential([inputs[0], *called], name=owner.name)
    else:
        new = {id(old): t for old, t in zip(graph.inputs, inputs, strict=True)}
        new_out = {id(old): t for old, t in zip(graph.outputs, outputs, strict=True)}
        made = keras.Model(
            keras.tree.map_structure(lambda item: new[id(item)], graph.input),
            keras.tree.map_structure(lambda item: new_out[id(item)], graph.output),
            name=owner.name,
        )
    if not owner.trainable:
        made.trainable = False
    return made

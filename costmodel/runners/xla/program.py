"""Turns a network as written into a JAX function, as it would be deployed.

Weights are arguments, in the order in which the program wants them stored: as constants XLA would
fold work into them that a deployed program does at run time. Images are stored channels last unless
asked otherwise. Every layer runs in a named scope, so each instruction of the optimised HLO
tells in its metadata which layer it comes from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import costmodel.runners.xla.movement
import costmodel.runners.xla.pointwise
import costmodel.runners.xla.windows  # noqa: F401 - these three fill the registry
from costmodel.errors import InvalidInputError, UnsupportedOpError
from costmodel.network import Layer, Network
from costmodel.op import Op, Shape
from costmodel.runners.xla.step import BUILDERS, Arrange, Operand, Step, Weight
from costmodel.runners.xla.view import View, channels_last, simple

#: Element types of a program's floats.
DTYPES = ("float32", "bfloat16")
LAYOUTS = ("nhwc", "nchw")
_FLOATS = ("float", "bfloat")
#: Integers are 32 bits wide in JAX unless its process-wide switch is set.
_NARROW = {"int64": "int32", "uint64": "uint32"}
_SCOPE = re.compile(r"(?:^|/)L(\d+):")
#: Kinds through which an input's storage order is decided by their reader.
_TRANSPARENT = frozenset({"add", "cast", "clip", "div", "identity", "mul", "relu", "sub"})


class UnbuildableLayerError(UnsupportedOpError):
    """A layer that has no form as a JAX program; ``layer`` is its name."""

    def __init__(self, layer: str, reason: str) -> None:
        """Keep the layer's name beside the message."""
        super().__init__(reason)
        self.layer = layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A weight that the program takes as an argument.

    Attributes:
        layer: name of the layer that it belongs to.
        index: its place among the layer's weights (``Op.weights``); -1 for constant indices, which
            are zeros.
        spec: sizes and type of the argument.
        arrange: what is done to the written values once, before the program runs.
    """

    layer: str
    index: int
    spec: Any
    arrange: Arrange


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A network as a JAX function.

    Attributes:
        function: ``(inputs, parameters) -> outputs``, both mappings by name; outputs are a tuple.
        inputs: ``ShapeDtypeStruct`` by tensor name, in the program's storage order.
        parameters: weights by ``<layer>/<number>``.
        input_orders: for each input the logical (written) axis that each stored axis is.
        output_orders: the same for each output, by tensor name.
        layers: layer names by the number that their scope has in the HLO's metadata.
        dtype: element type of floats.
        layout: ``nhwc`` or ``nchw``.
    """

    function: Callable[[Mapping[str, Any], Mapping[str, Any]], tuple[Any, ...]]
    inputs: Mapping[str, Any]
    parameters: Mapping[str, Parameter]
    input_orders: Mapping[str, tuple[int, ...]]
    output_orders: Mapping[str, tuple[int, ...]]
    layers: tuple[str, ...]
    dtype: str
    layout: str

    @property
    def parameter_specs(self) -> dict[str, Any]:
        """``ShapeDtypeStruct`` of every weight."""
        return {name: item.spec for name, item in self.parameters.items()}

    def layer_of(self, op_name: str) -> str:
        """Layer that an HLO instruction's ``op_name`` lies in; empty for none."""
        found = _SCOPE.search(op_name)
        return self.layers[int(found[1])] if found else ""


def build_program(network: Network, *, dtype: str = "float32", layout: str = "nhwc") -> Program:
    """A JAX function that computes ``network``.

    Tensors that a layer reads but nobody writes (results of layers that could not be read) are
    inputs, too.

    Args:
        network: layers as written, from a reader.
        dtype: element type of all floats: ``float32`` or ``bfloat16``.
        layout: ``nhwc`` stores channels-first tensors of three axes and more channels last, as
            deployed JAX programs do; ``nchw`` stores everything as written.

    Raises:
        InvalidInputError: for another dtype or layout.
        UnbuildableLayerError: naming the layer that cannot be built, and why.
    """
    if dtype not in DTYPES or layout not in LAYOUTS:
        message = (
            f"A program has a dtype of {DTYPES} and a layout of {LAYOUTS}. "
            f"Received: dtype={dtype!r}, layout={layout!r}."
        )
        raise InvalidInputError(message)
    return _Builder(network, dtype, layout).program()


@dataclass(slots=True)
class _Builder:
    """One network on its way to a program."""

    network: Network
    dtype: str
    layout: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    output_orders: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def program(self) -> Program:
        inputs, orders = self._inputs()
        jax.eval_shape(lambda fed: self._run(fed, orders, None), inputs)
        orders_out = dict(self.output_orders)

        def function(fed: Mapping[str, Any], weights: Mapping[str, Any]) -> tuple[Any, ...]:
            return self._run(fed, orders, weights)

        return Program(
            function=function,
            inputs=inputs,
            parameters=dict(self.parameters),
            input_orders=orders,
            output_orders=orders_out,
            layers=tuple(layer.name for layer in self.network.layers),
            dtype=self.dtype,
            layout=self.layout,
        )

    def _inputs(self) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
        """Specification and storage order of everything that is fed."""
        shapes = dict(self.network.inputs)
        types: dict[str, str] = {}
        written = {name for layer in self.network.layers for name in layer.outputs}
        for layer in self.network.layers:
            for name, slot in zip(layer.inputs, slots_of(layer), strict=True):
                if name not in written:
                    shapes.setdefault(name, layer.op.inputs[slot])
                    types.setdefault(name, _type_of(layer.op, slot))
        specs, orders = {}, {}
        for name, shape in shapes.items():
            plain = self.layout == "nchw" or self._is_plain(name, len(shape))
            orders[name] = tuple(range(len(shape))) if plain else channels_last(len(shape))
            stored = tuple(shape[axis] for axis in orders[name])
            specs[name] = jax.ShapeDtypeStruct(stored, self._dtype(types.get(name, "float32")))
        return specs, orders

    def _is_plain(self, tensor: str, rank: int) -> bool:
        """Whether an input's own order is the one to store: its readers do not see an image."""
        if rank < 4:
            kinds = {"conv", "conv_transpose", "max_pool", "average_pool"}
            return not any(
                layer.op.kind in kinds for layer in self.network.layers if tensor in layer.inputs
            )
        waiting, seen = [tensor], set()
        while waiting:
            name = waiting.pop()
            for layer in self.network.layers:
                if name not in layer.inputs or layer.name in seen:
                    continue
                seen.add(layer.name)
                if layer.op.kind not in _TRANSPARENT:
                    return layer.op.kind == "transpose"
                waiting = [*layer.outputs, *waiting]
        return False

    def _dtype(self, name: str) -> Any:
        if name.startswith(_FLOATS):
            return jnp.dtype(self.dtype)
        return jnp.dtype(_NARROW.get(name, name))

    def _run(
        self,
        fed: Mapping[str, Any],
        orders: Mapping[str, tuple[int, ...]],
        weights: Mapping[str, Any] | None,
    ) -> tuple[Any, ...]:
        """All layers in turn; the first time, without weights, to learn what arguments they take.

        An argument's name counts the weights in the order in which layers ask for them, which is
        the same every time.
        """
        values = {name: simple(array, orders[name]) for name, array in fed.items()}
        for number, layer in enumerate(self.network.layers):
            with jax.named_scope(f"L{number}:{layer.name.replace('/', '|')}"):
                results = self._layer(layer, values, weights)
            # A result that is not asked for, such as an old dropout's mask, has no view.
            values.update(zip(layer.outputs, results, strict=False))
        return tuple(self._output(name, values[name]) for name in self._returned(values))

    def _returned(self, values: Mapping[str, View]) -> list[str]:
        """Outputs that are computed; all that nobody reads where the network names none."""
        if self.network.outputs:
            return [name for name in self.network.outputs if name in values]
        read = {name for layer in self.network.layers for name in layer.inputs}
        written = [name for layer in self.network.layers for name in layer.outputs]
        return [name for name in written if name not in read]

    def _output(self, name: str, view: View) -> Any:
        order = view.order
        self.output_orders[name] = order
        return view.stored(order)

    def _layer(
        self, layer: Layer, values: Mapping[str, View], weights: Mapping[str, Any] | None
    ) -> Sequence[View]:
        op = layer.op
        builder = BUILDERS.get(op.kind)
        if builder is None:
            message = f"Layer {layer.name!r} is a {op.kind!r}, which is not built for XLA."
            raise UnbuildableLayerError(layer.name, message)
        taken: list[int] = []

        def taker(index: int, shape: Shape) -> Callable[[Arrange], Any]:
            def take(arrange: Arrange) -> Any:
                name = f"{layer.name}/{len(taken)}"
                taken.append(index)
                if weights is not None:
                    return weights[name]
                return self._parameter(name, layer, index, shape, arrange)

            return take

        step = Step(
            op=op,
            operands=_operands(layer, values, taker),
            last=self.layout == "nhwc",
            dtype=self.dtype,
        )
        try:
            results = builder(step)
        except (IndexError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, UnsupportedOpError):
                message = f"Layer {layer.name!r} cannot be built for XLA: {error}"
            else:
                message = f"Layer {layer.name!r} ({op.label}) cannot be built for XLA: {error}"
            raise UnbuildableLayerError(layer.name, message) from error
        for result, shape in zip(results, op.outputs, strict=False):
            if result.shape != shape:
                message = f"Layer {layer.name!r} ({op.label}) gives {result.shape}, not {shape}."
                raise UnbuildableLayerError(layer.name, message)
        return results

    def _parameter(
        self, name: str, layer: Layer, index: int, shape: Shape, arrange: Arrange
    ) -> Any:
        # Strides of zero: an array of any size in four bytes, to learn what arranging makes of it.
        hollow = np.broadcast_to(np.zeros((), np.float32), shape)
        kind = self.dtype if index >= 0 else "int32"
        stored = tuple(arrange(hollow).shape)
        spec = jax.ShapeDtypeStruct(stored, jnp.dtype(kind))
        self.parameters[name] = Parameter(layer=layer.name, index=index, spec=spec, arrange=arrange)
        return jnp.zeros(stored, kind)


def _type_of(op: Op, slot: int) -> str:
    return op.input_dtypes[slot] if op.input_dtypes else op.dtype


def slots_of(layer: Layer) -> list[int]:
    """Which of ``op.inputs`` each tensor that the layer reads is.

    Constant tensors of whole numbers count as inputs of the Op, but no layer writes them.
    """
    op = layer.op
    extra = len(op.inputs) - len(layer.inputs)
    if extra <= 0:
        return list(range(len(layer.inputs)))
    whole = [i for i in range(len(op.inputs)) if not _type_of(op, i).startswith(_FLOATS)]
    constant = set(whole[-extra:])
    return [i for i in range(len(op.inputs)) if i not in constant]


def _operands(
    layer: Layer,
    values: Mapping[str, View],
    taker: Callable[[int, Shape], Callable[[Arrange], Any]],
) -> list[Operand]:
    """Operands in the operator's own order."""
    tensors = dict(zip(slots_of(layer), layer.inputs, strict=True))
    operands: list[Operand] = []
    for slot in layer.op.slots():
        if slot.letter == "-":
            operands.append(None)
        elif slot.letter == "w":
            operands.append(Weight(shape=slot.shape, take=taker(slot.index, slot.shape)))
        elif slot.letter == "c":
            operands.append(slot.values)
        elif slot.index in tensors:
            operands.append(values[tensors[slot.index]])
        else:
            array = taker(-1, slot.shape)(lambda w: w)
            operands.append(simple(array, range(len(slot.shape))))
    return operands

"""Asks XLA which kernels it executes for a program, from the optimised HLO."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.hlo_model.compiled import recipe_of
from costmodel.hlo_model.describe import implementation_of, op_of
from costmodel.hlo_model.module import Instruction, Module, parse
from costmodel.hlo_model.recipe import Recipe
from costmodel.network import Layer, Network, session_op
from costmodel.op import SESSION, Shape
from costmodel.runners.xla.program import Program, UnbuildableLayerError, build_program

#: Instructions that only pass on what they read.
_PASSING = frozenset({"bitcast", "get-tuple-element", "opt-barrier", "tuple"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A program and what XLA made of it.

    Attributes:
        program: its inputs and parameters say what is fed.
        executable: takes inputs, then weights, each sorted by name, one argument each.
        specs: sizes and types of these arguments.
        module: the optimised HLO.
        unread: layers that could not be built, with reasons.
    """

    program: Program
    executable: Any
    specs: Sequence[Any]
    module: Module
    unread: Mapping[str, str]


def compile_network(
    network: Network, *, dtype: str, layout: str, options: Mapping[str, Any], device: Any
) -> Compiled:
    """Build and compile a network as written; layers that cannot be built are left out.

    Raises:
        ModelFormatError: if XLA cannot compile it, or nothing of it can be built.
    """
    kept, program, unread = buildable(network, dtype=dtype, layout=layout)
    if not kept.layers:
        message = f"{network.name}: no layer of this network can be built for XLA: {dict(unread)}."
        raise ModelFormatError(message)
    fed, weights = sorted(program.inputs), sorted(program.parameters)
    specs = [program.inputs[name] for name in fed]
    specs += [program.parameters[name].spec for name in weights]

    def flat(*arguments: Any) -> tuple[Any, ...]:
        inputs = dict(zip(fed, arguments, strict=False))
        return program.function(inputs, dict(zip(weights, arguments[len(fed) :], strict=True)))

    try:
        executable = compile_function(flat, specs, options, device)
    except jax.errors.JaxRuntimeError as error:
        message = f"{network.name}: XLA cannot compile this model: {error}"
        raise ModelFormatError(message) from error
    return Compiled(
        program=program,
        executable=executable,
        specs=specs,
        module=module_of(executable),
        unread=unread,
    )


def compile_function(function: Any, specs: Any, options: Mapping[str, Any], device: Any) -> Any:
    """A compiled function whose arguments are all kept, used or not."""
    place = jax.sharding.SingleDeviceSharding(device)
    jitted = jax.jit(function, keep_unused=True, in_shardings=place, out_shardings=place)
    return jitted.lower(*specs).compile(compiler_options=dict(options))


def module_of(executable: Any) -> Module:
    """The optimised HLO of a compiled function."""
    return parse(executable.runtime_executable().hlo_modules()[0].to_string())


def buildable(
    network: Network, *, dtype: str, layout: str
) -> tuple[Network, Program, dict[str, str]]:
    """The part of a network that can be built, its program, and the layers left out."""
    unread = dict(network.unread)
    kept = _with_open_ends(network) if unread else network
    while True:
        try:
            return kept, build_program(kept, dtype=dtype, layout=layout), unread
        except UnbuildableLayerError as error:
            unread[error.layer] = str(error)
            layers = tuple(layer for layer in kept.layers if layer.name != error.layer)
            kept = _with_open_ends(replace(kept, layers=layers))


def _with_open_ends(network: Network) -> Network:
    """All that nobody reads is returned: what read it may be missing, and XLA drops unread work."""
    read = {name for layer in network.layers for name in layer.inputs}
    written = [name for layer in network.layers for name in layer.outputs]
    ends = dict.fromkeys(name for name in network.outputs if name in set(written))
    ends.update(dict.fromkeys(name for name in written if name not in read))
    return replace(network, outputs=tuple(ends))


def lower(network: Network, compiled: Compiled, layout: str) -> Network:
    """The executed Ops of a compiled network.

    Args:
        network: as written.
        compiled: from ``compile_network``.
        layout: of its program.
    """
    return _Walk(network, compiled, layout).network()


class _Walk:
    """One pass over the entry computation."""

    def __init__(self, network: Network, compiled: Compiled, layout: str) -> None:
        self._network = network
        self._program = compiled.program
        self._unread = dict(compiled.unread)
        self._layout = layout
        self._module = compiled.module
        self._entry = compiled.module.entry.instructions
        self._written = {layer.name: layer for layer in network.layers}
        self._place = {layer.name: i for i, layer in enumerate(network.layers)}
        fed = sorted(compiled.program.inputs)
        self._fed = dict(enumerate(fed))
        self._letters = {name: "w" for name in self._entry if self._is_weight(name)}

    def _is_weight(self, name: str) -> bool:
        """Whether a value is there before the program runs."""
        item = self._entry[name]
        if item.opcode == "parameter":
            return int(item.literal) not in self._fed
        if item.opcode == "constant":
            return True
        return item.opcode in _PASSING and all(self._is_weight(o) for o in item.operands)

    def network(self) -> Network:
        kernels = [kernel for item in self._module.executed() if (kernel := self._kernel(item))]
        self._inherit(kernels)
        layers = [self._layer(kernel) for kernel in kernels]
        outputs = self._sources(self._entry[self._module.entry.root].name)
        inputs: dict[str, Shape] = {
            name: tuple(spec.shape) for name, spec in self._program.inputs.items()
        }
        count = len(self._network.inputs), len(self._network.outputs)
        layers.append(Layer(name=SESSION, op=session_op(*count), share=0.0))
        return Network(
            name=self._network.name,
            layers=tuple(layers),
            inputs=inputs,
            outputs=tuple(outputs),
            unread=self._unread,
            source="lowered",
        )

    def _inherit(self, kernels: list[_Kernel]) -> None:
        """Give kernels that XLA made without saying what for the layer that reads them first."""
        for index in reversed(range(len(kernels))):
            kernel = kernels[index]
            if kernel.covers:
                continue
            wanted = set(kernel.writes)
            found = [
                name
                for later in kernels[index + 1 :]
                if wanted & set(later.reads)
                for name in later.covers
            ]
            kernel.covers = (min(found, key=self._place.__getitem__),) if found else ()

    def _sources(self, name: str) -> list[str]:
        """Tensors behind a value: names of executed instructions and of what is fed."""
        item = self._entry[name]
        if item.opcode == "parameter":
            fed = self._fed.get(int(item.literal))
            return [fed] if fed is not None else []
        if item.opcode == "get-tuple-element":
            source = self._entry[item.operands[0]]
            if source.opcode not in _PASSING and source.opcode != "parameter":
                return [f"{source.name}:{item.attributes['index']}"]
        if item.opcode in _PASSING:
            return [found for o in item.operands for found in self._sources(o)]
        return [] if item.opcode == "constant" else [item.name]

    def _kernel(self, item: Instruction) -> _Kernel | None:
        try:
            recipe, operands, origins = recipe_of(self._module, item, self._letters)
        except InvalidInputError as error:
            self._unread[item.name] = str(error)
            return None
        names = {self._program.layer_of(origin) for origin in (*origins, item.op_name)} - {""}
        several = len(item.arrays) > 1
        return _Kernel(
            item=item,
            recipe=recipe,
            covers=tuple(sorted(names, key=self._place.__getitem__)),
            reads=tuple(found for name in operands for found in self._sources(name)),
            writes=tuple(f"{item.name}:{i}" for i in range(len(recipe.roots)))
            if several
            else (item.name,),
        )

    def _layer(self, kernel: _Kernel) -> Layer:
        item, covers = kernel.item, kernel.covers
        kinds = [self._written[name].op.kind for name in covers]
        return Layer(
            name=f"{covers[-1] if covers else item.opcode}/{item.name}",
            op=op_of(kernel.recipe, implementation_of(item), kinds, self._layout),
            inputs=kernel.reads,
            outputs=kernel.writes,
            covers=covers,
        )


@dataclass(slots=True, kw_only=True)
class _Kernel:
    """One executed instruction: what it computes, for which layers, and its wiring."""

    item: Instruction
    recipe: Recipe
    covers: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]

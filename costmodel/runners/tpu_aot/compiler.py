"""Compiles networks for a TPU that is not there. Runs only in processes with their own environment.

JAX's topology descriptions stand in for devices; libtpu does the rest. Nothing is ever executed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import topologies
from jax.experimental.layout import Layout, with_layout_constraint
from jax.sharding import SingleDeviceSharding

from costmodel.errors import UnsupportedOpError
from costmodel.hlo_model.module import Module, parse
from costmodel.network import Network
from costmodel.runners.tpu_aot.cycles import without_estimate, working
from costmodel.runners.tpu_aot.generations import GENERATIONS
from costmodel.runners.tpu_aot.groups import group
from costmodel.runners.tpu_aot.pieces import OUTSIDE
from costmodel.runners.xla.program import Program, build_program

Stored = Mapping[str, tuple[int, ...]]

#: Scope of what stands around a piece and is not counted.
_AROUND = "around"
#: Sides of a product that takes long enough to bring so many bytes of weights into the fast memory
#: meanwhile, as the rest of a network does; the first that is enough, since large ones take longer
#: to compile.
_BUSY = ((1 << 22, 1024), (1 << 60, 2048))
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A network, its program and what the compiler made of it.

    Attributes:
        network: as built.
        program: the JAX program.
        module: the optimised HLO.
        optimal_ms: XLA's own roofline of the program in milliseconds; None where it has none.
    """

    network: Network
    program: Program
    module: Module
    optimal_ms: float | None


@functools.cache
def device_of(generation: str) -> Any:
    """A device of a generation, from the smallest topology that has one."""
    kind = GENERATIONS[generation]
    found = topologies.get_topology_desc(
        platform="tpu", topology_name=kind.topology, **kind.settings
    )
    return found.devices[0]


def compile_network(network: Network, generation: str, dtype: str) -> Compiled:
    """Compile a network as it is deployed: fed and returning arrays as the runtime stores them.

    Args:
        network: layers as written.
        generation: which TPU.
        dtype: element type of floats.

    Raises:
        UnsupportedOpError: if a layer cannot be built or the compiler rejects the program, or makes
            of it what it gives no estimate for.
    """
    program = build_program(network, dtype=dtype, layout="nhwc")
    arguments = (dict(program.inputs), program.parameter_specs)
    module, optimal_ms = _compile(program.function, arguments, generation, network.name)
    return Compiled(network=network, program=program, module=module, optimal_ms=optimal_ms)


def piece_cycles(network: Network, stored: Stored, generation: str, dtype: str) -> tuple[int, int]:
    """Cycles and kernels of a piece of a network, executed as it is inside that network.

    Alone, a piece would find its operands in slow memory and leave its results there, which
    takes up to twice as long. So a long product goes before it, during which its weights are
    brought in; its other operands are made, and its results read, by kernels that are not counted.

    Args:
        network: the piece.
        stored: by tensor name, how inputs and outputs are stored: major-to-minor axes, or
            ``OUTSIDE`` for what the whole network is fed or returns.
        generation: which TPU.
        dtype: element type of floats.

    Raises:
        UnsupportedOpError: as ``compile_network``.
    """
    program = build_program(network, dtype=dtype, layout="nhwc")
    specs = [item.spec for item in program.parameters.values()]
    weight_bytes = sum(spec.size * spec.dtype.itemsize for spec in specs)
    side = next(side for most, side in _BUSY if weight_bytes <= most)
    busy = jax.ShapeDtypeStruct((side, side), jnp.bfloat16)
    arguments = (dict(program.inputs), program.parameter_specs, busy)
    function = _surrounded(program, stored)
    module, _ = _compile(function, arguments, generation, network.name)

    def layer_of(op_name: str) -> str:
        return program.layer_of(op_name) or (_AROUND if f"/{_AROUND}/" in op_name else "")

    counted = [some for some in group(module, layer_of) if some.layers - {_AROUND}]
    kernels = sum(len(some.items) for some in counted)
    return sum(some.cycles for some in counted), kernels


def _surrounded(program: Program, stored: Stored) -> Callable[..., tuple[Any, ...]]:
    names = tuple(program.output_orders)

    def pinned(name: str, value: Any) -> Any:
        order = stored.get(name, ())
        if len(order) != value.ndim or order == OUTSIDE:
            return value
        return with_layout_constraint(value, Layout(major_to_minor=order))

    def made(name: str, value: Any, late: Any) -> Any:
        if stored.get(name) == OUTSIDE or not jnp.issubdtype(value.dtype, jnp.floating):
            return value
        return lax.optimization_barrier(pinned(name, value + late.astype(value.dtype)))

    def used(name: str, value: Any, late: Any) -> Any:
        if stored.get(name) == OUTSIDE or not jnp.issubdtype(value.dtype, jnp.floating):
            return value
        return lax.optimization_barrier(pinned(name, value)) + late.astype(value.dtype)

    def function(fed: Any, weights: Any, busy: Any) -> tuple[Any, ...]:
        with jax.named_scope(_AROUND):
            late = lax.optimization_barrier(jnp.max(busy @ busy))
            fed = {name: made(name, value, late) for name, value in fed.items()}
        results = program.function(fed, weights)
        with jax.named_scope(_AROUND):
            pairs = zip(names, results, strict=True)
            return (*(used(name, value, late) for name, value in pairs), late)

    return function


def _compile(
    function: Callable[..., Any], arguments: Any, generation: str, name: str
) -> tuple[Module, float | None]:
    """The optimised module and XLA's roofline in ms."""
    where = SingleDeviceSharding(device_of(generation))
    try:
        traced = jax.jit(function, in_shardings=where, out_shardings=where).trace(*arguments)
        compiled = traced.lower(lowering_platforms=("tpu",)).compile()
    except (jax.errors.JaxRuntimeError, NotImplementedError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())[:_LONGEST_REASON]
        message = f"The compiler for TPU {generation} rejects {name!r}: {text}"
        raise UnsupportedOpError(message) from error
    module = parse(compiled.as_text())
    if not working(module):
        message = f"The compiler for TPU {generation} leaves nothing of {name!r} to execute."
        raise UnsupportedOpError(message)
    missing = without_estimate(module)
    if missing:
        message = (
            f"The compiler for TPU {generation} gives no estimate for {', '.join(missing)}, of "
            f"which it makes a part of {name!r}, so a sum would leave that out."
        )
        raise UnsupportedOpError(message)
    costs = compiled.cost_analysis() or {}
    seconds = float(costs.get("optimal_seconds", 0.0))
    return module, 1000.0 * seconds if seconds > 0 else None

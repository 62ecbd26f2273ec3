"""Compiles one executed Op alone, several times in one program, and checks what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import jax
import numpy as np

from costmodel.errors import InvalidInputError, UnsupportedOpError
from costmodel.hlo_model.compiled import recipe_of
from costmodel.hlo_model.describe import implementation_of, recipe_text
from costmodel.hlo_model.module import Module
from costmodel.hlo_model.recipe import DTYPES, Recipe, num_bytes, read_recipe
from costmodel.op import MODEL, Op
from costmodel.runners.xla.backend import plain_products
from costmodel.runners.xla.emit import function_of, stored_shape
from costmodel.runners.xla.optimised import compile_function, module_of

#: Time that one call should last, so that what is subtracted from it is small.
_CALL_MS = 0.2
_MAX_REPLICAS = 16
#: Arguments of one call; each costs time to pass on.
_MAX_ARGUMENTS = 96
#: Rates that guess an Op's time before it is compiled; only the number of replicas depends on them.
_MACS_PER_MS = 3e7
_BYTES_PER_MS = 8e6
#: What all calls in turn read together. Weights have left the near caches when a network comes
#: back to them. Activations have not: XLA packs them into one block that is used again and again.
#: Sums over whole networks came out at 1.05, 1.01, 1.06, 1.00 and 1.00 with this much, at 1.24,
#: 1.11, 1.04, 1.21 and 1.01 with the 4 MB that suit ONNX Runtime's allocator.
COLD_BYTES = 8 << 20
TURN_BYTES = 1 << 18
_MAX_TURNS = 32
#: Kernels that may do nothing but move.
_COPIES = frozenset({"copy", "loop:fusion", "transpose"})
#: Instructions that compilers add, drop or move without changing a group's work.
_LIGHT = frozenset({"bitcast", "broadcast", "constant", "copy", "d", "reshape", "w"})


def recipe_to_run(op: Op) -> Recipe:
    """The recipe that an Op holds.

    Raises:
        UnsupportedOpError: if it holds none, or one that cannot be read.
    """
    text = recipe_text(op)
    if op.kind == MODEL or not text:
        message = (
            f"{op.label} ({op.implementation or op.kind}) holds no HLO recipe, so it cannot be "
            "rebuilt. Expected an Op that this runner's lower() returned."
        )
        raise UnsupportedOpError(message)
    try:
        recipe = read_recipe(text)
    except InvalidInputError as error:
        raise UnsupportedOpError(str(error)) from error
    unknown = {node.array.dtype for node in recipe.nodes} - set(DTYPES)
    if unknown:
        message = f"{op.label}: there is no element type {unknown.pop()!r} in JAX here."
        raise UnsupportedOpError(message)
    return recipe


def num_replicas(op: Op, recipe: Recipe) -> int:
    """Copies of the Op in one program: enough for a call to last."""
    moved = sum(num_bytes(node.array) for node in recipe.operands)
    moved += sum(num_bytes(recipe.nodes[root].array) for root in recipe.roots)
    guess_ms = op.macs / _MACS_PER_MS + moved / _BYTES_PER_MS
    wanted = int(_CALL_MS / max(guess_ms, 1e-6))
    room = _MAX_ARGUMENTS // max(1, len(recipe.operands))
    return max(1, min(wanted, room, _MAX_REPLICAS))


def num_turns(op: Op, recipe: Recipe, replicas: int) -> int:
    """Argument lists that calls take in turn, so that data are as cold as in a network."""
    data = sum(num_bytes(n.array) for n in recipe.operands if n.opcode == "d")
    data += sum(num_bytes(recipe.nodes[root].array) for root in recipe.roots)
    weights = 4 * op.num_weights
    wanted = [1]
    if data:
        wanted.append(-(-TURN_BYTES // (data * replicas)))
    if weights > 1 << 14:
        wanted.append(-(-COLD_BYTES // (weights * replicas)))
    return min(max(wanted), _MAX_TURNS)


def compile_op(
    op: Op, recipe: Recipe, replicas: int, options: Mapping[str, Any], device: Any
) -> tuple[Any, list[Any]]:
    """A program that executes the Op ``replicas`` times, and its arguments' specifications.

    Raises:
        UnsupportedOpError: if XLA rejects it, or makes something else of it when it stands alone.
    """
    one = [jax.ShapeDtypeStruct(stored_shape(n.array), DTYPES[n.array.dtype])
           for n in recipe.operands]  # fmt: skip
    run, width = function_of(recipe), len(one)

    def several(*arguments: Any) -> tuple[Any, ...]:
        results: list[Any] = []
        for index in range(replicas):
            results += run(*arguments[index * width : (index + 1) * width])
        return tuple(results)

    specs = one * replicas
    chosen = plain_products(options) if op.implementation == "dot" else options
    try:
        executable = compile_function(several, specs, chosen, device)
        module = module_of(executable)
    except UnsupportedOpError:
        raise
    except (jax.errors.JaxRuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
        first = str(error).strip().splitlines()[0][:300]
        message = f"XLA rejects {op.label} ({op.implementation}): {first}"
        raise UnsupportedOpError(message) from error
    _require_same(op, recipe, module, replicas)
    return executable, specs


def compile_empty(
    specs: Sequence[Any], results: int, options: Mapping[str, Any], device: Any
) -> Any:
    """A program of the same arguments and as many results that does next to nothing."""

    def empty(*arguments: Any) -> tuple[Any, ...]:
        numbers = [a.reshape(-1)[:1] for a in arguments] or [np.zeros(1, np.float32)]
        return tuple(
            numbers[i % len(numbers)] + np.ones((), numbers[0].dtype) for i in range(results)
        )

    return compile_function(empty, specs, options, device)


def _require_same(op: Op, recipe: Recipe, module: Module, replicas: int) -> None:
    """Refuse to time other work than the Op says."""
    wanted = (op.implementation, _work(recipe))
    found: Counter[tuple[str, tuple[tuple[str, int], ...]]] = Counter()
    for item in module.executed():
        try:
            inner, _, _ = recipe_of(module, item, {})
        except InvalidInputError:
            inner = None
        found[implementation_of(item), _work(inner) if inner else ()] += 1
    same = found.pop(wanted, 0)
    # Copies of a vector that a product's operand needs when nothing before it can write it so.
    copies = [key for key in found if not key[1] and key[0] in _COPIES]
    if not wanted[1] and wanted[0] in _COPIES:
        same = max(same, sum(found[key] for key in copies))
    rest = [key for key in found if key not in copies]
    if same < replicas or rest:
        names = ", ".join(f"{count} x {name}" for (name, _), count in found.items())
        message = (
            f"{op.label}: alone, XLA compiles {same} of {replicas} copies to {op.implementation} "
            f"with the same work, and besides: {names or 'nothing'}. The Op cannot be timed alone."
        )
        raise UnsupportedOpError(message)


def _work(recipe: Recipe) -> tuple[tuple[str, int], ...]:
    """How much of what a group computes, whatever the order and the moving around."""
    counts: Counter[str] = Counter()
    for node in recipe.nodes:
        if node.opcode not in _LIGHT:
            counts[node.opcode] += prod(node.array.dims)
    if len(counts) > 1:
        # Where narrow types are widened and narrowed again is decided anew in every program.
        counts.pop("convert", None)
    return tuple(sorted(counts.items()))

"""What a user may add to the groups found: ties, exclusions and the bounds of a subgraph."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from costmodel.errors import InvalidInputError
from costmodel.network import Layer
from morphnet_core.groups.tracer import Tracer, origin_of


def check_matches(tracer: Tracer, expressions: Sequence[str], option: str) -> None:
    """Raise ``InvalidInputError`` for an expression that is malformed or found in no origin.

    Args:
        tracer: after its walk.
        expressions: regular expressions.
        option: name of the option, for the message.
    """
    if isinstance(expressions, str):
        message = f"{option} must be a list of regular expressions. Received: {expressions!r}."
        raise InvalidInputError(message)
    origins = list(dict.fromkeys(made.origin for made in tracer.productions))
    for expression in expressions:
        try:
            found = any(re.search(expression, origin) for origin in origins)
        except re.error as error:
            message = f"{option}: {expression!r} is not a regular expression ({error})."
            raise InvalidInputError(message) from error
        if not found:
            message = (
                f"{option}: {expression!r} is found in no layer that writes channels of its own. "
                f"There are: {_listed(origins)}."
            )
            raise InvalidInputError(message)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def force(tracer: Tracer, expressions: Sequence[str]) -> None:
    """Tie the channels of all layers that one expression is found in.

    Raises:
        InvalidInputError: if their numbers of channels differ.
    """
    for expression in expressions:
        found = [made for made in tracer.productions if re.search(expression, made.origin)]
        for made in found[1:]:
            if len(made.ids) != len(found[0].ids):
                message = (
                    f"force_group: {expression!r} is found in {found[0].origin!r} with "
                    f"{len(found[0].ids)} channels and in {made.origin!r} with {len(made.ids)}; "
                    "channels are tied one to one. Write an expression that is found only in "
                    "layers of one width."
                )
                raise InvalidInputError(message)
            tracer.tie(found[0].ids, made.ids)


def freeze_excluded(tracer: Tracer, expressions: Sequence[str]) -> None:
    """Freeze the channels of every layer that an expression is found in."""
    for expression in expressions:
        for made in tracer.productions:
            if re.search(expression, made.origin):
                tracer.freeze(made.ids, f"{made.origin} is excluded by {expression!r}")


def freeze_outside(tracer: Tracer, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Freeze what layers outside a subgraph read and write.

    Raises:
        InvalidInputError: if a name is no layer's, or nothing is left between the bounds.
    """
    if not inputs and not outputs:
        return
    layers = tracer.network.layers
    starts, ends = _tensors(tracer, inputs, "inputs"), _tensors(tracer, outputs, "outputs")
    before = _ancestors(tracer, starts)
    needed = _ancestors(tracer, ends) if ends else {layer.name: None for layer in layers}
    after = _descendants(layers, starts) if starts else needed
    inside = {name for name in needed if name not in before and name in after}
    if not inside:
        message = (
            f"There is no layer between inputs={list(inputs)} and outputs={list(outputs)}. Give "
            "layers that follow one another."
        )
        raise InvalidInputError(message)
    for layer in layers:
        if layer.name not in inside:
            reason = f"{layer.name} lies outside the given inputs and outputs"
            for name in (*layer.inputs, *layer.outputs):
                tracer.freeze(tracer.tensors[name].ids, reason)
    for name in ends:
        tracer.freeze(tracer.tensors[name].ids, "it is an output of the given part")


def _tensors(tracer: Tracer, names: Sequence[str], option: str) -> dict[str, None]:
    """What layers return: the outputs of their last steps."""
    found: dict[str, None] = {}
    for name in names:
        own = [layer for layer in tracer.network.layers if name in {origin_of(layer), layer.name}]
        if name in tracer.network.inputs:
            found[name] = None
        elif not own:
            message = f"{option}: the network {tracer.network.name!r} has no layer {name!r}."
            raise InvalidInputError(message)
        last = {(layer.origin, layer.call): layer for layer in own}
        found.update(dict.fromkeys(out for layer in last.values() for out in layer.outputs))
    return found


def _ancestors(tracer: Tracer, tensors: Iterable[str]) -> dict[str, None]:
    """Names of layers that some of the tensors depend on."""
    wanted = set(tensors)
    found: dict[str, None] = {}
    for layer in reversed(tracer.network.layers):
        if wanted.intersection(layer.outputs):
            found[layer.name] = None
            wanted.update(layer.inputs)
    return found


def _descendants(layers: Sequence[Layer], tensors: Iterable[str]) -> dict[str, None]:
    """Names of layers that depend on some of the tensors."""
    known = set(tensors)
    found: dict[str, None] = {}
    for layer in layers:
        if known.intersection(layer.inputs):
            found[layer.name] = None
            known.update(layer.outputs)
    return found

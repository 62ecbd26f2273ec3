"""A network's sizes at another batch, which is what a device may really be given."""

from __future__ import annotations

from dataclasses import replace

from costmodel.errors import InvalidInputError
from costmodel.op import Op, Shape
from morphnet_core.groups import Grouping


def at_batch(grouping: Grouping, batch: int) -> Grouping:
    """The same channels, with ``batch`` times as many images at once.

    Args:
        grouping: of a network read at a batch of one.
        batch: images at once.

    Raises:
        InvalidInputError: if ``batch`` is not positive.
    """
    if batch < 1:
        message = f"A batch holds at least one image. Received: batch={batch}."
        raise InvalidInputError(message)
    if batch == 1:
        return grouping
    network = grouping.network
    layers = tuple(replace(layer, op=_op_at(layer.op, batch)) for layer in network.layers)
    opaque = {
        name: replace(item, sizes=tuple(_times(size, batch) for size in item.sizes))
        for name, item in network.opaque.items()
    }
    inputs = {name: _times(size, batch) for name, size in network.inputs.items()}
    return replace(
        grouping,
        network=replace(network, layers=layers, inputs=inputs, opaque=opaque),
        sizes={name: _times(size, batch) for name, size in grouping.sizes.items()},
    )


def _times(size: Shape, batch: int) -> Shape:
    return (size[0] * batch, *size[1:]) if size else size


def _op_at(op: Op, batch: int) -> Op:
    outputs = tuple(_times(size, batch) for size in op.outputs)
    constants = op.constants
    if op.kind == "reshape" and constants[:1] == op.outputs[:1]:
        constants = (outputs[0], *constants[1:])
    return replace(
        op,
        inputs=tuple(_times(size, batch) for size in op.inputs),
        outputs=outputs,
        constants=constants,
    )

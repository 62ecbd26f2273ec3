"""Turns Keras's recurrent layers into Ops; a layer is one Op, as runtimes mostly carry it out.

Weights are in ONNX's form, ``(directions, gates * units, in)``. Time is the last of the neutral
axes; multiply-adds follow from the elements, whatever their order.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from costmodel.op import Op, Shape
from costmodel.readers.keras_activations import Step, UnreadableError
from costmodel.readers.keras_call import Call

#: Kinds by the class of the cell.
_CELLS = {"LSTMCell": "lstm", "GRUCell": "gru", "SimpleRNNCell": "rnn"}


def _class_names(item: Any) -> list[str]:
    return [cls.__name__ for cls in type(item).__mro__]


def _cell_kind(cell: Any) -> str:
    kind = next((_CELLS[name] for name in _class_names(cell) if name in _CELLS), "")
    if not kind:
        message = f"a recurrent layer of the cell {type(cell).__name__}"
        raise UnreadableError(message)
    return kind


def _matrices(cell: Any, directions: int) -> tuple[Shape, ...]:
    """Input matrix, recurrent matrix and biases of cells of one form."""
    width, gates = (int(size) for size in cell.kernel.shape)
    units = int(cell.recurrent_kernel.shape[0])
    found: tuple[Shape, ...] = ((directions, gates, width), (directions, gates, units))
    bias = getattr(cell, "bias", None)
    return found if bias is None else (*found, (directions, prod(map(int, bias.shape))))


def _recurrent_op(
    cell: Any, direction: str, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]
) -> Op:
    """One cell over all steps; states that are fed stand where ONNX has them."""
    weights = _matrices(cell, 2 if direction == "bidirectional" else 1)
    states = len(inputs) - 1
    bias = "w" if len(weights) == 3 else "-"
    return Op(
        kind=_cell_kind(cell),
        inputs=inputs,
        outputs=outputs,
        weights=weights,
        operands=f"dww{bias}-{'d' * states}" if states else "",
        attributes=(("direction", direction), ("hidden_size", weights[1][2])),
    )


def _layer(call: Call) -> list[Step]:
    layer = call.layer
    cells = layer.cell.cells if hasattr(layer.cell, "cells") else [layer.cell]
    direction = "reverse" if layer.go_backwards else "forward"
    if len(cells) == 1:
        op = _recurrent_op(cells[0], direction, call.inputs, call.outputs)
        return [Step(op=op, reads=tuple(range(len(call.inputs))))]
    if len(call.inputs) > 1 or len(call.outputs) > 1:
        message = f"{type(layer).__name__} of several cells whose states are fed or returned"
        raise UnreadableError(message)
    batch, steps = call.outputs[0][0], prod(call.inputs[0]) // int(cells[0].kernel.shape[0])
    found: list[Step] = []
    size = call.inputs[0]
    for index, cell in enumerate(cells):
        last = index == len(cells) - 1
        out = call.outputs[0] if last else (batch, int(cell.units), steps // batch)
        op = _recurrent_op(cell, direction, (size,), (out,))
        read = f"/{index - 1}" if index else 0
        found.append(Step(op=op, suffix="" if last else f"/{index}", reads=(read,)))
        size = out
    return found


def _bidirectional(call: Call) -> list[Step]:
    """Both directions as one Op; joining what they return is part of it."""
    forward, backward = call.layer.forward_layer, call.layer.backward_layer
    alike = [_matrices(getattr(side, "cell", None), 1) for side in _sides(forward, backward)]
    if alike[0] != alike[1]:
        message = "Bidirectional of layers of two forms"
        raise UnreadableError(message)
    op = _recurrent_op(forward.cell, "bidirectional", call.inputs, call.outputs)
    return [Step(op=op, reads=tuple(range(len(call.inputs))))]


def _sides(*layers: Any) -> tuple[Any, ...]:
    for layer in layers:
        if not hasattr(layer, "cell"):
            message = f"Bidirectional of {type(layer).__name__}"
            raise UnreadableError(message)
        _cell_kind(layer.cell)
    return layers


def _conv_lstm(call: Call) -> list[Step]:
    layer, size, out = call.layer, call.inputs[0], call.outputs[0]
    cell = layer.cell
    last = layer.data_format != "channels_first"
    steps = size[2] if last and call.channels_last else size[1]
    state = out[3:] if layer.return_sequences else out[2:]
    weights = tuple(
        (shape[-1], shape[-2], *shape[:-2])
        for shape in (
            tuple(map(int, kernel.shape)) for kernel in (cell.kernel, cell.recurrent_kernel)
        )
    )
    bias = getattr(cell, "bias", None)
    op = Op(
        kind="conv_lstm",
        inputs=call.inputs,
        outputs=call.outputs,
        weights=weights if bias is None else (*weights, (weights[0][0],)),
        attributes=(("positions", size[0] * prod(state)), ("steps", steps)),
    )
    return [Step(op=op, reads=tuple(range(len(call.inputs))))]


#: By class name; these may read and write several tensors, as states are fed and returned.
RECURRENT_RULES: dict[str, Callable[[Call], list[Step]]] = {
    **{f"ConvLSTM{n}D": _conv_lstm for n in (1, 2, 3)},
    **dict.fromkeys(("GRU", "LSTM", "RNN", "SimpleRNN"), _layer),
    "Bidirectional": _bidirectional,
}

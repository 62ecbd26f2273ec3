"""Writes a piece of a network as one Op, and makes the piece from the Op again.

The common shapes - one layer, its bias, a sum with another tensor, activations - are said in the
Op's own fields, so that Ops that differ in channels alone differ in nothing else. Whatever the
compiler fuses beyond that is kept layer by layer in the attribute ``program``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Annotated

import msgspec

from costmodel.errors import UnsupportedOpError
from costmodel.network import Layer, Network
from costmodel.op import MODEL, POOL_KINDS, SESSION, Attribute, Op, Shape, as_operands, op_fields
from costmodel.readers.onnx import NUMBER, OPERATOR, OVERRIDABLE, WEIGHTS
from costmodel.runners.tpu_aot.pieces import BIAS, OUTSIDE, Piece, bias_op

IMPLEMENTATION = "xla:tpu"
#: Attribute with the storage of inputs and outputs, e.g. ``"1203 0312>0123"``, ``=`` for outside.
STORED = "stored"
#: Attribute with the layers of a piece that the Op's own fields cannot say.
PROGRAM = "program"
#: Several convolutions or products in one piece.
SUBGRAPH = "subgraph"
#: Activations that an epilogue names.
_ACTIVATIONS = frozenset({"hard_swish", "relu", "sigmoid", "tanh"})
#: Attributes that only tell the reader's side of the story, not the work.
_IGNORED = frozenset({NUMBER, OPERATOR, OVERRIDABLE, WEIGHTS, STORED, PROGRAM})

Id = Annotated[int, msgspec.Meta(ge=0, le=10_000)]


class _Step(msgspec.Struct, array_like=True, frozen=True):
    """A layer in a program: its Op, and the numbers of the tensors that it reads and writes."""

    op: Op
    reads: tuple[Id, ...]
    writes: tuple[Id, ...]


class _Program(msgspec.Struct, frozen=True):
    """Layers in order, numbers of the tensors fed with their sizes, and of those returned."""

    steps: tuple[_Step, ...]
    fed: tuple[Id, ...]
    sizes: tuple[Shape, ...]
    returned: tuple[Id, ...]


_DECODER = msgspec.json.Decoder(_Program)


def op_of(piece: Piece, dtype: str) -> Op:
    """The Op of a piece, the same for the same work whatever its layers are called."""
    plain = _plain_op(piece)
    kind = plain.kind if plain is not None else ""
    if plain is None:
        main = _main(piece.layers)
        kind = main.op.kind if main else SUBGRAPH
        plain = _program_op(piece, main)
    places = [[_storage(piece, name) for name in names] for names in (piece.inputs, piece.outputs)]
    own = dtype if plain.dtype.startswith("float") else plain.dtype
    return _executed(replace(plain, kind=kind, dtype=own), places)


def kernel_op(op: Op, dtype: str) -> Op:
    """The executed Op of one layer as written, as a batch of 8 and more has it inside a network.

    Images are then stored with the batch next to the channels (``1203``), by every generation.

    Args:
        op: channels first; its epilogue may hold ``sum``, ``relu6`` and activations.
        dtype: element type of floats.
    """
    places = [
        ["1203" if len(shape) == 4 else "".join(map(str, range(len(shape)))) for shape in some]
        for some in (op.inputs, op.outputs)
    ]
    return _executed(replace(op, dtype=dtype, operands=""), places)


def _executed(op: Op, places: Iterable[Iterable[str]]) -> Op:
    """The Op as this runtime executes it, its inputs and outputs stored in these orders."""
    stored = ">".join(" ".join(some) for some in places)
    attributes = tuple(sorted([*_kept(op), (STORED, stored)]))
    return _channels_last(replace(op, implementation=IMPLEMENTATION, attributes=attributes))


def piece_of(op: Op) -> tuple[Network, dict[str, tuple[int, ...]]]:
    """The network that an Op stands for, and how its inputs and outputs are stored.

    Raises:
        UnsupportedOpError: if it is no Op that ``op_of`` has made, or a damaged one.
    """
    if op.implementation != IMPLEMENTATION or op.kind in {MODEL, SESSION}:
        message = (
            f"{op.label} ({op.implementation or op.kind}) is no kernel of a compiled TPU program. "
            "Expected an Op that this runner's lower() returned."
        )
        raise UnsupportedOpError(message)
    try:
        layers, fed, returned = _steps(op)
        network = Network(
            name=op.label, layers=tuple(layers), inputs=dict(fed), outputs=tuple(returned)
        )
        network.check()
        stored = _read_storage(op.attribute(STORED, ""), [*fed], returned)
    except (IndexError, KeyError, TypeError, ValueError) as error:
        message = f"{op.label} cannot be rebuilt for a TPU: {error}"
        raise UnsupportedOpError(message) from error
    return network, stored


def _kept(op: Op) -> list[tuple[str, Attribute]]:
    return [item for item in op.attributes if item[0] not in _IGNORED or item[0] == PROGRAM]


def _storage(piece: Piece, name: str) -> str:
    order = piece.stored.get(name, ())
    return "=" if order == OUTSIDE else "".join(map(str, order)) or "-"


def _read_storage(
    text: str, inputs: Sequence[str], outputs: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    stored: dict[str, tuple[int, ...]] = {}
    for part, names in zip((*text.split(">"), "", "")[:2], (inputs, outputs), strict=True):
        for word, name in zip(part.split(), names, strict=False):
            if word != "-":
                stored[name] = OUTSIDE if word == "=" else tuple(map(int, word))
    return stored


def _main(layers: Sequence[Layer]) -> Layer | None:
    """The layer that a piece is named after; None if there are several that would do."""
    heavy = [layer for layer in layers if layer.op.macs]
    if len(heavy) != 1:
        pools = [layer for layer in layers if layer.op.kind in POOL_KINDS]
        return None if heavy else (*pools, *sorted(layers, key=_size, reverse=True))[0]
    return heavy[0]


def _size(layer: Layer) -> int:
    return layer.op.num_output_elements + layer.op.num_input_elements


# One layer with what often follows it, in plain fields.


def _plain_op(piece: Piece) -> Op | None:
    """The Op of a simple chain; None for anything else."""
    first, *rest = piece.layers
    op = first.op
    if len(first.outputs) != 1 or len(first.inputs) != len(op.inputs) or not _in_order(op):
        return None
    inputs, weights, epilogue = list(op.inputs), list(op.weights), list[str]()
    fed, last = list(first.inputs), first.outputs[0]
    for layer in rest:
        word = _word(layer, last, is_first=layer is rest[0])
        if not word or last in piece.outputs or layer.op.outputs != op.outputs:
            return None
        if word == "bias":
            weights.append((op.outputs[0][1],))
        else:
            epilogue.append(word)
        if word == "sum":
            other = next(name for name in layer.inputs if name != last)
            inputs.append(op.outputs[0])
            fed.append(other)
        last = layer.outputs[0]
    if [*piece.inputs] != fed or piece.outputs != (last,) or not epilogue_fits(op, epilogue):
        return None
    return replace(
        op, inputs=tuple(inputs), weights=tuple(weights), epilogue=tuple(epilogue), operands=""
    )


def epilogue_fits(op: Op, epilogue: Sequence[str]) -> bool:
    """Whether an epilogue can be told from the layer before it when it is read again."""
    return not op.epilogue and (op.kind != "add" or "sum" not in epilogue)


def _in_order(op: Op) -> bool:
    return not as_operands(op.operands) and not op.input_dtypes


def _word(layer: Layer, last: str, *, is_first: bool) -> str:
    """What an epilogue calls a layer that reads ``last``; empty if it has no word for it."""
    op = layer.op
    if layer.name.endswith(BIAS) and is_first:
        return "bias"
    if len(layer.outputs) != 1 or layer.inputs.count(last) != 1:
        return ""
    if op.kind == "add" and len(layer.inputs) == 2 and op.inputs == op.outputs * 2:
        return "sum"
    if op.kind in _ACTIVATIONS and not _kept(op):
        return op.kind
    limits = tuple(value for values in op.constants for value in values)
    return "relu6" if op.kind == "clip" and limits == (0.0, 6.0) and _in_order(op) else ""


def _unfold(op: Op) -> tuple[list[Layer], dict[str, Shape], tuple[str, ...]]:
    """Layers, inputs and outputs of a simple chain."""
    sums = op.epilogue.count("sum")
    own = op.inputs[: len(op.inputs) - sums]
    has_bias = op.kind in {"conv", "conv_transpose"} and len(op.weights) == 2
    weights = op.weights[:1] if has_bias else op.weights
    main = replace(op, inputs=own, weights=weights, epilogue=())
    fed = {f"x{i}": shape for i, shape in enumerate(op.inputs)}
    layers = [Layer(name="main", op=main, inputs=tuple(fed)[: len(own)], outputs=("y0",))]
    others = iter(tuple(fed)[len(own) :])
    words = (["bias"] if has_bias else []) + list(op.epilogue)
    for number, word in enumerate(words, start=1):
        last, shape = f"y{number - 1}", op.outputs[0]
        inputs = (last, next(others)) if word == "sum" else (last,)
        layers.append(
            Layer(
                name=f"{word}{number}",
                op=_epilogue_op(word, shape),
                inputs=inputs,
                outputs=(f"y{number}",),
            )
        )
    return layers, fed, layers[-1].outputs


def _epilogue_op(word: str, shape: Shape) -> Op:
    if word == "bias":
        return bias_op(shape, "float32")
    if word == "sum":
        return Op(kind="add", inputs=(shape, shape), outputs=(shape,))
    if word == "relu6":
        return Op(kind="clip", inputs=(shape,), outputs=(shape,), constants=((0.0,), (6.0,)))
    if word in _ACTIVATIONS:
        return Op(kind=word, inputs=(shape,), outputs=(shape,))
    message = f"there is no epilogue {word!r}; expected sum, relu6, {', '.join(_ACTIVATIONS)}"
    raise ValueError(message)


# Anything else, layer by layer.


def _program_op(piece: Piece, main: Layer | None) -> Op:
    """An Op of the main layer's fields, or of the piece's ends, with all its layers as text."""
    numbers: dict[str, int] = {}

    def number(name: str) -> int:
        return numbers.setdefault(name, len(numbers))

    fed = tuple(number(name) for name in piece.inputs)
    steps = tuple(
        _Step(
            op=replace(layer.op, attributes=tuple(_kept(layer.op))),
            reads=tuple(map(number, layer.inputs)),
            writes=tuple(map(number, layer.outputs)),
        )
        for layer in piece.layers
    )
    plain = {
        "steps": [[op_fields(step.op), step.reads, step.writes] for step in steps],
        "fed": fed,
        "sizes": tuple(piece.inputs.values()),
        "returned": tuple(number(name) for name in piece.outputs),
    }
    text = msgspec.json.encode(plain).decode()
    others = tuple(_kind_of(layer) for layer in piece.layers if layer is not main)
    if main is not None:
        kept = (*_kept(main.op), (PROGRAM, text))
        return replace(main.op, attributes=kept, epilogue=others)
    sizes = {name: s for layer in piece.layers for name, s in _sizes(layer)}
    return Op(
        kind=SUBGRAPH,
        inputs=tuple(piece.inputs.values()),
        outputs=tuple(sizes[name] for name in piece.outputs),
        weights=tuple(shape for layer in piece.layers for shape in layer.op.weights),
        epilogue=others,
        attributes=((PROGRAM, text),),
    )


def _kind_of(layer: Layer) -> str:
    return "bias" if layer.name.endswith(BIAS) else layer.op.kind


def _sizes(layer: Layer) -> list[tuple[str, Shape]]:
    return list(zip(layer.outputs, layer.op.outputs, strict=False))


def _steps(op: Op) -> tuple[list[Layer], dict[str, Shape], tuple[str, ...]]:
    """Layers, sizes of inputs by name, and outputs of an Op."""
    text = op.attribute(PROGRAM, "")
    if not text:
        plain = _channels_first(replace(op, attributes=tuple(_kept(op)), implementation=""))
        return _unfold(replace(plain, dtype="float32", layout="nchw"))
    program = _DECODER.decode(text)
    layers = [
        Layer(
            name=f"{step.op.kind}{i}",
            op=step.op,
            inputs=tuple(f"t{n}" for n in step.reads),
            outputs=tuple(f"t{n}" for n in step.writes),
        )
        for i, step in enumerate(program.steps)
    ]
    fed = {f"t{n}": size for n, size in zip(program.fed, program.sizes, strict=True)}
    return layers, fed, tuple(f"t{n}" for n in program.returned)


# Sizes as stored: channels last.


def _channels_last(op: Op) -> Op:
    return _relaid(op, "nhwc", lambda shape: (shape[0], *shape[2:], shape[1]))


def _channels_first(op: Op) -> Op:
    return _relaid(op, "nchw", lambda shape: (shape[0], shape[-1], *shape[1:-1]))


def _relaid(op: Op, layout: str, turned: Callable[[Shape], Shape]) -> Op:
    inputs, outputs = (
        tuple(turned(shape) if len(shape) > 2 else shape for shape in shapes)
        for shapes in (op.inputs, op.outputs)
    )
    return replace(op, layout=layout, inputs=inputs, outputs=outputs)

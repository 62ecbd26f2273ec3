"""Reads a TensorFlow Lite file as a Network of layers as written: one per operator of the file.

What a file computes from its constants alone, such as weights stored in 16 bits, is done when it is
loaded and is no layer. Sizes are channels last, as the file has them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.lite_model.detect import MARK, SUFFIX, is_lite
from costmodel.lite_model.execute import known_constants
from costmodel.lite_model.graph import CONTROL_FLOW, LiteModel, LiteOperator, require_plain
from costmodel.lite_model.kernels import kernel_op
from costmodel.network import Layer, Network, Opaque
from costmodel.op import Attribute, Op, Shape
from costmodel.readers.formats import Format, Opened, Request, no_signatures
from costmodel.sizes import Sizes

#: The field's word for operators that a LiteRT kernel is named otherwise for.
WORDS: Mapping[str, str] = {
    "ADD_N": "sum",
    "ARG_MAX": "arg_max",
    "ARG_MIN": "arg_min",
    "ATAN2": "atan",
    "BATCH_TO_SPACE_ND": "depth_to_space",
    "BIDIRECTIONAL_SEQUENCE_LSTM": "lstm",
    "BIDIRECTIONAL_SEQUENCE_RNN": "rnn",
    "BROADCAST_ARGS": "shape",
    "BROADCAST_TO": "expand",
    "COMPLEX_ABS": "abs",
    "CONV_3D": "conv",
    "CONV_3D_TRANSPOSE": "conv_transpose",
    "CUMSUM": "cum_sum",
    "DEQUANTIZE": "dequantize_linear",
    "DILATE": "pad",
    "DYNAMIC_UPDATE_SLICE": "scatter_nd",
    "EMBEDDING_LOOKUP": "gather",
    "EXPAND_DIMS": "unsqueeze",
    "FAKE_QUANT": "quantize_linear",
    "FILL": "expand",
    "FLOOR_DIV": "div",
    "FLOOR_MOD": "mod",
    "GREATER_EQUAL": "greater_or_equal",
    "IMAG": "slice",
    "L2_NORMALIZATION": "lp_normalization",
    "L2_POOL_2D": "lp_pool",
    "LESS_EQUAL": "less_or_equal",
    "LOGICAL_AND": "and",
    "LOGICAL_NOT": "not",
    "LOGICAL_OR": "or",
    "MATRIX_DIAG": "expand",
    "MATRIX_SET_DIAG": "scatter_nd",
    "MAXIMUM": "max",
    "MINIMUM": "min",
    "NON_MAX_SUPPRESSION_V4": "non_max_suppression",
    "NON_MAX_SUPPRESSION_V5": "non_max_suppression",
    "NOT_EQUAL": "equal",
    "PACK": "concat",
    "QUANTIZE": "quantize_linear",
    "RANDOM_STANDARD_NORMAL": "random_normal",
    "RANK": "shape",
    "REAL": "slice",
    "REDUCE_ALL": "reduce_min",
    "REDUCE_ANY": "reduce_max",
    "RELU_0_TO_1": "clip",
    "REVERSE_V2": "gather",
    "RFFT2D": "rfft",
    "RIGHT_SHIFT": "bit_shift",
    "RSQRT": "sqrt",
    "SEGMENT_SUM": "reduce_sum",
    "SELECT": "where",
    "SELECT_V2": "where",
    "SPACE_TO_BATCH_ND": "space_to_depth",
    "SPARSE_TO_DENSE": "scatter_nd",
    "SQUARE": "mul",
    "SQUARED_DIFFERENCE": "sub",
    "STABLEHLO_RESHAPE": "reshape",
    "SVDF": "rnn",
    "TOPK_V2": "top_k",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "lstm",
    "UNIDIRECTIONAL_SEQUENCE_RNN": "rnn",
    "UNPACK": "split",
    "UNSORTED_SEGMENT_MAX": "reduce_max",
    "UNSORTED_SEGMENT_MIN": "reduce_min",
    "UNSORTED_SEGMENT_PROD": "reduce_prod",
    "UNSORTED_SEGMENT_SUM": "reduce_sum",
    "ZEROS_LIKE": "expand",
}
#: Options that say what attributes of the same work say elsewhere.
_ATTRIBUTES = {"adj_x": "transA", "adj_y": "transB"}
_MODES = {"RESIZE_BILINEAR": "linear", "RESIZE_NEAREST_NEIGHBOR": "nearest"}
_FILTERS_3D = frozenset({"CONV_3D", "CONV_3D_TRANSPOSE"})
#: Operands of recurrent operators that multiply what a step is fed, and those that multiply its
#: state, for each direction.
_RECURRENT: Mapping[str, Sequence[tuple[range, range]]] = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": ((range(1, 5), range(5, 9)), (range(18, 22), range(22, 26))),
    "BIDIRECTIONAL_SEQUENCE_RNN": ((range(1, 2), range(2, 3)), (range(5, 6), range(6, 7))),
    "SVDF": ((range(1, 2), range(2, 3)),),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": ((range(1, 5), range(5, 9)),),
    "UNIDIRECTIONAL_SEQUENCE_RNN": ((range(1, 2), range(2, 3)),),
}
#: Types of tensors that hold no numbers, and what they hold.
_NO_NUMBERS = {"string": "text", "resource": "a state", "variant": "a list"}
_NO_SIZES: Sizes = {}


def read_tflite(path: Path, sizes: Sizes = _NO_SIZES, signature: str = "") -> Network:
    """Read a TensorFlow Lite file as a network of layers as written.

    Args:
        path: of the file.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``.
        signature: which of the file's signatures; empty for its only graph.

    Returns:
        A network with ``source == "written"``; what could not become an Op is in ``unread``.

    Raises:
        MissingDependencyError: without the ``litert`` extra.
        ModelFormatError: if the file cannot be read or is damaged, or a dimension stays open.
        InvalidInputError: if ``sizes`` has a name that the model lacks.
    """
    from costmodel.lite_model.read import read_lite

    return network_of(read_lite(Path(path), sizes, signature))


def network_of(model: LiteModel) -> Network:
    """The layers of a model, each called by its operator and place."""
    model = _told_apart(known_constants(model))
    tensors = model.tensors
    layers: list[Layer] = []
    opaque: dict[str, Opaque] = {}
    for index, operator in enumerate(model.operators):
        if all(i < 0 or tensors[i].constant for i in operator.inputs) and operator.inputs:
            continue
        title = f"{operator.code}/n{index}"
        reads = tuple(
            tensors[i].name for i in operator.inputs if i >= 0 and not tensors[i].constant
        )
        writes = tuple(tensors[i].name for i in operator.outputs)
        reason = _unreadable(model, operator)
        if not reason:
            try:
                op = _written(model, operator)
                layers.append(Layer(name=title, op=op, inputs=reads, outputs=writes))
            except (ArithmeticError, LookupError, TypeError, ValueError) as error:
                reason = f"{operator.code}: its options do not fit its tensors ({error})"
        if reason:
            shapes = tuple(tensors[i].shape for i in operator.outputs)
            opaque[title] = Opaque(inputs=reads, outputs=writes, sizes=shapes, reason=reason)
    return Network(
        name=model.name,
        layers=tuple(layers),
        inputs={tensors[i].name: tensors[i].shape for i in model.inputs},
        outputs=tuple(tensors[i].name for i in model.outputs),
        unread={name: item.reason for name, item in opaque.items()},
        opaque=opaque,
        channels_last=True,
    )


def _told_apart(model: LiteModel) -> LiteModel:
    """The model with a name of its own for every tensor: files may call several the same."""
    taken: set[str] = set()
    tensors = list(model.tensors)
    border = (*model.inputs, *model.outputs)
    for index in (*border, *range(len(tensors))):
        tensor = tensors[index]
        if tensor.name in taken and index not in border:
            tensors[index] = replace(tensor, name=f"{tensor.name}#{index}")
        taken.add(tensors[index].name)
    return replace(model, tensors=tuple(tensors))


def _unreadable(model: LiteModel, operator: LiteOperator) -> str:
    """Why an operator cannot become an Op; empty when it can."""
    if operator.custom or operator.code in CONTROL_FLOW or operator.special:
        return f"{operator.code} {operator.special}"
    used = {model.tensors[i].dtype for i in (*operator.inputs, *operator.outputs) if i >= 0}
    held = [word for dtype, word in _NO_NUMBERS.items() if dtype in used]
    return f"{operator.code} works on {held[0]}" if held else ""


def _written(model: LiteModel, operator: LiteOperator) -> Op:
    """The work of one operator, in the words that every reader uses."""
    op = kernel_op(model, operator, delegated=False)
    attributes: dict[str, Attribute] = {
        _ATTRIBUTES.get(name, name): value for name, value in op.attributes
    }
    options = dict(operator.options)
    kind, inputs, weights = WORDS.get(operator.code, op.kind), op.inputs, op.weights
    if operator.code in _FILTERS_3D and weights:
        depth, height, width, second, first = weights[0]
        weights = ((first, second, depth, height, width), *weights[1:])
    if operator.code in _RECURRENT:
        inputs, weights = _recurrent(model, operator)
        op = replace(op, operands="", constants=(), constant_dtypes=(), input_dtypes=())
    if kind == "rfft":
        attributes["signal_ndim"] = 2
    if operator.code in _MODES:
        attributes["mode"] = _MODES[operator.code]
    if operator.code == "LOCAL_RESPONSE_NORMALIZATION":
        attributes["size"] = 2 * int(str(options.get("radius", 0))) + 1
    if operator.code == "L2_POOL_2D":
        attributes["kernel_shape"] = tuple(
            int(str(options[f"filter_{side}"])) for side in ("height", "width")
        )
    if operator.code == "FULLY_CONNECTED":
        # Whatever axes it reads are one row of numbers for each row that it writes.
        width = (*op.weights, *op.inputs[1:])[0][-1]
        inputs = ((prod(op.inputs[0]) // max(width, 1), width), *op.inputs[1:])
        attributes["transB"] = 1
    if not inputs and op.kind not in {"range"}:
        message = "it reads nothing that the model is fed"
        raise ModelFormatError(message)
    return replace(
        op,
        kind=kind,
        implementation="",
        inputs=inputs,
        weights=weights,
        attributes=tuple(sorted(attributes.items())),
    )


def _recurrent(
    model: LiteModel, operator: LiteOperator
) -> tuple[tuple[Shape, ...], tuple[Shape, ...]]:
    """Sizes of a sequence, steps first, and of its weights, the matrices of all gates as one.

    A gate that the file leaves out, because another tells it, is not multiplied.
    """
    steps = model.tensors[operator.inputs[0]].shape
    if not dict(operator.options).get("time_major") and len(steps) > 2:
        steps = (steps[1], steps[0], *steps[2:])
    found = []
    for side in range(2):
        gates = [
            [model.tensors[operator.inputs[i]].shape for i in way[side] if operator.inputs[i] >= 0]
            for way in _RECURRENT[operator.code]
        ]
        rows = sum(shape[0] for shape in gates[0])
        found.append((len(gates), rows, gates[0][0][1]))
    return (steps,), tuple(found)


def _owns(model: Any) -> bool:
    if isinstance(model, bytes):
        return model[4:8] == MARK
    return isinstance(model, Path) and is_lite(model)


def _open(model: Path | bytes, request: Request) -> Opened:
    """The file itself; one of a signature or with other sizes is written again."""
    if isinstance(model, bytes):
        no_signatures("A file given as bytes", request)
        return Opened(name="model", write=lambda out, _: _stored(out, model))
    from costmodel.lite_model.read import stored_lite
    from costmodel.lite_model.resize import input_shapes, with_sizes
    from costmodel.lite_model.write import write_model

    chosen, open_axes = stored_lite(model, request.signature)
    where = str(model)

    def write(out: Path, shapes: Mapping[str, Shape]) -> Path:
        sized = with_sizes(chosen, open_axes, shapes, where)
        try:
            require_plain(sized)
            return _stored(out, write_model(sized))
        except (ModelFormatError, UnsupportedOpError) as error:
            message = f"{where}: {error}"
            raise ModelFormatError(message) from error

    return Opened(
        name=f"{model.stem}_{request.signature}" if request.signature else model.stem,
        file=None if request.signature else model,
        inputs=input_shapes(chosen, open_axes),
        write=write,
        where=where,
    )


def _stored(out: Path, content: bytes) -> Path:
    path = out.with_name(f"{out.name}{SUFFIX}")
    path.write_bytes(content)
    return path


FORMAT = Format(title="a TensorFlow Lite file (.tflite)", owns=_owns, open=_open)

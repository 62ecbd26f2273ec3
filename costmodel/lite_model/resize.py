"""Gives the open dimensions of a ``.tflite`` model a size, by asking the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.isolated import DiedError, isolated
from costmodel.lite_model.graph import LiteModel, LiteTensor, num_bytes, require_plain
from costmodel.lite_model.package import interpreter
from costmodel.lite_model.write import write_model
from costmodel.op import Shape
from costmodel.sizes import InputShape, Sizes, bind_shapes

#: Largest tensor that a size may ask for, in bytes.
_MAX_BYTES = 1 << 31


def with_sizes(
    model: LiteModel, open_axes: Mapping[int, tuple[int, ...]], sizes: Sizes, name: str
) -> LiteModel:
    """The model with other sizes of its open dimensions.

    Args:
        model: from a file, open dimensions at the sizes that it names, mostly 1.
        open_axes: by input, which of its dimensions the file leaves open.
        sizes: as for ``costmodel.sizes.bind_shapes``.
        name: for messages.

    Raises:
        InvalidInputError: for a size below 1, or a name that the model lacks.
        ModelFormatError: if a dimension stays open, or the model does not work with such sizes.
    """
    shapes = bind_shapes(name, input_shapes(model, open_axes), sizes)
    changed = {
        place: shapes[model.tensors[index].name]
        for place, index in enumerate(model.inputs)
        if shapes[model.tensors[index].name] != model.tensors[index].shape
    }
    if not changed:
        return model
    try:
        require_plain(model)
        found = _ask(model, changed)
    except (DiedError, ModelFormatError, UnsupportedOpError) as error:
        message = f"{name} does not work with sizes {dict(sizes)}: {error}"
        raise ModelFormatError(message) from error
    tensors = tuple(
        tensor if tensor.constant else replace(tensor, shape=found.get(i, tensor.shape))
        for i, tensor in enumerate(model.tensors)
    )
    if max(map(num_bytes, tensors)) > _MAX_BYTES:
        message = f"{name} has a tensor over {_MAX_BYTES >> 30} GiB with sizes {dict(sizes)}."
        raise ModelFormatError(message)
    return replace(model, tensors=tensors)


def input_shapes(model: LiteModel, open_axes: Mapping[int, tuple[int, ...]]) -> list[InputShape]:
    """What a model says of the sizes of its inputs; arguments as for ``with_sizes``."""
    return [_input(model.tensors[t], open_axes.get(i, ())) for i, t in enumerate(model.inputs)]


def _input(tensor: LiteTensor, open_axes: tuple[int, ...]) -> InputShape:
    """Open dimensions have the size that the file stores, where that is more than a blank 1."""
    return InputShape(
        name=tensor.name,
        dims=tuple("" if axis in open_axes else n for axis, n in enumerate(tensor.shape)),
        preset={axis: tensor.shape[axis] for axis in open_axes if tensor.shape[axis] > 1},
    )


def _ask(model: LiteModel, changed: Mapping[int, Shape]) -> dict[int, Shape]:
    """Sizes of all tensors, from the runtime's own kernels."""
    with TemporaryDirectory(prefix="costmodel-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(write_model(model))
        wanted = [[place, list(shape)] for place, shape in changed.items()]
        found = isolated("costmodel.lite_model.resize:sizes_of_tensors", str(path), wanted)
    return {index: tuple(shape) for index, shape in found}


def sizes_of_tensors(
    path: str, wanted: Sequence[tuple[int, Sequence[int]]]
) -> list[tuple[int, list[int]]]:
    """Number and sizes of every tensor of a file once its inputs have the wanted sizes.

    Args:
        path: of a ``.tflite`` file.
        wanted: sizes by position of the input.
    """
    made = interpreter.Interpreter(
        model_path=path,
        num_threads=1,
        experimental_op_resolver_type=(
            interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    fed = made.get_input_details()
    for place, shape in wanted:
        made.resize_tensor_input(fed[place]["index"], list(shape))
    made.allocate_tensors()
    if any(0 in item["shape"] for item in made.get_tensor_details()):
        made.invoke()  # a size that is computed is known only then
    return [(int(d["index"]), [int(n) for n in d["shape"]]) for d in made.get_tensor_details()]

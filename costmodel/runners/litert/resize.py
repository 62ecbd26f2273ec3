"""Gives the open dimensions of a ``.tflite`` model a size, by asking the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.lite_model.graph import LiteModel, num_bytes
from costmodel.op import Shape
from costmodel.runners.litert.package import interpreter
from costmodel.runners.litert.write import write_model

#: Largest tensor that a size may ask for, in bytes.
_MAX_BYTES = 1 << 31


def with_sizes(
    model: LiteModel, open_axes: Mapping[int, tuple[int, ...]], sizes: Mapping[str, int], name: str
) -> LiteModel:
    """The model with other sizes of its open dimensions.

    Args:
        model: from a file, open dimensions at the sizes that it names, mostly 1.
        open_axes: by input, which of its dimensions the file leaves open.
        sizes: values by ``batch`` or ``<input>:<axis>``.
        name: for messages.

    Raises:
        InvalidInputError: for a size below 1.
        ModelFormatError: if the model does not work with such sizes.
    """
    for key, value in sizes.items():
        if type(value) is not int or not 1 <= value < 2**31:
            message = f"The size {key}={value!r} must be a whole number from 1 to {2**31 - 1}."
            raise InvalidInputError(message)
    wanted = {i: _shape(model, i, axes, sizes) for i, axes in open_axes.items()}
    changed = {i: s for i, s in wanted.items() if s != model.tensors[model.inputs[i]].shape}
    if not changed:
        return model
    try:
        shapes = _ask(model, changed)
    except (RuntimeError, ValueError) as error:
        message = f"{name} does not work with sizes {dict(sizes)}: {error}"
        raise ModelFormatError(message) from error
    tensors = tuple(
        tensor if tensor.constant else replace(tensor, shape=shapes.get(i, tensor.shape))
        for i, tensor in enumerate(model.tensors)
    )
    if max(map(num_bytes, tensors)) > _MAX_BYTES:
        message = f"{name} has a tensor over {_MAX_BYTES >> 30} GiB with sizes {dict(sizes)}."
        raise ModelFormatError(message)
    return replace(model, tensors=tensors)


def _shape(model: LiteModel, place: int, axes: tuple[int, ...], sizes: Mapping[str, int]) -> Shape:
    tensor = model.tensors[model.inputs[place]]
    found = list(tensor.shape)
    for axis in axes:
        key = f"{tensor.name}:{axis}"
        if key in sizes:
            found[axis] = sizes[key]
        elif axis == 0 and "batch" in sizes:
            found[axis] = sizes["batch"]
    return tuple(found)


def _ask(model: LiteModel, changed: Mapping[int, Shape]) -> dict[int, Shape]:
    """Sizes of all tensors, from the runtime's own kernels."""
    made = interpreter.Interpreter(
        model_content=write_model(model),
        num_threads=1,
        experimental_op_resolver_type=(
            interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        ),
    )
    fed = made.get_input_details()
    for place, shape in changed.items():
        made.resize_tensor_input(fed[place]["index"], list(shape))
    made.allocate_tensors()
    details = made.get_tensor_details()
    return {int(d["index"]): tuple(int(n) for n in d["shape"]) for d in details}

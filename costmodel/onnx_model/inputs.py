"""Gives every input of an ONNX model a fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.onnx_model.file import open_model
from costmodel.sizes import InputShape, Sizes, bind_shapes, given_names, spelled_out


def bound_model(path: Path, sizes: Sizes) -> onnx.ModelProto:
    """Open an ONNX file and give every input a fixed size; nothing is inferred from that.

    Args:
        path: ONNX file.
        sizes: as for ``costmodel.sizes.bind_shapes``.

    Raises:
        ModelFormatError: if the file cannot be read, or a dimension stays open.
        InvalidInputError: if ``sizes`` has a name that this model lacks, or a value below 1.
    """
    model = open_model(path)
    bind_inputs(path, model.graph, sizes)
    return model


def bind_inputs(path: Path, graph: onnx.GraphProto, sizes: Sizes) -> None:
    """Set every open dimension of every input that is a tensor, in place.

    Sizes of -1 and 0, which some exporters write, are open ones.

    Args:
        path: where the model came from, for messages.
        graph: its inputs change, and outputs no longer claim sizes below 1.
        sizes: as for ``costmodel.sizes.bind_shapes``.

    Raises:
        ModelFormatError: if a dimension stays open, or an input has no type.
        InvalidInputError: if ``sizes`` has a name that this model lacks, or a value below 1.
    """
    for item in graph.input:
        if item.type.WhichOneof("value") is None:  # ONNX's own inference may crash at it
            message = f"{path}: the input {item.name!r} has no type. Export the model anew."
            raise ModelFormatError(message)
    shapes = bind_shapes(str(path), input_shapes(graph), sizes)
    for item in real_inputs(graph):
        if item.name in shapes:
            _set(item, shapes[item.name])
    for item in (*graph.output, *graph.value_info):
        for dim in item.type.tensor_type.shape.dim:
            if dim.HasField("dim_value") and dim.dim_value < 1:
                dim.Clear()


def names_of_use(path: Path, sizes: Sizes) -> set[str]:
    """Those keys of ``sizes`` that mean something for an ONNX file; all, for what is none."""
    inputs = _inputs_of(path)
    return set(sizes) if inputs is None else given_names(inputs, sizes)


def sizes_of_each(paths: Sequence[Path], sizes: Sizes) -> list[dict[str, int]]:
    """What each of several models is given of the sizes for all of them, without shapes.

    Args:
        paths: ONNX files; what is none is given everything, and its own reader judges that.
        sizes: as for ``costmodel.sizes.bind_shapes``.

    Raises:
        InvalidInputError: for a name that none of several models has, or a shape that does not fit.
    """
    names = [set(sizes) if len(paths) == 1 else names_of_use(path, sizes) for path in paths]
    for name in sizes:
        if paths and not any(name in found for found in names):
            message = (
                f"None of the models has an open dimension or an input {name!r}: "
                f"{', '.join(map(str, paths))}. Leave it out: what is open is then asked for."
            )
            raise InvalidInputError(message)
    return [
        _spelled_out(path, {name: size for name, size in sizes.items() if name in found})
        for path, found in zip(paths, names, strict=True)
    ]


def _spelled_out(path: Path, sizes: Sizes) -> dict[str, int]:
    plain = {name: size for name, size in sizes.items() if isinstance(size, int)}
    if len(plain) == len(sizes):
        return plain
    return spelled_out(str(path), _inputs_of(path) or (), sizes)


def _inputs_of(path: Path) -> list[InputShape] | None:
    """Inputs of an ONNX file; None for what is none."""
    try:
        return input_shapes(onnx.load(path, load_external_data=False, format="protobuf").graph)
    except Exception:
        # Who opens the file next says what is wrong with it.
        return None


def _set(item: onnx.ValueInfoProto, shape: Sequence[int]) -> None:
    dims = item.type.tensor_type.shape.dim
    del dims[len(shape) :]
    for axis, size in enumerate(shape):
        (dims[axis] if axis < len(dims) else dims.add()).dim_value = size
    item.type.tensor_type.shape.SetInParent()  # a scalar's has no dimension


def real_inputs(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    """What the model must be fed: old files list their weights among the inputs too."""
    stored = {item.name for item in graph.initializer}
    stored |= {item.values.name for item in graph.sparse_initializer}
    return [item for item in graph.input if item.name not in stored]


def input_shapes(graph: onnx.GraphProto) -> list[InputShape]:
    """What a model says of the sizes of the tensors that it is fed."""
    return [
        InputShape(name=item.name, dims=_dims(item.type.tensor_type))
        for item in real_inputs(graph)
        if item.type.HasField("tensor_type")
    ]


def _dims(kind: onnx.TypeProto.Tensor) -> tuple[int | str, ...] | None:
    if not kind.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.dim_value > 0 else dim.dim_param for dim in kind.shape.dim)

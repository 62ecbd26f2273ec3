"""Opens PyTorch modules, exported programs and their files, to be converted to ONNX.

The only file that imports PyTorch, once it is asked for such a model. ``torch.onnx.export`` makes
the ONNX model, as PyTorch's users deploy theirs.
"""

from __future__ import annotations

import contextlib
import inspect
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from costmodel.errors import InvalidInputError, MissingDependencyError, ModelFormatError
from costmodel.onnx_model.inputs import bind_inputs
from costmodel.op import Shape
from costmodel.readers.formats import Format, Opened, Request, no_signatures
from costmodel.readers.torch_archive import AGAIN, plain_parts
from costmodel.sizes import InputShape
from costmodel.streams import redirected, silenced

#: Files of ``torch.export.save``, and those that PyTorch pickles.
PROGRAM, PICKLED = ".pt2", (".pt", ".pth", ".ckpt", ".ptl")
_TRACED = 2
_EXAMPLE = (
    "give an example of what it takes: example=torch.zeros(1, 3, 224, 224), a tuple of several, or "
    "a dictionary by name"
)


def _owns(model: Any) -> bool:
    if isinstance(model, Path):
        return model.suffix.lower() in (PROGRAM, *PICKLED)
    return _is(model, "Module") or _is(model, "ExportedProgram")


def _is(model: Any, name: str) -> bool:
    """Whether a thing is of a class of PyTorch's, which is not imported to find out."""
    classes = type(model).__mro__
    return any(c.__name__ == name and c.__module__.split(".")[0] == "torch" for c in classes)


def _open(model: Any, request: Request) -> Opened:
    where = str(model) if isinstance(model, Path) else f"The PyTorch {type(model).__name__}"
    no_signatures(where, request)
    if isinstance(model, Path):
        if model.suffix.lower() in PICKLED:
            message = f"{model} is pickled by PyTorch, which is never loaded. {AGAIN}."
            raise InvalidInputError(message)
        return _open_program(_load_program(model), where, model.stem)
    if _is(model, "ExportedProgram"):
        return _open_program(model, where, "program")
    return _open_module(model, where, request.example)


def _import() -> Any:
    """PyTorch and what its exporter needs."""
    try:
        with silenced():
            import onnxscript  # noqa: F401 - torch.onnx.export asks for it only at its end
            import torch
    except ImportError as error:
        package = error.name or "torch"
        raise MissingDependencyError(package, "torch", "Reading a PyTorch model") from error
    return torch


def _load_program(path: Path) -> Any:
    """The program of a file, from its plain data alone."""
    parts = plain_parts(path)
    torch = _import()
    held = io.BytesIO()
    try:
        with _quiet():
            writer = torch._C.PyTorchFileWriter(held)
            for name, content in parts.items():
                writer.write_record(name, content, len(content))
            writer.write_end_of_file()
            held.seek(0)
            return torch.export.load(held)
    except Exception as error:
        message = (
            f"{path} cannot be loaded by PyTorch {torch.__version__}: {_first(error)} {AGAIN}."
        )
        raise ModelFormatError(message) from error


def _first(error: Exception) -> str:
    line = next((text for text in str(error).splitlines() if text.strip()), type(error).__name__)
    return line.strip()[:300].rstrip(".") + "."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the exporter tells on both streams."""
    with silenced(), redirected(1):
        yield


def _open_program(program: Any, where: str, name: str) -> Opened:
    """Open dimensions are the program's symbols."""
    held = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [
        InputShape(name=title, dims=tuple(_dim(n) for n in held[title].shape))
        for title in program.graph_signature.user_inputs
        if isinstance(title, str) and hasattr(held.get(title), "shape")
    ]

    def write(out: Path, shapes: Mapping[str, Shape]) -> Path:
        _require_range(where, program, inputs, shapes)
        return _written(where, program, (), {}, out, shapes)

    return Opened(name=name, inputs=inputs, write=write, where=where)


def _dim(size: Any) -> int | str:
    return size if isinstance(size, int) else str(size)


def _require_range(
    where: str, program: Any, inputs: Sequence[InputShape], shapes: Mapping[str, Shape]
) -> None:
    """Refuse sizes that the program was not exported for.

    A least size of 2 is nobody's: PyTorch takes dimensions for larger than 1 while it traces.
    """
    allowed = {str(symbol): found for symbol, found in program.range_constraints.items()}
    for item in inputs:
        for axis, (dim, size) in enumerate(zip(item.dims or (), shapes[item.name], strict=True)):
            found = allowed.get(dim) if isinstance(dim, str) else None
            if found is None:
                continue
            if size > found.upper or size < found.lower > _TRACED:
                message = (
                    f"{where}: dimension {axis} of input {item.name!r} was exported for sizes from "
                    f"{found.lower} to {found.upper}, so it cannot be {size}."
                )
                raise InvalidInputError(message)


def _open_module(module: Any, where: str, example: Any) -> Opened:
    """Every dimension may have another size than in the example."""
    torch = _import()
    if example is None:
        message = f"{where} does not say what it takes: {_EXAMPLE}."
        raise InvalidInputError(message)
    args, kwargs = _arguments(torch, where, example)
    fed = _tensors(torch, module, args, kwargs)
    inputs = [
        InputShape(
            name=name, dims=("",) * tensor.dim(), preset=dict(enumerate(map(int, tensor.shape)))
        )
        for name, tensor in fed.items()
    ]

    def write(out: Path, shapes: Mapping[str, Shape]) -> Path:
        sized = {id(tensor): _resized(torch, tensor, shapes[name]) for name, tensor in fed.items()}
        own_args, own_kwargs = torch.utils._pytree.tree_map(
            lambda leaf: sized.get(id(leaf), leaf), (args, kwargs)
        )
        with _evaluating(module):
            return _written(where, module, own_args, own_kwargs, out, {})

    return Opened(name=type(module).__name__, inputs=inputs, write=write, where=where)


def _arguments(torch: Any, where: str, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the module is called with; arrays become tensors."""

    def tensor(leaf: Any) -> Any:
        is_array = type(leaf).__module__.split(".")[0] == "numpy" and hasattr(leaf, "dtype")
        return torch.as_tensor(leaf) if is_array else leaf

    kwargs = dict(example) if isinstance(example, Mapping) else {}
    args = () if kwargs else example if isinstance(example, tuple) else (example,)
    args, kwargs = torch.utils._pytree.tree_map(tensor, (tuple(args), kwargs))
    leaves = torch.utils._pytree.tree_leaves((args, kwargs))
    if not any(isinstance(leaf, torch.Tensor) for leaf in leaves):
        message = f"{where}: there is no tensor in the example {str(example)[:80]}: {_EXAMPLE}."
        raise InvalidInputError(message)
    return args, kwargs


def _tensors(
    torch: Any, module: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Tensors of the example, called by their argument and their place within it."""
    names = [
        name
        for name, item in inspect.signature(module.forward).parameters.items()
        if item.kind in {item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD}
    ]
    named = {names[i] if i < len(names) else f"args_{i}": value for i, value in enumerate(args)}
    found = {}
    for path, leaf in torch.utils._pytree.tree_flatten_with_path({**named, **kwargs})[0]:
        if isinstance(leaf, torch.Tensor):
            words = (
                getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))) for key in path
            )
            found["_".join(map(str, words))] = leaf
    return found


def _resized(torch: Any, tensor: Any, shape: Shape) -> Any:
    """The tensor itself, or another of its type where it has to have another size."""
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    if tensor.is_floating_point():
        return torch.randn(shape, dtype=tensor.dtype, device=tensor.device)
    return torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)


@contextlib.contextmanager
def _evaluating(module: Any) -> Iterator[None]:
    """As the module is when it is used rather than trained; then each part as it was."""
    before = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training


def _written(
    where: str,
    model: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    out: Path,
    shapes: Mapping[str, Shape],
) -> Path:
    """Convert to an ONNX file, its inputs at the sizes given."""
    torch = _import()
    path = out.with_name(f"{out.name}.onnx")
    try:
        with _quiet():
            exported = torch.onnx.export(
                model, args, kwargs=dict(kwargs), dynamo=True, verbose=False
            )
            exported.save(str(path), external_data=True)
    except Exception as error:
        message = (
            f"{where} cannot be converted by torch.onnx.export: {_first(error)} Where its work "
            "depends on its data, write that with torch.cond or torch.where."
        )
        raise ModelFormatError(message) from error
    if shapes:
        proto = onnx.load(str(path), load_external_data=False)
        kept = {item.name for item in proto.graph.input}
        bind_inputs(path, proto.graph, {k: v for k, v in shapes.items() if k in kept and v})
        onnx.save(proto, str(path))
    return path


FORMAT = Format(title="a PyTorch program (.pt2) or module", owns=_owns, open=_open)

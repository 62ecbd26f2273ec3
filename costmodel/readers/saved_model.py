"""Opens a SavedModel, a folder that TensorFlow or Keras exports, to be converted to ONNX.

What is converted is one of its signatures: the entries that are served.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costmodel.errors import InvalidInputError, ModelFormatError, first_line
from costmodel.op import Shape
from costmodel.readers.formats import Format, Opened, Request
from costmodel.readers.tf_onnx import convert_function, import_converter
from costmodel.sizes import BATCH, InputShape
from costmodel.streams import silenced

#: What every such folder holds.
FILES = ("saved_model.pb", "saved_model.pbtxt")
#: The signature that is meant when none is named.
SERVING = "serving_default"


def _owns(model: Any) -> bool:
    if isinstance(model, Path):
        return model.name in FILES or any((model / name).is_file() for name in FILES)
    return isinstance(getattr(model, "signatures", None), Mapping)


def _open(model: Any, request: Request) -> Opened:
    """The signature of a folder, or of what ``tf.saved_model.load`` returned."""
    name, where = "saved_model", "The SavedModel"
    if isinstance(model, Path):
        folder = model.parent if model.name in FILES else model
        name, where = folder.resolve().name, str(folder)
        model = _loaded(folder)
    held, signature = model, _signature(where, dict(model.signatures), request.signature)
    inputs = signature.structured_input_signature[1]
    for title, spec in inputs.items():
        if not hasattr(spec, "shape") or spec.dtype.name in {"string", "variant", "resource"}:
            message = (
                f"{where}: its input {title!r} is no tensor of numbers ({spec}). Save a signature "
                "that takes what the network works on."
            )
            raise ModelFormatError(message)

    def write(out: Path, shapes: Mapping[str, Shape]) -> Path:
        path = out.with_name(f"{out.name}.onnx")
        path.write_bytes(_converted(where, held, signature, shapes))
        return path

    shapes = [InputShape(name=key, dims=_dims(spec.shape)) for key, spec in inputs.items()]
    return Opened(name=name, inputs=shapes, write=write, where=where)


def _loaded(folder: Path) -> Any:
    tensorflow, _ = import_converter("Reading a SavedModel")
    try:
        with silenced():
            return tensorflow.saved_model.load(str(folder))
    except Exception as error:
        first = first_line(error)
        message = (
            f"{folder} cannot be loaded as a SavedModel: {first.rstrip('.')}. Save it again, with "
            "model.export(folder) or tf.saved_model.save."
        )
        raise ModelFormatError(message) from error


def _signature(where: str, signatures: dict[str, Any], wanted: str) -> Any:
    """The signature asked for, else the usual one, else the only one."""
    named = ", ".join(sorted(signatures)) or "none"
    if wanted and wanted not in signatures:
        message = f"{where} has no signature {wanted!r}. Its signatures: {named}."
        raise InvalidInputError(message)
    if not signatures:
        message = (
            f"{where} has no signatures, so nothing says what it takes. Save it with "
            "model.export(folder), or tf.saved_model.save(module, folder, signatures=...)."
        )
        raise ModelFormatError(message)
    chosen = wanted or (SERVING if SERVING in signatures or len(signatures) > 1 else "")
    if chosen and chosen not in signatures:
        first = min(signatures)
        message = (
            f"{where} has several signatures: {named}. Choose one: --signature {first} "
            f"(signature={first!r})."
        )
        raise ModelFormatError(message)
    return signatures[chosen] if chosen else next(iter(signatures.values()))


def _dims(shape: Any) -> tuple[int | str, ...] | None:
    """Sizes as a signature has them; the first is the batch where it is open."""
    if shape.rank is None:
        return None
    names = (BATCH, *("",) * shape.rank)
    return tuple(names[axis] if n is None else int(n) for axis, n in enumerate(shape))


def _converted(where: str, _held: Any, signature: Any, shapes: Mapping[str, Shape]) -> bytes:
    """ONNX bytes of a signature, whose variables live as long as what holds them does."""
    tensorflow, _ = import_converter("Converting a SavedModel")
    inputs = signature.structured_input_signature[1]
    specs = [
        tensorflow.TensorSpec(shapes[name], spec.dtype, name=name) for name, spec in inputs.items()
    ]

    def forward(*tensors: Any) -> Any:
        return signature(**dict(zip(inputs, tensors, strict=True)))

    return convert_function(where, forward, specs)


FORMAT = Format(title="a SavedModel's folder", owns=_owns, open=_open, folders=True)

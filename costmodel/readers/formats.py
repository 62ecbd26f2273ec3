"""What formats of models there are: the plug point of readers.

A format is one file of this folder with a constant ``FORMAT``, and its name below. It says which
models are its own, and opens them: either as a file that runners read as it is, or as something
that can be written as one once its sizes are known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from costmodel.errors import InvalidInputError
from costmodel.op import Shape
from costmodel.sizes import InputShape, Sizes

#: A model as people have it: a path, bytes, or an object of the package that it was built with.
Model = Any
#: Files of this folder, in the order in which they are asked. What nobody else knows is ONNX.
_NAMES = ("keras", "saved_model", "tflite", "torch", "onnx")
#: Endings of files that are known and not read, and what to do about it.
_REFUSED: Mapping[str, str] = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "is pickled, which is never loaded"),
    **dict.fromkeys((".safetensors", ".npz", ".npy"), "holds weights without a network"),
    **dict.fromkeys((".mlmodel", ".mlpackage"), "is a Core ML model, which is not read"),
    **dict.fromkeys((".engine", ".plan"), "is compiled for TensorRT, and cannot be read back"),
    ".xml": "is no model that is read here (OpenVINO's own files are not)",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What people say beside the model.

    Attributes:
        example: inputs of a model that does not say what it takes, such as a PyTorch module.
        signature: which of several entries of a model; empty for the usual one.
        sizes: what will be bound, for models that do not even know how many axes they take.
    """

    example: Any = None
    signature: str = ""
    sizes: Sizes = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model that is about to become a file that runners read.

    Attributes:
        name: what its network is called.
        file: its own file where runners read that as it is, with the sizes that it has; None for
            others.
        inputs: what it says of the sizes of its inputs; None where the file that is read says so.
        write: writes it beside a path without an ending, with the size of each of ``inputs`` by
            name, and returns the file.
        where: the model, for messages.
    """

    name: str
    file: Path | None = None
    inputs: Sequence[InputShape] | None = None
    write: Callable[[Path, Mapping[str, Shape]], Path] | None = None
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way in which people keep models.

    Attributes:
        title: for people, with its endings.
        owns: whether a model, a path among them, is of this format.
        open: makes it ready.
        folders: whether a model is a folder.
    """

    title: str
    owns: Callable[[Model], bool] = field(repr=False)
    open: Callable[[Model, Request], Opened] = field(repr=False)
    folders: bool = False


def formats() -> tuple[Format, ...]:
    """Every format, in the order in which they are asked."""
    return tuple(import_module(f"costmodel.readers.{name}").FORMAT for name in _NAMES)


def format_of(model: Model) -> Format:
    """The format that a model is of.

    Args:
        model: a path that exists, or an object.

    Raises:
        InvalidInputError: for what is no model, no file, or a kind of file that is not read.
    """
    if isinstance(model, Path) and not model.exists():
        message = f"There is no file {model}. Give the path of {_titles()}."
        raise InvalidInputError(message)
    if isinstance(model, Path) and not (model.is_file() or model.is_dir()):
        message = f"{model} is a pipe or a device. Give the path of {_titles()}."
        raise InvalidInputError(message)
    ending = model.suffix.lower() if isinstance(model, Path) else ""
    if ending in _REFUSED:
        message = f"{model} {_REFUSED[ending]}. Give the model that it was made from: {_titles()}."
        raise InvalidInputError(message)
    found = next((item for item in formats() if item.owns(model)), None)
    if found is None:
        what = f"{type(model).__name__} is no model"
        message = f"{what}. Give the path of {_titles()}, or such a model as an object."
        raise InvalidInputError(message)
    if isinstance(model, Path) and model.is_dir() and not found.folders:
        message = f"{model} is a folder. Give the model file in it, or a SavedModel's folder."
        raise InvalidInputError(message)
    return found


def _titles() -> str:
    *most, last = [item.title for item in formats()]
    return f"{', '.join(most)} or {last}"


def no_signatures(where: str, request: Request) -> None:
    """Refuse a signature for a format that has none.

    Raises:
        InvalidInputError: if one was asked for.
    """
    if request.signature:
        message = (
            f"{where} has no signatures to choose {request.signature!r} from: SavedModels and "
            "TensorFlow Lite files have."
        )
        raise InvalidInputError(message)

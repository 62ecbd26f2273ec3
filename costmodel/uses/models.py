"""Models as people have them, as the ONNX files that runners read."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from costmodel.errors import InvalidInputError

_LOG = logging.getLogger("costmodel")
#: Endings of Keras' model files, which are exported to ONNX on the fly.
KERAS = (".keras", ".h5", ".hdf5")
#: A model: the path of an ONNX or Keras file, an ``onnx.ModelProto``, or a Keras model.
Model = Any


def as_list(models: Model | Sequence[Model]) -> list[Model]:
    """One model or several, as a list."""
    return list(models) if isinstance(models, list | tuple) else [models]


@contextmanager
def onnx_files(models: Sequence[Model], sizes: Mapping[str, int]) -> Iterator[list[Path]]:
    """The models as ONNX files, those that are none written for as long as the body runs.

    Args:
        models: paths of ONNX or Keras files, ``onnx.ModelProto``, or Keras models.
        sizes: values of open dimensions.

    Yields:
        One path per model, in order; the stem of each is the name of its network.

    Raises:
        InvalidInputError: for a file that is not there, or is a folder, or a thing that is no
            model.
        MissingDependencyError: for a Keras model without the ``keras`` extra.
        ModelFormatError: for a Keras model that cannot be exported.
    """
    for model in models:
        if isinstance(model, str | Path):
            _require_file(Path(model))
    with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        yield [
            _onnx_file(model, Path(folder) / str(number), sizes)
            for number, model in enumerate(models)
        ]


def _require_file(path: Path) -> None:
    if path.is_dir():
        message = f"{path} is a folder. Give the model file in it."
        raise InvalidInputError(message)
    if not path.exists():
        message = f"There is no file {path}. Give the path of an ONNX or Keras model."
        raise InvalidInputError(message)


def _onnx_file(model: Model, folder: Path, sizes: Mapping[str, int]) -> Path:
    """The model's own file where that is ONNX, else one written into ``folder``."""
    if isinstance(model, str | Path):
        path = Path(model)
        if path.suffix.lower() not in KERAS:
            return path
        _LOG.info("Exporting %s to ONNX.", path)
        return _exported(path, path.stem, folder, sizes)
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        return _saved(model, folder)
    if hasattr(model, "get_config") and hasattr(model, "layers"):
        return _exported(model, str(model.name), folder, sizes)
    message = (
        f"{type(model).__name__} is no model. Give the path of an ONNX or Keras file, an "
        "onnx.ModelProto, or a Keras model."
    )
    raise InvalidInputError(message)


def _exported(model: Model, name: str, folder: Path, sizes: Mapping[str, int]) -> Path:
    from costmodel.readers.keras import export_onnx

    folder.mkdir()
    return export_onnx(model, folder / f"{_file_name(name)}.onnx", sizes)


def _saved(model: Model, folder: Path) -> Path:
    from costmodel.onnx_model.file import save_model

    folder.mkdir()
    path = folder / f"{_file_name(model.graph.name)}.onnx"
    save_model(model, path)
    return path


def _file_name(name: str) -> str:
    """A network's name without what no file may be called."""
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:100]
    return kept.strip("._") or "model"

"""Models as people have them, as the ONNX files that runners read."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from costmodel.errors import InvalidInputError
from costmodel.sizes import Sizes, given_names

_LOG = logging.getLogger("costmodel")
#: Endings of Keras' model files, which are exported to ONNX on the fly.
KERAS = (".keras", ".h5", ".hdf5")
#: A model: the path of an ONNX or Keras file, an ``onnx.ModelProto``, or a Keras model.
Model = Any


def as_list(models: Model | Sequence[Model]) -> list[Model]:
    """One model or several, as a list."""
    return list(models) if isinstance(models, list | tuple) else [models]


@contextmanager
def onnx_files(models: Sequence[Model], sizes: Sizes) -> Iterator[tuple[list[Path], Sizes]]:
    """The models as ONNX files, those that are none written for as long as the body runs.

    Args:
        models: paths of ONNX or Keras files, ``onnx.ModelProto``, or Keras models.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``; each must be of
            use for one of the models.

    Yields:
        One path per model, in order; the stem of each is the name of its network. And the sizes
        that are still to be given to the files: a model that is exported has its own already.

    Raises:
        InvalidInputError: for a file that is not there, or is a folder, or a thing that is no
            model; for a size that does not fit.
        MissingDependencyError: for a Keras model without the ``keras`` extra.
        ModelFormatError: for a Keras model that cannot be exported.
    """
    for model in models:
        if isinstance(model, str | Path):
            _require_file(Path(model))
    with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        alone = len(models) == 1
        found = [
            _onnx_file(model, Path(folder) / str(number), sizes, alone=alone)
            for number, model in enumerate(models)
        ]
        yield [path for path, _ in found], _left(found, sizes)


def _left(found: Sequence[tuple[Path, set[str] | None]], sizes: Sizes) -> Sizes:
    """Sizes that were not given to a model when it was exported, or are another file's as well.

    Raises:
        InvalidInputError: if all were exported, and one of the sizes was of no use.
    """
    taken = {name for _, names in found for name in names or ()}
    files = [path for path, names in found if names is None]
    if not files and set(sizes) - taken:
        name = min(set(sizes) - taken)
        message = f"None of the models has an open dimension or an input {name!r}."
        raise InvalidInputError(message)
    if not taken:
        return sizes
    from costmodel.onnx_model.inputs import names_of_use

    asked = {name for path in files for name in names_of_use(path, sizes)}
    return {name: size for name, size in sizes.items() if name in asked or name not in taken}


def _require_file(path: Path) -> None:
    if path.is_dir():
        message = f"{path} is a folder. Give the model file in it."
        raise InvalidInputError(message)
    if not path.exists():
        message = f"There is no file {path}. Give the path of an ONNX or Keras model."
        raise InvalidInputError(message)


def _onnx_file(
    model: Model, folder: Path, sizes: Sizes, *, alone: bool
) -> tuple[Path, set[str] | None]:
    """The model's own file where that is ONNX, else one written into ``folder``.

    Returns:
        The file; and of a model that was exported, which of the sizes it was given.
    """
    if isinstance(model, str | Path):
        path = Path(model)
        if path.suffix.lower() not in KERAS:
            return path, None
        _LOG.info("Exporting %s to ONNX.", path)
        return _exported(path, path.stem, folder, sizes, alone=alone)
    if hasattr(model, "SerializeToString") and hasattr(model, "graph"):
        return _saved(model, folder), None
    if hasattr(model, "get_config") and hasattr(model, "layers"):
        return _exported(model, str(model.name), folder, sizes, alone=alone)
    message = (
        f"{type(model).__name__} is no model. Give the path of an ONNX or Keras file, an "
        "onnx.ModelProto, or a Keras model."
    )
    raise InvalidInputError(message)


def _exported(
    model: Model, name: str, folder: Path, sizes: Sizes, *, alone: bool
) -> tuple[Path, set[str]]:
    from costmodel.readers.keras import as_keras, export_onnx, input_shapes

    names = set(sizes)
    if sizes and not alone:
        model = as_keras(model)
        names = given_names(input_shapes(model), sizes)
    own = {key: size for key, size in sizes.items() if key in names}
    folder.mkdir()
    return export_onnx(model, folder / f"{_file_name(name)}.onnx", own), names


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

"""Models as people have them, as the files that runners read."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.lite_model.detect import is_lite
from costmodel.sizes import Sizes, bind_shapes, given_names

if TYPE_CHECKING:
    from costmodel.readers.formats import Opened

_LOG = logging.getLogger("costmodel")
#: A model: the path of an ONNX, Keras, TensorFlow Lite or PyTorch (.pt2) file or of a SavedModel's
#: folder, the bytes of an ONNX or TensorFlow Lite file, an ``onnx.ModelProto``, a Keras model, a
#: PyTorch module (with an example of its inputs) or exported program, or a loaded SavedModel.
Model = Any


def as_list(models: Model | Sequence[Model]) -> list[Model]:
    """One model or several, as a list."""
    return list(models) if isinstance(models, list | tuple) else [models]


@contextmanager
def model_files(
    models: Sequence[Model], sizes: Sizes, *, example: Any = None, signature: str = ""
) -> Iterator[tuple[list[Path], Sizes]]:
    """The models as files that runners read, those that are none written while the body runs.

    Args:
        models: of any format; see ``Model``.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``; each must be of
            use for one of the models.
        example: what PyTorch modules among them are called with.
        signature: which entry of SavedModels and TensorFlow Lite files; empty for the usual one.

    Yields:
        One path per model, in order: an ONNX file, or a TensorFlow Lite file, which only LiteRT
        executes; its stem is the name of the network. And the sizes that are still to be given to
        the files: a model that is exported has its own already.

    Raises:
        InvalidInputError: for a file that is not there, or a thing that is no model; for a size
            that does not fit.
        MissingDependencyError: without the extra that a format needs.
        ModelFormatError: for a model that cannot be opened or exported.
    """
    from costmodel.readers.formats import Request, format_of

    models = [Path(model) if isinstance(model, str) else model for model in models]
    opens = [format_of(model) for model in models]
    request = Request(example=example, signature=signature, sizes=sizes)
    with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        alone = len(models) == 1
        found = [
            _file(item.open(model, request), Path(folder) / str(number), sizes, alone=alone)
            for number, (item, model) in enumerate(zip(opens, models, strict=True))
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
        message = (
            f"None of the models has an open dimension or an input {name!r}. Leave it out: what is "
            "open is then asked for."
        )
        raise InvalidInputError(message)
    if not taken:
        return sizes
    from costmodel.onnx_model.inputs import names_of_use

    asked = {name for path in files for name in names_of_use(path, sizes)}
    return {name: size for name, size in sizes.items() if name in asked or name not in taken}


def _file(
    opened: Opened, folder: Path, sizes: Sizes, *, alone: bool
) -> tuple[Path, set[str] | None]:
    """The model's own file where runners read that, else one written into ``folder``.

    Returns:
        The file; and of a model that was exported with fixed sizes, which of the sizes it took.
    """
    if opened.file is not None and (opened.inputs is None or not sizes):
        return opened.file, None
    assert opened.write is not None
    folder.mkdir()
    out = folder / _file_name(opened.name)
    if opened.inputs is None:
        return opened.write(out, {}), None
    names = set(sizes) if alone else given_names(opened.inputs, sizes)
    if opened.file is not None and not names:
        return opened.file, names
    own = {key: size for key, size in sizes.items() if key in names}
    shapes = bind_shapes(opened.where, opened.inputs, own)
    if opened.file is None:
        _LOG.info("Exporting %s.", opened.where)
    return opened.write(out, shapes), names


def require_onnx(path: Path, what: str) -> None:
    """Refuse a file that is read but cannot be changed.

    Args:
        path: from ``model_files``.
        what: is to be done, for the message.

    Raises:
        ModelFormatError: for a TensorFlow Lite file.
    """
    if is_lite(path):
        message = (
            f"{path} is a TensorFlow Lite file: {what} works on ONNX models. Give the model that "
            "it was converted from."
        )
        raise ModelFormatError(message)


def _file_name(name: str) -> str:
    """A network's name without what no file may be called."""
    kept = "".join(c if c.isalnum() or c in "._-" else "_" for c in name)[:100]
    return kept.strip("._") or "model"

"""The user's Python files and modules, run before a model is opened that needs what they define."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

from costmodel.errors import InvalidInputError

#: Files that have been run, by where they lie and when they were last changed.
_RUN: dict[tuple[Path, int], ModuleType] = {}


def import_first(names: Sequence[str | Path] | None) -> None:
    """Import modules or run Python files, so that Keras knows the layers that they define.

    Classes that are registered (``keras.saving.register_keras_serializable``) are known by their
    registered names, as anywhere; other layers, losses, metrics ... that a file defines by their
    own.

    Args:
        names: of modules, such as ``shop.layers``, or of files, such as ``layers.py``. They are run
            as any script of the user's is: they may do anything that the user may.

    Raises:
        InvalidInputError: if there is none of a name, or it fails; says why.
    """
    for name in names or ():
        path = Path(name)
        module = run_file(path) if path.suffix == ".py" else _import(str(name))
        if "keras" in sys.modules:
            _make_known(module)


def run_file(path: Path) -> ModuleType:
    """Run a Python file, once as long as it stays the same.

    Args:
        path: what lies beside it can be imported by it.

    Returns:
        The module.

    Raises:
        InvalidInputError: if there is no such file, or it fails; says why.
    """
    path = Path(path)
    if not path.is_file() or path.suffix != ".py":
        message = (
            f"{path} is not a Python file. Expected a script with a function load() for --data, or "
            "one that defines Keras layers for --import."
        )
        raise InvalidInputError(message)
    key = (path.resolve(), path.stat().st_mtime_ns)
    if key not in _RUN:
        _RUN[key] = _ran(key[0], str(path))
    return _RUN[key]


@contextlib.contextmanager
def beside(path: Path) -> Iterator[None]:
    """What lies beside a file can be imported in the body."""
    folder = str(Path(path).parent.resolve())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def _ran(path: Path, shown: str) -> ModuleType:
    name = _free_name(path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        with beside(path):
            spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        message = f"{shown} could not be run: {type(error).__name__}: {error}."
        raise InvalidInputError(message) from error
    return module


def _free_name(path: Path) -> str:
    """The file's own name where that is no other module's, as for files that import each other."""
    stem = path.stem
    if stem.isidentifier() and stem not in sys.modules:
        known = importlib.util.find_spec(stem)
        if known is None or (known.origin and Path(known.origin).resolve() == path):
            return stem
    return "file_" + re.sub(r"\W", "_", stem)


def _import(name: str) -> ModuleType:
    try:
        with beside(Path("here")):
            return importlib.import_module(name)
    except Exception as error:
        message = (
            f"The module {name!r} could not be imported: {type(error).__name__}: {error}. Give the "
            "name of an installed module, or a Python file: --import layers.py."
        )
        raise InvalidInputError(message) from error


def _make_known(module: ModuleType) -> None:
    """Let Keras find the module's own classes by their names, where they have no others."""
    from costmodel.readers.keras_classes import make_known

    make_known(module)

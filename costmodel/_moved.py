"""Old names, for one release: using one warns, says the new name, and gives what has it today.

To be taken out, with everything that imports this file, in the release after 0.2.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Finder:
    """Finds modules under the names that they had.

    Args:
        moved: new names of modules and packages by old ones, full names both.
    """

    def __init__(self, moved: Mapping[str, str]) -> None:
        self._moved = moved

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        del path, target
        for old, new in self._moved.items():
            if name == old or name.startswith(f"{old}."):
                loader: Any = _Loader(
                    new + name.removeprefix(old)
                )  # importlib.abc is slow to import
                return ModuleSpec(name, loader)
        return None


class _Loader:
    """Puts the module of today where the old name is looked up."""

    def __init__(self, today: str) -> None:
        self._today = today

    def create_module(self, spec: ModuleSpec) -> None:
        del spec

    def exec_module(self, module: ModuleType) -> None:
        warn_moved(module.__name__, self._today)
        sys.modules[module.__name__] = importlib.import_module(self._today)


class _Package(ModuleType):
    """A package in which a function has the name that a module had.

    The import system binds every imported module in its package: under an old name it would put
    the module where the function of today is.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if isinstance(value, ModuleType) and name in self.__dict__.get("__all__", ()):
            return
        super().__setattr__(name, value)


def moved_modules(package: str, moved: Mapping[str, str]) -> None:
    """Let modules of a package be imported under the names that they had.

    Args:
        package: its full name; its ``__all__`` is never overwritten by a module.
        moved: new names by old ones, both within the package.
    """
    sys.meta_path.insert(0, _Finder({f"{package}.{a}": f"{package}.{b}" for a, b in moved.items()}))
    sys.modules[package].__class__ = _Package


def moved_names(module: str, moved: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` for a module in which something has another name now.

    Args:
        module: its full name.
        moved: where each old name is now: ``name`` in this module, or ``package.module:name``.
    """

    def getter(name: str) -> Any:
        if name not in moved:
            message = f"module {module!r} has no attribute {name!r}"
            raise AttributeError(message)
        where, _, today = moved[name].rpartition(":")
        where = where or module
        warn_moved(f"{module}.{name}", f"{where}.{today}")
        return getattr(importlib.import_module(where), today)

    return getter


def warn_moved(old: str, new: str, *, level: int = 3) -> None:
    """Warn whoever used an old name.

    Args:
        old: name that was used.
        new: name of today.
        level: frames between the warning and whoever used it.
    """
    message = f"{old} is called {new} now; the old name goes with the next release."
    warnings.warn(message, DeprecationWarning, stacklevel=level)

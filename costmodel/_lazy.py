"""Names of a package that are imported when they are first asked for (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str,
    homes: Mapping[str, str],
    missing: Callable[[ImportError, str], Exception | None] = lambda *_: None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` for a package.

    Args:
        package: its full name.
        homes: module of the package that each name is in.
        missing: makes the error to raise where a module needs a package that is not there, of that
            import's own and of the name that was asked for; None to leave it as it is.
    """

    def getter(name: str) -> Any:
        if name not in homes:
            message = f"module {package!r} has no attribute {name!r}"
            raise AttributeError(message)
        try:
            module = importlib.import_module(f"{package}.{homes[name]}")
        except ModuleNotFoundError as error:
            if (told := missing(error, f"{package}.{name}")) is None:
                raise
            raise told from error
        found = getattr(module, name)
        setattr(sys.modules[package], name, found)
        return found

    return getter, lambda: sorted({*homes, *vars(sys.modules[package])})

"""Writes the pages of ``scripts/api_pages``; a public name without a docstring is an error."""

from __future__ import annotations

import argparse
import inspect
from importlib import import_module
from pathlib import Path

#: Modules whose names are stable.
MODULES = (
    *("costmodel", "costmodel.protocols", "costmodel.testing", "costmodel.errors"),
    "morphnet_core",
)


def undocumented(name: str) -> list[str]:
    """Public names of a module that say nothing of themselves.

    Lazy names are imported, so that they are the module's own from here on.
    """
    module = import_module(name)
    public = getattr(module, "__all__", None) or [
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and getattr(value, "__module__", None) == name
    ]
    found = {key: getattr(module, key) for key in public}
    return [f"{name}.{key}" for key, value in found.items() if not inspect.getdoc(value)]


def main() -> None:
    import pdoc

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write them")
    folder = parser.parse_args().folder
    silent = [key for name in MODULES for key in undocumented(name)]
    if silent:
        message = f"These public names have no docstring: {', '.join(silent)}."
        raise SystemExit(message)
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*MODULES, output_directory=folder)
    pages = sorted(folder.rglob("*.html"))
    print(f"{len(pages)} pages in {folder}")


if __name__ == "__main__":
    main()

"""What the site's pages take in besides text: the tree of pages, the commands, the API."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

#: Modules whose names are stable: docs/api.md shows them.
MODULES = (
    *("costmodel", "costmodel.protocols", "costmodel.testing", "costmodel.errors"),
    "morphnet_core",
)
#: Programs, by the module that has their ``app``.
PROGRAMS = {"costmodel": "costmodel.cli", "morphnet": "morphnet_core.cli"}
#: Pages that are an index of those beside them, by where these are.
INDEXES = {"docs/decisions/README": "*", "docs/results/README": "*", "profiles/README": "*/*"}
#: Where docs/commands.md wants the commands, and docs/api.md the modules.
WANTS_COMMANDS = ":::{programs}\n:::\n"
WANTS_MODULES = ":::{modules}\n:::\n"

_LINK = re.compile(r"^- \[[^\]]+\]\(([^)]+)\.(?:md|ipynb)\)", re.MULTILINE)


def connect(app: Any) -> None:
    """Have a run of Sphinx complete the pages as it reads them."""
    index = (app.srcdir / "docs" / "README.md").read_text(encoding="utf-8")
    trees = "".join(toctrees(index))

    def complete(_app: Any, page: str, source: list[str]) -> None:
        source[0] = completed(page, source[0], trees)

    def leave_out(_app: Any, _what: str, _name: str, item: Any, *_: Any) -> bool | None:
        # What a class has from scikit-learn is described, and linked, on scikit-learn's own pages.
        return True if str(getattr(item, "__module__", "")).startswith("sklearn.") else None

    app.connect("source-read", complete)
    app.connect("autodoc-skip-member", leave_out)


def completed(page: str, text: str, trees: str) -> str:
    """A page as Sphinx is to read it.

    Args:
        page: its path without an ending.
        text: as it lies in the repository.
        trees: the trees of pages, for the front page.
    """
    if page == "README":
        return text + trees
    if page == "docs/README":
        return f"---\norphan: true\n---\n{text}"
    if page in INDEXES:
        return f"{text}\n{_toctree('', [INDEXES[page]])}"
    if page == "docs/commands":
        return text.replace(WANTS_COMMANDS, "".join(commands()))
    if page == "docs/api":
        return text.replace(WANTS_MODULES, "".join(map(_module, MODULES)))
    return text


def toctrees(index: str) -> Iterator[str]:
    """The tree of pages: headings of docs/README.md, and the pages that are linked below them."""
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        caption = part.partition("\n")[0]
        pages = [f"docs/{page}" for page in _LINK.findall(part)]
        yield _toctree(caption, [re.sub(r"docs/\.\./", "", page) for page in pages])


def _toctree(caption: str, pages: list[str]) -> str:
    told = [f":caption: {caption}"] if caption else []
    return "\n".join(["", ":::{toctree}", ":hidden:", ":glob:", *told, "", *pages, ":::", ""])


def _module(name: str) -> str:
    return f"\n## {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n   :members:\n```\n"


def commands() -> Iterator[str]:
    """Markdown of every program's verbs, from their parsers."""
    import typer.main

    for program, module in PROGRAMS.items():
        group: Any = typer.main.get_command(import_module(module).app)
        context = group.make_context(program, [], resilient_parsing=True)
        yield f"\n## {program}\n\n{_prose(group.help)}\n"
        for verb in group.list_commands(context):
            command = group.get_command(context, verb)
            yield from _verb(
                command, command.make_context(verb, [], context, resilient_parsing=True)
            )


def _verb(command: Any, context: Any) -> Iterator[str]:
    yield f"\n### {context.command_path}\n\n{_prose(command.help)}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"\n```text\n{context.command_path} {usage}\n```\n\n| | |\n|---|---|\n"
    for option in command.get_params(context):
        record = option.get_help_record(context)
        if record is not None:
            name, about = record
            yield f"| `{name.replace('|', chr(92) + '|')}` | {_cell(about)} |\n"
    lines = [line.strip() for line in (command.epilog or "").splitlines()[2:]]
    if lines:
        yield "\n```sh\n" + "\n".join(lines) + "\n```\n"


def _prose(text: str | None) -> str:
    """Paragraphs of a help text, without the marks that keep lines of one as they are."""
    return _escaped(re.sub(r"[\b\f]\n?", "", inspect.cleandoc(text or "")))


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", r"\|")


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>])", r"\\\1", text)


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

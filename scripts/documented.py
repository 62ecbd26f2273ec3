"""What the pages and the help texts promise: every command line and every Python snippet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

#: Programs that the distribution installs.
PROGRAMS = ("costmodel", "morphnet")
#: Where README.md takes its reader from nothing to a morph, in an empty folder.
FIRST = "From nothing to a morph"

#: Fences of what a program prints, which nobody is told to do.
_SHOWN = "text"

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?<=\n\n) {4}\S.*\n(?: {4}.*\n)*")
_VERB = re.compile(r"^  (\w[\w-]*)  +\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Example:
    """One thing that a reader is told to do.

    Attributes:
        source: page or help text that shows it.
        kind: ``command`` for a shell, or ``python``.
        text: as shown; a command in one line.
    """

    source: str
    kind: Literal["command", "python"]
    text: str

    def __str__(self) -> str:
        return (
            self.text if self.kind == "command" else f"{self.text.count(chr(10))} lines of Python"
        )


def page_examples(source: str, text: str) -> list[Example]:
    """Commands and snippets of a markdown page, in the order in which it shows them.

    Commands are the lines of indented blocks and of blocks fenced as ``sh``, snippets the blocks
    fenced as ``python``; what is fenced as ``text`` is only shown. Any other fence is an error,
    because nobody would know what to do with it.

    Raises:
        ValueError: for such a fence; names it.
    """
    found: list[tuple[int, Example]] = []
    for fence in _FENCE.finditer(text):
        language, body = fence.groups()
        if language == "python":
            found.append((fence.start(), Example(source, "python", body)))
        elif language == "sh":
            found += [(fence.start(), Example(source, "command", c)) for c in _commands(body)]
        elif language != _SHOWN:
            message = (
                f"{source}: a block is fenced as {language!r}; it is to be python, sh or {_SHOWN}."
            )
            raise ValueError(message)
    prose = _FENCE.sub(lambda fence: "\n" * len(fence[0]), text)  # places stay
    for block in _INDENTED.finditer(prose):
        found += [(block.start(), Example(source, "command", c)) for c in _commands(block[0])]
    return [example for _, example in sorted(found, key=lambda item: item[0])]


def section(text: str, heading: str) -> str:
    """What a page says below a heading of the second level.

    Raises:
        ValueError: if there is none; names it.
    """
    found = re.search(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE
    )
    if found is None:
        message = f"There is no heading {heading!r}."
        raise ValueError(message)
    return found[1]


def help_examples(source: str, text: str) -> list[Example]:
    """Commands below ``Examples:`` in a help text."""
    return [Example(source, "command", c) for c in _commands(text.partition("Examples:\n")[2])]


def shortened_snippet(text: str) -> str:
    """A snippet of Python with less time to spend on profiling."""
    return re.sub(r'budget="\w+"', 'budget="5s"', text)


def verbs(text: str) -> list[str]:
    """Verbs that a program's help text lists."""
    return _VERB.findall(text.partition("Commands:\n")[2].partition("\n\n")[0])


def _commands(text: str) -> Iterator[str]:
    """Lines without comments; those that end with a backslash are joined to the next."""
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        command = re.sub(r"(^|\s+)#.*", "", line).strip()
        if command:
            yield command

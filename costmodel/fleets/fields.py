"""Fields of a TOML file that people write: of their type, or the error names file and field."""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from costmodel.errors import InvalidInputError
from costmodel.registry import Option

T = TypeVar("T")
#: Above any number that a field takes; TOML's whole numbers may have thousands of digits.
_LARGEST = 1e300


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """The tables of a TOML file.

    Args:
        path: of the file.
        what: it is, for the message: ``fleet``.

    Raises:
        InvalidInputError: if it cannot be read; names the file and, where it can, the line.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        problem = getattr(error, "strerror", None) or error
        message = f"The {what} file {path} cannot be read: {problem}."
        raise InvalidInputError(message) from error


class Fields:
    """One table of such a file, whose fields are taken one by one.

    Args:
        where: the file and which table of it, for messages.
        values: the table.
        defaults: what holds where the table does not say; its fields are taken likewise.
    """

    def __init__(
        self, where: str, values: Mapping[str, Any], defaults: Fields | None = None
    ) -> None:
        self.where = where
        self._values = values
        self._defaults = defaults
        self._asked: set[str] = set()

    def refuse(self, name: str, problem: str, cause: BaseException | None = None) -> NoReturn:
        """Say what is wrong with one field.

        Args:
            name: of the field.
            problem: what is wrong, and how to mend it.
            cause: the error that says so.

        Raises:
            InvalidInputError: always.
        """
        owner = self
        if name not in self._values and self._defaults is not None:
            owner = self._defaults
        message = f"{owner.where}: {name}: {problem}"
        raise InvalidInputError(message) from cause

    def has(self, name: str) -> bool:
        """Whether the table or its defaults say something."""
        self._asked.add(name)
        if name in self._values:
            return True
        return self._defaults is not None and self._defaults.has(name)

    def _take(self, name: str, default: Any, kinds: tuple[type, ...], expected: str) -> Any:
        if not self.has(name):
            return default
        if name not in self._values:
            assert self._defaults is not None
            return self._defaults._take(name, default, kinds, expected)
        value = self._values[name]
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            self.refuse(name, f"expected {expected}. Received: {value!r}.")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """A text that is not empty; without ``default`` it must be there."""
        if default is None and not self.has(name):
            message = f"{self.where}: {name} is missing. Add it: {name} = '...'"
            raise InvalidInputError(message)
        found: str = self._take(name, default, (str,), "a text in quotes")
        if not found and found != default:
            self.refuse(name, "the text is empty. Fill it in, or leave the line out.")
        return found

    def one_of(self, name: str, known: Sequence[str], default: str) -> str:
        """One of some words."""
        found = self.text(name, default)
        if found not in known:
            self.refuse(name, f"expected one of {', '.join(known)}. Received: {found!r}.")
        return found

    def truth(self, name: str, *, default: bool) -> bool:
        """``true`` or ``false``."""
        return bool(self._take(name, default, (bool,), "true or false"))

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        """A whole number in a range."""
        found: int = self._take(name, default, (int,), "a whole number")
        if not least <= found <= most:
            self.refuse(name, f"expected {least} to {most}. Received: {found}.")
        return found

    def number(self, name: str, default: float, least: float, most: float) -> float:
        """A number in a range."""
        said = self._take(name, default, (int, float), "a number")
        found = float(said) if abs(said) < _LARGEST else math.inf
        if not (math.isfinite(found) and least <= found <= most):
            self.refuse(name, f"expected {least:g} to {most:g}. Received: {found:g}.")
        return found

    def items(self, name: str, kinds: tuple[type, ...], expected: str) -> list[Any]:
        """A list whose items are of some types; empty where it is not there."""
        found: list[Any] = self._take(name, [], (list,), f"a list of {expected}")
        for item in found:
            if not isinstance(item, kinds) or isinstance(item, bool):
                self.refuse(name, f"expected a list of {expected}. It holds {item!r}.")
            if isinstance(item, int) and abs(item) >= _LARGEST:
                self.refuse(name, "one of its numbers is too large.")
            if item == "":
                self.refuse(name, "one of its texts is empty. Fill it in, or leave it out.")
        return list(found)

    def checked(self, name: str, default: T, check: Callable[[Any], T]) -> T:
        """What ``check`` makes of a text or number; its error gets the field's name."""
        if not self.has(name):
            return default
        value = self._take(name, None, (str, int, float), "a text or a number")
        if isinstance(value, int) and abs(value) >= _LARGEST:
            self.refuse(name, "this number is too large.")
        try:
            return check(value)
        except InvalidInputError as error:
            self.refuse(name, str(error), error)

    def values(self, name: str, kinds: tuple[type, ...], expected: str) -> dict[str, Any]:
        """A table of plain values; empty where it is not there."""
        found: dict[str, Any] = self._take(name, {}, (dict,), f"a table of NAME = {expected}")
        for key, item in found.items():
            if not isinstance(item, kinds) or (isinstance(item, bool) and bool not in kinds):
                problem = f"expected a table of NAME = {expected}. {key} is {item!r}."
                self.refuse(name, problem)
        return dict(found)

    def options(self, name: str) -> dict[str, Option]:
        """A table of options of a runner."""
        return self.values(name, (str, int, float, bool), "a text, a number, true or false")

    def table(self, name: str) -> dict[str, Any]:
        """A table of ``[name]``; empty where it is not there."""
        return dict(self._take(name, {}, (dict,), f"a table that begins with [{name}]"))

    def tables(self, name: str) -> list[tuple[str, dict[str, Any]]]:
        """Tables of ``[[name]]``, at least one, each with where it is."""
        found = self._take(name, [], (list,), f"tables that begin with [[{name}]]")
        if not found or not all(isinstance(item, dict) for item in found):
            message = f"{self.where}: it names no {name}. Add a table that begins with [[{name}]]."
            raise InvalidInputError(message)
        return [
            (f"{self.where}, [[{name}]] {number} ({item.get('name', 'without a name')})", item)
            for number, item in enumerate(found, 1)
        ]

    def done(self, also: Iterable[str] = ()) -> None:
        """Refuse what nobody asked for.

        Args:
            also: further fields that there are.

        Raises:
            InvalidInputError: naming the field and the likeliest right one.
        """
        known = sorted({*self._asked, *also})
        for name in self._values:
            if name not in known:
                close = difflib.get_close_matches(name, known, 1)
                meant = f" Did you mean {close[0]}?" if close else ""
                message = (
                    f"{self.where}: there is no field {name!r}.{meant} Known: {', '.join(known)}."
                )
                raise InvalidInputError(message)


def require_unique(where: str, names: Sequence[str]) -> None:
    """Refuse a name that is given twice, or that makes no good name of a file.

    Raises:
        InvalidInputError: naming it.
    """
    for name in names:
        if not all(c.isalnum() or c in "._-" for c in name) or name[:1] in {".", "-"}:
            message = (
                f"{where}: the name {name!r} becomes the name of a file. Use letters, digits, "
                "'.', '_' and '-', and begin with a letter or digit."
            )
            raise InvalidInputError(message)
        if names.count(name) > 1:
            message = f"{where}: the name {name!r} is given twice. Give each its own."
            raise InvalidInputError(message)


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; what cannot be the name of one is not there."""
    try:
        return path.exists()
    except (OSError, ValueError):  # too long, or with a zero inside
        return False

"""Finds plug-ins by name through entry points; built-in ones are registered the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import Any, Self

from costmodel.errors import CostModelError, InvalidInputError, MissingDependencyError
from costmodel.protocols import Runner

RUNNERS = "costmodel.runners"
Option = str | int | float | bool


class KeepsOptions:
    """Base of runners that can be given as objects where they are made anew in a worker process.

    Attributes:
        options: the keyword arguments that it was made with.
    """

    options: dict[str, Any]

    def __new__(cls, *parts: Any, **options: Any) -> Self:
        """Keep the options, which ``__init__`` gets as well; with other parts nothing is kept."""
        made = super().__new__(cls)
        if not parts:
            made.options = dict(options)
        return made


def runner_names() -> tuple[str, ...]:
    """Names of every registered runner, usable here or not."""
    return tuple(sorted({item.name for item in entry_points(group=RUNNERS)}))


def load_runner(name: str, options: Mapping[str, Option] | None = None) -> Runner:
    """Make the runner registered under ``name``.

    A name such as ``ssh://board`` is an address: the runner registered under its scheme gets it
    as the option ``address``. A name such as ``package.module:Class`` is imported, registered or
    not.

    Args:
        name: entry-point name, such as ``ort`` or ``fake``, an address, or where the class is.
        options: keyword arguments of the runner, e.g. ``{"threads": 2}``.

    Raises:
        InvalidInputError: if no runner has this name, it cannot be imported, or it does not take
            an option.
        MissingDependencyError: if the runner's package is not installed.
    """
    found: dict[str, EntryPoint] = {item.name: item for item in entry_points(group=RUNNERS)}
    scheme, is_address, _ = name.partition("://")
    if is_address:
        options = {**(options or {}), "address": name}
        name = scheme
    elif ":" in name:
        found[name] = EntryPoint(name=name, value=name, group=RUNNERS)
    if name not in found:
        message = (
            f"There is no runner named {name!r}. Registered here: {', '.join(sorted(found))}; "
            "package.module:Class names any other."
        )
        raise InvalidInputError(message)
    try:
        make: Callable[..., Runner] = found[name].load()
    except MissingDependencyError:
        raise
    except (ImportError, AttributeError) as error:
        message = (
            f"The runner {name!r} ({found[name].value}) cannot be imported: {error}. "
            "Install the package that brings it anew, or name another runner."
        )
        raise InvalidInputError(message) from error
    try:
        return make(**dict(options or {}))
    except CostModelError:
        raise
    except (OverflowError, TypeError, ValueError) as error:
        message = (
            f"The runner {name!r} does not take these options: {dict(options or {})} ({error}). "
            f"It takes {', '.join(signature(make).parameters) or 'none'}."
        )
        raise InvalidInputError(message) from error


def name_of(
    runner: str | Runner, options: Mapping[str, Option] | None = None
) -> tuple[str, dict[str, Option]]:
    """How ``load_runner`` makes a runner again, in another process.

    Args:
        runner: its name, or the runner itself, which then must be a ``KeepsOptions`` of a module
            that can be imported.
        options: of a name.

    Returns:
        A name and options for ``load_runner``.

    Raises:
        InvalidInputError: if the runner cannot be made again.
    """
    if isinstance(runner, str):
        return runner, dict(options or {})
    kind = type(runner)
    where = f"{kind.__module__}:{kind.__qualname__}"
    kept = getattr(runner, "options", None)
    usable = isinstance(kept, Mapping) and all(isinstance(v, Option) for v in kept.values())
    if options or not usable or "<locals>" in where or kind.__module__ == "__main__":
        message = (
            f"The runner {runner!r} cannot be made anew in the process that measures. Give its "
            "name and options, such as runner='ort', options={'threads': 2}; or an object without "
            "further options, whose class is in a module of its own, is a "
            "costmodel.registry.KeepsOptions, and takes plain values only."
        )
        raise InvalidInputError(message)
    names = [item.name for item in entry_points(group=RUNNERS) if item.value == where]
    return (names[0] if names else where), dict(kept or {})


def checked_threads(threads: int) -> int:
    """A runner's option ``threads``.

    Raises:
        InvalidInputError: for none, or more than any machine has processors.
    """
    if not 1 <= int(threads) <= 1024:
        message = f"threads must be between 1 and 1024. Received: {threads}."
        raise InvalidInputError(message)
    return int(threads)


def require_one_of(name: str, value: str, known: Iterable[str]) -> None:
    """Refuse a value that a runner's option does not have.

    Raises:
        InvalidInputError: with those that it has.
    """
    if value not in (choices := tuple(known)):
        message = f"{name} must be one of {', '.join(choices)}. Received: {value!r}."
        raise InvalidInputError(message)

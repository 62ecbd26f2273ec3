"""Finds plug-ins by name through entry points; built-in ones are registered the same way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points

from costmodel.errors import CostModelError, InvalidInputError, MissingDependencyError
from costmodel.protocols import Runner

RUNNERS = "costmodel.runners"


def runner_names() -> tuple[str, ...]:
    """Names of every registered runner, usable here or not."""
    return tuple(sorted({item.name for item in entry_points(group=RUNNERS)}))


def load_runner(name: str, options: Mapping[str, str | int | float | bool] | None = None) -> Runner:
    """Make the runner registered under ``name``.

    A name such as ``ssh://board`` is an address: the runner registered under its scheme gets it
    as the option ``address``.

    Args:
        name: entry-point name, such as ``ort`` or ``fake``, or an address.
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
    if name not in found:
        message = f"There is no runner named {name!r}. Registered here: {', '.join(sorted(found))}."
        raise InvalidInputError(message)
    try:
        make: Callable[..., Runner] = found[name].load()
    except MissingDependencyError:
        raise
    except (ImportError, AttributeError) as error:
        message = f"The runner {name!r} ({found[name].value}) cannot be imported: {error}."
        raise InvalidInputError(message) from error
    try:
        return make(**dict(options or {}))
    except CostModelError:
        raise
    except (TypeError, ValueError) as error:
        message = (
            f"The runner {name!r} does not take these options: {dict(options or {})} ({error})."
        )
        raise InvalidInputError(message) from error

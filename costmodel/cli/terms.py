"""The options of verbs that price models, declared once and handed on as one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_type_hints

from costmodel.cli import options

if TYPE_CHECKING:
    from costmodel.uses.pricing import Terms

#: Parameter of a verb that these options stand in the place of.
TERMS = "terms"


def _terms(
    *,
    cost: options.Cost = "regression",
    donor: options.Donors = None,
    runner: options.RunnerName = None,
    runner_option: options.RunnerOptions = None,
    threads: options.Threads = None,
    size: options.SizeOptions = None,
    shape: options.ShapeOptions = None,
    signature: options.Signature = "",
    imports: options.Imports = None,
    no_calibration: options.NoCalibration = False,
) -> Terms:
    """What the options mean; the user's own code is imported here, before anything is opened."""
    from costmodel.uses.user_code import import_first

    import_first(imports)
    return {
        "cost": cost,
        "donors": donor or (),
        "runner": runner,
        "options": options.parse_runner_options(runner_option),
        "threads": threads,
        "sizes": options.parse_sizes(size, shape),
        "calibrated": not no_calibration,
        "signature": signature,
    }


def with_terms(verb: Callable[..., None]) -> Callable[..., None]:
    """A verb whose parameter ``terms`` becomes the options from ``--cost`` to ``--no-calibration``.

    Args:
        verb: as it is given to ``typer``, but for ``terms``, which has no default.
    """
    own = _parameters(verb)
    shared = _parameters(_terms)
    place = list(own).index(TERMS)

    @functools.wraps(verb)
    def run(**given: Any) -> None:
        chosen = {name: given.pop(name) for name in shared}
        verb(**given, terms=_terms(**chosen))

    before, after = list(own.values())[:place], list(own.values())[place + 1 :]
    shown = [
        item.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for item in (*before, *shared.values(), *after)
    ]
    run.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    run.__annotations__ = {item.name: item.annotation for item in shown}
    return run


def _parameters(function: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """Parameters by name, with annotations that are no texts any more.

    ``Terms`` are looked up as any dictionary: importing what they hold would make every help slow.
    """
    hints = get_type_hints(function, localns={"Terms": dict}, include_extras=True)
    return {
        name: item.replace(annotation=hints[name])
        for name, item in inspect.signature(function).parameters.items()
    }

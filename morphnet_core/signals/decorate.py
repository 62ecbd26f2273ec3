"""Lets the original's regularizer decorators change the values of a source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from morphnet_core.signals.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """What a decorator is given, with the original's names.

    Attributes:
        regularization_vector: the values of a source.
        alive_vector: which of them are above the threshold.
    """

    regularization_vector: Any
    alive_vector: Any


def decorated(
    source: Source,
    decorator: Callable[..., Any],
    parameters: Mapping[str, Any] | None,
    threshold: float,
) -> Source:
    """A source whose values a decorator changes.

    The decorator is called as ``decorator(view, **parameters)``, as the original calls its
    decorator classes, whenever the penalty is computed; its ``regularization_vector`` is used. It
    has no say in what is alive.

    Args:
        source: the source as it is.
        decorator: class or function.
        parameters: its further arguments.
        threshold: above which a value is alive.
    """
    settings = dict(parameters or {})

    def values() -> Any:
        found = source.values()
        view = SourceView(regularization_vector=found, alive_vector=found > threshold)
        return decorator(view, **settings).regularization_vector

    return replace(source, values=values)

"""``compare --against``: predictions held against somebody's list of times."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from os.path import realpath  # which, unlike Path.resolve, takes a loop of links for a name
from pathlib import Path

from costmodel.comparison import Comparison
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.prediction import price_network
from costmodel.readers.timings import Timing, read_timings
from costmodel.uses.listed import Listed, find_networks
from costmodel.uses.models import Model
from costmodel.uses.pricing import Pricing

_LOG = logging.getLogger("costmodel")


def compare_with_list(
    models: Sequence[Model], pricing: Pricing, given: Path
) -> tuple[Comparison, ...]:
    """Predict networks and hold them against a list.

    Args:
        models: model files, each matched with the line that names it, by its path or its stem; all
            that the list names if there are none.
        pricing: its table is of the device that the times are of.
        given: the list: model files beside it, or names of the table's networks.

    Raises:
        InvalidInputError: if nothing of the list can be predicted, or what is priced is no time.
        ModelFormatError: if a model cannot be read.
    """
    table = pricing.table
    if table is None:
        message = "--against needs the table of the device that the list is of: table=..., --table."
        raise InvalidInputError(message)
    lines = [line for line in read_timings(given) if not math.isnan(line.latency_ms)]
    if models:
        lines = list(_wanted(lines, models, given))
    found, unknown = find_networks(lines, given.parent, table.device, [table], pricing.sizes)
    _tell(given, unknown)
    if not found:
        message = (
            f"{given}: none of its {len(lines)} timed lines names a model file beside it or a "
            "network of the table. Write paths from the list's folder."
        )
        raise InvalidInputError(message)
    cost = pricing.cost_model()
    law = pricing.law(cost)
    timed_on = replace(
        table.device, provenance="imported", state={"timed": f"as {given.name} says"}
    )
    compared = (
        Comparison(
            prediction=price_network(item.network, cost, law, device=table.device),
            measurement=_measured(item),
            device=timed_on,
        )
        for item in found
    )
    return tuple(compared)


def _wanted(lines: Iterable[Timing], models: Sequence[Model], given: Path) -> Iterable[Timing]:
    """The lines that models are named by, as lines of the models' own files."""
    by_path = {realpath(given.parent / line.model): line for line in lines}
    by_name = {Path(line.model).stem.lower(): line for line in lines}
    for model in models:
        if not isinstance(model, str | Path):
            message = f"With --against, models are files. Received: {type(model).__name__}."
            raise InvalidInputError(message)
        path = Path(model)
        line = by_path.get(realpath(path)) or by_name.get(path.stem.lower())
        if line is None:
            _LOG.warning("%s has no line in %s: it is left out.", path, given)
        else:
            yield replace(line, model=realpath(path))


def _tell(given: Path, unknown: Sequence[Timing]) -> None:
    for line in unknown:
        _LOG.warning(
            "%s, line %d: %r is no model file and no network of the table: it is left out.",
            *(given, line.line, line.model),
        )


def _measured(item: Listed) -> Measurement:
    timing = item.timing
    return Measurement(
        op=item.row,
        latency_ms=timing.latency_ms,
        median_ms=timing.latency_ms,
        spread=timing.spread,
    )

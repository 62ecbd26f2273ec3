"""What networks are priced by and timed with, from a verb's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from costmodel.errors import InvalidInputError
from costmodel.registry import Option

if TYPE_CHECKING:
    from costmodel.protocols import CostModel
    from morphnet_core.morphing import Clock
    from morphnet_core.pricing import Count


def prices_of(table: str | None, cost: str, target_ms: float | None) -> Count | CostModel:
    """What ``--table`` and ``--cost`` ask for; a count is the original MorphNet's.

    Args:
        table: that was given.
        cost: that was given.
        target_ms: milliseconds that were asked for; None if it was another target.

    Raises:
        InvalidInputError: for an unknown name, a table that is missing or holds too little, or
            milliseconds of a cost that does not count them.
    """
    from costmodel.uses.tables import cost_of, open_table
    from morphnet_core.pricing import COUNTS

    found = cost_of(cost, open_table(table) if table else None)
    if target_ms is not None and found.unit != "ms":
        message = (
            f"--target-ms needs prices in milliseconds, but {cost} does not count these. Give "
            "--table, or --target 50%."
        )
        raise InvalidInputError(message)
    return COUNTS.get(cost, found)


def clock_for(
    cost: Count | CostModel,
    *,
    runner: str | None,
    options: Mapping[str, Option],
    rounds: int | None,
    predict_only: bool,
) -> Clock | None:
    """What times networks, unless nothing is to; says why where nothing can.

    Raises:
        CostModelError: as ``device_clock``.
    """
    if predict_only:
        return None
    from morphnet_core.morphing import device_clock

    return device_clock(cost, runner=runner, options=options, rounds=rounds)

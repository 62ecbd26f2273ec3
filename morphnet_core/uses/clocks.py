"""What times networks during a search: the device that the prices are of, where it is at hand."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from costmodel.comparison import DEFAULT_PLAN
from costmodel.protocols import CostModel, Runner
from costmodel.registry import Option
from costmodel.uses.matching import Choice, clock_of
from morphnet_core.morphing.clock import DeviceClock
from morphnet_core.pricing import Count

_LOG = logging.getLogger("costmodel")


def device_clock(
    cost: Count | CostModel,
    *,
    runner: str | Runner | None = None,
    options: Mapping[str, Option] | None = None,
    threads: int | None = None,
    rounds: int | None = None,
) -> DeviceClock | None:
    """A clock on the device that prices are of; None, with the reason told, where there is none.

    Args:
        cost: prices; in another unit than milliseconds nothing is timed.
        runner: to time with, instead of the one that made the table.
        options: of the runner.
        threads: the same as ``options={"threads": ...}``.
        rounds: most visits to a network; 12 by default.

    Raises:
        DeviceMismatchError: if the runner that was asked for is another device than the prices'.
        InvalidInputError: if it is not known.
    """
    if cost.unit != "ms" or isinstance(cost, Count):
        return None
    named, reason = clock_of(Choice.of(runner, options, threads), cost.device)
    if named is None:
        _LOG.info("Predicted only: %s.", reason)
        return None
    return DeviceClock(runner=named[0], options=named[1], plan=DEFAULT_PLAN.with_rounds(rounds))

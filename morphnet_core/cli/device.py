"""Which runner times networks for a verb, and why none does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from costmodel.cli.inputs import difference, load_prices, runner_of, with_threads
from costmodel.cli.options import Option
from costmodel.cli.output import note
from costmodel.errors import DeviceMismatchError, InvalidInputError, MissingDependencyError
from costmodel.registry import load_runner

if TYPE_CHECKING:
    from costmodel.device import Device
    from costmodel.protocols import CostModel
    from morphnet_core.morphing import Clock


def runner_for(
    name: str | None, options: Mapping[str, Option], device: Device | None
) -> tuple[str, str]:
    """The runner to time with, or an empty name and why there is none.

    Args:
        name: that was asked for; None for the one that a table came from.
        options: of the runner.
        device: of the table; None without one.

    Raises:
        DeviceMismatchError: if the runner that was asked for is another device than the table's.
        InvalidInputError: if it is not known.
    """
    if device is None:
        return name or "", "" if name else "without a table there is no device to time"
    chosen = name or runner_of(device)
    if chosen is None:
        return "", f"there is no runner for {device.runtime} here"
    try:
        differs = difference(load_runner(chosen, with_threads(options, device)).device, device)
    except MissingDependencyError as error:
        if name:
            raise
        return "", str(error)
    if differs and name:
        message = (
            f"The runner {name!r} is another device than the table's: {differs}. Leave --runner "
            "out to predict only, or give a table of this device."
        )
        raise DeviceMismatchError(message)
    return ("", f"this is another device ({differs})") if differs else (chosen, "")


def check_milliseconds(target_ms: float | None, prices: str | CostModel, cost: str) -> None:
    """Refuse milliseconds as a target of a cost that does not count them.

    Args:
        target_ms: what was asked for; None if it was another target.
        prices: a cost model in milliseconds, or the name of another cost.
        cost: as it was given.

    Raises:
        InvalidInputError: if the two do not fit.
    """
    if target_ms is not None and isinstance(prices, str):
        message = (
            f"--target-ms needs prices in milliseconds, but {cost} does not count these. Give "
            "--table, or --target 50%."
        )
        raise InvalidInputError(message)


def prices_and_clock(
    *,
    table: str | None,
    cost: str,
    runner: str | None,
    options: Mapping[str, Option],
    rounds: int | None,
    predict_only: bool,
) -> tuple[str | CostModel, Clock | None]:
    """What networks are priced by, and what times them; says why where nothing does.

    Raises:
        CostModelError: as ``load_prices`` and ``runner_for``.
    """
    prices = load_prices(table, cost, calibrated=False)
    timer, reason = ("", "") if predict_only else runner_for(runner, options, prices.device)
    if prices.cost.unit != "ms":
        return cost, None
    if not timer:
        if reason:
            note(f"Predicted only: {reason}.")
        return prices.cost, None
    from costmodel.comparison import DEFAULT_PLAN
    from morphnet_core.morphing import DeviceClock

    settings = with_threads(options, prices.device)
    plan = DEFAULT_PLAN.with_rounds(rounds)
    return prices.cost, DeviceClock(runner=timer, options=settings, plan=plan)

"""``costmodel compare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli.app import FINDING, app, examples
from costmodel.cli.inputs import (
    as_onnx,
    load_prices,
    require_same_device,
    runner_of,
    with_threads,
)
from costmodel.cli.options import (
    Cost,
    Json,
    Markdown,
    Models,
    NoCalibration,
    Plot,
    RunnerName,
    RunnerOptions,
    Sizes,
    TableOption,
    Threads,
    parse_runner_options,
    parse_sizes,
)
from costmodel.cli.output import emit, note, progress
from costmodel.errors import InvalidInputError
from costmodel.registry import load_runner

if TYPE_CHECKING:
    from costmodel.comparison import Comparison
    from costmodel.device import Device


@app.command(
    "compare",
    short_help="Predict networks and time them here.",
    epilog=examples(
        "costmodel compare net.onnx --table cpu.jsonl",
        "costmodel compare *.onnx --table cpu.jsonl --max-error 0.1 --plot errors.png",
        "costmodel compare net.onnx --table laptop.jsonl --other-device",
    ),
)
def compare_models(
    models: Models,
    table: TableOption = None,
    cost: Cost = "regression",
    runner: RunnerName = None,
    threads: Threads = None,
    size: Sizes = None,
    runner_option: RunnerOptions = None,
    max_error: Annotated[
        float | None,
        typer.Option("--max-error", min=0.0, help="Exit with 1 if an error is above, e.g. 0.1."),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=2, max=1000, help="Most visits to a network; default: 12."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the order of visits.")] = 0,
    other_device: Annotated[
        bool, typer.Option("--other-device", help="Compare with a table of another device.")
    ] = False,
    no_calibration: NoCalibration = False,
    plot: Plot = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Predict networks and time them here, by the protocol that made the table.

    Exit code 1 if a network could not be timed, or an error is above --max-error.
    """
    from costmodel.comparison import DEFAULT_PLAN, compare
    from costmodel.report import comparison_sheets

    sizes = parse_sizes(size)
    if plot is not None:
        from costmodel.plots import check_picture

        check_picture(plot)
    prices = load_prices(table, cost, calibrated=not no_calibration)
    device = prices.device
    options = with_threads(parse_runner_options(runner_option, threads), device)
    name = runner or _default_runner(device)
    if device is not None:
        require_same_device(load_runner(name, options).device, device, other_device=other_device)
    with as_onnx(models, sizes) as files:
        found = compare(
            files,
            runner=name,
            cost=prices.cost,
            options=options,
            calibration=prices.calibration,
            sizes=sizes,
            plan=replace(DEFAULT_PLAN, seed=seed).with_rounds(rounds),
            progress=progress("Comparing"),
        )
    # A cost model need not know its device; the table does.
    found = tuple(
        replace(item, prediction=replace(item.prediction, device=item.prediction.device or device))
        for item in found
    )
    emit(
        lambda: [item.to_json() for item in found],
        lambda: comparison_sheets(found),
        as_json=json,
        markdown=markdown,
    )
    if plot is not None:
        from costmodel.plots import plot_comparison

        note(f"Drew {plot_comparison(found, plot)}.")
    _finish(found, max_error)


def _default_runner(device: Device | None) -> str:
    if device is None:
        return "ort"
    name = runner_of(device)
    if name is None:
        message = (
            f"The table is of {device.label}, and no runner for {device.runtime!r} is registered "
            "here. Choose one with --runner (and --other-device)."
        )
        raise InvalidInputError(message)
    return name


def _finish(found: Sequence[Comparison], max_error: float | None) -> None:
    untimed = [item.model for item in found if item.measured_ms is None]
    above = [
        item.model
        for item in found
        if max_error is not None and (item.error is None or abs(item.error) > max_error)
    ]
    if untimed:
        note(f"Without a measured time: {', '.join(untimed)}.")
    if above and max_error is not None:
        note(f"Error above {max_error * 100:g} %: {', '.join(above)}.")
    if untimed or above:
        raise typer.Exit(FINDING)

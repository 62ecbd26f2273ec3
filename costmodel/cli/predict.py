"""``costmodel predict``."""

from __future__ import annotations

from typing import Annotated

import typer

from costmodel.cli.app import FINDING, app, examples
from costmodel.cli.inputs import (
    as_onnx,
    load_prices,
    lowering_runner,
    read_network,
)
from costmodel.cli.options import (
    Cost,
    Json,
    Markdown,
    Model,
    NoCalibration,
    RunnerName,
    RunnerOptions,
    Sizes,
    TableOption,
    Threads,
    parse_runner_options,
    parse_sizes,
)
from costmodel.cli.output import emit, note
from costmodel.device import Device
from costmodel.errors import InvalidInputError


@app.command(
    "predict",
    short_help="Predict a network's latency from a table.",
    epilog=examples(
        "costmodel predict net.onnx --table cpu.jsonl",
        "costmodel predict net.keras --table amd-epyc-family-25-model-17/onnxruntime-float32-t2",
        "costmodel predict net.onnx --cost flops",
        "costmodel predict net.onnx --table cpu.jsonl --size height=320 --size width=240 --json",
    ),
)
def predict_model(
    model: Model,
    table: TableOption = None,
    cost: Cost = "regression",
    runner: RunnerName = None,
    threads: Threads = None,
    size: Sizes = None,
    runner_option: RunnerOptions = None,
    top: Annotated[int, typer.Option("--top", min=0, help="Slowest layers to list.")] = 15,
    no_calibration: NoCalibration = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a layer has no price.")
    ] = False,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Predict a network's latency: total, interval, every layer, and what has no price."""
    from costmodel.prediction import predict
    from costmodel.report import prediction_sheets

    sizes = parse_sizes(size)
    options = parse_runner_options(runner_option, threads)
    prices = load_prices(table, cost, calibrated=not no_calibration)
    device = prices.device
    if threads is not None and device is not None and threads != device.threads:
        message = (
            f"The table is of {device.threads} threads, --threads is {threads}. "
            "Give a table of that many threads, or leave --threads out."
        )
        raise InvalidInputError(message)
    with as_onnx([model], sizes) as (path,):
        lowering, reason = lowering_runner(runner, options, device)
        network = read_network(path, sizes, runner=lowering, reason=reason, device=device)
    own = getattr(prices.cost, "device", device)
    prices_of = own if isinstance(own, Device) else device
    found = predict(
        network,
        prices.cost,
        prices.calibration,
        device=prices_of if prices.cost.unit == "ms" else None,
    )
    emit(found.to_json, lambda: prediction_sheets(found, top), as_json=json, markdown=markdown)
    if found.unpriced:
        note(f"Warning: {len(found.unpriced)} layers have no price and are in no total.")
        if strict:
            raise typer.Exit(FINDING)

"""``morphnet train``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costmodel.cli import options
from costmodel.cli.app import examples
from costmodel.cli.output import emit, note
from morphnet_core.cli import options as keras_options
from morphnet_core.cli.app import app

if TYPE_CHECKING:
    from costmodel.report import Sheet
    from morphnet_core.morphing import Morphed


class FinishName(StrEnum):
    """What becomes of the chosen network."""

    retrain = "retrain"
    finetune = "finetune"
    none = "none"


class ImportanceName(StrEnum):
    """What the last step goes by."""

    signal = "signal"
    taylor = "taylor"


class ExportName(StrEnum):
    """Formats to deploy."""

    onnx = "onnx"
    litert = "litert"


@app.command(
    "train",
    short_help="Train a network until it takes so many milliseconds.",
    epilog=examples(
        "morphnet train net.keras --data cifar.py --table cpu.jsonl --target-ms 5 --out fast",
        "morphnet train net.keras --data cifar.py --cost flops --target 50% --out half",
        "morphnet train net.keras --data cifar.py --table cpu.jsonl --target 60% --out fast "
        "--finish finetune --export onnx --export litert",
        "morphnet train net.keras --data cifar.py --cost flops --target 50% --out half "
        "--finish finetune --finish-epochs 60 --distil 0.5 --augment",
        "morphnet train net.keras --data cifar.py --table cpu.jsonl --target 50% --out half "
        "--finish finetune --looks 50 --remove-blocks",
    ),
)
def train(
    model: keras_options.KerasModel,
    data: keras_options.DataFile,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FOLDER", help="Where everything is written.")
    ],
    table: options.TableOption = None,
    cost: options.Cost = "regression",
    donor: options.Donors = None,
    target_ms: keras_options.TargetMs = None,
    target: keras_options.Target = None,
    search_epochs: Annotated[
        int, typer.Option("--search-epochs", min=0, help="Epochs under the budget.")
    ] = 5,
    finish: Annotated[
        FinishName,
        typer.Option(
            "--finish",
            help="Train the result anew, on (better while epochs are few), or not at all.",
        ),
    ] = FinishName.retrain,
    finish_epochs: Annotated[int, typer.Option("--finish-epochs", min=0)] = 10,
    distil: Annotated[
        float,
        typer.Option(
            "--distil",
            min=0.0,
            max=1.0,
            metavar="SHARE",
            help="With --finish finetune: share of the loss that is how the result differs from "
            "what the given network returns.",
        ),
    ] = 0.0,
    augment: Annotated[
        bool,
        typer.Option(
            "--augment",
            help="Mirror every second image, left to right, and shift all by up to an eighth while "
            "training by the standard recipe (no compiled in DATA.py). Not for images that then "
            "show something else, such as digits.",
        ),
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Samples a step; default: 64.")
    ] = None,
    importance: Annotated[
        ImportanceName, typer.Option("--importance", help="Of channels, in the last step.")
    ] = ImportanceName.taylor,
    looks: Annotated[
        int,
        typer.Option(
            "--looks",
            min=0,
            metavar="N",
            help="Try so many choices of widths within the budget, by the loss right after cutting "
            "on up to 1,024 validation samples, and take the best. 0 goes by importances alone.",
        ),
    ] = 0,
    remove_blocks: keras_options.RemoveBlocks = False,
    resolution: keras_options.Resolutions = None,
    signal: Annotated[
        str,
        typer.Option("--signal", help="gamma, group_lasso, logistic_sigmoid or hard_concrete."),
    ] = "gamma",
    export: Annotated[
        list[ExportName] | None, typer.Option("--export", help="Repeatable; default: onnx.")
    ] = None,
    grow: keras_options.Grow = 1.0,
    seed: keras_options.Seed = 0,
    size: options.SizeOptions = None,
    shape: options.ShapeOptions = None,
    imports: options.Imports = None,
    runner: options.RunnerName = None,
    threads: options.Threads = None,
    runner_option: options.RunnerOptions = None,
    predict_only: options.PredictOnly = False,
    rounds: options.Rounds = None,
    no_wait: keras_options.NoWait = False,
    save_every: Annotated[
        float | None,
        typer.Option(
            "--save-every",
            min=0.0,
            metavar="S",
            help="Seconds between two saves, at least; default: 20.",
        ),
    ] = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Shrink a network while it trains, fit it to a budget, and train the result.

    Goes the whole way on two batches first, so that what cannot work fails at once. Then searches
    under the budget, chooses the widths that it pays for, times them where the table's
    device is at hand and corrects them, trains the result, and writes the model, its structure, the
    exported files, each checked against it, and pictures.

    All that is done is saved in the folder 'unfinished' of --out until that. Whatever ends it, the
    same command goes on from there, and comes to the same network. A device that another profiler
    holds is waited for, before the search begins.
    """
    wanted = keras_options.one_target(target_ms, target)
    keras_options.check_out(out)
    prices = keras_options.prices_of(table, cost, target_ms, donor or ())
    given = options.parse_runner_options(runner_option, threads)
    from morphnet_core.morphing import device_clock, load_recipe, morph

    clock = None
    if not predict_only:
        clock = device_clock(prices, runner=runner, options=given, rounds=rounds, wait=not no_wait)
    seed_model = keras_options.open_model(model, [*(imports or ()), data])
    recipe = load_recipe(data, batch_size=batch_size)
    more: dict[str, Any] = {"target_ms": wanted} if target_ms is not None else {"target": wanted}
    if save_every is not None:
        more["save_every_s"] = save_every
    found = morph(
        seed_model,
        recipe.data,
        prices,
        compiled=recipe.compiled,
        clock=clock,
        search_epochs=search_epochs,
        finish=finish.value,
        finish_epochs=finish_epochs,
        distil=distil,
        augment=augment,
        importance=importance.value,
        looks=looks,
        remove_blocks=remove_blocks,
        resolutions=resolution or (),
        signal=signal,
        grow=grow,
        seed=seed,
        sizes=options.parse_sizes(size, shape),
        out=out,
        exports=tuple(item.value for item in export or (ExportName.onnx,)),
        verbose=0 if json else 2,
        tell=note,
        **more,
    )
    emit(lambda: record(found), lambda: _sheets(found), as_json=json, markdown=markdown)


def record(found: Morphed) -> dict[str, Any]:
    """The JSON form of a result."""
    loop = found.loop
    return {
        "target": loop.target_ms,
        "seed": loop.seed_ms,
        "predicted": loop.best.predicted_ms,
        "measured_ms": loop.best.measured_ms,
        "hit": loop.hit,
        "rounds": [
            {"predicted": item.predicted_ms, "measured_ms": item.measured_ms}
            for item in loop.rounds
        ],
        "groups": found.grouping.before_and_after(loop.best.projection.counts),
        "metrics": found.metrics,
        "seconds": {name: round(seconds, 1) for name, seconds in found.seconds.items()},
        "files": {kind: str(path) for kind, path in found.files.items()},
        "difference": found.difference,
        "differences": found.differences,
    }


def _sheets(found: Morphed) -> tuple[Sheet, ...]:
    from costmodel.figures import METRIC_NOISE, digits, ms, quantity, signed_percent
    from costmodel.report import Sheet

    loop = found.loop
    rows = [("seed", "", quantity(loop.seed_ms, loop.unit), "")]
    for number, item in enumerate(loop.rounds, 1):
        timed = item.measured_ms
        rows.append(
            (
                f"round {number}{' (taken)' if item is loop.best else ''}",
                quantity(item.predicted_ms, loop.unit),
                "predicted only" if timed is None else ms(timed),
                "" if timed is None else signed_percent(timed / loop.target_ms - 1),
            )
        )
    notes = [f"{name}: {digits(value, METRIC_NOISE)}." for name, value in found.metrics.items()]
    notes += [f"Wrote {path}." for path in found.files.values()]
    return (
        Sheet(
            title=f"Target {quantity(loop.target_ms, loop.unit)}",
            columns=("", "predicted", "measured ms", "off the target"),
            rows=tuple(rows),
            align="lrrr",
            notes=tuple(notes),
        ),
        keras_options.widths_sheet(found.grouping.before_and_after(loop.best.projection.counts)),
    )

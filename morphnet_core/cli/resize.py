"""``morphnet shrink`` and ``morphnet expand``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import examples
from costmodel.cli.files import reads, writes
from costmodel.cli.output import emit, note
from costmodel.errors import InvalidInputError
from morphnet_core.cli import options as keras_options
from morphnet_core.cli.app import app

if TYPE_CHECKING:
    from costmodel.report import Sheet
    from morphnet_core.uses.resizing import Resized

Out = Annotated[
    Path,
    typer.Option(
        "--out", "-o", metavar="OUT.keras", callback=writes, help="Where to write the model."
    ),
]


@app.command(
    "shrink",
    short_help="Cut a network to a structure or to a budget; no training.",
    epilog=examples(
        "morphnet shrink net.keras --structure structure.json --data cifar.py --out small.keras",
        "morphnet shrink net.keras --data cifar.py --table cpu.jsonl --target-ms 5 -o small.keras",
        "morphnet shrink net.keras --data cifar.py --table cpu.jsonl --target 50% -o small.keras "
        "--remove-blocks",
    ),
)
def shrink_model(
    model: keras_options.KerasModel,
    out: Out,
    structure: Annotated[
        Path | None,
        typer.Option("--structure", "-s", metavar="S.json", callback=reads, help="What to keep."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            "-d",
            metavar="DATA.py",
            help="To rate channels on (see train), and to take statistics of what is left.",
        ),
    ] = None,
    table: options.TableOption = None,
    cost: options.Cost = "regression",
    donor: options.Donors = None,
    target_ms: keras_options.TargetMs = None,
    target: keras_options.Target = None,
    runner: options.RunnerName = None,
    threads: options.Threads = None,
    runner_option: options.RunnerOptions = None,
    size: options.SizeOptions = None,
    shape: options.ShapeOptions = None,
    imports: options.Imports = None,
    predict_only: options.PredictOnly = False,
    rounds: options.Rounds = None,
    no_wait: keras_options.NoWait = False,
    remove_blocks: keras_options.RemoveBlocks = False,
    resolution: keras_options.Resolutions = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Cut channels and keep the weights of the others.

    Either to a structure that training found, or to a budget: channels are then rated by how much
    the loss would change without them (Taylor importance), and the widths of most importance are
    chosen that the budget pays for.

    With data, biases make up for what removed channels returned on average, and statistics of batch
    normalisation are taken anew: most of the accuracy that can be had without training.
    """
    keras_options.check_out(out, ".keras")
    if (structure is None) == (target is None and target_ms is None):
        message = "Give either --structure S.json, or a budget: --target-ms or --target."
        raise InvalidInputError(message)
    if structure is not None and (remove_blocks or resolution):
        message = "A structure says what stays: --remove-blocks and --resolution are for a budget."
        raise InvalidInputError(message)
    seed_model = keras_options.open_model(model, [*(imports or ()), *([data] if data else ())])
    sizes = options.parse_sizes(size, shape)
    from morphnet_core.morphing import load_recipe
    from morphnet_core.uses.resizing import shrink_to_budget, shrink_to_structure

    if structure is not None:
        known = load_recipe(data).data if data is not None else None
        found = shrink_to_structure(seed_model, structure, data=known, sizes=sizes)
    else:
        wanted = keras_options.one_target(target_ms, target)
        if data is None:
            message = "To cut to a budget, channels are rated on data: give --data DATA.py."
            raise InvalidInputError(message)
        from morphnet_core.morphing import device_clock

        prices = keras_options.prices_of(table, cost, target_ms, donor or ())
        given = options.parse_runner_options(runner_option, threads)
        clock = None
        if not predict_only:
            clock = device_clock(
                prices, runner=runner, options=given, rounds=rounds, wait=not no_wait
            )
        recipe = load_recipe(data)
        found = shrink_to_budget(
            seed_model,
            recipe,
            prices,
            wanted,
            clock=clock,
            remove_blocks=remove_blocks,
            resolutions=resolution or (),
            sizes=sizes,
            tell=note,
        )
    _finish(found, out, as_json=json, markdown=markdown)


@app.command(
    "expand",
    short_help="Widen a network by a factor or up to a cost; fresh weights.",
    epilog=examples(
        "morphnet expand small.keras --by 1.4 --out wide.keras",
        "morphnet expand small.keras --table cpu.jsonl --target-ms 8 --multiple 8 -o wide.keras",
    ),
)
def expand_model(
    model: keras_options.KerasModel,
    out: Out,
    by: Annotated[
        float | None, typer.Option("--by", min=0.01, max=64.0, help="Factor of every width.")
    ] = None,
    table: options.TableOption = None,
    cost: options.Cost = "regression",
    donor: options.Donors = None,
    target_ms: keras_options.TargetMs = None,
    target: keras_options.Target = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, help="Changed widths are multiples of it.")
    ] = 1,
    size: options.SizeOptions = None,
    shape: options.ShapeOptions = None,
    imports: options.Imports = None,
    seed: keras_options.Seed = 0,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """Scale all widths by one factor: given, or the largest that a cost allows.

    Tied layers stay tied. The result has fresh weights: it is to be trained.
    """
    keras_options.check_out(out, ".keras")
    if (by is None) == (target is None and target_ms is None):
        message = "Give either --by FACTOR, or a cost: --target-ms or --target."
        raise InvalidInputError(message)
    from morphnet_core.uses.resizing import expand_by, expand_to_cost

    small = keras_options.open_model(model, imports)
    sizes = options.parse_sizes(size, shape)
    if by is not None:
        found = expand_by(small, by, multiple=multiple, sizes=sizes, seed=seed)
    else:
        wanted = keras_options.one_target(target_ms, target)
        prices = keras_options.prices_of(table, cost, target_ms, donor or ())
        found = expand_to_cost(small, prices, wanted, multiple=multiple, sizes=sizes, seed=seed)
    _finish(found, out, as_json=json, markdown=markdown)


def _finish(found: Resized, out: Path, *, as_json: bool, markdown: bool) -> None:
    from morphnet_core.morphing.keeping import save_keras

    save_keras(found.model, out)

    def sheets() -> tuple[Sheet, ...]:
        from costmodel.report import Sheet

        costs = found.costs
        numbers = [(key, value) for key, value in costs.items() if isinstance(value, float)]
        rows = [(key.replace("_", " "), _number(key, value, costs)) for key, value in numbers]
        rows.append(("weights", f"{found.model.count_params():,}"))
        own = Sheet(title=found.model.name, columns=("", "value"), rows=tuple(rows), align="lr")
        return own, keras_options.widths_sheet(found.grouping.before_and_after(found.counts))

    data = {**found.to_json(), "file": str(out)}
    emit(lambda: data, sheets, as_json=as_json, markdown=markdown)
    note(f"Wrote {out}.")


def _number(key: str, value: float, costs: Mapping[str, object]) -> str:
    """A cost with its unit, or a metric or multiplier."""
    from costmodel.figures import METRIC_NOISE, digits, quantity

    if key in {"target", "seed", "predicted"}:
        return quantity(value, str(costs["unit"]))
    return quantity(value, "ms") if key == "measured_ms" else digits(value, METRIC_NOISE)

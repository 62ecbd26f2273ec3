"""``morphnet shrink`` and ``morphnet expand``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costmodel.cli.app import examples
from costmodel.cli.inputs import load_prices
from costmodel.cli.options import (
    Cost,
    Json,
    Markdown,
    RunnerName,
    RunnerOptions,
    TableOption,
    Threads,
    parse_runner_options,
)
from costmodel.cli.output import emit, note
from costmodel.errors import InvalidInputError
from morphnet_core.cli.app import app
from morphnet_core.cli.device import check_milliseconds, prices_and_clock
from morphnet_core.cli.options import (
    KerasModel,
    PredictOnly,
    Rounds,
    Seed,
    Target,
    TargetMs,
    check_out,
    one_target,
    open_model,
    widths_sheet,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from costmodel.report import Sheet
    from morphnet_core.groups import Grouping
    from morphnet_core.morphing import Clock
    from morphnet_core.pricing import Pricer

Out = Annotated[
    Path, typer.Option("--out", "-o", metavar="OUT.keras", help="Where to write the model.")
]


@app.command(
    "shrink",
    short_help="Cut a network to a structure or to a budget; no training.",
    epilog=examples(
        "morphnet shrink net.keras --structure structure.json --out small.keras",
        "morphnet shrink net.keras --data cifar.py --table cpu.jsonl --target-ms 5 -o small.keras",
    ),
)
def shrink_model(
    model: KerasModel,
    out: Out,
    structure: Annotated[
        Path | None,
        typer.Option("--structure", "-s", metavar="S.json", help="What to keep."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", "-d", metavar="DATA.py", help="To rate channels on (see train)."),
    ] = None,
    table: TableOption = None,
    cost: Cost = "regression",
    target_ms: TargetMs = None,
    target: Target = None,
    runner: RunnerName = None,
    threads: Threads = None,
    runner_option: RunnerOptions = None,
    predict_only: PredictOnly = False,
    rounds: Rounds = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Cut channels and keep the weights of the others.

    Either to a structure that training found, or to a budget: channels are then rated by how much
    the loss would change without them (Taylor importance), and the widths of most importance are
    chosen that the budget pays for.
    """
    check_out(out, ".keras")
    if (structure is None) == (target is None and target_ms is None):
        message = "Give either --structure S.json, or a budget: --target-ms or --target."
        raise InvalidInputError(message)
    seed_model = open_model(model)
    if structure is not None:
        found = _to_structure(seed_model, structure)
    else:
        wanted = one_target(target_ms, target)
        if data is None:
            message = "To cut to a budget, channels are rated on data: give --data DATA.py."
            raise InvalidInputError(message)
        options = parse_runner_options(runner_option, threads)
        priced_by, clock = prices_and_clock(
            table=table, cost=cost, runner=runner, options=options, rounds=rounds,
            predict_only=predict_only,
        )  # fmt: skip
        check_milliseconds(target_ms, priced_by, cost)
        found = _to_budget(seed_model, priced_by, wanted, data, clock)
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
    model: KerasModel,
    out: Out,
    by: Annotated[
        float | None, typer.Option("--by", min=0.01, max=64.0, help="Factor of every width.")
    ] = None,
    table: TableOption = None,
    cost: Cost = "regression",
    target_ms: TargetMs = None,
    target: Target = None,
    multiple: Annotated[
        int, typer.Option("--multiple", min=1, help="Changed widths are multiples of it.")
    ] = 1,
    seed: Seed = 0,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """Scale all widths by one factor: given, or the largest that a cost allows.

    Tied layers stay tied. The result has fresh weights: it is to be trained.
    """
    check_out(out, ".keras")
    if (by is None) == (target is None and target_ms is None):
        message = "Give either --by FACTOR, or a cost: --target-ms or --target."
        raise InvalidInputError(message)
    from costmodel.readers.keras import read_keras
    from morphnet_core.expansion import expand_to, scaled_counts
    from morphnet_core.groups import find_groups
    from morphnet_core.pricing import Pricer
    from morphnet_core.surgery import expand

    small = open_model(model)
    grouping = find_groups(read_keras(small))
    full = grouping.counts(grouping.full())
    told: dict[str, Any] = {}
    if by is not None:
        counts = scaled_counts(grouping, full, by, multiple=multiple).tolist()
    else:
        wanted = one_target(target_ms, target)
        prices = load_prices(table, cost, calibrated=False)
        priced_by = prices.cost if prices.cost.unit == "ms" else cost
        check_milliseconds(target_ms, priced_by, cost)
        pricer = Pricer(grouping, priced_by)
        goal = float(wanted[:-1]) / 100 * pricer.seed if isinstance(wanted, str) else wanted
        widened = expand_to(grouping, full, pricer.at_counts, goal, multiple=multiple)
        counts = list(widened.counts)
        told = _costs(pricer, counts, goal) | {"multiplier": widened.multiplier}
    large = expand(small, _array(counts), grouping=grouping, seed=seed)
    _finish((large, grouping, counts, told), out, as_json=json, markdown=markdown)


_Found = tuple[Any, "Grouping", "Sequence[int]", dict[str, Any]]


def _array(counts: Sequence[int]) -> Any:
    import numpy as np

    return np.asarray(counts, dtype=np.intp)


def _costs(pricer: Pricer, counts: Sequence[int], goal: float) -> dict[str, Any]:
    return {
        "unit": pricer.unit,
        "target": goal,
        "seed": pricer.seed,
        "predicted": pricer.at_counts(counts),
    }


def _to_structure(model: Any, path: Path) -> _Found:
    from costmodel.readers.keras import read_keras
    from morphnet_core.groups import find_groups
    from morphnet_core.groups.convert import alive_of
    from morphnet_core.structure import Structure
    from morphnet_core.surgery import shrink

    grouping = find_groups(read_keras(model))
    kept = Structure.load(path)
    counts = grouping.counts(alive_of(grouping, kept)).tolist()
    return shrink(model, kept, grouping=grouping), grouping, counts, {}


def _to_budget(
    model: Any, cost: Any, wanted: float | str, data: Path, clock: Clock | None
) -> _Found:
    from costmodel.readers.keras import read_keras
    from morphnet_core.budget.callback import in_unit
    from morphnet_core.budget.taylor import taylor_importance
    from morphnet_core.groups import find_groups
    from morphnet_core.morphing import fit_to_device, load_recipe
    from morphnet_core.pricing import Pricer
    from morphnet_core.surgery import shrink

    recipe = load_recipe(data)
    grouping = find_groups(read_keras(model))
    pricer = Pricer(grouping, cost)
    if clock is None:
        wanted = in_unit(pricer, wanted)
    recipe.compiled(model, 1)
    rated = taylor_importance(
        grouping,
        model,
        recipe.data.x,
        recipe.data.y,
        loss=model.loss,
        batch=recipe.data.batch_size,
    )
    loop = fit_to_device(model, pricer, rated, wanted, clock=clock, tell=note)
    best = loop.best
    told = {
        "unit": pricer.unit,
        "target": loop.target_ms,
        "seed": loop.seed_ms,
        "predicted": best.predicted_ms,
        "measured_ms": best.measured_ms,
        "hit": loop.hit,
    }
    small = shrink(model, best.projection.alive, grouping=grouping)
    return small, grouping, best.projection.counts.tolist(), told


def _finish(found: _Found, out: Path, *, as_json: bool, markdown: bool) -> None:
    model, grouping, counts, told = found
    model.save(out)
    groups = {
        group.name: [group.size, int(count)]
        for group, count in zip(grouping.groups, counts, strict=True)
    }
    data = {**told, "groups": groups, "weights": model.count_params(), "file": str(out)}

    def sheets() -> tuple[Sheet, ...]:
        from costmodel.report import Sheet

        numbers = [(key, value) for key, value in told.items() if isinstance(value, float)]
        rows = [(key.replace("_", " "), f"{value:.6g}") for key, value in numbers]
        rows.append(("weights", f"{model.count_params():,}"))
        title = f"{model.name}" + (f", costs in {told['unit']}" if "unit" in told else "")
        own = Sheet(title=title, columns=("", "value"), rows=tuple(rows), align="lr")
        return own, widths_sheet(grouping, counts)

    emit(lambda: data, sheets, as_json=as_json, markdown=markdown)
    note(f"Wrote {out}.")

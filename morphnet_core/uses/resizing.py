"""Other widths for a network without training: to a structure, to a budget, or up to a cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.readers.keras import as_keras, read_keras
from costmodel.sizes import Sizes
from morphnet_core.budget.callback import in_unit
from morphnet_core.budget.taylor import losses_of, taylor_importance
from morphnet_core.data import Data
from morphnet_core.data.sized import at_size as data_at_size
from morphnet_core.expansion import expand_to, scaled_counts
from morphnet_core.groups import Grouping, find_groups
from morphnet_core.groups.convert import alive_of
from morphnet_core.morphing import Clock, DeviceClock, Recipe, fit_to_device
from morphnet_core.morphing.looking import MOST_BLOCKS, Looking, loss_of_cut
from morphnet_core.morphing.loop import cut
from morphnet_core.morphing.resolving import Resolutions, budget_of, sizes_at
from morphnet_core.morphing.sample import judged_by, sizes_like
from morphnet_core.morphing.unfinished import Section
from morphnet_core.pricing import Cost, Pricer
from morphnet_core.projection import project
from morphnet_core.signals.copying import copied
from morphnet_core.structure import Structure
from morphnet_core.surgery import expand, shrink
from morphnet_core.surgery.sized import at_size as model_at_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Resized:
    """A network at other widths.

    Attributes:
        model: it, as a Keras model that is not compiled.
        grouping: groups of the network it was made from.
        counts: channels of each group now.
        costs: what is known of its cost: ``unit``, ``target``, ``seed``, ``predicted``,
            ``measured_ms``, ``hit``, ``multiplier``; empty where nothing was priced. Cut to a
            budget, also its metrics on the validation data, and the seed's, ``accuracy_before``.
    """

    model: Any
    grouping: Grouping
    counts: tuple[int, ...]
    costs: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything but the model, as plain values."""
        groups = self.grouping.before_and_after(self.counts)
        return {**self.costs, "groups": groups, "weights": self.model.count_params()}


def shrink_to_structure(
    model: Any,
    structure: Structure | str | Path,
    *,
    data: Data | None = None,
    sizes: Sizes | None = None,
) -> Resized:
    """Cut a network to a structure that training found, with its weights.

    Args:
        model: a Keras model, or its file.
        structure: what to keep, or its file.
        data: to take means of removed channels, and statistics of what is left, over.
        sizes: values of open dimensions of the model.

    Raises:
        InvalidInputError: if the structure is of another network, or the data do not fit.
        ModelFormatError: if the model cannot be read or cut.
    """
    model = as_keras(model, sizes=sizes)
    grouping = find_groups(read_keras(model, sizes))
    kept = structure if isinstance(structure, Structure) else Structure.load(structure)
    counts = grouping.counts(alive_of(grouping, kept)).tolist()
    if data is None:
        small = shrink(model, kept, grouping=grouping)
    else:
        small = cut(model, kept, grouping, data)
    return Resized(model=small, grouping=grouping, counts=tuple(counts))


def shrink_to_budget(  # noqa: PLR0913 - one option per decision
    model: Any,
    recipe: Recipe,
    cost: Cost,
    wanted: float | str,
    *,
    clock: Clock | None = None,
    remove_blocks: bool = False,
    resolutions: Sequence[int] = (),
    sizes: Sizes | None = None,
    tell: Callable[[str], None] | None = None,
) -> Resized:
    """Cut a network to a budget without training.

    Channels are rated by how much the loss would change without them (Taylor importance), and the
    widths of most importance are chosen that the budget pays for.

    Args:
        model: a Keras model, or its file.
        recipe: data to rate channels on, and how to compile.
        cost: prices; see ``morphnet_core.pricing.target``.
        wanted: in the cost's unit (milliseconds by the clock, with one), or a share of the seed's
            such as ``"50%"``.
        clock: times networks on the device; None to go by the prices.
        remove_blocks: whether whole branches may go; see ``morph``.
        resolutions: heights that images may have; see ``morph``.
        sizes: values of open dimensions of the model; by default the data's.
        tell: who is told what happens.

    Raises:
        InvalidInputError: for a budget that cannot be kept, or data that do not fit.
        ModelFormatError: if the model cannot be read or cut.
    """
    seed = as_keras(model, recipe.data.samples())
    sizes = sizes_like(recipe.data, seed, sizes)
    pricer = Pricer(find_groups(read_keras(seed, sizes)), cost)
    if isinstance(clock, DeviceClock):
        clock = replace(clock, sizes={**sizes, **clock.sizes})
    if clock is None:
        wanted = in_unit(pricer, wanted)
    data, full = recipe.data, seed
    say = tell or (lambda _: None)
    if resolutions:
        looked = Resolutions(
            data=data,
            cost=pricer.cost,
            compiled=recipe.compiled,
            grouping={},
            sizes=sizes,
            say=say,
        )
        wanted, priced = budget_of(wanted, seed, pricer, clock)
        size = looked.best(seed, priced, resolutions)
        data, full = data_at_size(data, size), model_at_size(seed, size)
        sizes = sizes_at(full, data, sizes)
        pricer = looked.pricer(full, sizes)
        if isinstance(clock, DeviceClock):
            clock = replace(clock, sizes=sizes_at(full, data, clock.sizes))
    grouping = pricer.grouping
    losses = losses_of(recipe.compiled(full, 1))
    rated = taylor_importance(grouping, full, data, **losses)
    choose = _without_blocks(full, grouping, data, losses, say) if remove_blocks else project
    loop = fit_to_device(full, pricer, rated, wanted, clock=clock, tell=tell, choose=choose)
    best = loop.best
    costs = {
        "unit": pricer.unit,
        "target": loop.target_ms,
        "seed": loop.seed_ms,
        "predicted": best.predicted_ms,
        "measured_ms": best.measured_ms,
        "hit": loop.hit,
    }
    small = cut(full, best.projection.alive, grouping, data, constants=not remove_blocks)
    if data.x_val is not None:
        before, after = (
            own.metrics(recipe.compiled(copied(item), 1))
            for item, own in ((seed, recipe.data), (small, data))
        )
        costs |= {f"{name}_before": value for name, value in before.items()}
        costs |= after
    counts = tuple(best.projection.counts.tolist())
    return Resized(model=small, grouping=grouping, counts=counts, costs=costs)


def _without_blocks(
    model: Any,
    grouping: Grouping,
    data: Data,
    losses: dict[str, Any],
    say: Callable[[str], None],
) -> Looking:
    """Chooses widths, and blocks to do without."""
    few = judged_by(data)
    return Looking(
        judge=lambda kept: loss_of_cut(model, kept, grouping, few, losses, constants=False),
        count=1,
        seed=0,
        section=Section(name="looks", path=None, belongs={}),
        say=say,
        blocks=MOST_BLOCKS,
    )


def expand_by(
    model: Any,
    factor: float,
    *,
    multiple: int = 1,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> Resized:
    """Scale all widths of a network by one factor, with fresh weights.

    Args:
        model: a Keras model, or its file.
        factor: of every width; tied layers stay tied.
        multiple: changed widths are multiples of it.
        sizes: values of open dimensions of the model.
        seed: of the weights.

    Raises:
        ModelFormatError: if the model cannot be read or rebuilt.
    """
    model = as_keras(model, sizes=sizes)
    grouping = find_groups(read_keras(model, sizes))
    counts = scaled_counts(grouping, grouping.full_counts, factor, multiple=multiple)
    return _expanded(model, grouping, counts.tolist(), seed, {})


def expand_to_cost(
    model: Any,
    cost: Cost,
    wanted: float | str,
    *,
    multiple: int = 1,
    sizes: Sizes | None = None,
    seed: int = 0,
) -> Resized:
    """Scale all widths of a network by the largest factor that a cost allows, with fresh weights.

    Args:
        model: a Keras model, or its file.
        cost: prices; see ``morphnet_core.pricing.target``.
        wanted: in the cost's unit, or a share of the network's own such as ``"150%"``.
        multiple: changed widths are multiples of it.
        sizes: values of open dimensions of the model.
        seed: of the weights.

    Raises:
        InvalidInputError: for a cost that cannot be reached.
        ModelFormatError: if the model cannot be read or rebuilt.
    """
    model = as_keras(model, sizes=sizes)
    grouping = find_groups(read_keras(model, sizes))
    full, pricer = grouping.full_counts, Pricer(grouping, cost)
    goal = float(wanted[:-1]) / 100 * pricer.seed if isinstance(wanted, str) else wanted
    widened = expand_to(grouping, full, pricer.at_counts, goal, multiple=multiple)
    counts = list(widened.counts)
    costs = {
        "unit": pricer.unit,
        "target": goal,
        "seed": pricer.seed,
        "predicted": pricer.at_counts(counts),
        "multiplier": widened.multiplier,
    }
    return _expanded(model, grouping, counts, seed, costs)


def _expanded(
    model: Any, grouping: Grouping, counts: list[int], seed: int, costs: dict[str, Any]
) -> Resized:
    large = expand(model, np.asarray(counts, dtype=np.intp), grouping=grouping, seed=seed)
    return Resized(model=large, grouping=grouping, counts=tuple(counts), costs=costs)

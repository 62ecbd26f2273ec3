"""How each method of the Pareto benchmark comes to widths that take the wanted milliseconds."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import recipes
from numpy.typing import NDArray
from pareto_grid import DEVICES, ROUND_TO, TUNED, Case, prices, seed_network
from pareto_search import kept_model, search, with_local_slopes, without_envelope

from costmodel.errors import InvalidInputError

if TYPE_CHECKING:
    from morphnet_core.groups import Grouping
    from morphnet_core.projection.problem import Returns

Counts = NDArray[np.intp]
Loop = Generator[Sequence[Any], Sequence[float], dict[str, Any]]
#: Shares of the channels that random widths have, before they are scaled to the budget.
RANDOM = 0.2, 1.0
#: Methods whose widths are proportions that one factor brings to the budget.
SCALED = frozenset({"uniform", "random", "flops", "latency", "no-projection"})
#: Share of each group that regularised baselines keep at least. Without it, after searches
#: as short as these, ranks of all scales together cut whole layers and nothing is left to train.
LEAST = 0.25


@cache
def pricer_of(data: str, network: str, device: str, kind: str = "whole") -> Any:
    """Prices of a seed network's widths; the same for every seed."""
    from costmodel.readers.keras import read_keras
    from morphnet_core.groups import find_groups
    from morphnet_core.pricing import Pricer

    case = Case(data=data, network=network, budget=100, method="seed", seed=0, device=device)
    made = {"no-envelope": without_envelope, "no-secant": with_local_slopes}.get(kind)
    return (made() if made else Pricer)(find_groups(read_keras(seed_network(case))), prices(device))


def loop_of(case: Case, seed_model: Any) -> Loop:
    """The case's device loop: yields networks, is sent milliseconds, returns its record."""
    pricer = pricer_of(case.data, case.network, case.device)
    if TUNED.get(case.method, case.method) in SCALED:
        return _scaled_loop(case, seed_model, pricer, _proportions(case, pricer))
    return _projected_loop(case, seed_model, pricer)


def _projected_loop(case: Case, seed_model: Any, pricer: Any) -> Loop:
    """Widths of most importance, as users get them from ``morph``."""
    from morphnet_core.morphing import device_rounds
    from morphnet_core.projection import project

    found = search(case)
    importance = np.maximum(found.scores if case.method == "signal" else found.taylor, 0.0)
    returns: Returns = "constant" if case.method == "additive" else "diminishing"
    kind = case.method if case.method in {"no-envelope", "no-secant"} else "whole"
    choosing = pricer_of(case.data, case.network, case.device, kind)
    start = pricer.grouping.living(found.alive)

    def projected(target_ms: float, scale: float) -> Any:
        return project(choosing, importance, target_ms, start=start, scale=scale, returns=returns)

    rounds = 1 if case.method == "no-device" else 3
    if case.method == "no-device":
        # Without a device nobody knows what the seed takes: the prices stand as they are.
        plain = projected

        def projected(target_ms: float, scale: float) -> Any:
            del target_ms, scale
            return plain(case.budget / 100 * pricer.seed, 1.0)

    result = yield from device_rounds(
        seed_model, choosing, f"{case.budget}%", projected, seed=case.seed, rounds=rounds
    )
    return {
        "counts": result.best.projection.counts.tolist(),
        "seed_ms": result.seed_ms,
        "target_ms": result.target_ms,
        "rounds": [[item.predicted_ms, item.measured_ms] for item in result.rounds],
        "measured_ms": result.best.measured_ms,
    }


def _proportions(case: Case, pricer: Any) -> Counts:
    """Widths that one factor then brings to the budget."""
    grouping: Grouping = pricer.grouping
    full = grouping.counts(grouping.full())
    if TUNED.get(case.method, case.method) == "uniform":
        return full
    if case.method == "random":
        draw = np.random.default_rng(1000 * case.budget + case.seed)
        shares = draw.uniform(*RANDOM, len(full))
        frozen = [bool(group.frozen) for group in grouping.groups]
        return np.where(frozen, full, np.maximum(np.round(full * shares), 1)).astype(np.intp)
    found = search(case)
    if case.method == "no-projection":
        return grouping.counts(found.alive)
    from morphnet_core.pricing import Pricer

    counted = Pricer(grouping, "flops") if case.method == "flops" else pricer
    share = case.budget / 100
    return grouping.counts(recipes.strongest(counted, found.scores, share, least=LEAST))


def _scaled_loop(case: Case, seed_model: Any, pricer: Any, proportions: Counts) -> Loop:
    """One factor for all widths, corrected until the clock agrees; then whole multiples of 8."""
    from morphnet_core.expansion import scaled_counts
    from morphnet_core.projection.device import CLOSE

    grouping = pricer.grouping
    (seed_ms,) = yield [seed_model]
    target_ms = case.budget / 100 * seed_ms
    scale = seed_ms / pricer.at_counts(grouping.counts(grouping.full()))
    rounds: list[tuple[Counts, float, float]] = []
    tried: set[bytes] = set()
    multiple = 1 if case.method == "no-projection" else ROUND_TO
    for _ in range(4):
        counts = fitted(pricer, proportions, target_ms / scale, multiple)
        if counts.tobytes() in tried:
            break
        tried.add(counts.tobytes())
        again, measured = yield [seed_model, built(case, seed_model, counts)]
        measured *= seed_ms / again
        priced = pricer.at_counts(counts)
        rounds.append((counts, scale * priced, measured))
        if abs(measured / target_ms - 1) <= CLOSE:
            break
        scale = measured / priced
    best = min(rounds, key=lambda item: abs(item[2] / target_ms - 1))
    factor = best[0].sum() / proportions.sum()
    unrounded = scaled_counts(grouping, proportions, float(factor))
    return {
        "counts": best[0].tolist(),
        "unrounded": unrounded.tolist(),
        "seed_ms": seed_ms,
        "target_ms": target_ms,
        "rounds": [[predicted, measured] for _, predicted, measured in rounds],
        "measured_ms": best[2],
    }


def fitted(pricer: Any, proportions: Counts, budget: float, multiple: int) -> Counts:
    """Multiples in proportion, as near below a priced budget as can be.

    One factor alone leaves gaps, as all layers of a width change at once. So groups go up to the
    next multiple one after another, those first that rounding had robbed most, while the whole
    stays within what counts as the same milliseconds. Where that is still short of it, by two
    multiples: the first of them may be slower than both.
    """
    from morphnet_core.expansion import expand_to, scaled_counts
    from morphnet_core.projection.device import CLOSE

    grouping = pricer.grouping
    found = expand_to(grouping, proportions, pricer.at_counts, budget, multiple=multiple)
    counts = np.array(found.counts, dtype=np.intp)
    if multiple == 1:
        return counts
    wider = scaled_counts(grouping, proportions, 1.5 * found.multiplier, multiple=multiple)
    lost = found.multiplier * proportions - counts
    for step in (multiple, 2 * multiple):
        if step > multiple and pricer.at_counts(counts) >= budget * (1 - CLOSE):
            break
        for group in np.argsort(-lost, kind="stable"):
            more = counts.copy()
            more[group] += step
            if wider[group] > counts[group] and pricer.at_counts(more) <= budget * (1 + CLOSE):
                counts = more
    return counts


def built(case: Case, seed_model: Any, counts: Sequence[int] | Counts) -> Any:
    """The network with these widths and fresh weights."""
    from morphnet_core.surgery import expand, rebuild

    grouping = pricer_of(case.data, case.network, case.device).grouping
    wanted = np.asarray(counts, dtype=np.intp)
    sizes = np.array([group.size for group in grouping.groups])
    if (wanted > sizes).any():
        return expand(seed_model, wanted, grouping=grouping, seed=case.seed)
    alive = grouping.full()
    for group, count in zip(grouping.groups, wanted, strict=True):
        alive[group.start + int(count) : group.start + group.size] = False
    return rebuild(seed_model, alive, grouping=grouping, seed=case.seed)


def survivors(case: Case, counts: Sequence[int]) -> Any:
    """The searched network cut to these widths, with the weights that it has."""
    import keras

    from morphnet_core.projection import best_units
    from morphnet_core.surgery import shrink

    pricer = pricer_of(case.data, case.network, case.device)
    found = search(case)
    kept = best_units(pricer, found.taylor, np.asarray(counts, dtype=np.float64))
    return shrink(keras.models.load_model(kept_model(case)), kept, grouping=pricer.grouping)


def lockstep(
    cases: Iterable[Case],
    clock: Callable[[Sequence[Any]], list[float]],
    done: Callable[[Case, dict[str, Any]], None],
) -> None:
    """Run the loops of many cases, timing the networks of each round side by side.

    Args:
        cases: whose widths are wanted.
        clock: times models.
        done: is given each case's record.
    """
    seeds: dict[tuple[str, str], Any] = {}
    running: dict[Case, tuple[Loop, Sequence[Any]]] = {}

    def step(case: Case, loop: Loop, times: Sequence[float] | None) -> None:
        try:
            running[case] = loop, (next(loop) if times is None else loop.send(times))
        except StopIteration as end:
            running.pop(case, None)
            done(case, end.value)
        except InvalidInputError as error:  # the others go on
            running.pop(case, None)
            print(case.key, error, flush=True)

    for case in cases:
        one = replace(case, seed=0)
        model = seeds.setdefault((case.data, case.network), seed_network(one))
        step(case, loop_of(case, model), None)
    while running:
        models = {id(model): model for _, asked in running.values() for model in asked}
        times = dict(zip(models, clock(list(models.values())), strict=True))
        for case, (loop, asked) in list(running.items()):
            step(case, loop, [times[id(model)] for model in asked])


def clock_of(device: str) -> Any:
    """Times on a device, as users do."""
    from morphnet_core.morphing import DeviceClock

    runner, options, _ = DEVICES[device]
    return DeviceClock(runner=runner, options=options)

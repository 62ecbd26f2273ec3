r"""Ways to choose what a trained network keeps, finished alike: accuracy at equal milliseconds.

    python scripts/bench/arms.py run resnet8 --seeds 3     # goes on where it was stopped
    python scripts/bench/arms.py run mobilenet --arms uniform looks --epochs 8
    python scripts/bench/arms.py run resnet20 --arms project blocks looks blocks-looks
    python scripts/bench/arms.py run resnet20 --budget 100 --epochs 12 \
        --arms seed-longer grow-ms grow-flops
    python scripts/bench/arms.py report

Every arm begins with the same trained seed of ``seeds.py``, keeps the weights of what it keeps, and
has the same steps in all, the same greatest rate, falling to zero, and the same order of images;
``--seeds`` is how many such orders there are. Milliseconds are those that a table of one thread of
ONNX Runtime predicts (``arms/t1.jsonl`` in ``$COSTMODEL_BENCH_DIR``). Each network is trained in a
process of its own.

Arms that grow choose the widths of all groups anew several times, some narrower and some wider than
they are, at the milliseconds or FLOPs of the whole seed (``--budget 100``), and train in between;
``seed-longer`` trains the seed itself for as many steps.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import ledger
import numpy as np
import place
import seeds
from numpy.typing import NDArray

from costmodel.costs.regression import fit_regression
from costmodel.durable import write_lines, written_whole
from costmodel.readers.keras import load_keras, read_keras
from costmodel.table import LatencyTable
from morphnet_core.budget.taylor import taylor_importance
from morphnet_core.groups import find_groups
from morphnet_core.groups.convert import alive_of
from morphnet_core.morphing import morph
from morphnet_core.morphing.looking import MOST_BLOCKS, Looking, loss_of, loss_of_cut
from morphnet_core.morphing.loop import cut, grown
from morphnet_core.morphing.recipe import RATE, standard
from morphnet_core.morphing.sample import judged_by
from morphnet_core.morphing.unfinished import Section, Unfinished
from morphnet_core.pricing import Pricer
from morphnet_core.projection import best_units, project, proposals
from morphnet_core.projection.device import CLOSE
from morphnet_core.regularizer import CostRegularizer
from morphnet_core.signals.copying import copied
from morphnet_core.structure import Structure

WORK = place.WORK / "arms"
#: Structures that are looked at, of projections and of random widths.
LOOKS = 50
#: How often a network grows, how wide a group may get in one round, times its size, and which part
#: of a training's epochs every round but the last has.
ROUNDS, GROW, BETWEEN = 3, 2.0, 6
#: Share of a training's epochs that a search has; the rest finishes what it found.
SEARCHED = 3
#: Widths of random structures, as shares, before one factor brings them to the budget.
RANDOM = 0.2, 1.0

Alive = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One network of the comparison.

    Attributes:
        network: a seed of ``seeds.py``.
        data: image set.
        budget: percent of the seed's predicted milliseconds.
        arm: of ``ARMS``.
        seed: of the order of images, and of what is drawn.
        epochs: in all, a search's included.
    """

    network: str
    data: str
    budget: int
    arm: str
    seed: int
    epochs: int

    @property
    def key(self) -> str:
        """Stem of its files."""
        words = (self.network, self.data, self.budget, self.arm, self.seed, self.epochs)
        return "-".join(map(str, words))

    @property
    def path(self) -> Path:
        """Where its record is."""
        return WORK / f"{self.key}.json"

    def read(self) -> dict[str, Any] | None:
        """Its record; None while it is not done."""
        return json.loads(self.path.read_text()) if self.path.exists() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """A trained seed with everything that arms choose by.

    Attributes:
        case: that is chosen for.
        model: the seed, compiled.
        split: its images.
        pricer: of it.
        taylor: ``(units,)`` Taylor importances of the seed.
        target: milliseconds to keep.
    """

    case: Case
    model: Any
    split: seeds.Split
    pricer: Pricer
    taylor: NDArray[np.float64]
    target: float

    @classmethod
    def of(cls, case: Case) -> Shop:
        """Open everything."""
        split = seeds.split_of(case.network, case.data)
        model = seeds.compiled(seeds.trained(case.network, case.data), RATE, 1)
        pricer = Pricer(find_groups(read_keras(model)), prices())
        taylor = taylor_importance(pricer.grouping, model, split.data, loss=model.loss)
        target = case.budget / 100 * pricer.seed
        return cls(case=case, model=model, split=split, pricer=pricer, taylor=taylor, target=target)

    def loss(self, kept: Alive) -> float:
        """Right after cutting."""
        return loss_of_cut(
            self.model, kept, self.pricer.grouping, judged_by(self.split.data),
            {"loss": self.model.loss}, constants=self.case.arm not in BLOCKS,
        )  # fmt: skip

    def best(self, structures: Sequence[Alive]) -> Alive:
        """The structure of least loss."""
        return min(structures, key=self.loss)


@cache
def prices() -> Any:
    """The regression of the table that milliseconds are predicted by."""
    return fit_regression(LatencyTable.load(WORK / "t1.jsonl"))


def uniform(shop: Shop) -> Alive:
    """All widths by one factor, the channels of greatest Taylor importance."""
    return scaled(shop, shop.pricer.grouping.full_counts)


def scaled(shop: Shop, proportions: NDArray[np.intp]) -> Alive:
    """Multiples of 8 in proportion, within the budget."""
    from pareto_widths import fitted

    counts = fitted(shop.pricer, proportions, shop.target, 8)
    return best_units(shop.pricer, shop.taylor, counts)


def random_widths(shop: Shop) -> Alive:
    """The best of many random widths, by their loss right after cutting."""
    draw = np.random.default_rng((shop.case.budget, shop.case.seed))
    groups = shop.pricer.grouping.groups
    full = shop.pricer.grouping.full_counts
    frozen = np.array([bool(group.frozen) for group in groups])
    found: dict[bytes, Alive] = {}
    for _ in range(LOOKS):
        shares = np.where(frozen, 1.0, draw.uniform(*RANDOM, len(groups)))
        kept = scaled(shop, np.maximum(np.round(full * shares), 1).astype(np.intp))
        found[kept.tobytes()] = kept
    return shop.best(list(found.values()))


def global_rank(shop: Shop, *, by: str, multiple: int) -> Alive:
    """The greatest of all channels, each as a multiple of its group's mean, as many as fit.

    Widths are multiples; a group has at least one. What is left is spent on the next of the
    greatest, as for uniform width.
    """
    scores = shop.taylor if by == "taylor" else magnitudes(shop)
    grouping, pricer = shop.pricer.grouping, shop.pricer
    relative = np.array(scores, dtype=float)
    for group in grouping.groups:
        own = relative[group.units]
        relative[group.units] = own / own.mean() if np.isfinite(own).all() else np.inf
    finite = np.unique(relative[np.isfinite(relative)])

    def widths(threshold: float) -> NDArray[np.intp]:
        counts = grouping.counts(relative > threshold)
        for place_, group in enumerate(grouping.groups):
            whole = max(multiple, multiple * round(int(counts[place_]) / multiple))
            counts[place_] = group.size if group.frozen else min(whole, group.size)
        return counts

    low, high = 0, len(finite) - 1
    while low < high:
        middle = (low + high) // 2
        fits = pricer.at_counts(widths(finite[middle])) <= shop.target
        low, high = (low, middle) if fits else (middle + 1, high)
    counts = widths(finite[low])
    next_best = [
        np.sort(relative[group.units])[::-1][min(int(count), group.size - 1)]
        for group, count in zip(grouping.groups, counts, strict=True)
    ]
    for chosen in np.argsort(-np.array(next_best), kind="stable"):
        more = counts.copy()
        more[chosen] = min(counts[chosen] + multiple, grouping.groups[chosen].size)
        if pricer.at_counts(more) <= shop.target:
            counts = more
    return best_units(pricer, scores, counts)


def magnitudes(shop: Shop) -> NDArray[np.float64]:
    """``(units,)`` norms of what each unit is made by."""
    regularizer = CostRegularizer(
        copied(shop.model), "flops", grouping=shop.pricer.grouping, signal="group_lasso"
    )
    return regularizer.scores()


def projected(shop: Shop) -> Alive:
    """The projection of the seed's importances."""
    return project(shop.pricer, shop.taylor, shop.target).alive


def looked(shop: Shop) -> Alive:
    """The best of many projections, by their loss right after cutting."""
    found = proposals(shop.pricer, shop.taylor, shop.target, count=LOOKS, seed=shop.case.seed)
    return shop.best([item.projection.alive for item in found])


def without_blocks(shop: Shop, *, count: int) -> Alive:
    """The best of some projections that may leave blocks out."""
    choose = Looking(
        judge=shop.loss, count=count, seed=shop.case.seed, say=print, blocks=MOST_BLOCKS,
        section=Section(name="looks", path=None, belongs={}),
    )  # fmt: skip
    return choose(shop.pricer, shop.taylor, shop.target).alive


CHOICES: dict[str, Callable[[Shop], Alive]] = {
    "uniform": uniform,
    "random": random_widths,
    "magnitude8": partial(global_rank, by="magnitude", multiple=8),
    "magnitude16": partial(global_rank, by="magnitude", multiple=16),
    "taylor8": partial(global_rank, by="taylor", multiple=8),
    "taylor16": partial(global_rank, by="taylor", multiple=16),
    "project": projected,
    "looks": looked,
    "blocks": partial(without_blocks, count=1),
    "blocks-looks": partial(without_blocks, count=LOOKS),
}
#: Those that may leave blocks out, which then add nothing.
BLOCKS = "blocks", "blocks-looks"
#: Arms that search under the budget first, and whether they then look.
SEARCHES = {"search": 0, "search-looks": LOOKS}
#: Arms that keep the seed's cost, by what that is counted in; None trains the seed as it is.
GROWS = {"grow-ms": "ms", "grow-flops": "flops", "seed-longer": None}
ARMS = (*CHOICES, *SEARCHES, *GROWS)
#: Arms of a run that names none.
PLAIN = tuple(arm for arm in ARMS if arm not in (*BLOCKS, *GROWS))


def one(case: Case) -> None:
    """Choose, finish and test one network."""
    keras.utils.set_random_seed(case.seed)
    shop = Shop.of(case)
    if case.arm in GROWS:
        keep(case, regrown(shop))
        return
    searched = case.epochs // SEARCHED if case.arm in SEARCHES else 0
    if searched:
        small, alive = search(shop, searched)
    else:
        alive = chosen(shop)
        share = shop.pricer.total(alive) / shop.target
        if share > 1 + CLOSE:
            print(f"{case.key}: not trained, as its least takes {share:.0%} of the budget")
            return
        if (same := equal_to(case, alive)) is not None:
            keep(case, {**same, "same_as": same["arm"], "arm": case.arm})
            return
        small = cut(
            shop.model, alive, shop.pricer.grouping, shop.split.data,
            constants=case.arm not in BLOCKS,
        )  # fmt: skip
    loss_before = loss_of(small, judged_by(shop.split.data), {"loss": shop.model.loss})
    epochs = case.epochs - searched
    run = seeds.Run(
        model=small, split=shop.split, epochs=epochs, rate=RATE, order=(case.seed, 1),
        folder=WORK / case.key, belongs={"case": case.key},
    )  # fmt: skip
    seconds = run.go()
    counts = shop.pricer.grouping.counts(alive)
    record = {
        **asdict(case),
        "alive": np.flatnonzero(alive).tolist(),
        "counts": counts.tolist(),
        "share": shop.pricer.at_counts(counts) / shop.pricer.seed,
        "loss_before": loss_before,
        "accuracy": shop.split.tested(small),
        "curve": run.curve.rows,
        "seconds": round(seconds, 1),
    }
    small.save(WORK / f"{case.key}.keras")
    keep(case, record)
    Unfinished.of(run.folder).forget()


def regrown(shop: Shop) -> dict[str, Any]:
    """Widths chosen anew and trained, a few times; the record of the last network.

    Every round's network is on disk when it has been trained.
    """
    case, model, data = shop.case, shop.model, shop.split.data
    unit = GROWS[case.arm]
    rounds = ROUNDS if unit else 1
    between = max(1, case.epochs // BETWEEN)
    epochs = [*[between] * (rounds - 1), case.epochs - (rounds - 1) * between]
    folder = place.folder(f"arms/{case.key}.rounds")
    target, seconds = 0.0, 0.0
    said: dict[str, Any] = {}
    for number, own in enumerate(epochs):
        path = folder / f"{number}.keras"
        if unit:
            pricer = Pricer(find_groups(read_keras(model)), prices() if unit == "ms" else unit)
            target = target or case.budget / 100 * pricer.seed
        if path.exists():
            said = json.loads(path.with_suffix(".json").read_text())
            model = load_keras(path)
            seconds += said["seconds"]
            continue
        compiled_ = seeds.compiled(model, RATE, 1)
        if unit:
            worth = taylor_importance(pricer.grouping, model, data, loss=compiled_.loss)
            found = project(pricer, worth, target, grow=GROW)
            model = grown(model, found, pricer.grouping, data)
        before = loss_of(copied(model), judged_by(data), {"loss": compiled_.loss})
        run = seeds.Run(
            model=model, split=shop.split, epochs=own, rate=RATE, order=(case.seed, 1 + number),
            folder=folder / str(number), belongs={"case": case.key, "round": number},
        )  # fmt: skip
        took = run.go()
        said = {"loss_before": before, "curve": run.curve.rows, "seconds": took}
        write_lines(path.with_suffix(".json"), [json.dumps(said).encode()])
        with written_whole(path, path.suffix) as temporary:
            model.save(temporary)
        Unfinished.of(run.folder).forget()
        seconds += took
    ended = Pricer(find_groups(read_keras(model)), prices())
    flops = [Pricer(item.grouping, "flops").seed for item in (ended, shop.pricer)]
    return {
        **asdict(case),
        "alive": None,
        "counts": ended.grouping.full_counts.tolist(),
        "share": ended.seed / shop.pricer.seed,
        "flops": flops[0] / flops[1],
        "loss_before": said["loss_before"],
        "accuracy": shop.split.tested(seeds.compiled(model, RATE, 1)),
        "curve": said["curve"],
        "seconds": round(seconds, 1),
    }


def chosen(shop: Shop) -> Alive:
    """What an arm keeps; written down, as choosing may take longer than finishing."""
    path = WORK / f"{shop.case.key}.alive.npy"
    if not path.exists():
        found = CHOICES[shop.case.arm](shop)
        np.save(path, found)
    return np.asarray(np.load(path, allow_pickle=False), dtype=np.bool_)


def search(shop: Shop, epochs: int) -> tuple[Any, Alive]:
    """Train under the budget; the network that it leaves, and what it kept."""
    case = shop.case
    out = WORK / f"{case.key}.search"
    kept = out / "structure.json"
    if not kept.exists():
        morph(
            copied(shop.model), shop.split.data, prices(), compiled=standard,
            target=f"{case.budget}%", clock=None, search_epochs=epochs, finish="none",
            augment=True, looks=SEARCHES[case.arm], seed=case.seed, out=out, exports=(),
            verbose=2, tell=print,
        )  # fmt: skip
    alive = alive_of(shop.pricer.grouping, Structure.load(kept))
    return load_keras(out / "model.keras"), alive


def equal_to(case: Case, alive: Alive) -> dict[str, Any] | None:
    """A finished record of the very same network and order of images."""
    for arm in CHOICES:
        other = Case(**{**asdict(case), "arm": arm}).read()
        if other is not None and other["alive"] == np.flatnonzero(alive).tolist():
            return other
    return None


def keep(case: Case, record: dict[str, Any]) -> None:
    """Write a record whole, and say what it came to."""
    write_lines(case.path, [json.dumps(record, indent=1).encode()])
    said = f" as {record['same_as']}" if "same_as" in record else ""
    print(f"{case.key}: {record['accuracy']:.2%} at {record['share']:.1%}{said}", flush=True)


def run_all(cases: Sequence[Case]) -> None:
    """Every case that has no record yet, one after another, each in its own process."""
    for case in cases:
        if case.read() is None:
            own = {name: value for name, value in asdict(case).items() if name != "network"}
            words = [f"--{name}={value}" for name, value in own.items()]
            subprocess.run([sys.executable, __file__, "one", case.network, *words], check=True)


def records() -> dict[tuple[str, ...], dict[str, dict[int, dict[str, Any]]]]:
    """All records, by network, data, budget and epochs, then by arm and seed."""
    found: dict[tuple[str, ...], dict[str, dict[int, dict[str, Any]]]] = {}
    for path in sorted(WORK.glob("*-*.json")):  # not the fit beside the table
        item = json.loads(path.read_text())
        where = tuple(str(item[name]) for name in ("network", "data", "budget", "epochs"))
        found.setdefault(where, {}).setdefault(item["arm"], {})[item["seed"]] = item
    return found


def interval(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean and half of its 95 % interval, by Student's law; None of a single value."""
    from scipy.stats import t

    if len(values) < 2:
        return mean(values), None
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values), half


def compared(
    where: tuple[str, ...], arms: dict[str, dict[int, dict[str, Any]]]
) -> Iterator[ledger.Figure]:
    """Each arm, and pairs of arms by the same order of images."""
    network, data, budget, epochs = where
    begin = f"{network}, {data}, {budget} % of the milliseconds, {epochs} epochs"
    stem = "-".join(where)
    for arm, own in arms.items():
        middle, half = interval([100 * item["accuracy"] for item in own.values()])
        share = 100 * mean(item["share"] for item in own.values())
        yield ledger.figure(
            f"{stem}-{arm}", f"{begin}: {arm}, test accuracy at {share:.1f} % predicted, "
            f"{len(own)} orders", middle, "%", repeatability=half,
        )  # fmt: skip
    for one_, other in combinations(arms, 2):
        both = sorted(arms[one_].keys() & arms[other].keys())
        if both:
            apart = [
                100 * (arms[one_][seed]["accuracy"] - arms[other][seed]["accuracy"])
                for seed in both
            ]
            middle, half = interval(apart)
            within = "" if half is None else f" +- {half:.2f}"
            yield ledger.figure(
                f"{stem}-{one_}-{other}",
                f"{begin}: {one_} less {other}, {len(both)} pairs (95 %:{within or ' one pair'})",
                middle, "points", repeatability=half,
            )  # fmt: skip


def report() -> None:
    """Write the page."""
    found = records()
    figures = [figure for where, arms in found.items() for figure in compared(where, arms)]
    rows = [
        f"{'-'.join(where)} | {arm} | {item['seed']} | {100 * item['accuracy']:.2f} | "
        f"{item['loss_before']:.3f} | {100 * item['share']:.1f} | {item['counts']} | "
        f"{item.get('same_as', '')}"
        for where, arms in found.items()
        for arm, own in arms.items()
        for item in own.values()
    ]
    head = "where | arm | order | accuracy, % | loss right after cutting | ms, % | widths | same as"
    ledger.write("arms", topic="win", figures=figures, notes=[ledger.table(head, rows)])


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("step", choices=("run", "one", "report"))
    parser.add_argument("network", nargs="?", default="resnet8", choices=seeds.SEEDS)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--budget", type=int, default=50)
    parser.add_argument("--arms", nargs="+", default=PLAIN, choices=ARMS)
    parser.add_argument("--arm", choices=ARMS, help="of one")
    parser.add_argument("--seeds", type=int, default=3, help="how many orders of the images")
    parser.add_argument("--seed", type=int, default=0, help="of one")
    parser.add_argument("--epochs", type=int, default=6)
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    if options.step == "report":
        report()
        return
    own = {
        "network": options.network, "data": options.data, "budget": options.budget,
        "epochs": options.epochs,
    }  # fmt: skip
    if options.step == "one":
        one(Case(**own, arm=options.arm, seed=options.seed))
    else:
        every = range(options.seeds)
        run_all([Case(**own, arm=arm, seed=seed) for seed in every for arm in options.arms])


if __name__ == "__main__":
    main()

"""What the Pareto benchmark compares: image sets, networks, budgets, methods and seeds."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import place

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

WORK = place.WORK / "pareto"
SEEDS = (0, 1, 2)
BUDGETS = (50, 30)
#: A budget that every method keeps easily.
MILD = 75
#: Further budgets of ``ours`` alone, so that its speed at a baseline's accuracy can be read off.
BETWEEN = (40, 25, 20)
#: Every method that is retrained from scratch at the same milliseconds. ``flops`` and ``latency``
#: are MorphNet with a fixed strength, scaled to the budget by one factor; all but ``ours`` have
#: widths that are multiples of 8.
METHODS = ("uniform", "random", "flops", "latency", "ours")
#: ``ours`` without one of its parts; with constant instead of diminishing returns in the last step;
#: and with the signal that was pressed on for importance.
ABLATIONS = (
    "no-envelope", "no-secant", "no-projection", "no-controller", "no-device", "additive", "signal",
)  # fmt: skip
#: What was tried where ours did not win: importance added up, the signal that was pressed on for
#: importance, another signal, and surviving weights trained on instead of fresh ones; the last
#: beside uniform width that goes on from a plain training of the same steps.
TRIED = ("additive", "signal", "hard-concrete", "ours-tuned", "uniform-tuned")
TUNED = {"ours-tuned": "ours", "uniform-tuned": "uniform"}
#: Retraining and searching, the same for everyone. One training of a seed network takes two to
#: three minutes on one of two cores, while the other trains another.
EPOCHS, RATE = 5, 0.1
SEARCH_EPOCHS, SEARCH_RATE = 3, 0.05
ROUND_TO = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One trained network of the comparison.

    Attributes:
        data: image set.
        network: a name of ``NETWORKS``.
        budget: percent of the seed network's measured latency; 100 for the seed network itself.
        method: of ``METHODS``, ``ABLATIONS``, or ``seed``.
        seed: of weights and shuffling.
        device: whose milliseconds they are: a name of ``DEVICES``.
    """

    data: str
    network: str
    budget: int
    method: str
    seed: int
    device: str = "ort"

    @property
    def key(self) -> str:
        """Stem of its files."""
        return f"{self.device}-{self.data}-{self.network}-{self.budget}-{self.method}-{self.seed}"

    def path(self, suffix: str) -> Path:
        """One of its files."""
        return WORK / f"{self.key}.{suffix}"

    def read(self, part: str) -> dict[str, Any] | None:
        """A record of an earlier step: ``widths`` or ``trained``; None if there is none yet."""
        path = self.path(f"{part}.json")
        return json.loads(path.read_text()) if path.exists() else None

    def write(self, part: str, record: dict[str, Any]) -> None:
        """Keep a record, whole or not at all."""
        path = self.path(f"{part}.json")
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(record, indent=1))
        fresh.replace(path)

    @property
    def search(self) -> str | None:
        """What is searched for it: networks of one search share its key; None for none."""
        kinds = {
            "flops": "flops",
            "latency": "latency",
            "no-controller": "latency",
            "no-envelope": f"raw{self.budget}",
            "no-secant": f"local{self.budget}",
            "no-projection": f"free{self.budget}",
            "hard-concrete": f"gated{self.budget}",
            "ours-tuned": f"kept{self.budget}",
            "uniform-tuned": "plain",
        }
        if self.method in {"uniform", "random", "seed"}:
            return None
        kind = kinds.get(self.method, f"ours{self.budget}")
        where = "any" if kind == "flops" else self.device
        return f"{where}-{self.data}-{self.network}-{kind}-{self.seed}"


def networks() -> dict[str, Any]:
    """Builders of the seed networks, by name."""
    from functools import partial

    import networks as built

    # Wide enough that multiples of 8 come down to 30 % of the latency.
    resnet = partial(built.small_resnet, widths=(32, 64, 128), blocks=1)
    stages = (24, 1, 2), (48, 2, 1), (96, 2, 2)
    mobilenet = partial(built.small_mobilenet, stages=stages, expansion=3)
    return {"resnet": resnet, "mobilenet": mobilenet, "vgg": built.small_vgg}


#: Runner, options and table of each device.
DEVICES: dict[str, tuple[str, dict[str, Any], Path]] = {
    "ort": ("ort", {"threads": 1}, place.WORK / "models-t1.jsonl"),
    "litert": ("litert", {"threads": 1}, place.WORK / "runtimes" / "litert-t1.jsonl"),
    "openvino": ("openvino", {"threads": 1}, place.WORK / "runtimes" / "openvino.jsonl"),
    "xla": ("xla", {"threads": 1}, place.WORK / "runtimes" / "xla.jsonl"),
}


@cache
def prices(device: str) -> Any:
    """The regression of a device's table; of a copy, so that prices stay between runs."""
    import shutil

    from costmodel.costs.regression import fit_regression
    from costmodel.table import LatencyTable

    kept = WORK / f"{device}.prices.jsonl"
    if not kept.exists():
        shutil.copy(DEVICES[device][2], kept)
    return fit_regression(LatencyTable.load(kept))


@cache
def images_of(name: str) -> Any:
    """An image set."""
    import images

    return images.load_images(name, limit=20_000)


def seed_network(case: Case) -> Any:
    """The network that everything begins with, with fresh weights of the case's seed."""
    import keras

    keras.utils.set_random_seed(case.seed)
    return networks()[case.network](images_of(case.data).size)


def grid(
    networks: Sequence[str],
    budgets: Sequence[int],
    methods: Sequence[str] = METHODS,
    *,
    data: str = "cifar10",
    device: str = "ort",
    beside_seed: bool = False,
) -> Iterator[Case]:
    """Every combination for three seeds; ``beside_seed`` with the seed network before each."""
    for seed, network in product(SEEDS, networks):
        cells = [*([(100, "seed")] if beside_seed else []), *product(budgets, methods)]
        for budget, method in cells:
            yield Case(
                data=data, network=network, budget=budget, method=method, seed=seed, device=device
            )


def elsewhere(device: str) -> Iterator[Case]:
    """A device's own structures, for the cross table."""
    return grid(["mobilenet"], [50], ["ours"], device=device)


def every_case() -> Iterator[Case]:
    """The cases of all grids, each once."""
    return iter(dict.fromkeys(case for make in GRIDS.values() for case in make()))


GRIDS: dict[str, Callable[[], Iterator[Case]]] = {
    "core": lambda: grid(["resnet", "mobilenet"], BUDGETS, beside_seed=True),
    # Ours between and below the budgets of the core grid.
    "curve": lambda: grid(["resnet", "mobilenet"], BETWEEN, ["ours"]),
    # What each idea is worth, on one network and budget.
    "ablations": lambda: grid(["mobilenet"], [50], ABLATIONS),
    # What was tried where ours did not win.
    "tried": lambda: grid(["resnet"], [30], TRIED),
    "fashion": lambda: grid(["resnet"], [50], data="fashion_mnist", beside_seed=True),
    "vgg": lambda: grid(["vgg"], BUDGETS, beside_seed=True),
    "mild": lambda: grid(["resnet", "mobilenet"], [MILD], beside_seed=True),
    "litert": lambda: elsewhere("litert"),
    "openvino": lambda: elsewhere("openvino"),
    "xla": lambda: elsewhere("xla"),
}

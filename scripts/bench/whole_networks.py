"""Devices of which only whole networks were timed: how near the other networks come.

Phones' processors: 5, 10, 20 and 50 of about 100 real networks are timed on a setting (phone, core
set, runtime, type), the rest are predicted. Donors are never of the same phone. Constants of the
method were chosen on the settings of Galaxy A03s and iPhone 7 alone; what is reported is of Pixel 4
and Motorola One Fusion.

--development shows the settings that constants were chosen on, and writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import ledger
import numpy as np
import pandas as pd
from phone_cpus import device_of, networks, settings, times_of
from scipy.stats import spearmanr

from costmodel.costs.beliefs import HELPED_BY, NOBODY, SOLVED, Donor, donor_of
from costmodel.costs.lookup import Lookup
from costmodel.costs.solved import solved_networks
from costmodel.device import Device
from costmodel.model_rows import model_op
from costmodel.network import Layer, Network
from costmodel.op import Op
from costmodel.prediction import price_network
from costmodel.readers.timings import Timing
from costmodel.table import LatencyTable
from costmodel.uses.listed import Listed
from costmodel.uses.solving import most_telling_networks, solve_networks
from costmodel.uses.tables import calibration_of, fit

SIZES = (5, 10, 20, 50)
TARGETS = {5: 60.0, 10: 75.0, 20: 85.0, 50: 92.0}
SEEDS = (0, 1, 2)
TEST, DEVELOPMENT = ("Pixel 4", "Motorola One Fusion"), ("Galaxy A03s", "iPhone 7")
#: Networks that may be timed, where they are chosen: the rest is never looked at.
_POOL = 0.8
PROFILES = (
    "amd-epyc-family-25-model-17/litert-float32",
    "amd-epyc-family-25-model-17/onnxruntime-float32",
)

Rows = list[dict[str, object]]


@lru_cache
def _listed(runtime: str) -> tuple[tuple[Network, Op], ...]:
    found = []
    for name, ops in KERNELS[runtime].items():
        layers = tuple(Layer(name=f"{op.kind}_{i}", op=op) for i, op in enumerate(ops))
        network = Network(name=name, layers=layers, source="anticipated")
        found.append((network, model_op(name, "", network.ops)))
    return tuple(found)


def listed(runtime: str, times: np.ndarray) -> list[Listed]:
    """Networks with their times; NaN for none."""
    return [
        Listed(
            timing=Timing(model=network.name, latency_ms=float(time), spread=math.nan, line=i),
            network=network,
            row=row,
        )
        for i, ((network, row), time) in enumerate(zip(_listed(runtime), times, strict=True))
    ]


def table_of(
    found: Sequence[Listed], donors: Sequence[Donor], device: Device, kernels: Iterable[Op] = ()
) -> LatencyTable:
    told = {SOLVED: "these", HELPED_BY: "those" if donors else NOBODY}
    return solve_networks(found, donors, replace(device, state=told), list(kernels))


@lru_cache
def phone_donor(setting: str) -> Donor:
    """Another phone of which all networks were timed, and nothing else."""
    runtime = setting.split("|")[2]
    found = listed(runtime, times_of(TIMES, setting, list(KERNELS[runtime])))
    found = [item for item in found if not math.isnan(item.timing.latency_ms)]
    return donor_of(table_of(found, [], device_of(setting)))


@lru_cache
def profile_donor(name: str) -> Donor:
    return donor_of(LatencyTable.load(name))


def phones(setting: str) -> list[Donor]:
    phone = setting.split("|")[0]
    return [phone_donor(other) for other in TIMES.columns if other.split("|")[0] != phone]


def profiles(_: str) -> list[Donor]:
    return [profile_donor(name) for name in PROFILES]


def nothing(_: str) -> list[Donor]:
    return []


def chosen(
    found: Sequence[Listed],
    number: int,
    seed: int,
    donors: Sequence[Donor],
    device: Device,
    how: str,
) -> list[int]:
    """Places of the networks to time: at random, or the most telling of a random 80 %."""
    order = np.random.default_rng(seed).permutation(len(found))
    if how == "at random":
        return [int(place) for place in order[:number]]
    pool = sorted(order[: int(_POOL * len(found))].tolist())
    open_to = [
        Listed(
            timing=Timing(model=str(i), latency_ms=math.nan, spread=math.nan, line=i),
            network=found[i].network,
            row=found[i].row,
        )
        for i in pool
    ]
    return [
        int(item.timing.model) for item in most_telling_networks(open_to, number, donors, device)
    ]


def predicted(setting: str, donors: Sequence[Donor], how: str, sizes: Sequence[int]) -> Rows:
    """Errors of the networks that were not timed."""
    runtime = setting.split("|")[2]
    every = listed(runtime, times_of(TIMES, setting, list(KERNELS[runtime])))
    found = [item for item in every if not math.isnan(item.timing.latency_ms)]
    device = device_of(setting)
    kernels = dict.fromkeys(op for item in found for op in item.network.ops)
    rows: Rows = []
    for seed in SEEDS:
        order = chosen(found, max(sizes), seed, donors, device, how)
        for size in sizes:
            timed = order[:size]
            table = table_of([found[i] for i in timed], donors, device, kernels)
            rest = [item for i, item in enumerate(found) if i not in set(timed)]
            row = {"setting": setting, "seed": seed, "size": size} | accuracy(table, rest)
            if seed == SEEDS[0]:  # slower: each network's interval is asked for alone
                row["covered"], row["half_width"] = covered(table, rest)
            rows.append(row)
    return rows


def accuracy(table: LatencyTable, rest: Sequence[Listed]) -> dict[str, float]:
    totals = [sum(table[op].latency_ms for op in item.network.ops) for item in rest]
    return errors(totals, [item.timing.latency_ms for item in rest])


def covered(table: LatencyTable, rest: Sequence[Listed]) -> tuple[float, float]:
    """Share of times within their intervals, and the intervals' median half width, in %."""
    cost = Lookup(table)
    law = solved_networks(table, cost)
    told = [price_network(item.network, cost, law) for item in rest]
    inside = [
        item.low <= other.timing.latency_ms <= item.high
        for item, other in zip(told, rest, strict=True)
    ]
    half = [(item.high - item.low) / 2.0 / item.total for item in told]
    return 100.0 * float(np.mean(inside)), 100.0 * float(np.median(half))


def errors(totals: Sequence[float], times: Sequence[float]) -> dict[str, float]:
    truth = np.array(times)
    off = np.abs(np.array(totals) / truth - 1.0)
    return {
        "within_5": 100.0 * float(np.mean(off <= 0.05)),
        "within_10": 100.0 * float(np.mean(off <= 0.10)),
        "mape": 100.0 * float(np.mean(off)),
        "spearman": float(spearmanr(totals, truth).statistic),
    }


def whole_way(setting: str, size: int, seed: int) -> dict[str, float]:
    """As a user has it: kernels that no timed network has are priced by the regression."""
    runtime = setting.split("|")[2]
    every = listed(runtime, times_of(TIMES, setting, list(KERNELS[runtime])))
    found = [item for item in every if not math.isnan(item.timing.latency_ms)]
    donors, device = phones(setting), device_of(setting)
    timed = chosen(found, size, seed, donors, device, "chosen")
    table = table_of([found[i] for i in timed], donors, device)
    cost = fit(table)
    law = calibration_of(table, cost)
    rest = [item for i, item in enumerate(found) if i not in set(timed)]
    totals = [price_network(item.network, cost, law).total for item in rest]
    return errors(totals, [item.timing.latency_ms for item in rest])


#: Who the donors are, and how the networks to time are chosen.
CASES: Mapping[str, tuple[Callable[[str], list[Donor]], str]] = {
    "other phones' whole networks, chosen": (phones, "chosen"),
    "other phones' whole networks, at random": (phones, "at random"),
    "shipped processor profiles only, chosen": (profiles, "chosen"),
    "no donor, chosen": (nothing, "chosen"),
}


def phone_figures(of: Sequence[str], every: int) -> tuple[list[ledger.Figure], pd.DataFrame]:
    mine = [name for name in TIMES.columns if name.split("|")[0] in of]
    frames, figures = [], []
    for number, (case, (donors, how)) in enumerate(CASES.items()):
        rows = [
            row
            for setting in mine[::every]
            for row in predicted(setting, donors(setting), how, SIZES)
        ]
        frame = pd.DataFrame(rows).assign(case=case)
        frames.append(frame)
        print(case, frame.groupby("size").mean(numeric_only=True).round(2), flush=True)
        for size, part in frame.groupby("size"):
            by_setting = part.groupby("setting").within_10.mean()
            target = TARGETS[int(str(size))]
            figures.append(
                ledger.figure(
                    f"e-{number + 1}-{size}",
                    f"{size} networks timed; donors: {case}; of the rest within 10 %, mean of "
                    f"{len(by_setting)} settings, of which {(by_setting >= target).mean():.0%} "
                    "reach the target",
                    round(float(by_setting.mean()), 1),
                    "%",
                    at_least=target,
                )
            )
    return figures, pd.concat(frames)


def way_figures(of: Sequence[str]) -> list[ledger.Figure]:
    mine = [name for name in TIMES.columns if name.split("|")[0] in of][::20]
    figures = []
    for size in SIZES:
        found = pd.DataFrame([whole_way(setting, size, 0) for setting in mine])
        figures.append(
            ledger.figure(
                f"e-way-{size}",
                f"the same by a saved table and its regression alone, {size} networks chosen, "
                f"{len(mine)} settings: within 10 %",
                round(float(found.within_10.mean()), 1),
                "%",
                at_least=TARGETS[size],
            )
        )
    return figures


def tables(frame: pd.DataFrame) -> list[str]:
    """Each case in numbers, and the first case by phone."""
    columns = ["within_5", "within_10", "mape", "spearman", "covered", "half_width"]
    means = frame.groupby(["case", "size"])[columns].mean()
    rows = [
        " | ".join([case, str(size), *(f"{value:.3g}" for value in part)])
        for (case, size), part in zip(means.index, means.to_numpy(), strict=True)
    ]
    head = (
        "donors and choice | timed | within 5 % | within 10 % | MAPE % | Spearman | in interval %"
    )
    first = frame[frame.case == next(iter(CASES))]
    split = first.setting.str.split("|", expand=True)
    by = first.assign(phone=split[0], runtime=split[2], dtype=split[3])
    wide = by.pivot_table(index=["phone", "runtime", "dtype"], columns="size", values="within_10")
    worst = first.groupby(["setting", "size"]).within_10.mean().unstack().min()
    lines = [
        " | ".join([*map(str, key), *(f"{value:.1f}" for value in part)])
        for key, part in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    lines.append(" | ".join(["worst setting", "", "", *(f"{value:.1f}" for value in worst)]))
    return [
        "Means over settings and 3 seeds; half widths relative to the prediction, in %.",
        ledger.table(head + " | half width %", rows),
        "Within 10 %, with other phones' whole networks as donors and networks chosen:",
        ledger.table("phone | runtime | type | 5 | 10 | 20 | 50", lines),
    ]


def main() -> None:
    options = ledger.parser(__doc__)
    options.add_argument("--development", action="store_true")
    options.add_argument("--every", type=int, default=6, help="looks at every so manieth setting")
    given = options.parse_args()
    if given.development:
        _, frame = phone_figures(DEVELOPMENT, given.every)
        print("\n\n".join(tables(frame)))
        return
    ledger.require_clean_tree()
    figures, frame = phone_figures(TEST, given.every)
    figures += way_figures(TEST)
    ledger.write(
        "whole-networks",
        topic="other-devices",
        figures=figures,
        notes=[
            "Phones: qed-usc/mobile-ml-benchmark (MIT); kernels of the TFLite settings as the GPU "
            "delegate's sequence of the same networks tells them, of the PyTorch settings as "
            "Vulkan's. Donors are never of the phone that is predicted.",
            *tables(frame),
        ],
    )


KERNELS = networks()
TIMES = settings()

if __name__ == "__main__":
    main()

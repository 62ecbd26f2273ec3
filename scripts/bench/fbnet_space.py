"""FBNet space: 10 networks timed on a device, 1,000 others ranked, other devices as donors.

Networks and times are HELP's (Lee et al. 2021, MIT). Its macro-architecture is FBNet's (Wu et al.
2019, table 1) as HW-NAS-Bench (Li et al. 2021) builds it: 22 places, nine blocks each.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from functools import lru_cache

import ledger
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from phone_cpus import DATA
from scipy.stats import spearmanr

from costmodel.costs.beliefs import Donor, beliefs, unknown
from costmodel.costs.solver import NOISE, settle, solve
from costmodel.costs.work import Work, work_of
from costmodel.device import Device
from costmodel.op import Op, conv_op

#: Window, expansion and groups of each block; the last leaves a place out.
BLOCKS = ((3, 1, 1), (3, 1, 2), (3, 3, 1), (3, 6, 1), (5, 1, 1), (5, 1, 2), (5, 3, 1), (5, 6, 1))
#: Places, channels and first stride of each stage.
STAGES = ((1, 16, 1), (4, 24, 2), (4, 32, 2), (4, 64, 2), (4, 112, 1), (4, 184, 2), (1, 352, 1))
SIDE, STEM, HEAD, CLASSES = 224, 16, 1984, 1000
#: Networks that devices' speeds are learned from, and that are ranked.
KNOWN, ASKED = 4000, slice(4000, 5000)
#: Networks of a donor that are looked at.
LOOKED_AT = 300
SAMPLES = 10
SEEDS = range(5)

_HELP = (
    "1080ti_1 1080ti_32 1080ti_64 silver_4114 silver_4210r samsung_a50 pixel3 essential_ph_1 "
    "samsung_s7"
)
#: Donors, devices asked for, and mean Spearman that HELP (10 samples) and NASFLAT (20 samples, the
#: best of its variants) reach by the result files of NASFLAT's repository (commit afdd046); of the
#: first by HELP's own table 2.
SPLITS = {
    "HELP": (_HELP, "raspi4 eyeriss fpga", 0.910, None),
    "FD": (_HELP, "titanx_1 titanx_32 titanx_64 gold_6240", 0.966, 0.961),
    "F1": (
        "2080ti_1 essential_ph_1 silver_4114 titan_rtx_1 titan_rtx_32",
        "eyeriss fpga raspi4 samsung_a50 samsung_s7",
        *(0.794, 0.809),
    ),
    "F2": (
        "essential_ph_1 gold_6226 gold_6240 pixel3 raspi4",
        "1080ti_1 1080ti_32 2080ti_32 titan_rtx_1 titanxp_1",
        *(0.544, 0.871),
    ),
    "F3": (
        "essential_ph_1 pixel2 pixel3 raspi4 samsung_s7",
        "1080ti_1 1080ti_32 2080ti_1 titan_rtx_1 titan_rtx_32",
        *(0.414, 0.844),
    ),
    "F4": (
        "1080ti_64 2080ti_1 eyeriss gold_6226 gold_6240 raspi4 samsung_s7 silver_4210r titan_rtx_1 "
        "titan_rtx_32",
        "1080ti_1 pixel2 essential_ph_1",
        *(0.799, 0.831),
    ),
    "FA": (
        "1080ti_1 1080ti_32 1080ti_64 2080ti_1 2080ti_32 2080ti_64 titan_rtx_1 titan_rtx_32 "
        "titan_rtx_64 titanx_1 titanx_32 titanx_64 titanxp_1 titanxp_32 titanxp_64",
        "gold_6226 essential_ph_1 samsung_s7 pixel2",
        *(0.407, 0.577),
    ),
}


def kernels(blocks: Sequence[int]) -> list[Op]:
    """Kernels of one network.

    Args:
        blocks: index of the block at each of the 22 places.
    """
    side, channels = SIDE // 2, STEM
    found = [_conv(3, STEM, SIDE, window=3, stride=2)]
    places = [
        (out, stride if not first else 1) for count, out, stride in STAGES for first in range(count)
    ]
    for block, (out, stride) in zip(blocks, places, strict=True):
        same = stride == 1 and channels == out
        if block < len(BLOCKS):
            window, expansion, groups = BLOCKS[block]
            inner = channels * expansion
            found.append(_conv(channels, inner, side, groups=groups))
            found.append(_conv(inner, inner, side, window=window, stride=stride, groups=inner))
            found.append(_conv(inner, out, side // stride, groups=groups))
            if same:
                shape = (1, out, side, side)
                found.append(Op(kind="add", inputs=(shape, shape), outputs=(shape,)))
        elif not same:
            found.append(_conv(channels, out, side, stride=stride))
        side, channels = side // stride, out
    found.append(_conv(channels, HEAD, side))
    image = (1, HEAD, side, side)
    found.append(Op(kind="global_average_pool", inputs=(image,), outputs=((1, HEAD, 1, 1),)))
    found.append(
        Op(kind="gemm", inputs=((1, HEAD),), outputs=((1, CLASSES),), weights=((CLASSES, HEAD),))
    )
    return found


def _conv(
    channels: int, out: int, side: int, *, window: int = 1, stride: int = 1, groups: int = 1
) -> Op:
    return conv_op(
        in_channels=channels,
        out_channels=out,
        size=(side, side),
        kernel=(window, window),
        stride=stride,
        groups=groups,
    )


@lru_cache
def space() -> tuple[pd.DataFrame, Work]:
    times = pd.read_parquet(DATA / "fbnet_networks.parquet")
    return times, work_of([kernels(ast.literal_eval(str(text))) for text in times.arch])


def rows_of(work: Work, rows: NDArray[np.int_]) -> Work:
    counts = work.counts[rows]
    used = np.flatnonzero(counts.any(axis=0))
    return Work(
        kernels=tuple(work.kernels[i] for i in used),
        counts=counts[:, used],
        things=work.things,
        amounts=work.amounts[used],
    )


@lru_cache
def donor(name: str) -> Donor:
    """A device of which networks were timed."""
    times, work = space()
    rows = np.random.default_rng(0).permutation(KNOWN)[:LOOKED_AT].tolist()
    noise = np.full(len(rows), NOISE)
    found = solve(rows_of(work, rows), times[name].to_numpy()[rows], unknown(work.things), noise)
    return Donor(device=Device(name=name, runtime="any", provenance="imported"), found=found)


def ranked(donors: Sequence[str], name: str, seed: int) -> dict[str, float]:
    """Spearman and MAPE of 1,000 networks when 10 others were timed."""
    times, work = space()
    truth = times[name].to_numpy()
    device = Device(name=name, runtime="any", provenance="imported")
    rows = np.random.default_rng(seed).permutation(KNOWN)[:SAMPLES].tolist()
    before = beliefs([donor(other) for other in donors], device, work)
    prices, _ = settle(rows_of(work, rows), truth[rows], before).prices(singles(work))
    guess, real = (work.counts[ASKED] @ prices), truth[ASKED]
    middle = np.argsort(real)[len(real) // 10 : -len(real) // 10]
    return {
        "spearman": float(spearmanr(guess, real).statistic),
        # As HELP counts: without the fastest and the slowest tenth.
        "spearman_middle": float(spearmanr(guess[middle], real[middle]).statistic),
        "mape": 100.0 * float(np.mean(np.abs(guess / real - 1.0))),
    }


def singles(work: Work) -> Work:
    return Work(
        kernels=work.kernels,
        counts=np.eye(len(work.kernels)),
        things=work.things,
        amounts=work.amounts,
    )


def figures() -> tuple[list[ledger.Figure], list[str]]:
    """Each split, and a page of its devices."""
    found, lines = [], []
    for split, (donors, asked, of_help, of_nasflat) in SPLITS.items():
        tried = pd.DataFrame(
            {"device": name, **ranked(tuple(donors.split()), name, seed)}
            for name in asked.split()
            for seed in SEEDS
        )
        key = "spearman_middle" if split == "HELP" else "spearman"
        best = max(of_help, of_nasflat or 0.0)
        published = f"HELP {of_help}" + (f", NASFLAT {of_nasflat}" if of_nasflat else "")
        found.append(
            ledger.figure(
                f"e-fbnet-{split}",
                f"FBNet space, split {split}, {SAMPLES} networks timed: mean Spearman of 1,000 "
                f"others ({published})",
                round(float(tried[key].mean()), 3),
                at_least=best,
            )
        )
        found.append(
            ledger.figure(
                f"e-fbnet-{split}-mape",
                f"FBNet space, split {split}: MAPE, which neither publishes",
                round(float(tried.mape.mean()), 1),
                "%",
            )
        )
        for name, part in tried.groupby("device", sort=False):
            lines.append(
                f"{split} | {name} | {part.spearman.mean():.3f} | "
                f"{part.spearman_middle.mean():.3f} | {part.mape.mean():.1f}"
            )
    head = "split | device | Spearman | Spearman of the middle 80 % | MAPE %"
    notes = [
        "FBNet space (HELP's data, MIT), 10 networks timed at random, 5 seeds. Published: HELP's "
        "table 2 (of the middle 80 %), and the result files of NASFLAT's repository, where HELP "
        "had 10 samples and NASFLAT 20.",
        ledger.table(head, lines),
    ]
    return found, notes


def main() -> None:
    ledger.parser(__doc__).parse_args()
    ledger.require_clean_tree()
    found, notes = figures()
    ledger.write("fbnet-space", topic="other-devices", figures=found, notes=notes)


if __name__ == "__main__":
    main()

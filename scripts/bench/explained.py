"""Figure c of people: what `costmodel explain` promises, held against the clock.

    python scripts/bench/explained.py --table T.jsonl               # run again to resume
    python scripts/bench/explained.py --table T.jsonl --only squeezenet --rounds 3   # no ledger
    python scripts/bench/explained.py --table T.jsonl --predict-only                 # no ledger

Six networks as published and six thinned ones, whose channels were cut to a random 30 to 100
percent. Every advice that is predicted to bring a share of the network's time worth timing is
written, and timed beside the network as it is, in interleaved rounds. Wants the machine to itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import exports
import ledger
import place

from costmodel.table import LatencyTable
from costmodel.uses.explaining import explain

#: Networks as published.
WHOLE = (
    "light_bvlc_alexnet",
    "light_inception_v1",
    "light_resnet50",
    "light_squeezenet",
    "resnet20_cifar10",
    "ultraface_slim-320",
)
#: Networks that are thinned.
THINNED = (
    "light_densenet121",
    "light_inception_v1",
    "light_squeezenet",
    "resnet20_cifar10",
    "ultraface_slim-320",
    "yunet_s_320",
)
#: Which channels thinning leaves.
SEED = 1
#: Visits to every network, advices timed per network, and the least of its time that one promises:
#: less is not told from what timing repeats to.
ROUNDS, MOST, LEAST = 16, 5, 0.03
#: Where the median of measured over predicted gains should lie.
RATIO = (0.8, 1.25)


def cases(folder: Path, only: str) -> list[tuple[str, Path]]:
    """Name and file of every network."""
    found = [(name, place.MODELS / f"{name}.onnx") for name in WHOLE]
    for name in THINNED:
        title = f"{name}-thin{SEED}"
        if only in title:
            found.append((title, exports.thinned(place.MODELS / f"{name}.onnx", folder, SEED)))
    return [(name, path) for name, path in found if only in name]


def one(path: Path, table: LatencyTable, rounds: int, *, timed: bool) -> dict[str, Any]:
    """Everything about one network."""
    begun = time.perf_counter()
    found = explain(path, table, most=MOST, least_gain=LEAST, verify=timed, rounds=rounds)
    return {
        **found.to_json(),
        "steps": len(found.steps),
        "seconds": round(time.perf_counter() - begun, 1),
        "load": ledger.machine()["load"],
    }


def figures(records: dict[str, Any]) -> list[ledger.Figure]:
    """The lines of the ledger."""
    advices = [item for record in records.values() for item in record["advices"]]
    pairs = [(item["gain_ms"], item["measured_gain_ms"]) for item in advices]
    right = [measured > 0 for _, measured in pairs]
    ratios = [measured / predicted for predicted, measured in pairs]
    inside = [
        item["interval_ms"][0] <= item["measured_gain_ms"] <= item["interval_ms"][1]
        for item in advices
    ]
    repeat = [item["repeatability"] for item in advices]
    whole = len(records) == len(WHOLE) + len(THINNED)
    what = f"of {len(advices)} advices on {len(records)} networks"
    return [
        ledger.figure(
            "c-sign",
            f"advices whose measured gain has the predicted sign, {what}",
            sum(right) / len(right),
            "share",
            at_least=0.9,
            sound=whole,
            repeatability=repeat,
        ),
        ledger.figure(
            "c-ratio",
            f"median of measured over predicted gain, {what}",
            median(ratios),
            "x",
            target=f"{RATIO[0]} to {RATIO[1]}",
            passed=RATIO[0] <= median(ratios) <= RATIO[1] and whole,
            repeatability=repeat,
        ),
        ledger.figure(
            "c-inside",
            f"advices whose measured gain lies in the predicted interval, {what}",
            sum(inside) / len(inside),
            "share",
        ),
        *(_best(name, record) for name, record in records.items()),
    ]


def _best(name: str, record: dict[str, Any]) -> ledger.Figure:
    """The advice that brought most, and how much of the network's time."""
    best = max(record["advices"], key=lambda item: item["measured_gain_ms"], default=None)
    if best is None:
        reason = f"no change is predicted to bring {LEAST:.0%} of its time"
        return ledger.figure(f"c-best-{name}", f"best advice on {name}", None, reason=reason)
    share = best["measured_gain_ms"] / best["measured_before_ms"]
    what = f"best advice on {name} ({best['kind']}: {best['todo']})"
    return ledger.figure(
        f"c-best-{name}", what, share, "of its time", repeatability=best["repeatability"]
    )


COLUMNS = (
    "network | ms | matter | where | what to do | predicted gain | interval | measured gain | ratio"
)


def lines(name: str, record: dict[str, Any]) -> list[str]:
    """Rows of the page."""
    found = []
    for item in record["advices"]:
        low, high = item["interval_ms"]
        measured = item["measured_gain_ms"]
        cells = [name, f"{record['predicted_ms']:.3f}", item["kind"], (item["layers"] or [""])[0]]
        cells += [item["todo"], f"{item['gain_ms']:.3f}", f"{low:.3f} to {high:.3f}"]
        timed = measured is not None
        cells += [f"{measured:.3f}", f"{measured / item['gain_ms']:.2f}"] if timed else ["-", "-"]
        found.append(" | ".join(cells))
    return found or [f"{name} | {record['predicted_ms']:.3f} | - | - | - | - | - | - | -"]


def write(records: dict[str, Any], table: LatencyTable, name: str) -> None:
    """Into the ledger."""
    note = (
        f"Table: {name} ({len(table)} rows). Each advice is a change of the network as it is; "
        f"advices from {LEAST:.0%} of a network's time, at most {MOST} a network; {ROUNDS} "
        "interleaved rounds, each in a process of its own. Weights are those of the files: of "
        "networks without training, widths are what is timed."
    )
    rows: Sequence[str] = [row for key, item in records.items() for row in lines(key, item)]
    ledger.write(
        "explained",
        topic="people",
        figures=figures(records),
        detail={"networks": records},
        notes=[note, ledger.table(COLUMNS, rows)],
    )


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--table", required=True, help="of one thread, float32")
    parser.add_argument("--only", default="", help="networks whose name holds this; no ledger then")
    parser.add_argument("--rounds", type=int, help="fewer rounds; no ledger then")
    parser.add_argument("--predict-only", action="store_true", help="time nothing; no ledger then")
    options = parser.parse_args()
    trial = bool(options.only or options.rounds or options.predict_only)
    if not trial:
        ledger.require_clean_tree()
    folder = place.folder("explained")
    table = LatencyTable.load(options.table)
    done = folder / f"results-{table.device.fingerprint}.json"
    records: dict[str, Any] = {}
    if done.exists() and not trial:
        records = json.loads(done.read_text(encoding="utf-8"))
    for name, path in cases(folder, options.only):
        if name not in records:
            timed = not options.predict_only
            records[name] = one(path, table, options.rounds or ROUNDS, timed=timed)
            if not trial:
                done.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
        print(*lines(name, records[name]), sep="\n", flush=True)
    if not trial:
        write(records, table, Path(options.table).name)


if __name__ == "__main__":
    main()

"""Accuracy at equal measured milliseconds: hardware-aware MorphNet beside honest baselines.

    python scripts/bench/pareto.py search core --part 0/2   # trains under costs; in two processes
    python scripts/bench/pareto.py search core --part 1/2
    python scripts/bench/pareto.py widths core              # wants the machine to itself
    python scripts/bench/pareto.py train core --part 0/2
    python scripts/bench/pareto.py measure core             # wants the machine to itself
    python scripts/bench/pareto.py overhead                 # wants the machine to itself
    python scripts/bench/pareto.py cross ort xla            # wants the machine to itself
    python scripts/bench/pareto.py report

Grids: core, curve, ablations, tried, fashion, vgg, mild, litert, openvino, xla. Everything
finished is kept, so each step goes on where it was stopped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import ledger
from pareto_grid import (
    DEVICES,
    EPOCHS,
    GRIDS,
    RATE,
    SEARCH_RATE,
    TUNED,
    WORK,
    Case,
    every_case,
    images_of,
    seed_network,
)  # fmt: skip


def search_step(cases: Sequence[Case]) -> None:
    """Every search that has no result yet."""
    from pareto_search import search

    done: set[str] = set()
    for case in cases:
        if case.search is not None and case.search not in done:
            done.add(case.search)
            search(case)


def widths_step(cases: Sequence[Case]) -> None:
    """Widths of every searched case, timed side by side."""
    from pareto_widths import clock_of, lockstep

    def done(case: Case, record: dict[str, Any]) -> None:
        case.write("widths", record)
        error = record["measured_ms"] / record["target_ms"] - 1
        print(case.key, f"{error:+.1%} in {len(record['rounds'])} rounds", flush=True)

    for device in DEVICES:
        wanted = [
            case
            for case in cases
            if case.device == device
            and case.method != "seed"
            and case.read("widths") is None
            and (case.search is None or (WORK / f"{case.search}.search.npz").exists())
        ]
        if wanted:
            lockstep(wanted, clock_of(device), done)


def network_of(case: Case, key: str = "counts") -> Any:
    """A case's network with fresh weights; None while its widths are not known."""
    from pareto_widths import built

    model = seed_network(case)
    if case.method == "seed":
        return model
    record = case.read("widths")
    return None if record is None else built(case, model, record[key])


def train_step(cases: Sequence[Case]) -> None:
    """Retrain every network that has widths and no accuracy yet."""
    import recipes
    from pareto_widths import survivors

    for case in cases:
        if case.read("trained") is not None or (model := network_of(case)) is None:
            continue
        if (same := equal_to(case)) is not None:
            case.write("trained", (same.read("trained") or {}) | {"same_as": same.key})
            print(case.key, "is", same.key, flush=True)
            continue
        begin = time.perf_counter()
        data, rate = images_of(case.data), RATE
        if case.method in TUNED:
            model, rate = survivors(case, (case.read("widths") or {})["counts"]), SEARCH_RATE
        accuracy = recipes.train(model, data, case.seed, epochs=EPOCHS, rate=rate)
        seconds = time.perf_counter() - begin
        case.write("trained", {"accuracy": accuracy, "seconds": round(seconds, 1)})
        print(case.key, f"{accuracy:.2%} in {seconds:.0f} s", flush=True)


def equal_to(case: Case) -> Case | None:
    """A trained case with the same widths, weights and order of images; None if there is none.

    Training it again would find the same, as nothing else is drawn by chance.
    """
    if case.method == "seed" or case.method in TUNED:
        return None
    counts = (case.read("widths") or {})["counts"]
    for other in every_case():
        if (
            (other.data, other.network, other.seed) == (case.data, case.network, case.seed)
            and other.method not in TUNED
            and (other.read("widths") or {}).get("counts") == counts
            and other.read("trained") is not None
        ):
            return other
    return None


def exported(case: Case, key: str) -> Path | None:
    """A case's network as an ONNX file; its weights do not matter for its time."""
    from morphnet_core.morphing.clock import as_onnx

    record = case.read("widths") or {}
    path = case.path("onnx" if key == "counts" else f"{key}.onnx")
    if not path.exists():
        if case.method != "seed" and key not in record:
            return None
        as_onnx(network_of(case, key), path)
    return path


def measure_step(cases: Sequence[Case]) -> None:
    """Time every network of a device in one run, so that ratios hold."""
    from costmodel.clocking import measure
    from costmodel.profiler import Plan

    plan = Plan(rounds=16, min_rounds=10, visit_ms=30.0, restart_every=1, budget_ms=900e3)
    for device, (runner, options, _) in DEVICES.items():
        paths: dict[str, Path] = {}
        for case in cases:
            for key in ("counts", "unrounded"):
                if case.device == device and (path := exported(case, key)) is not None:
                    paths[f"{case.key}/{key}"] = path
        if not paths:
            continue
        rows = measure(list(paths.values()), runner=runner, options=options, plan=plan)
        found = {name: [row.latency_ms, row.spread] for name, row in zip(paths, rows, strict=True)}
        kept = WORK / f"{device}.measured.json"
        before = json.loads(kept.read_text()) if kept.exists() else {}
        kept.write_text(json.dumps(before | found, indent=1))
        print(f"{device}: timed {len(found)} networks", flush=True)


def other_step(step: str, names: Sequence[str]) -> None:
    """Steps that are not of cases."""
    import pareto_extra
    import pareto_report

    if step == "overhead":
        pareto_extra.time_searches()
    elif step == "cross":
        pareto_extra.cross(names)
    else:
        pareto_report.report()


STEPS = {
    "search": search_step,
    "widths": widths_step,
    "train": train_step,
    "measure": measure_step,
}
OTHER = ("overhead", "cross", "report")


def cases_of(grids: Sequence[str], part: str) -> Iterator[Case]:
    """Cases of grids; of several processes, those of one."""
    number, count = (int(text) for text in part.split("/"))
    every = dict.fromkeys(case for grid in grids for case in GRIDS[grid]())
    shares = list(dict.fromkeys(case.search or case.key for case in every))
    for case in every:
        if shares.index(case.search or case.key) % count == number:
            yield case


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("step", choices=[*STEPS, *OTHER])
    parser.add_argument("grids", nargs="*", metavar="GRID", help=", ".join(GRIDS))
    parser.add_argument("--part", default="0/1", metavar="I/N", help="of the cases, every Nth")
    options = parser.parse_args()
    known = DEVICES if options.step == "cross" else GRIDS
    for name in options.grids:
        if name not in known:
            parser.error(f"there is no {name!r}; known: {', '.join(known)}")
    WORK.mkdir(parents=True, exist_ok=True)
    if options.step in STEPS:
        STEPS[options.step](list(cases_of(options.grids, options.part)))
    else:
        other_step(options.step, options.grids)


if __name__ == "__main__":
    main()

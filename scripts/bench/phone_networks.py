"""Networks on phones' GPUs that nobody here has: other people's kernels, and this project's rules.

Three things. For how many kernels of 102 real networks' traces a rule says the kernel's family from
its shape alone. Whole networks: per device and runtime, each family of networks is left out, its
kernels and its own times, and priced by what the others tell. And a network cut to half of its
milliseconds by a phone's prices and by a CPU's, each priced on both: nothing is timed here.

    python scripts/bench/phone_networks.py --part rules --part whole --device iPhone
    python scripts/bench/phone_networks.py --part morph
    python scripts/bench/phone_networks.py --write       # the page, from all parts
"""

from __future__ import annotations

import json
import time
from collections import Counter
from statistics import fmean, median
from typing import Any

import ledger
import phone_morph
import phone_tables
import place
from phone_tables import Timed
from scipy.stats import spearmanr

from costmodel.anticipation import pytorch_vulkan, tflite_gpu_kernels
from costmodel.calibration import fit_calibration
from costmodel.costs.regression import fit_regression
from costmodel.device import Device
from costmodel.network import Layer, Network
from costmodel.op import Op
from costmodel.prediction import price_network

PARTS = ("rules", "whole", "morph")


def rules() -> dict[str, Any]:
    """Kernels whose family a rule says rightly, per device and runtime, and those it does not."""
    found: dict[str, Any] = {}
    frame = phone_tables.kernels()
    for name, runtime in phone_tables.pairs():
        device = phone_tables.device_of(name, runtime)
        own = frame[(frame.device == name) & (frame.runtime == runtime)]
        right, wrong = 0, Counter[str]()
        for row in own.to_dict("records"):
            truth = phone_tables.own_family(row["algo"])
            said = _said(row, device)
            right += said == truth
            if said != truth:
                wrong[f"{truth} for {said or 'a layer without its window'}"] += 1
        found[f"{name}, {runtime}"] = {"rows": len(own), "right": right, "wrong": dict(wrong)}
    return found


def _said(row: dict[Any, Any], device: Device) -> str:
    """The family of the layer that a line is of, whatever its kernel is called."""
    if row["layer"] == "avg_pool2d":  # told from a mean over the map by what is written alone
        return pytorch_vulkan.family_of(Op(kind="average_pool"))
    op = phone_tables.op_of({**row, "implementation": "", "epilogue": ""})
    if op is None:
        return ""
    if device.runtime == "pytorch-vulkan":
        return pytorch_vulkan.family_of(op)
    return tflite_gpu_kernels.family_of(op, device)


def whole(name: str, runtime: str) -> dict[str, Any]:
    """Each family of networks of one device priced by the kernels and times of all others."""
    device = phone_tables.device_of(name, runtime)
    known = phone_tables.sequences(name, runtime)
    truth = phone_tables.whole_ms(name, runtime)
    networks: dict[str, dict[str, Any]] = {}
    laws: dict[str, str] = {}
    for family in sorted({phone_tables.family_of(model) for model in known}):
        begin = time.perf_counter()
        others = {m: ops for m, ops in known.items() if phone_tables.family_of(m) != family}
        table = phone_tables.table_of(device, others, truth)
        cost = fit_regression(table)
        calibration = fit_calibration(table, cost)
        laws[family] = calibration.describe() if calibration else "none"
        for model, timed in known.items():
            if phone_tables.family_of(model) != family or model not in truth:
                continue
            found = price_network(_network(model, timed), cost, calibration, device=device)
            networks[model] = {
                "family": family,
                "measured_ms": truth[model],
                "predicted_ms": found.total,
                "interval_ms": found.interval_ms,
                "sum_ms": found.uncalibrated,
                "sum_of_measured_ms": sum(ms for _, ms in timed),
                "unpriced": len(found.unpriced),
            }
        print(f"{name}, {runtime}: {family} in {time.perf_counter() - begin:.0f} s", flush=True)
    return {"networks": networks, "laws": laws}


def _network(name: str, timed: Timed) -> Network:
    layers = (Layer(name=f"kernel{place}", op=op) for place, (op, _) in enumerate(timed))
    return Network(name=name, layers=tuple(layers))


def errors(found: dict[str, Any], of: str = "predicted_ms") -> list[float]:
    """Relative error of each network."""
    return [abs(item[of] / item["measured_ms"] - 1.0) for item in found["networks"].values()]


def figures_of(parts: dict[str, Any]) -> tuple[list[ledger.Figure], list[str]]:
    """Figures and the page's tables."""
    counted = parts["rules"].values()
    rows, right = (sum(item[key] for item in counted) for key in ("rows", "right"))
    what = f"kernels of {rows:,} in traces whose family the rules say from the shape alone"
    figures = [ledger.figure("rules", what, right / rows, "share", at_least=0.98)]
    lines = [
        f"{name} | {item['rows']} | {item['right'] / item['rows']:.2%} | "
        + ("; ".join(f"{k}: {n}" for k, n in item["wrong"].items()) or "none")
        for name, item in parts["rules"].items()
    ]
    pages = [ledger.table("device | kernels | family by rule | wrong", lines)]
    shares, ranks, lines = [], [], []
    for name, found in parts["whole"].items():
        error, plain = errors(found), errors(found, "sum_ms")
        own = found["networks"].values()
        rank = spearmanr([n["predicted_ms"] for n in own], [n["measured_ms"] for n in own])
        inside = fmean(n["interval_ms"][0] <= n["measured_ms"] <= n["interval_ms"][1] for n in own)
        shares.append(fmean(e <= 0.1 for e in error))
        ranks.append(float(rank.statistic))
        lines.append(
            f"{name} | {len(error)} | {shares[-1]:.1%} | {median(error):.1%} | {ranks[-1]:.4f} | "
            f"{fmean(e <= 0.1 for e in plain):.1%} | {inside:.0%}"
        )
        figures += [
            ledger.figure(
                f"b-{name}", "networks within 10 %, family left out", shares[-1], at_least=0.85
            ),
            ledger.figure(f"b-rank-{name}", "Spearman, family left out", ranks[-1], at_least=0.98),
        ]
    head = "device | networks | within 10 % | median error | Spearman | plain sum | interval covers"
    pages.append(ledger.table(head, lines))
    more, page = phone_morph.figures_of(parts["morph"])
    return [*figures, *more], [*pages, page]


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--part", action="append", choices=PARTS, default=[])
    parser.add_argument("--device", default="", help="only devices whose name holds this")
    parser.add_argument("--runtime", default="", help="only this runtime")
    parser.add_argument("--write", action="store_true", help="write the page from what was kept")
    options = parser.parse_args()
    kept = place.folder("phone-networks") / "parts.json"
    parts: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    commits = parts.setdefault("commits", {})  # parts may be of several
    commits |= dict.fromkeys(options.part, ledger.commit())
    if "rules" in options.part:
        parts["rules"] = rules()
    if "whole" in options.part:
        for name, runtime in phone_tables.pairs():
            if options.device in name and options.runtime in runtime:
                parts.setdefault("whole", {})[f"{name}, {runtime}"] = whole(name, runtime)
                kept.write_text(json.dumps(parts))
    if "morph" in options.part:
        parts["morph"] = phone_morph.run()
    kept.write_text(json.dumps(parts))
    if options.write:
        figures, pages = figures_of(parts)
        ledger.write(
            "phone-networks", topic="other-devices", figures=figures, detail=parts, notes=pages
        )


if __name__ == "__main__":
    main()

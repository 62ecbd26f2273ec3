"""Results ledger: what every script of this folder writes into docs/results, never by hand."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"

Figure = dict[str, Any]


def figure(  # noqa: PLR0913 - the ledger's fields, all by name
    *,
    id: str,  # noqa: A002 - the ledger's own word
    what: str,
    target: str,
    reached: float | None,
    unit: str,
    passed: bool | None,
    seed: int | None = None,
    repeatability: object = None,
    reason: str = "",
) -> Figure:
    """One line of the ledger; one that could not be taken has ``reached=None`` and a reason."""
    found: Figure = {
        "id": id,
        "what": what,
        "target": target,
        "reached": reached,
        "unit": unit,
        "passed": passed,
        "seed": seed,
        "repeatability": repeatability,
    }
    if reached is None and not reason:
        message = f"Figure {id!r} was not taken, so it needs a reason."
        raise ValueError(message)
    if reason:
        found["reason"] = reason
    return found


def write(
    name: str,
    *,
    figures: Sequence[Figure],
    started: float,
    detail: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
    issue: str = "main-job",
) -> Path:
    """Write ``docs/results/<name>.json`` and a markdown table beside it.

    Args:
        name: stem of both files.
        figures: what was shown, from ``figure``.
        started: ``time.perf_counter()`` at the start.
        detail: whatever else a reader may want, as JSON.
        notes: paragraphs for the markdown page.
        issue: which part of the work asked for it.

    Returns:
        The JSON file.
    """
    record = {
        "issue": issue,
        "figures": list(figures),
        "machine": machine(),
        "commit": commit(),
        "seconds": round(time.perf_counter() - started, 1),
        **(detail or {}),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(_page(name, record, notes), encoding="utf-8")
    return path


def machine() -> dict[str, object]:
    """What ran it: processor, cores, load, versions."""
    versions = {}
    for package in ("onnxruntime", "numpy", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "python": platform.python_version(),
        **versions,
    }


def commit() -> str:
    """Commit of the code that ran, with ``-dirty`` when it was changed."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _page(name: str, record: Mapping[str, Any], notes: Sequence[str]) -> str:
    lines = [
        f"# {name}",
        "",
        "| | figure | target | reached | passed |",
        "|---|---|---|---|---|",
    ]
    for item in record["figures"]:
        reached = item["reached"]
        shown = f"not taken: {item['reason']}" if reached is None else f"{reached:.4g}"
        unit = "" if reached is None else f" {item['unit']}"
        passed = {True: "yes", False: "no", None: "-"}[item["passed"]]
        lines.append(
            f"| {item['id']} | {item['what']} | {item['target']} | {shown}{unit} | {passed} |"
        )
    host = record["machine"]
    lines += [
        "",
        f"{host['processor']}, {host['cores']} cores, load {host['load']}, "
        f"Python {host['python']}, onnxruntime {host['onnxruntime']}; "
        f"commit {record['commit']}; {record['seconds']} s.",
    ]
    for note in notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"

"""Results ledger: what every script of this folder writes into docs/results, never by hand."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from costmodel.runners.ort.device import this_device

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"

#: Parts of the work that figures belong to, and what each is about, in a reader's words.
TOPICS = {
    "main-job": "Tables, predictions and the clock",
    "any-network": "Networks that a table never saw",
    "any-model": "Models that are read, priced and cut",
    "devices": "Runtimes and devices",
    "other-devices": "Other people's devices",
    "morphnet": "MorphNet on Keras 3",
    "budget": "Networks within a budget of milliseconds",
    "win": "Searches: what they win, and what ends them",
    "people": "Viewers, advice and continuous integration",
    "house": "The packages themselves",
    "trust": "Files of others, cut links and long runs",
}
#: When the script began, as far as the ledger knows.
STARTED = time.perf_counter()
#: Target of a figure that has none.
SHOWN = "shown"

#: Of a table of figures.
COLUMNS = "what | target | reached | met"

Figure = dict[str, Any]


def figure(  # noqa: PLR0913 - the ledger's fields
    id: str,  # noqa: A002 - the ledger's own word
    what: str,
    reached: float | None,
    unit: str = "",
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    exactly: float | None = None,
    sound: bool = True,
    target: str = "",
    passed: bool | None = None,
    seed: int | None = None,
    repeatability: object = None,
    reason: str = "",
) -> Figure:
    """One line of the ledger.

    A figure without a target is only shown, and has neither passed nor failed.

    Args:
        id: its name, unique within a page.
        what: what was counted or timed, on how much.
        reached: the number; None where it could not be taken, for a reason.
        unit: of the number.
        at_most: it passes up to this.
        at_least: it passes from this on; with ``at_most`` between the two.
        exactly: it passes only at this.
        sound: whether it may pass at all, such as when all that was to be done was done.
        target: in words, where the three above do not say it.
        passed: likewise.
        seed: of what was drawn.
        repeatability: how well the number repeats.
        reason: why it was not taken, or did not pass.
    """
    least, most = (at_least, at_most) if exactly is None else (exactly, exactly)
    if least is not None or most is not None:
        target = target or _between(least, most)
        if reached is not None:
            above, below = least is None or reached >= least, most is None or reached <= most
            passed = above and below and sound
    found: Figure = {
        "id": id,
        "what": what,
        "target": target or SHOWN,
        "reached": reached,
        "unit": unit,
        "passed": passed,
        "seed": seed,
        "repeatability": repeatability,
    }
    if reached is None and not reason:
        message = f"Figure {id!r} was not taken, so it needs a reason."
        raise ValueError(message)
    if found["target"] == SHOWN and passed is not None:
        message = f"Figure {id!r} is only shown, so it cannot have passed or failed."
        raise ValueError(message)
    if reason:
        found["reason"] = reason
    return found


def _between(least: float | None, most: float | None) -> str:
    """The limits of a figure in words."""
    if least is None or most is None:
        return f"<= {most:g}" if least is None else f">= {least:g}"
    return f"{least:g}" if least == most else f"{least:g} to {most:g}"


def table(columns: str, rows: Iterable[str]) -> str:
    """A markdown table; cells are parted by bars.

    >>> print(table("network | ms", ["a | 1.5"]))
    | network | ms |
    |---|---|
    | a | 1.5 |
    """
    head = [f"| {columns} |", "|---" * (columns.count(" | ") + 1) + "|"]
    return "\n".join([*head, *(f"| {row} |" for row in rows)])


def parser(description: str | None) -> argparse.ArgumentParser:
    """Reads a script's arguments; its help is the script's own docstring as it is written."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def write(
    name: str,
    *,
    topic: str,
    figures: Sequence[Figure],
    detail: Mapping[str, object] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write ``docs/results/<name>.json`` and a markdown page beside it, and print the page.

    Args:
        name: stem of both files.
        topic: which part of the work it shows, one of ``TOPICS``.
        figures: what was shown, from ``figure``.
        detail: whatever else a reader may want, as JSON.
        notes: paragraphs for the markdown page.

    Returns:
        The JSON file.

    Raises:
        ValueError: for a topic that is none of them.
        SystemExit: where the tree holds changes that no commit names.
    """
    if topic not in TOPICS:
        message = f"No topic {topic!r}; there are {', '.join(TOPICS)}."
        raise ValueError(message)
    require_clean_tree()
    record = {
        "topic": topic,
        "script": script(),
        "figures": list(figures),
        "machine": machine(),
        "commit": commit(),
        "seconds": round(time.perf_counter() - STARTED, 1),
        **(detail or {}),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, default=str) + "\n", encoding="utf-8")
    page = _page(name, record, notes)
    path.with_suffix(".md").write_text(page, encoding="utf-8")
    print(page)
    return path


def record(name: str) -> dict[str, Any]:
    """What a page's JSON holds as it is committed; nothing where there is none."""
    path = RESULTS / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


def require_clean_tree() -> None:
    """Let only figures into the ledger whose code has a commit; worth asking before a long run.

    The results themselves may differ: several scripts write one after another.

    Raises:
        SystemExit: naming what is changed.
    """
    changed = _git("status", "--porcelain", "--", ".", ":!docs/results")
    if changed:
        message = f"Commit first, so that the figures name the code that made them:\n{changed}"
        raise SystemExit(message)


def machine() -> dict[str, object]:
    """What ran it: processor, instruction set, cores, load, versions."""
    versions = {}
    for package in ("onnxruntime", "numpy", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    device = this_device(os.cpu_count() or 1, versions["onnxruntime"], {})
    return {
        "processor": device.name,
        "isa": device.isa,
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "python": platform.python_version(),
        **versions,
    }


def script() -> str:
    """The script that runs, by its path from the root; empty for what is none of ours."""
    path = Path(getattr(sys.modules["__main__"], "__file__", None) or "/").resolve()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else ""


def commit() -> str:
    """Commit of the code that ran."""
    return _git("describe", "--always", "--exclude=*") or "unknown"


def cells(item: Figure) -> str:
    """A figure as a row of a table with ``COLUMNS``."""
    met = {True: "yes", False: "**no**", None: "-"}[item["passed"]]
    if item["reached"] is None:
        reached = f"not taken: {item['reason']}"
    else:
        reached = f"{item['reached']:.4g} {item['unit']}".strip()
    told = (str(text).replace("|", r"\|") for text in (item["what"], item["target"], reached))
    return " | ".join([*told, met])


def _git(*command: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(ROOT), *command], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _page(name: str, record: Mapping[str, Any], notes: Sequence[str]) -> str:
    rows = map(cells, record["figures"])
    lines = [f"# {name}: {TOPICS[record['topic']]}", "", table(COLUMNS, rows)]
    host = record["machine"]
    lines += [
        "",
        f"{host['processor']}, {host['isa']}, {host['cores']} cores, load {host['load']}, "
        f"Python {host['python']}, onnxruntime {host['onnxruntime']}; "
        f"commit {record['commit']}; {record['seconds']} s.",
        *(["", f"Made by `{record['script']}`."] if record["script"] else []),
    ]
    for note in notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"

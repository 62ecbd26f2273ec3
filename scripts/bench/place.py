"""Where benchmarks keep their tables and find real models; nothing here is committed."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Tables and generated models of the benchmarks.
WORK = Path(os.environ.get("COSTMODEL_BENCH_DIR", ROOT / "build" / "bench"))
#: Real networks that lie beside a checkout.
MODELS = ROOT.parent / "shared" / "models"


def folder(name: str) -> Path:
    """A benchmark's own folder for what it makes."""
    found = WORK / name
    found.mkdir(parents=True, exist_ok=True)
    return found


def real_models() -> list[Path]:
    """The real ONNX networks, by name.

    Raises:
        SystemExit: where they are not there.
    """
    found = sorted(MODELS.glob("*.onnx"))
    if not found:
        message = f"These figures need the real networks of {MODELS}, which is not there."
        raise SystemExit(message)
    return found


def table_path(name: str, threads: int) -> Path:
    """A benchmark table: ``plain``, ``models`` or ``fresh``."""
    WORK.mkdir(parents=True, exist_ok=True)
    return WORK / f"{name}-t{threads}.jsonl"

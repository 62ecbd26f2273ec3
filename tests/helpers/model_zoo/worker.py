"""Walks one case after another; started by ``keeper``.

Reads one JSON order a line, ``{"family": ..., "name": ...}``, and answers with one JSON line.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

HELPERS = Path(__file__).resolve().parents[1]


def onnx_families() -> Mapping[str, Callable[[str], Any]]:
    """What makes the cases of each family."""
    from model_zoo import onnx_drawn, onnx_files, onnx_foreign, onnx_older, onnx_operators

    modules = {
        "operators": onnx_operators,
        "older": onnx_older,
        "foreign": onnx_foreign,
        "drawn": onnx_drawn,
        "files": onnx_files,
    }
    return {family: module.make for family, module in modules.items()}


def answer(order: Mapping[str, str]) -> dict[str, Any]:
    """The record of one case."""
    family, name = order["family"], order["name"]
    if family == "keras":
        from model_zoo import keras_walk

        return keras_walk.walk(name)
    from model_zoo import onnx_walk

    return onnx_walk.walk(f"{family}/{name}", onnx_families()[family](name))


def main() -> None:
    sys.path.insert(0, str(HELPERS))
    warnings.simplefilter("ignore")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries that print must not answer
    for line in sys.stdin:
        try:
            record = answer(json.loads(line))
        except Exception:
            record = {"fault": traceback.format_exc()}
        print(json.dumps(record, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""Figure b of the house: lines that each use takes in Python, and what importing costs.

The uses are those of the README; its snippets are run by the tests and by ``ships.py``.
"""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
from pathlib import Path

import ledger

sys.path.insert(0, str(ledger.ROOT / "scripts"))
from documented import page_examples

#: What tells each use's snippet from the others.
USES = {"profile": "cm.profile(", "compare": "cm.compare(", "regularize": "mc.CostRegularizer("}
HEAVY = (
    *("numpy", "pandas", "scipy", "sklearn", "onnx", "onnxruntime", "matplotlib"),
    *("keras", "tensorflow", "jax", "openvino", "ai_edge_litert", "typer", "rich"),
)
#: Interpreters started, and the most that one import may take.
_STARTS, _MOST_S, _MOST_LINES = 15, 0.1, 3
_PROBE = f"""
import json, sys, time
begin = time.perf_counter()
import costmodel
took = time.perf_counter() - begin
print(json.dumps([took, [name for name in {HEAVY!r} if name in sys.modules]]))
"""


def lines_of(snippet: str) -> tuple[int, int]:
    """Imports of our packages, and logical lines beside them."""
    statements = ast.parse(snippet).body
    imports = [item for item in statements if isinstance(item, ast.Import | ast.ImportFrom)]
    return len(imports), len(statements) - len(imports)


def imported() -> tuple[list[float], set[str]]:
    """Seconds of each import, and the heavy modules that any of them brought."""
    seconds, brought = [], set()
    for _ in range(_STARTS):
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            capture_output=True,
            text=True,
            check=True,
            cwd=Path.home(),
        )
        took, found = json.loads(done.stdout)
        seconds.append(took)
        brought |= set(found)
    return seconds, brought


def main() -> None:
    ledger.parser(__doc__).parse_args()
    snippets = [
        item.text
        for item in page_examples("README.md", (ledger.ROOT / "README.md").read_text("utf-8"))
        if item.kind == "python"
    ]
    figures = []
    for use, mark in USES.items():
        (snippet,) = [text for text in snippets if mark in text]
        imports, lines = lines_of(snippet)
        what = f"lines of the use '{use}' after {imports} import"
        figures.append(
            ledger.figure(f"b-{use}", what, lines, "lines", at_most=_MOST_LINES, sound=imports == 1)
        )
    seconds, brought = imported()
    figures.append(
        ledger.figure(
            "b-import",
            f"median time of 'import costmodel' in {_STARTS} new interpreters",
            round(statistics.median(seconds), 4),
            "s",
            at_most=_MOST_S,
            repeatability={"least": round(min(seconds), 4), "most": round(max(seconds), 4)},
        )
    )
    figures.append(
        ledger.figure(
            "b-heavy", "heavy modules that it brings", len(brought), "modules", exactly=0,
            reason=", ".join(sorted(brought)),
        )
    )  # fmt: skip
    ledger.write("front-door", topic="house", figures=figures)


if __name__ == "__main__":
    main()

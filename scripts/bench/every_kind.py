"""Every kind of Keras model through ``morphnet train``, ``shrink``, ``expand`` and ``align``.

Each model of ``tests/helpers/model_kinds.py`` is saved, and then given to the command line with a
data script that imports the module which defines its layers. Models that exist in memory only go
through ``morph``. What is exported is held against Keras in every output.

    python scripts/bench/every_kind.py [--only NAME ...]
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import ledger

sys.path.insert(0, str(ledger.ROOT / "tests" / "helpers"))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from model_kinds import KINDS, Kind

#: Outputs of exported files may differ by this share of their largest value.
SAME = 1e-4
#: Models and outcomes that must be there for the figure to be sound.
LEAST = 24
TABLE = "amd-epyc-family-25-model-17/onnxruntime-float32-t2"
DATA = """
import sys
sys.path.insert(0, {helpers!r})
import keras
from model_kinds import KINDS

{trust}
kind = KINDS[{name!r}]
compiled = kind.compiled

def load():
    return kind.made()
"""


def main() -> None:
    """Try all kinds and write the page."""
    parser = ledger.parser(__doc__)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    names = parser.parse_args().only or list(KINDS)
    if names == list(KINDS):
        ledger.require_clean_tree()
    rows = {}
    for name in names:
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows[name] = tried(name, KINDS[name], Path(folder))
        rows[name]["seconds"] = round(time.perf_counter() - begin, 1)
        print(name, json.dumps(rows[name]), flush=True)
    if names == list(KINDS):
        write(rows)


def tried(name: str, kind: Kind, folder: Path) -> dict[str, Any]:
    """What became of one kind: a word per verb, and the largest difference of each output."""
    keras.utils.set_random_seed(0)
    net, data = folder / "net.keras", folder / "kind_data.py"
    model = kind.model()
    if kind.shape and not model.built and not isinstance(model, keras.Sequential):
        model(kind.made().samples())
    model.save(net)
    helpers = str(ledger.ROOT / "tests" / "helpers")
    trust = "keras.config.enable_unsafe_deserialization()" if kind.trusted else ""
    data.write_text(DATA.format(helpers=helpers, name=name, trust=trust))
    shape = ("--shape", kind.shape) if kind.shape and len(model.weights or [0]) else ()
    signal = kind.options.get("signal", "gamma")
    budget = ("--cost", "flops", "--target", "60%")
    found: dict[str, Any] = {}
    code, out = command(
        "train", net, "--data", data, *budget, "--search-epochs", 1, "--finish", "finetune",
        "--finish-epochs", 1, "--signal", signal, "--importance",
        kind.options.get("importance", "taylor"), "-o", folder / "out", "--json",
    )  # fmt: skip
    found["train"] = "done" if code == 0 else out
    if code == 0:
        found["differences"] = json.loads(out)["differences"]["onnx"]
    if signal == "gamma":
        code, out = command(
            "shrink", net, "--data", data, *budget, "-o", folder / "small.keras", "--json"
        )
    else:
        code, out = command(
            "shrink", net, "--import", data, "-s", folder / "out" / "structure.json",
            "-o", folder / "small.keras", "--json",
        )  # fmt: skip
    found["shrink"] = "done" if code == 0 else out
    code, out = command(
        "expand", net, "--import", data, *shape, "--by", 1.5, "-o", folder / "wide.keras", "--json"
    )
    found["expand"] = "done" if code == 0 else out
    code, out = command(
        "align", net, "--import", data, *shape, "--table", TABLE, "--predict-only", "--json"
    )
    found["align"] = "done" if code in {0, 1} and out.startswith("{") else out
    return found


def command(*arguments: object) -> tuple[int, str]:
    """Exit code of ``morphnet``, and what it wrote: its output, or what it said on failing."""
    from morphnet_core.cli import main as morphnet

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            morphnet([str(item) for item in arguments])
        except SystemExit as ended:
            code = int(ended.code or 0)
    text = out.getvalue()
    start = text.find("{")
    return code, text[start:] if start >= 0 else err.getvalue().strip()


def write(rows: dict[str, dict[str, Any]]) -> None:
    """The page."""
    verbs = ("train", "shrink", "expand", "align")
    finished = sum(all(row[verb] == "done" for verb in verbs) for row in rows.values())
    differences = [value for row in rows.values() for value in row.get("differences", {}).values()]
    table = ledger.table(
        "kind | train | shrink | expand | align | outputs | largest difference",
        [
            f"{name} | {' | '.join(_cell(row[verb]) for verb in verbs)} | "
            f"{len(row.get('differences', {}))} | "
            f"{max(row.get('differences', {}).values(), default=float('nan')):.1e}"
            for name, row in rows.items()
        ],
    )
    ledger.write(
        "model-kinds",
        topic="any-model",
        figures=[
            ledger.figure(
                "kinds.finished",
                f"of {len(rows)} kinds of models, those that train, shrink, expand and align",
                finished,
                "kinds",
                at_least=len(rows),
                sound=len(rows) >= LEAST,
            ),
            ledger.figure(
                "kinds.difference",
                f"largest difference of {len(differences)} outputs of exported files from Keras, "
                "as a share of the largest value",
                max(differences, default=1.0),
                at_most=SAME,
                sound=len(differences) >= len(rows),
            ),
        ],
        detail={"kinds": rows},
        notes=[
            table,
            "Convolutions over channels first cannot be trained by TensorFlow on a CPU, whose "
            "models alone can be exported: that kind is not tried.",
        ],
    )


def _cell(outcome: str) -> str:
    return "done" if outcome == "done" else outcome.replace("|", "/").replace("\n", " ")[:160]


if __name__ == "__main__":
    main()

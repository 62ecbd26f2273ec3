"""Figures b, e and f of any model: a zoo of small models, read, counted and run.

    python scripts/bench/zoo.py                   # 360 ONNX files, 230 Keras models on each backend
    python scripts/bench/zoo.py --count 2000      # a large run; run again to resume it
    python scripts/bench/zoo.py --only files      # a trial of one family, no ledger

Each model goes through a process of its own that may crash or hang. Its record is kept under
``build/bench/zoo``, by commit: what was walked with other code is walked again.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import ledger
import place

sys.path.insert(0, str(ledger.ROOT / "tests" / "helpers"))

from model_zoo import keras_models, onnx_drawn, onnx_files, onnx_foreign, onnx_older, onnx_operators
from model_zoo.keeper import Keeper, judged, wrong

Record = dict[str, Any]

#: JAX first: its trace is what the others are counted against.
BACKENDS = {"jax": "jax", "tensorflow": "tensorflow", "torch": "torch"}
SECONDS = 60.0
SEED = 15


def onnx_names(count: int) -> dict[str, list[str]]:
    """Names of about ``count`` files by family: every form of every operator, then drawn ones."""
    fixed = {
        "files": onnx_files.names(),
        "older": onnx_older.names(),
        "foreign": onnx_foreign.names(),
        "operators": onnx_operators.names(min(count // 3, 1000)),
    }
    left = count - sum(map(len, fixed.values()))
    return {**fixed, "drawn": onnx_drawn.names(max(left, count // 4), SEED)}


class Kept:
    """Records on disk, one a line, so that a run that was stopped goes on.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.found: dict[str, Record] = {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                item = json.loads(line)
                self.found[item["key"]] = item["record"]

    def walk(self, keeper: Keeper, family: str, names: Sequence[str], key: str) -> Iterator[Record]:
        """Records of cases, walked unless they were before."""
        for number, name in enumerate(names):
            title = f"{key}/{name}"
            if title not in self.found:
                self.found[title] = keeper.walk(family, name)
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps({"key": title, "record": self.found[title]}) + "\n")
                if number % 25 == 0:
                    print(f"{key} {number} of {len(names)}", flush=True)
            yield {"family": key, **self.found[title]}


def onnx_records(kept: Kept, count: int, only: str) -> list[Record]:
    """Records of the ONNX families."""
    found: list[Record] = []
    with Keeper(seconds=SECONDS) as keeper:
        for family, names in onnx_names(count).items():
            if only in {"", family}:
                found += kept.walk(keeper, family, names, family)
    return found


def keras_records(kept: Kept, count: int, only: str) -> dict[str, list[Record]]:
    """Records of the Keras models by backend, each with JAX's count."""
    found: dict[str, list[Record]] = {}
    traced: dict[str, int | None] = {}
    for backend, module in BACKENDS.items():
        if only not in {"", "keras", backend} or find_spec(module) is None:
            continue
        with Keeper(backend=backend, seconds=SECONDS) as keeper:
            records = list(kept.walk(keeper, "keras", keras_models.names(count, SEED), backend))
        if backend == "jax":
            traced = {item["name"]: item.get("traced") for item in records}
        found[backend] = [{**item, "traced": traced.get(item["name"])} for item in records]
    return found


def shares(records: Sequence[Record]) -> Counter[str]:
    """How many records were judged which way."""
    return Counter(judged(item) for item in records)


def read_figures(part: str, what: str, records: Sequence[Record]) -> list[ledger.Figure]:
    """Figure b of one part: what was read and counted right, and what ended badly."""
    counted = shares(records)
    there = sum(counted.values()) - counted["cannot"]
    whole = there - counted["named"]
    return [
        ledger.figure(
            f"b-{part}",
            f"{what}, of {whole} that the runtime runs and no layer of which is named as unread: "
            "read, and counted as the independent count",
            100 * counted["equal"] / max(whole, 1),
            "%",
            at_least=99.0,
            sound=whole > 0,
            seed=SEED,
        ),
        ledger.figure(
            f"b-{part}-named",
            f"{what}, of {there}: with layers that are named as unread, with a reason",
            counted["named"],
            "models",
        ),
        ledger.figure(
            f"b-{part}-ends",
            f"{what}, of {len(records)}: tracebacks, hangs and aborts",
            counted["crashed"],
            "models",
            exactly=0,
            sound=bool(records),
            seed=SEED,
        ),
    ]


def file_figure(records: Sequence[Record]) -> ledger.Figure:
    """Figure e: files with the habits of exporters, each of which the runtime runs."""
    files = [item for item in records if item["family"] == "files" and item.get("runs")]
    refused = [item for item in files if item["refused"] or item["crashed"]]
    return ledger.figure(
        "e",
        f"of {len(files)} files with open, -1, 0 or odd dimensions, fp16, QDQ, external data, "
        "functions or subgraphs that the runtime runs: refused by reading, lowering or running",
        len(refused),
        "files",
        exactly=0,
        sound=len(files) >= 40,
    )


def rule_figure(records: Sequence[Record]) -> ledger.Figure:
    """Figure f: rules against the runtime's own graph."""
    asked = [item for item in records if item.get("anticipated") is not None]
    equal = sum(item["anticipated"] for item in asked)
    return ledger.figure(
        "f",
        f"`anticipate` equals `lower`, of {len(asked)} float32 files",
        100 * equal / max(len(asked), 1),
        "%",
        seed=SEED,
    )


def exceptions(records: Sequence[Record]) -> str:
    """Every record that is not as it should be, and why."""
    rows = []
    for item in records:
        word = judged(item)
        if word in {"wrong", "refused", "crashed"}:
            why = {"wrong": wrong(item), "refused": item["refused"], "crashed": item["crashed"]}
            rows.append(f"{item['family']}/{item['name']} | {word} | {_short(why[word])}")
    return ledger.table("model | judged | why", rows)


def differences(records: Sequence[Record]) -> str:
    """Files that are anticipated otherwise than lowered, by what differs."""
    groups: dict[str, list[str]] = {}
    for item in records:
        if item.get("anticipated") is False:
            kinds = sorted({f"{text[0]}{text.rsplit(' ', 1)[-1]}" for text in item["differs"]})
            groups.setdefault(" ".join(kinds), []).append(str(item["name"]))
    ordered = sorted(groups.items(), key=lambda pair: -len(pair[1]))
    return ledger.table(
        "kernels (- the runtime's, + the rules') | files | such as",
        (f"{_short(kinds)} | {len(names)} | {names[0]}" for kinds, names in ordered),
    )


def named(records: Sequence[Record]) -> str:
    """Reasons for which layers are unread, with how many models have them."""
    reasons = Counter(
        reason.split(":")[0].split(" runs ")[0]
        for item in records
        for reason in item.get("unread", ())
    )
    return ledger.table("unread | models", (f"{k} | {n}" for k, n in reasons.most_common()))


def _short(value: object) -> str:
    text = re.sub(r"/[^\s'\"]*/(?=model\.)", "", " ".join(str(value).split())).replace("|", "/")
    return text if len(text) < 300 else f"{text[:297]}..."


def report(onnx: Sequence[Record], keras: Mapping[str, Sequence[Record]]) -> None:
    """Write the ledger's page."""
    figures = read_figures("onnx", "ONNX files", onnx)
    for backend in BACKENDS:
        if backend in keras:
            figures += read_figures(backend, f"Keras models on {backend}", keras[backend])
        else:
            why = f"{backend} is not installed here"
            figures.append(ledger.figure(f"b-{backend}", "Keras models", None, reason=why))
    figures += [file_figure(onnx), rule_figure(onnx)]
    everything = [*onnx, *(item for records in keras.values() for item in records)]
    families = Counter(str(item["family"]) for item in everything)
    rows = []
    for family in families:
        counted = shares([item for item in everything if item["family"] == family])
        words = ("equal", "named", "wrong", "refused", "crashed", "cannot")
        rows.append(f"{family} | " + " | ".join(str(counted[word]) for word in words))
    opsets = sorted({item["opset"] for item in onnx if item.get("opset")})
    ledger.write(
        "zoo",
        topic="any-model",
        figures=figures,
        detail={"opsets": opsets},
        notes=[
            ledger.table("family | equal | named | wrong | refused | crashed | cannot", rows),
            f"Operator sets {opsets[0]} to {opsets[-1]}. ONNX files are counted from the sizes "
            "that the runtime shows when every tensor is an output; Keras models in JAX's trace of "
            "them, and their exports as ONNX files. 'cannot': the runtime does not run the file, "
            "or Keras does not make the model on that backend.",
            "Not as they should be:",
            exceptions(everything),
            "Where rules and runtime differ:",
            differences(onnx),
            "Named as unread:",
            named(everything),
        ],
    )


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--count", type=int, default=480, help="ONNX files; half as many of Keras")
    parser.add_argument("--only", default="", help="a family, or keras, or a backend; no ledger")
    options = parser.parse_args()
    if not options.only:
        ledger.require_clean_tree()
    kept = Kept(place.folder("zoo") / f"{ledger.commit()}.jsonl")
    onnx = onnx_records(kept, options.count, options.only)
    keras = keras_records(kept, options.count // 2, options.only)
    if not options.only:
        report(onnx, keras)
        return
    found = [*onnx, *(item for records in keras.values() for item in records)]
    print(dict(shares(found)))
    print(exceptions(found))
    print(differences(onnx))


if __name__ == "__main__":
    main()

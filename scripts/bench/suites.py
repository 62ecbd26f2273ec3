"""Test suites run as figures: how many of their tests fail.

python scripts/bench/suites.py conformance [RUNNER ...]  # the contract of costmodel/testing.py
python scripts/bench/suites.py backends [BACKEND ...]    # morphnet_core on each backend of Keras
python scripts/bench/suites.py features                  # those that docs/morphnet.md names
python scripts/bench/suites.py models [KIND ...]         # kinds of models that once failed
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import ledger

COLUMNS = "passed | failed | skipped | seconds"
#: Where each runner passes the contract.
CONTRACTS = {
    "fake": ["tests/contracts/test_runners.py::TestFakeRunner"],
    "ort": ["tests/contracts/test_runners.py::TestOrtRunner"],
    "ort int8, float16": ["tests/costmodel/runners/ort/test_contract.py"],
    "xla": ["tests/costmodel/runners/xla/test_runner.py"],
    "tpu-aot": ["tests/costmodel/runners/tpu_aot/test_runner.py"],
    "litert": ["tests/costmodel/runners/litert/test_contract.py"],
    "openvino": ["tests/costmodel/runners/openvino/test_runner.py"],
    "ssh": ["tests/costmodel/remote/test_ssh_runner.py"],
    "adb": ["tests/costmodel/remote/test_adb_runner.py"],
}
BACKENDS = ("tensorflow", "jax", "torch")
#: How many features of the original docs/morphnet.md lists, each with the tests that show it.
FEATURES = 22

_COST, _MORPH = "tests/costmodel", "tests/morphnet_core"
#: Kinds of models that were read, counted or cut wrong, each with the tests that walk its kind.
MODELS = {
    "outputs without channels": [f"{_MORPH}/surgery/test_no_channels.py"],
    "vectors and numbers as data": [f"{_MORPH}/groups/test_no_channels.py"],
    "model-local functions": [f"{_COST}/onnx_model/test_functions.py"],
    "constants first in products": [f"{_COST}/test_products.py"],
    "few rows of a kind": [f"{_COST}/costs/test_likeness.py"],
    "sizes": [
        *(f"{_COST}/test_sizes.py", f"{_COST}/cli/test_sizes.py"),
        *(f"{_COST}/onnx_model/test_inputs.py", f"{_COST}/readers/test_onnx_sizes.py"),
    ],
    "inputs and outputs of any structure and type": [
        *(f"{_MORPH}/data", f"{_MORPH}/morphing/test_recipe.py"),
        f"{_MORPH}/morphing/test_rehearsal.py",
    ],
    "own layers": [f"{_MORPH}/cli/test_own_layers.py", f"{_COST}/uses/test_importing.py"],
    "normalisations along other axes": [f"{_MORPH}/surgery/test_other_axes.py"],
    "one vocabulary, every normalisation priced": [
        *(f"{_COST}/test_kinds.py", f"{_COST}/anticipation/test_formulas.py"),
        f"{_MORPH}/pricing/test_normalised.py",
    ],
    "subclasses": [f"{_COST}/readers/test_keras_own.py"],
    "sizes that onnx cannot infer": [f"{_COST}/readers/test_onnx_stand_ins.py"],
    "order, data outside, 16 bits, unbuilt models": [
        *(f"{_COST}/onnx_model/test_order.py", f"{_COST}/readers/test_keras_graph.py"),
        *(f"{_COST}/readers/test_keras_copy.py", f"{_COST}/readers/test_keras_export.py"),
    ],
    "recurrent and integer kernels": [
        *(f"{_COST}/readers/test_keras_kinds.py", f"{_MORPH}/surgery/test_recurrent.py"),
    ],
    "ways around a gamma": [f"{_MORPH}/signals/test_ways.py"],
    "any cut": [
        *(f"{_MORPH}/surgery/test_exactness.py", f"{_MORPH}/surgery/test_random_models.py"),
        *(f"{_MORPH}/groups/test_random_networks.py", f"{_MORPH}/surgery/test_round_trip.py"),
    ],
    "any file, without a fault of the product": [
        *("tests/test_zoo_onnx.py", "tests/test_zoo_keras.py", f"{_COST}/readers/test_tflite.py"),
        *(f"{_COST}/readers/test_saved_model.py", f"{_COST}/readers/test_formats.py"),
    ],
}


def run(
    id: str,  # noqa: A002 - the ledger's own word
    what: str,
    tests: Sequence[str],
    environment: Mapping[str, str] | None = None,
) -> tuple[ledger.Figure, str]:
    """Run tests with pytest; none may fail, and some must pass.

    Args:
        id: of the figure.
        what: whose tests they are.
        tests: files, names and options of pytest.
        environment: variables to set.

    Returns:
        The figure, and a row of ``COLUMNS``.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *tests],
        cwd=ledger.ROOT,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        check=False,
        capture_output=True,
        text=True,
    )
    tail = done.stdout[-300:]
    found = {word.rstrip("s"): int(count) for count, word in re.findall(r"(\d+) (\w+)", tail)}
    passed, failed = found.get("passed", 0), found.get("failed", 0) + found.get("error", 0)
    seconds = time.perf_counter() - begun
    row = f"{passed} | {failed} | {found.get('skipped', 0)} | {seconds:.0f}"
    print(what, row, done.stdout[-3000:] if done.returncode else "", flush=True)
    figure = ledger.figure(
        id,
        f"tests of {what} that fail, of {passed + failed}",
        failed,
        "tests",
        exactly=0,
        sound=done.returncode == 0 and passed > 0,
    )
    return figure, row


def conformance(names: Sequence[str]) -> None:
    """Figure a of the devices: every runner passes the contract."""
    found = {
        name: run(f"a-{name}", f"the contract, {name},", CONTRACTS[name])
        for name in names or CONTRACTS
    }
    write("conformance", "devices", "runner", found)


def backends(names: Sequence[str]) -> None:
    """Figure g of MorphNet: the same tests are green on TensorFlow, JAX and PyTorch."""
    tests = ["-n", "2", "--dist", "loadscope", "tests/morphnet_core"]
    found = {
        name: run(f"g-{name}", f"morphnet_core on {name}", tests, {"KERAS_BACKEND": name})
        for name in names or BACKENDS
    }
    skipped = "Skipped on JAX and PyTorch: exports that need TensorFlow."
    write("morphnet-backends", "morphnet", "backend", found, skipped)


def models(names: Sequence[str]) -> None:
    """Figure a of any model: each kind that failed has tests over its neighbours, and they pass."""
    found = {
        name: run(f"a-{number}", name, ["-n", "2", "--dist", "loadscope", *MODELS[name]])
        for number, name in enumerate(names or MODELS, start=1)
    }
    parts = (f"{name} | {', '.join(map(os.path.basename, MODELS[name]))}" for name in found)
    write("any-model", "any-model", "kind", found, ledger.table("kind | tests", parts))


def write(
    page: str, topic: str, column: str, found: Mapping[str, tuple[ledger.Figure, str]], *notes: str
) -> None:
    """Write a page with a row for each suite."""
    rows = (f"{name} | {row}" for name, (_, row) in found.items())
    ledger.write(
        page,
        topic=topic,
        figures=[figure for figure, _ in found.values()],
        notes=[ledger.table(f"{column} | {COLUMNS}", rows), *notes],
    )


def features(_: Sequence[str]) -> None:
    """Figure a of MorphNet: each of the original's features has tests, and they pass."""
    found = named_tests((ledger.ROOT / "docs" / "morphnet.md").read_text(encoding="utf-8"))
    every = sorted({test for tests in found.values() for test in tests})
    suite, row = run("a", "the original's features", ["-p", "no:cacheprovider", *every])
    figure = ledger.figure(
        "a",
        "features of the original with a place here and a passing test",
        sum(map(bool, found.values())) if suite["passed"] else 0,
        "features",
        exactly=FEATURES,
    )
    ledger.write(
        "morphnet-features",
        topic="morphnet",
        figures=[figure],
        detail={"tests": found},
        notes=["The table is in [docs/morphnet.md](../morphnet.md).", ledger.table(COLUMNS, [row])],
    )


def named_tests(page: str) -> dict[int, list[str]]:
    """The tests of each row of the page's table, as pytest takes them."""
    folder = Path("tests/morphnet_core")
    return {
        int(row[1]): [
            f"{os.path.normpath(folder / file)}::{name}"
            for file, name in re.findall(r"`([\w./]+\.py)::(\w+)`", row[0])
        ]
        for row in re.finditer(r"(?m)^\| (\d+) \|.*", page)
    }


def main() -> None:
    parser = ledger.parser(__doc__)
    kinds = {
        "conformance": conformance,
        "backends": backends,
        "features": features,
        "models": models,
    }
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of runners, backends or kinds")
    options = parser.parse_args()
    kinds[options.kind](options.names)


if __name__ == "__main__":
    main()

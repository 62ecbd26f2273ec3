"""Figure g of MorphNet: the same tests are green on TensorFlow, JAX and PyTorch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import ledger

BACKENDS = ("tensorflow", "jax", "torch")


def main() -> None:
    started = time.perf_counter()
    figures, lines = (
        [],
        ["| backend | passed | failed | skipped | seconds |", "|---|---|---|---|---|"],
    )
    for backend in sys.argv[1:] or BACKENDS:
        begun = time.perf_counter()
        environment = os.environ | {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "loadscope"]
        done = subprocess.run(
            [*command, "tests/morphnet_core"],
            cwd=ledger.ROOT, env=environment, check=False, capture_output=True, text=True,
        )  # fmt: skip
        print(done.stdout[-3000:], flush=True)
        found = {word: int(count) for count, word in re.findall(r"(\d+) (\w+)", done.stdout[-300:])}
        passed, failed = found.get("passed", 0), found.get("failed", 0) + found.get("error", 0)
        skipped = found.get("skipped", 0)
        seconds = time.perf_counter() - begun
        lines.append(f"| {backend} | {passed} | {failed} | {skipped} | {seconds:.0f} |")
        figures.append(
            ledger.figure(
                id=f"g-{backend}",
                what=f"tests of morphnet_core that fail on {backend}, of {passed + failed}",
                target="0",
                reached=failed,
                unit="tests",
                passed=done.returncode == 0 and failed == 0 and passed > 0,
            )
        )
    notes = ["\n".join(lines), "Skipped on JAX and PyTorch: exports that need TensorFlow."]
    ledger.write(
        "morphnet-backends", figures=figures, started=started, notes=notes, topic="morphnet"
    )


if __name__ == "__main__":
    main()

"""Figure a of the devices: every runner passes the conformance suite of costmodel/testing.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import ledger

CONTRACTS = {
    "fake": ["tests/contracts/test_runners.py::TestFakeRunner"],
    "ort": ["tests/contracts/test_runners.py::TestOrtRunner"],
    "ort int8, float16": ["tests/costmodel/runners/ort/test_contract.py"],
    "xla": ["tests/costmodel/runners/xla/test_runner.py"],
    "tpu-aot": ["tests/costmodel/runners/tpu_aot/test_runner.py"],
    "litert": ["tests/costmodel/runners/litert/test_contract.py"],
    "openvino": ["tests/costmodel/runners/openvino/test_openvino_runner.py"],
    "ssh": ["tests/costmodel/remote/test_ssh_runner.py"],
    "adb": ["tests/costmodel/remote/test_adb_runner.py"],
}


def main() -> None:
    started = time.perf_counter()
    figures: list[ledger.Figure] = []
    lines = ["| runner | passed | failed | skipped | seconds |", "|---|---|---|---|---|"]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in sys.argv[1:] or CONTRACTS:
        begun = time.perf_counter()
        command = [sys.executable, "-m", "pytest", "-q", *CONTRACTS[name]]
        done = subprocess.run(
            command, cwd=ledger.ROOT, env=environment, check=False, capture_output=True, text=True
        )
        tail = done.stdout[-300:]
        found = {word.rstrip("s"): int(count) for count, word in re.findall(r"(\d+) (\w+)", tail)}
        passed, failed = found.get("passed", 0), found.get("failed", 0) + found.get("error", 0)
        seconds = time.perf_counter() - begun
        lines.append(
            f"| {name} | {passed} | {failed} | {found.get('skipped', 0)} | {seconds:.0f} |"
        )
        print(lines[-1], flush=True)
        if done.returncode:
            print(done.stdout[-3000:], flush=True)
        figures.append(
            ledger.figure(
                id=f"a-{name}",
                what=f"contract tests that fail for {name}, of {passed + failed}",
                target="0",
                reached=failed,
                unit="tests",
                passed=done.returncode == 0 and passed > 0,
            )
        )
    notes = ["\n".join(lines)]
    ledger.write("conformance", figures=figures, started=started, notes=notes, topic="devices")


if __name__ == "__main__":
    main()

"""Figure a of the devices: every runner passes the conformance suite of costmodel/testing.py."""

from __future__ import annotations

import ledger
import suites

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
    parser = ledger.parser(__doc__)
    parser.add_argument("runners", nargs="*", metavar="RUNNER", help=", ".join(CONTRACTS))
    names = parser.parse_args().runners or list(CONTRACTS)
    found = {
        name: suites.run(f"a-{name}", f"the contract, {name},", CONTRACTS[name]) for name in names
    }
    rows = [f"{name} | {row}" for name, (_, row) in found.items()]
    ledger.write(
        "conformance",
        topic="devices",
        figures=[figure for figure, _ in found.values()],
        notes=[ledger.table(f"runner | {suites.COLUMNS}", rows)],
    )


if __name__ == "__main__":
    main()

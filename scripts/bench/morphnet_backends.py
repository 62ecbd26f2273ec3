"""Figure g of MorphNet: the same tests are green on TensorFlow, JAX and PyTorch."""

from __future__ import annotations

import ledger
import suites

BACKENDS = ("tensorflow", "jax", "torch")


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("backends", nargs="*", default=BACKENDS)
    tests = ["-n", "2", "--dist", "loadscope", "tests/morphnet_core"]
    found = {
        backend: suites.run(
            f"g-{backend}", f"morphnet_core on {backend}", tests, {"KERAS_BACKEND": backend}
        )
        for backend in parser.parse_args().backends
    }
    rows = [f"{backend} | {row}" for backend, (_, row) in found.items()]
    ledger.write(
        "morphnet-backends",
        topic="morphnet",
        figures=[figure for figure, _ in found.values()],
        notes=[
            ledger.table(f"backend | {suites.COLUMNS}", rows),
            "Skipped on JAX and PyTorch: exports that need TensorFlow.",
        ],
    )


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Make a bundle for 64-bit ARM boards and phones that have no Python with ONNX Runtime.

    python scripts/arm64_bundle.py build/arm64.tgz
    costmodel profile --runner ssh://board --runner-option bundle=build/arm64.tgz ...

With --emulated the bundle runs under qemu-aarch64 on a machine with another processor: for tests of
everything but time. Its numbers are never called measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from costmodel.errors import CostModelError
from costmodel.remote.bundle_build import build_bundle


def main() -> int:
    summary, _, more = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=more, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT.tgz", help="archive to write")
    parser.add_argument("--emulated", action="store_true", help="run it under qemu-aarch64")
    parser.add_argument("--packages", type=Path, metavar="DIR", help="arm64 .deb files to take")
    parser.add_argument("--wheels", type=Path, metavar="DIR", help="aarch64 wheels to take")
    given = parser.parse_args()
    try:
        made = build_bundle(
            given.out, emulated=given.emulated, packages=given.packages, wheels=given.wheels
        )
    except (CostModelError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    packed, unpacked = given.out.stat().st_size >> 20, made.num_bytes >> 20
    versions = ", ".join(f"{n} {made.packages[n]}" for n in ("numpy", "onnxruntime"))
    print(f"{given.out}: {packed} MiB, {unpacked} MiB in {len(made.files)} files; {versions}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

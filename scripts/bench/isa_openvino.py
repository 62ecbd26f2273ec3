"""Rules against OpenVINO's own graph on random networks, on every instruction set it has here.

    python scripts/bench/isa_openvino.py                          # both, 150 networks each
    python scripts/bench/isa_openvino.py --networks 20 --isa avx2 # one; nothing written down

AVX2 is had by a cap on the runtime, and on fewer networks by ``qemu-x86_64 -cpu Haswell`` (Debian's
``qemu-user``) too, because a few kernels ask the processor itself and not the cap. AVX-512 needs a
processor that has it. There are no exceptions: what is not modelled is not drawn, and is listed
and held as strict exceptions by tests/costmodel/anticipation/test_openvino.py.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import ledger
import place

sys.path.insert(0, str(place.ROOT / "tests" / "helpers"))
_agreement: Any = importlib.import_module("openvino_agreement")
NETWORKS, EMULATED = 150, 16


def hold(isa: str, networks: int, *, emulated: bool = False) -> tuple[ledger.Figure, object]:
    """One figure, and what disagreed.

    Args:
        isa: instruction set.
        networks: how many at least.
        emulated: emulate the processor rather than cap the runtime.
    """
    seeds = range(-(-networks // len(_agreement.WRITTEN)))
    found = _agreement.agreement_elsewhere(isa, seeds, emulated=emulated)
    how = "emulated processor" if emulated else "here"
    name = f"c-openvino-{isa}{'-emulated' if emulated else ''}"
    if found is None:
        reason = "no emulator is installed" if emulated else "the processor has none, nor a cap"
        what = f"random networks as OpenVINO executes them on {isa}, {how}"
        return ledger.figure(name, what, None, "share", exactly=1.0, reason=reason), []
    share = 1.0 - len(found["disagree"]) / found["networks"]
    what = f"of {found['networks']} random networks, as OpenVINO executes them on {isa}, {how}"
    return ledger.figure(name, what, share, "share", exactly=1.0, seed=0), found["disagree"]


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--networks", type=int, default=NETWORKS)
    parser.add_argument("--isa", choices=sorted(_agreement.CAPS))
    options = parser.parse_args()
    figures, detail = [], {}
    for isa in [options.isa] if options.isa else _agreement.CAPS:
        ways = [(options.networks, False)]
        if isa == "avx2":
            ways.append((min(options.networks, EMULATED), True))
        for networks, emulated in ways:
            item, detail[f"{isa}{' emulated' * emulated}"] = hold(isa, networks, emulated=emulated)
            figures.append(item)
            print(item["what"], item["reached"], item.get("reason", ""), flush=True)
    if options.isa is None and options.networks == NETWORKS:
        ledger.write("isa-openvino", topic="house", figures=figures, detail={"disagree": detail})
    elif any(item["passed"] is False for item in figures):
        sys.exit(str(detail))


if __name__ == "__main__":
    main()

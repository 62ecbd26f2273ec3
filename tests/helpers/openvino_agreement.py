"""Holds OpenVINO's rules against its own graph on random networks, on a chosen instruction set.

python tests/helpers/openvino_agreement.py 0 20        # seeds; on what the runtime uses here
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from openvino_networks import random_net, random_planar_net

from costmodel.anticipation import anticipate
from costmodel.op import Op
from costmodel.readers.onnx import read_onnx
from costmodel.runners.openvino.runner import OpenVinoRunner

ROOT = Path(__file__).resolve().parents[2]
#: Ways of drawing a network from a seed.
WRITTEN: Mapping[str, Callable[[int, Path], Path]] = {
    "channels last": random_net,
    "planar": random_planar_net,
}
#: What caps oneDNN at an instruction set; the highest needs no cap.
CAPS: Mapping[str, str] = {"avx512": "", "avx2": "AVX2"}
#: Says what an x86 processor without AVX-512 says of itself, to all parts of the runtime.
EMULATOR = ("qemu-x86_64", "-cpu", "Haswell")


def compared(runner: OpenVinoRunner, path: Path) -> tuple[list[Op], list[Op]]:
    """Ops that only the runtime has, and Ops that only the rules have."""
    lowered = runner.lower(path, {})
    assert not lowered.unread, lowered.unread
    network = anticipate(read_onnx(path), runner.device)
    network.check()
    theirs, ours = Counter(lowered.ops), Counter(network.ops)
    return list((theirs - ours).elements()), list((ours - theirs).elements())


def agreement(seeds: Sequence[int]) -> dict[str, Any]:
    """How many networks were compared in this process, and which are anticipated otherwise.

    Two networks a seed: ``networks`` counts them, ``disagree`` names them with the Ops of each.
    """
    runner = OpenVinoRunner()
    disagree = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            for name, written in WRITTEN.items():
                found = compared(runner, written(seed, Path(folder) / "net.onnx"))
                if any(found):
                    labels = [[f"{op.label} {op.implementation}" for op in ops] for ops in found]
                    disagree.append([name, seed, *labels])
    isa = runner.device.isa
    return {"isa": isa, "networks": len(seeds) * len(WRITTEN), "disagree": disagree}


def agreement_elsewhere(
    isa: str, seeds: Sequence[int], *, emulated: bool = False
) -> dict[str, Any] | None:
    """``agreement`` in a process of its own whose runtime uses ``isa``.

    Args:
        isa: a key of ``CAPS``.
        seeds: of the networks.
        emulated: run on an emulated processor rather than under a cap; AVX2 only.

    Returns:
        ``None`` if this machine cannot show it.

    Raises:
        RuntimeError: if the process fails.
    """
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_MAX_CPU_ISA")}
    command = [sys.executable, __file__, str(seeds[0]), str(seeds[-1] + 1)]
    if emulated:
        if isa != "avx2" or shutil.which(EMULATOR[0]) is None:
            return None
        command = [*EMULATOR, *command]
    elif CAPS[isa]:
        environment["ONEDNN_MAX_CPU_ISA"] = CAPS[isa]
    paths = (str(ROOT), str(Path(__file__).parent), environment.get("PYTHONPATH", ""))
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found if found["isa"] == isa else None


if __name__ == "__main__":
    sys.stdout.write(json.dumps(agreement(range(int(sys.argv[1]), int(sys.argv[2])))) + "\n")

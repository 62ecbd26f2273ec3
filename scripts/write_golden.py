"""Writes one file of every format, as this release does, for later releases to read.

    python scripts/write_golden.py [--release 0.2.0]

Done once before a release: it writes ``tests/golden/<release>`` and never changes a file that is
there; formats that came since are added. What of it later code must find is written beside it, by
the code that ``tests/test_golden.py`` reads it with. Formats that this release has not are
left out, so that the script also runs within an older checkout, for files that were not kept then.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
MAPPING = """\
[columns]
latency_us = "took"
out_channels = "filters"

[constants]
device = "my phone"
runtime = "tflite-gpu"
op = "conv2d"
layout = "nhwc"
"""
FLEET = """\
out = "tables"
models = ["net.json"]
samples = 40
thinned = 1
rounds = 8
budget = "10m"
seed = 7
patience = "90s"
ray = "auto"
work = "/var/tmp/fleet"
options = { noise = 0.5 }
sizes = { height = 320 }

[[devices]]
name = "board-1"
runner = "fake://board-1"
host = "lab-a"
threads = 4

[[devices]]
name = "here"
runner = "fake"
host = "lab-b"
options = { speed = 2, realtime = true, misbehave = "crash:relu" }
sizes = { width = 64 }
models = []
samples = 20
"""
SWEEP = """\
model = "net.json"
data = "data.py"
out = "found"
budgets = ["80%", "60%", "5.5"]
seeds = [0, 3]
metric = "accuracy"
cpus = 2
ray = "auto"
patience = 120

[search]
search_epochs = 2
finish = "finetune"
finish_epochs = 3
batch_size = 32
importance = "signal"
signal = "group_lasso"
distil = 0.5
grow = 1.5
augment = true
export = ["onnx", "litert"]

[[devices]]
name = "cpu"
table = "../table.jsonl"
donors = ["../table.jsonl"]
cost = "lookup"
runner = "fake"
threads = 2
options = { noise = 0.5 }
predict_only = true

[[devices]]
name = "anything"
cost = "flops"
"""
TIMES = """\
batch,height,width,in_channels,filters,kernel,stride,padding,took
1,56,56,64,64,3,1,same,410
1,28,28,64,128,3,2,same,230
"""


def table(path: Path) -> None:
    """Rows of every sort: measured, imported, failed, a whole network."""
    from costmodel.measurement import Measurement, Round
    from costmodel.op import Op, conv_op
    from costmodel.runners.fake import FakeRunner
    from costmodel.table import LatencyTable

    rounds = tuple(Round(number=n, quiet_ms=0.5 + n / 8, median_ms=0.75 + n / 8) for n in range(4))
    convs = [
        conv_op(in_channels=8 * n, out_channels=16, size=(14, 14), kernel=(3, 3), stride=2)
        for n in (1, 2, 3)
    ]
    add = Op(kind="add", inputs=((1, 64, 14, 14),) * 2, outputs=((1, 64, 14, 14),))
    rows = [
        Measurement.from_rounds(convs[0], rounds),
        Measurement.from_rounds(convs[1], rounds[:2]),
        Measurement.from_rounds(convs[2], (), status="timeout", reason="no answer within 60 s"),
        Measurement.from_rounds(add, (), status="rejected", reason="the runtime refuses it"),
    ]
    LatencyTable(FakeRunner(threads=2).device, rows).save(path)


def structure(path: Path) -> None:
    """A structure with everything that it may hold."""
    from morphnet_core.structure import Structure
    from morphnet_core.structure_fields import LayerWidth

    layers = {
        "conv1": LayerWidth(count=2, of=4, kept=(0, 2), operation="Conv2D"),
        "head/dense": LayerWidth(count=10, of=10, kept=tuple(range(10)), operation="MatMul"),
    }
    Structure(
        layers=layers, groups={"conv1": 2}, device="fake", costs={"flops": 1.2e9},
        predicted_ms=1.5, measured_ms=1.625,
    ).save(path)  # fmt: skip


def original_structure(path: Path) -> None:
    """What the original MorphNet's exporter writes."""
    path.write_text('{\n  "conv1/Conv2D": 25,\n  "logits/MatMul": 10\n}\n', encoding="utf-8")


def prediction(path: Path) -> None:
    """``predict --json``."""
    path.write_text(_told("predict", "--cost", "lookup"), encoding="utf-8")


def comparison(path: Path) -> None:
    """``compare --save-baseline``."""
    _told("compare", "--cost", "lookup", "--rounds", "2", "--save-baseline", str(path))


def _told(verb: str, *options: str) -> str:
    """What a verb prints of a network of the fake device, in a process of its own."""
    import tempfile

    from costmodel.measurement import Measurement, Round
    from costmodel.op import Op, conv_op
    from costmodel.runners.fake import FakeRunner, law_ms, write_model
    from costmodel.table import LatencyTable

    ops = [
        *(conv_op(in_channels=16, out_channels=n, size=(14, 14), kernel=(3, 3)) for n in (16, 32)),
        Op(kind="relu", inputs=((1, 32, 14, 14),), outputs=((1, 32, 14, 14),)),
        Op(kind="add", inputs=((1, 32, 14, 14),) * 2, outputs=((1, 32, 14, 14),)),
    ]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        net = write_model(folder / "net.json", ops)
        runner = FakeRunner()
        rows = [
            Measurement.from_rounds(
                op, [Round(number=n, quiet_ms=law_ms(op), median_ms=law_ms(op)) for n in range(2)]
            )
            for op in dict.fromkeys(layer.op for layer in runner.lower(net, {}).layers)
        ]
        LatencyTable(runner.device, rows).save(folder / "fake.jsonl")
        run = "from costmodel.cli import main; main()"
        words = [verb, net.name, "--table", "fake.jsonl", *options, "--json"]
        return subprocess.run(
            [sys.executable, "-c", run, *words], cwd=folder, check=True, capture_output=True,
            text=True,
        ).stdout  # fmt: skip


def morph(path: Path) -> None:
    """What ``morphnet train`` leaves for a page."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    morph_folder: Callable[[Path], Path] = import_module("shown").morph_folder
    morph_folder(path.parent)


def state(path: Path) -> None:
    """What an interrupted training leaves."""
    from morphnet_core.morphing.statefile import State, write_state

    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    belongs: dict[str, Any] = import_module("golden").BELONGS
    arrays: dict[str, NDArray[Any]] = {
        "model/0": np.arange(24.0, dtype=np.float32).reshape(2, 3, 4),
        "model/1": np.zeros((0, 4), dtype=np.float64),
        "optimizer/0": np.array(7, dtype=np.int64),
        "alive": np.array([True, False, True]),
    }
    values = {"epoch": 1, "step": 3, "done": False, "seconds": 12.5, "losses": [1.5, None]}
    write_state(path, belongs, State(values=values, arrays=arrays))


def calibration(path: Path) -> None:
    """A law from a TPU's estimates to its times."""
    from costmodel.runners.tpu_aot.calibrate import EstimateCalibration

    EstimateCalibration(scale=1.125, per_op_ms=0.01, offset_ms=0.5, points=6, error=0.04).save(path)


def mapping(path: Path) -> None:
    """How a list of somebody's times is read, and the list."""
    path.write_text(MAPPING, encoding="utf-8")
    path.with_name("times.csv").write_text(TIMES, encoding="utf-8")


def plan(path: Path) -> None:
    """``morphnet plan``: a structure of a network without training."""
    chosen = import_module("morphnet_core.uses.planning").plan
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    network = import_module("onnx_graphs").bottleneck(8, 16)
    chosen(network, target="60%", cost="flops").save(path)


def fleet(path: Path) -> None:
    """What a fleet file may say."""
    import_module("costmodel.fleets.spec")
    path.parent.mkdir(exist_ok=True)
    (path.parent / "net.json").write_text("[]\n", encoding="utf-8")
    path.write_text(FLEET, encoding="utf-8")


def fleet_state(path: Path) -> None:
    """How far a fleet was, as its driver keeps it."""
    standing = import_module("costmodel.fleets.standing")
    spec = import_module("costmodel.fleets.spec")
    boards = ("board-1", "board-2")
    part = import_module("costmodel.fleets.dealing").Part(boards=boards, present=boards[:1])
    done = standing.Standing(
        state="done", device="fake", kind="0f3c", rows=3, wanted=3, done=24, total=24, spent=12.5,
        asked="9a41", design=4, part=0,
    )  # fmt: skip
    away = standing.Standing(state="away", reason="its host is gone", asked="77e0")
    standing.save_state(
        spec.Fleet(path=path, out=path.parent, devices=()),
        standing.Saved(id="c0ffee", devices={"board-1": done, "board-2": away}, parts=(part,)),
    )


def sweep(path: Path) -> None:
    """What a sweep file may say."""
    import_module("morphnet_core.uses.sweeping")
    path.parent.mkdir(exist_ok=True)
    for name in ("net.json", "data.py"):
        (path.parent / name).touch()
    path.write_text(SWEEP, encoding="utf-8")


#: Who writes what, by the names that ``tests/helpers/golden.py`` reads.
WRITERS: dict[str, Callable[[Path], None]] = {
    "table.jsonl": table,
    "structure.json": structure,
    "original-structure.json": original_structure,
    "prediction.json": prediction,
    "comparison.json": comparison,
    "morph/morph.json": morph,
    "state.npz": state,
    "calibration.json": calibration,
    "mapping.toml": mapping,
    "plan.json": plan,
    "fleets/fleet.toml": fleet,
    "fleets/fleet.json": fleet_state,
    "fleets/sweep.toml": sweep,
}


def write_all(folder: Path) -> None:
    """Write every format that this release has and the folder has not; says which there is not."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in WRITERS.items():
        if (folder / name).exists():
            continue
        try:
            write(folder / name)
        except (ImportError, subprocess.CalledProcessError) as error:
            print(f"{name}: not in this release ({error})")


def expect(folder: Path) -> None:
    """Write what this code finds in the files of a release; what was found before stays."""
    sys.path.insert(0, str(ROOT / "tests" / "helpers"))
    summaries = import_module("golden").SUMMARIES
    path = folder / "expected.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for name, read in summaries.items():
        if name not in found and (folder / name).exists():
            found[name] = read(folder / name)
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--release", help="its version; by default this one's")
    parser.add_argument("--out", type=Path, help="where else than in tests/golden; files only")
    arguments = parser.parse_args()
    if arguments.out is not None:
        write_all(arguments.out)
        return 0
    release = arguments.release or import_module("costmodel").__version__
    folder = ROOT / "tests" / "golden" / release
    if not folder.exists() or release == import_module("costmodel").__version__:
        write_all(folder)
    expect(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

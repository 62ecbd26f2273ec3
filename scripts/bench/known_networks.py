"""Networks whose kernels are in the table: profiled for ten minutes, predicted, and measured.

    python scripts/bench/known_networks.py          # 15 minutes, the machine to itself
    python scripts/bench/known_networks.py --again  # predict anew, time nothing

Small and large networks of many families, tiny ones that last microseconds, and recurrent ones.
Every one is measured afresh after the table is made, in processes of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import comparisons
import development
import exports
import ledger
import place

import costmodel as cm
from costmodel.calibration import fit_calibration
from costmodel.clocking import measure
from costmodel.comparison import Comparison
from costmodel.costs.regression import fit_regression
from costmodel.model_rows import model_op
from costmodel.network import model_digest
from costmodel.prediction import price_network
from costmodel.profiler import Plan
from costmodel.registry import load_runner
from costmodel.table import LatencyTable

SAMPLES, BUDGET, SEED = 100, "10m", 0
PLAN = Plan(rounds=10, min_rounds=8, visit_ms=60.0, restart_every=1, budget_ms=240e3)
#: Of the development networks; every kernel of each is measured.
CHOSEN = (
    "keras-MobileNet", "keras-MobileNetV2", "keras-MobileNetV3Small", "keras-VGG16",
    "light_bvlc_alexnet", "light_inception_v1", "light_resnet50", "light_shufflenet",
    "light_squeezenet", "mnist-8", "resnet20_cifar10", "torchvision-mnasnet0_5",
    "torchvision-regnet_x_800mf", "torchvision-resnet18", "torchvision-shufflenet_v2_x0_5",
    "torchvision-squeezenet1_1", "torchvision-vit_b_16", "ultraface_slim-320", "yunet_s_320",
)  # fmt: skip


def reader(target: Path) -> None:
    """Reads a line of text: convolutions, then a recurrent layer both ways, twice."""
    import torch
    from torch import nn

    class Reader(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            layers: list[Any] = []
            for came, goes, pool in (
                (1, 32, (2, 2)), (32, 64, (2, 2)), (64, 128, (2, 1)), (128, 128, (4, 1))
            ):  # fmt: skip
                layers += [nn.Conv2d(came, goes, 3, padding=1), nn.ReLU(), nn.MaxPool2d(pool)]
            self.seen = nn.Sequential(*layers)
            self.read = nn.LSTM(128, 128, num_layers=2, bidirectional=True)
            self.told = nn.Linear(256, 37)

        def forward(self, image: Any) -> Any:
            places = self.seen(image).squeeze(2).permute(2, 0, 1)
            return self.told(self.read(places)[0]).softmax(-1)

    _export(Reader(), torch.randn(1, 1, 32, 100), target)


def listener(target: Path) -> None:
    """Hears a word: one convolution over time, then gated units."""
    import torch
    from torch import nn

    class Listener(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.heard = nn.Sequential(nn.Conv1d(40, 64, 5, stride=2), nn.ReLU())
            self.kept = nn.GRU(64, 96, num_layers=2)
            self.told = nn.Linear(96, 12)

        def forward(self, sound: Any) -> Any:
            return self.told(self.kept(self.heard(sound).permute(2, 0, 1))[0][-1])

    _export(Listener(), torch.randn(1, 40, 80), target)


def forecaster(target: Path) -> None:
    """Tells the next value of a few signals: tens of microseconds in all."""
    import torch
    from torch import nn

    class Forecaster(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kept = nn.LSTM(8, 32)
            self.told = nn.Linear(32, 1)

        def forward(self, past: Any) -> Any:
            return self.told(self.kept(past)[0][-1])

    _export(Forecaster(), torch.randn(24, 1, 8), target)


def _export(network: Any, example: Any, target: Path) -> None:
    """As an ONNX file with recurrent layers of its own, which the newer exporter takes apart."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(network.eval(), (example,), str(target), dynamo=False, opset_version=17)


def digits() -> Any:
    """Tells digits apart, in a few microseconds."""
    import keras
    from keras import layers

    image = keras.Input((28, 28, 1), name="image")
    data = layers.Conv2D(8, 3, strides=2, activation="relu")(image)
    data = layers.Conv2D(16, 3, strides=2, activation="relu")(data)
    data = layers.GlobalAveragePooling2D()(data)
    return keras.Model(image, layers.Dense(10)(data), name="digits")


RECURRENT: tuple[Callable[[Path], None], ...] = (reader, listener, forecaster)


def networks() -> list[Path]:
    """Files of all networks, each made once."""
    folder = place.folder("known")
    found = development.networks()
    files = [found[name][0] for name in CHOSEN]
    files.append(exports.keras_model(folder / "digits.onnx", digits))
    for make in RECURRENT:
        files.append(folder / f"{make.__name__}.onnx")
        if not files[-1].exists():
            make(files[-1])
    return files


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--again", action="store_true", help="predict anew, time nothing")
    options = parser.parse_args()
    folder, files = place.folder("known"), networks()
    path, kept = folder / "table.jsonl", folder / "networks.jsonl"
    if not (options.again and path.exists()):
        report = cm.profile(
            path, models=files, samples=SAMPLES, thinned=0, budget=BUDGET, seed=SEED
        )
        path.with_suffix(".txt").write_text(comparisons.told(report))
    runner = load_runner("ort", {"threads": 1})
    if not (options.again and kept.exists()):
        rows = measure(files, runner="ort", options={"threads": 1}, plan=PLAN)
        LatencyTable(runner.device, rows).save(kept)
    table, measured = LatencyTable.load(path), LatencyTable.load(kept)
    cost = fit_regression(table)
    found = []
    for file in files:
        network = runner.lower(file, {})
        whole = model_op(network.name, model_digest(file, {}), network.ops)
        # Its own time is in the table as well: the law that it is held against has not seen it.
        rest = LatencyTable(table.device, [r for op, r in table.rows.items() if op != whole])
        calibration = fit_calibration(rest, cost)
        found.append(
            Comparison(
                prediction=price_network(network, cost, calibration, device=table.device),
                measurement=measured[whole],
                device=table.device,
            )
        )
    errors = [item.error for item in found if item.error is not None]
    repeat = {"median_half_spread": median(item.repeatability or 0.0 for item in found)}
    inside = [bool(item.in_interval) for item in found]
    shares = {limit: sum(abs(e) <= limit for e in errors) / len(errors) for limit in (0.05, 0.1)}
    what = f"of {len(errors)} networks whose kernels are in the table"
    ledger.write(
        "known-networks",
        topic="any-network",
        figures=[
            ledger.figure("b-known-10", f"within 10 %, {what}", shares[0.1], "share",
                          seed=SEED, at_least=1.0, repeatability=repeat, sound=len(errors) >= 20),
            ledger.figure("b-known-5", f"within 5 %, {what}", shares[0.05], "share", seed=SEED,
                          at_least=0.9, repeatability=repeat, sound=len(errors) >= 20),
            ledger.figure("b-known-median", f"median |error| {what}", median(map(abs, errors)),
                          "share", seed=SEED, repeatability=repeat),
            ledger.figure("b-known-signed", f"median signed error {what}", median(errors), "share",
                          seed=SEED, repeatability=repeat),
            ledger.figure("b-known-covered", f"in their 90 % interval, {what}",
                          sum(inside) / len(inside), "share", seed=SEED),
        ],
        notes=[
            f"Profile: `--samples {SAMPLES} --budget {BUDGET}`, "
            f"{path.with_suffix('.txt').read_text()}. Each network's own time is left out of the "
            "law of sums that it is predicted with.",
            ledger.table(comparisons.COLUMNS, comparisons.rows(found)),
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()

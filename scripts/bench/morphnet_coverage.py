"""Figure c of MorphNet: which networks can be grouped, shrunk exactly, exported and run.

Every network gets random weights and statistics, a random structure with 40 to 100 percent of each
group (and every group that may vanish does so with a chance of 5 percent), and is held against the
original whose dead channels are read as zero, and against ONNX Runtime after export.

    python scripts/bench/morphnet_coverage.py [--only ResNet50 ...]
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import ledger
import numpy as np
import onnxruntime
import place
from numpy.typing import NDArray

from costmodel.readers.keras import export_onnx, read_keras
from morphnet_core.groups import Grouping, cascade, find_groups
from morphnet_core.surgery import masked, shrink

#: Image sides of the families of keras.applications, small enough to keep the run short.
APPLICATIONS = {
    "MobileNet": 96, "MobileNetV2": 96, "MobileNetV3Small": 96, "MobileNetV3Large": 96,
    "ResNet50": 64, "ResNet50V2": 64, "ResNet101": 64, "DenseNet121": 64, "InceptionV3": 96,
    "InceptionResNetV2": 96, "Xception": 96, "EfficientNetB0": 64, "EfficientNetV2B0": 64,
    "NASNetMobile": 64, "ConvNeXtTiny": 64, "VGG16": 64, "VGG19": 64,
}  # fmt: skip
#: Largest error relative to the largest output.
ALLOWED = 1e-4


def _conv(x: Any, filters: int, rank: int = 2, stride: int = 1) -> Any:
    layers = keras.layers
    kind = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[rank]
    x = kind(filters, 3, strides=stride, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


def unet() -> Any:
    """Ronneberger et al. 2015 at a quarter of its width, on 64 pixels."""
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    x, skips = image, []
    for filters in (16, 32, 64, 128):
        x = _conv(_conv(x, filters), filters)
        skips.append(x)
        x = layers.MaxPooling2D()(x)
    x = _conv(_conv(x, 256), 256)
    for filters, skip in zip((128, 64, 32, 16), reversed(skips), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2, padding="same")(x)
        x = _conv(_conv(layers.Concatenate()([skip, x]), filters), filters)
    return keras.Model(image, layers.Conv2D(2, 1)(x), name="UNet")


def two_heads() -> Any:
    """A detector after SSD (Liu et al. 2016): boxes and classes from three scales."""
    layers = keras.layers
    image = keras.Input((96, 96, 3))
    x, boxes, classes = image, [], []
    for filters in (16, 32, 64):
        x = _conv(_conv(x, filters, stride=2), filters)
        boxes.append(layers.Reshape((-1, 4))(layers.Conv2D(16, 3, padding="same")(x)))
        classes.append(layers.Reshape((-1, 10))(layers.Conv2D(40, 3, padding="same")(x)))
    outputs = [layers.Concatenate(axis=1)(boxes), layers.Concatenate(axis=1)(classes)]
    return keras.Model(image, outputs, name="TwoHeads")


def regnet() -> Any:
    """A RegNetY (Radosavovic et al. 2020): grouped convolutions with squeeze-and-excite."""
    layers = keras.layers
    image = keras.Input((64, 64, 3))
    x = _conv(image, 16, stride=2)
    for filters in (32, 64):
        for stride in (2, 1):
            y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 1)(x)))
            y = layers.Conv2D(filters, 3, strides=stride, padding="same", groups=filters // 8)(y)
            y = layers.ReLU()(layers.BatchNormalization()(y))
            gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
            gate = layers.Conv2D(filters // 4, 1, activation="relu")(gate)
            y = layers.Multiply()([y, layers.Conv2D(filters, 1, activation="sigmoid")(gate)])
            y = layers.BatchNormalization()(layers.Conv2D(filters, 1)(y))
            if x.shape != y.shape:
                x = layers.BatchNormalization()(layers.Conv2D(filters, 1, strides=stride)(x))
            x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(10)(x), name="RegNetY")


def _stack(rank: int, size: tuple[int, ...], name: str) -> Any:
    layers = keras.layers
    signal = keras.Input(size)
    x = _conv(signal, 16, rank)
    for filters in (16, 32):
        y = _conv(_conv(x, filters, rank, 2), filters, rank)
        short = _conv(x, filters, rank, 2)
        x = layers.Add()([y, short])
    pool = {1: layers.GlobalAveragePooling1D, 3: layers.GlobalAveragePooling3D}[rank]
    return keras.Model(signal, layers.Dense(10)(pool()(x)), name=name)


def networks() -> dict[str, Callable[[], Any]]:
    """Every network by name, built when it is asked for."""

    def application(name: str, size: int) -> Callable[[], Any]:
        build = getattr(keras.applications, name)
        return lambda: build(
            weights=None, input_shape=(size, size, 3), classes=100, classifier_activation=None
        )

    found = {name: application(name, size) for name, size in APPLICATIONS.items()}
    found |= {"UNet": unet, "TwoHeads": two_heads, "RegNetY": regnet}
    found["Residual1D"] = lambda: _stack(1, (256, 4), "Residual1D")
    found["Residual3D"] = lambda: _stack(3, (8, 24, 24, 2), "Residual3D")
    return found


def randomise(model: Any, random: np.random.Generator) -> None:
    """Statistics, scales and biases away from 0 and 1, so that nothing fits by accident."""
    for variable in model.weights:
        name, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        if name in {"gamma", "moving_variance"}:
            variable.assign(random.uniform(0.7, 1.4, shape))
        elif name in {"beta", "moving_mean", "bias"}:
            variable.assign(random.normal(0.0, 0.1, shape))


def random_alive(grouping: Grouping, random: np.random.Generator) -> NDArray[np.bool_]:
    """40 to 100 percent of every group; now and then none of one that may vanish."""
    alive = grouping.full()
    for group in grouping.groups:
        if group.frozen:
            continue
        count = max(1, round(group.size * random.uniform(0.4, 1.0)))
        dead = random.permutation(group.size)[count:]
        alive[group.start + dead] = False
    return cascade(grouping, alive)


def listed(outputs: Any) -> list[NDArray[Any]]:
    """Outputs of a model as a list of arrays."""
    return [np.asarray(keras.ops.convert_to_numpy(item)) for item in keras.tree.flatten(outputs)]


def largest_error(found: list[NDArray[Any]], expected: list[NDArray[Any]]) -> float:
    """Largest difference, relative to the largest expected magnitude of the same output."""
    return max(
        float(np.abs(one - two).max() / max(np.abs(two).max(), 1e-12))
        for one, two in zip(found, expected, strict=True)
    )


def run_onnx(model: Any, folder: Path, fed: NDArray[Any]) -> list[NDArray[Any]]:
    """Outputs of the exported model in ONNX Runtime."""
    model.save(folder / "shrunk.keras")
    path = export_onnx(folder / "shrunk.keras", folder / "shrunk.onnx")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return list(session.run(None, {session.get_inputs()[0].name: fed}))


def examine(name: str, build: Callable[[], Any], seed: int) -> dict[str, Any]:
    """What could be done with one network."""
    keras.utils.set_random_seed(seed)
    random = np.random.default_rng(seed)
    model = build()
    randomise(model, random)
    started = time.perf_counter()
    grouping = find_groups(read_keras(model))
    seconds = time.perf_counter() - started
    alive = random_alive(grouping, random)
    small = shrink(model, alive, grouping=grouping)
    fed = random.standard_normal((1, *model.inputs[0].shape[1:])).astype(np.float32)
    expected = listed(masked(model, grouping, alive)(fed))
    found = listed(small(fed, training=False))
    with tempfile.TemporaryDirectory() as folder:
        exported = run_onnx(small, Path(folder), fed)
    free = [group for group in grouping.groups if not group.frozen]
    return {
        "network": name,
        "groups": len(grouping.groups),
        "free_groups": len(free),
        "prunable": round(grouping.share_prunable, 4),
        "frozen": sorted({group.frozen for group in grouping.groups if group.frozen}),
        "notes": dict(list(grouping.notes.items())[:5]),
        "kept_weights": round(small.count_params() / model.count_params(), 4),
        "error": largest_error(found, expected),
        "onnx_error": largest_error(exported, found),
        "grouping_seconds": round(seconds, 2),
    }


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    rows: list[dict[str, Any]] = []
    failures: dict[str, str] = {}
    folder = place.folder("coverage")
    for name, build in networks().items():
        if options.only and name not in options.only:
            continue
        kept = folder / f"{name}-{options.seed}.json"
        if kept.exists():  # from a run that was stopped, or one of several side by side
            rows.append(json.loads(kept.read_text()))
            continue
        try:
            rows.append(examine(name, build, options.seed))
            kept.write_text(json.dumps(rows[-1]))
            print(rows[-1], flush=True)
        except Exception as error:  # a network that fails is a finding, and the others go on
            failures[name] = f"{type(error).__name__}: {error}"
            traceback.print_exc()
        keras.backend.clear_session()
    if options.only:
        return
    exact = [row for row in rows if max(row["error"], row["onnx_error"]) <= ALLOWED]
    total = len(rows) + len(failures)
    figures = [
        ledger.figure(
            "c",
            "networks grouped, shrunk exactly (1e-4), exported to ONNX and run",
            len(exact),
            "networks",
            exactly=total,
            target=f"all of {total}",
            seed=options.seed,
        )
    ]
    columns = (
        "network | groups | free | prunable channels | weights kept | error | error in ONNX "
        "Runtime | grouping s | frozen because"
    )
    lines = [
        f"{row['network']} | {row['groups']} | {row['free_groups']} | {row['prunable']:.1%} | "
        f"{row['kept_weights']:.0%} | {row['error']:.1e} | {row['onnx_error']:.1e} | "
        f"{row['grouping_seconds']} | {'; '.join(row['frozen'])}"
        for row in rows
    ]
    lines += [f"{name} | failed: {reason} | | | | | | |" for name, reason in failures.items()]
    ledger.write(
        "morphnet-coverage",
        figures=figures,
        detail={"networks": rows, "failures": failures},
        notes=[ledger.table(columns, lines)],
        topic="morphnet",
    )


if __name__ == "__main__":
    main()

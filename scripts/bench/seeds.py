"""Trained seeds, made once: the networks that comparisons of searches begin with.

    python scripts/bench/seeds.py pace                  # seconds per epoch of each
    python scripts/bench/seeds.py train resnet8         # goes on where it was stopped
    python scripts/bench/seeds.py train mobilenet --data fashion_mnist
    python scripts/bench/seeds.py report

Of the images to train on the last 2,000 are kept apart to choose by; the test images are looked at
when a training is over. Networks, their curves and what is unfinished lie in the folder ``seeds``
of ``$COSTMODEL_BENCH_DIR``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import ledger
import numpy as np
import place
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import images
import networks

from costmodel.readers.keras import load_keras
from morphnet_core.data import Data
from morphnet_core.data.augmented import flipped_and_shifted
from morphnet_core.data.ordered import Feed
from morphnet_core.morphing.training import Training
from morphnet_core.morphing.unfinished import Unfinished

#: Images that are kept apart to choose by, of those to train on; the last ones.
APART = 2_000
BATCH = 128
#: Steps that a pace is taken from, after those in which graphs are built.
STEPS, FIRST = 40, 5
#: Columns of a curve.
COLUMNS = ("loss", "accuracy", "val_loss", "val_accuracy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """A network, and how it is trained.

    Attributes:
        build: gets images as it takes them; returns it, with weights from elsewhere or fresh ones.
        rate: greatest rate; it falls along a cosine to zero.
        epochs: of the training.
        plain: whether it takes pixels as they are, 0 to 255, rather than about zero.
    """

    build: Callable[[NDArray[np.float32]], Any]
    rate: float
    epochs: int
    plain: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Images as a network takes them.

    Attributes:
        data: to train on, and to choose by.
        x_test: looked at when all is over.
        y_test: likewise.
    """

    data: Data
    x_test: NDArray[np.float32]
    y_test: NDArray[np.int64]

    def tested(self, model: Any) -> float:
        """Share of the test images that a compiled model tells right."""
        found = model.evaluate(
            self.x_test, self.y_test, batch_size=500, verbose=0, return_dict=True
        )
        return float(found["accuracy"])


def _resnet8(_: NDArray[np.float32]) -> Any:
    """MLPerf Tiny's, as it was trained on the original images."""
    return load_keras(place.MODELS / "resnet8_cifar10.h5")


def _resnet20(images_: NDArray[np.float32]) -> Any:
    """One whose weights were trained elsewhere, with normalisations put back behind each kernel.

    Its strides of 2 lie one pixel beside those of the file, which training mends, and what its
    shorter ways do without weights is done by kernels that may change.
    """
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(place.MODELS / "resnet20_cifar10.onnx").graph
    known = {item.name: to_array(item) for item in graph.initializer}
    operands = {
        kind: [[known[name] for name in node.input[1:]] for node in graph.node
               if node.op_type == kind]
        for kind in ("Conv", "Gemm")
    }  # fmt: skip
    model = networks.small_resnet(images_.shape[1:], blocks=3, stem_stride=1)
    blocks = [f"s{stage}b{block}_{half}" for stage in range(3) for block in range(3)
              for half in (1, 2)]  # fmt: skip
    for name, (kernel, bias) in zip(["stem", *blocks], operands["Conv"], strict=True):
        model.get_layer(f"{name}_conv").kernel.assign(kernel.transpose(2, 3, 1, 0))
        model.get_layer(f"{name}_bn").beta.assign(bias)
    for stage in (1, 2):
        kernel = np.zeros(model.get_layer(f"s{stage}b0_short_conv").kernel.shape, dtype=np.float32)
        came, padded = kernel.shape[2], kernel.shape[2] // 2
        kernel[0, 0, np.arange(came), padded + np.arange(came)] = 1.0
        model.get_layer(f"s{stage}b0_short_conv").kernel.assign(kernel)
    ((weights, bias),) = operands["Gemm"]
    model.get_layer("logits").set_weights([weights.T, bias])
    _normalise(model, images_[:512])
    return model


def _normalise(model: Any, some: NDArray[np.float32]) -> None:
    """Give normalisations that change nothing the statistics of some images; nothing changes."""
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        norm.moving_variance.assign(np.full(norm.moving_variance.shape, 1.0 - norm.epsilon))
    inputs = [norm.input for norm in norms]
    found = keras.Model(model.inputs, inputs).predict(some, batch_size=128, verbose=0)
    for norm, values in zip(norms, found, strict=True):
        middle, spread = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
        norm.moving_mean.assign(middle)
        norm.moving_variance.assign(spread)
        norm.gamma.assign(np.sqrt(spread + norm.epsilon))
        norm.beta.assign(np.asarray(norm.beta) + middle)


def _small(build: Callable[..., Any], **settings: Any) -> Callable[[NDArray[np.float32]], Any]:
    """A network of ``networks.py`` with fresh weights."""
    return lambda images_: build(images_.shape[1:], **settings)


#: Channels, blocks and first stride of each stage: fourteen inverted residuals.
MOBILENET = (16, 1, 1), (24, 3, 1), (32, 4, 2), (64, 4, 2), (96, 2, 1)

SEEDS: dict[str, Seed] = {
    "resnet8": Seed(build=_resnet8, rate=0.02, epochs=12, plain=True),
    "mobilenet": Seed(
        build=_small(networks.small_mobilenet, stages=MOBILENET, expansion=4), rate=0.1, epochs=40
    ),
    "vgg": Seed(build=_small(networks.small_vgg), rate=0.1, epochs=30),
    "resnet20": Seed(build=_resnet20, rate=0.05, epochs=12),
}


def split_of(name: str, data: str) -> Split:
    """An image set as a seed takes it.

    Args:
        name: of ``SEEDS``.
        data: of ``images.DATA_SETS``.
    """
    if SEEDS[name].plain:
        pixels = images.load_pixels(data)
        x, x_test = (pixels[place_].astype(np.float32) for place_ in (0, 2))
        y, y_test = (pixels[place_].astype(np.int64) for place_ in (1, 3))
    else:
        whole = images.load_images(data)
        x, y, x_test, y_test = whole.x_train, whole.y_train, whole.x_test, whole.y_test
    own = Data(x=x[:-APART], y=y[:-APART], x_val=x[-APART:], y_val=y[-APART:], batch_size=BATCH)
    return Split(data=own, x_test=x_test, y_test=y_test)


def compiled(model: Any, rate: float, steps: int) -> Any:
    """A classifier ready to train for so many steps."""
    logits = getattr(model.layers[-1].activation, "__name__", "") != "softmax"
    model.compile(
        keras.optimizers.SGD(
            keras.optimizers.schedules.CosineDecay(rate, steps),
            momentum=0.9,
            nesterov=True,
            global_clipnorm=5.0,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
        metrics=["accuracy"],
    )
    return model


class Curve(keras.callbacks.Callback):  # type: ignore[misc]
    """What each epoch came to; remembered over interruptions."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[float]] = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:  # noqa: ARG002
        """Take it down."""
        self.rows.append([round(float((logs or {})[name]), 5) for name in COLUMNS])

    def saved(self) -> dict[str, NDArray[Any]]:
        """The rows so far."""
        return {"rows": np.array(self.rows).reshape(-1, len(COLUMNS))}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take back what ``saved`` gave."""
        self.rows = arrays["rows"].tolist()


def path_of(name: str, data: str, suffix: str) -> Path:
    """A seed's file."""
    return place.folder("seeds") / f"{name}-{data}.{suffix}"


def trained(name: str, data: str) -> Any:
    """A seed that was trained before.

    Raises:
        SystemExit: if it was not; says how.
    """
    path = path_of(name, data, "keras")
    if not path.exists():
        message = f"{path} is not there: python scripts/bench/seeds.py train {name} --data {data}"
        raise SystemExit(message)
    return load_keras(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training that is taken up wherever it was stopped.

    Attributes:
        model: that is trained.
        split: by what.
        epochs: how long.
        rate: at most.
        order: numbers that the order of the images follows from.
        folder: of what is unfinished.
        belongs: what tells this training from others.
        curve: of it.
    """

    model: Any
    split: Split
    epochs: int
    rate: float
    order: tuple[int, ...]
    folder: Path
    belongs: Mapping[str, Any]
    curve: Curve = field(default_factory=Curve)

    def go(self) -> float:
        """Train to the end; returns the seconds that it took, in all processes."""
        data = self.split.data
        compiled(self.model, self.rate, self.epochs * data.steps)
        section = Unfinished.of(self.folder).section("train", self.belongs)
        training = Training(
            model=self.model,
            data=data,
            epochs=self.epochs,
            seed=self.order,
            section=section,
            callbacks=[self.curve],
            parts={"curve": self.curve},
            change=flipped_and_shifted,
            validated=True,
            verbose=2,
        )
        if section.done:
            training.restore_end()
        else:
            training.run()
            training.save_end()
        return section.seconds


def train(name: str, data: str, epochs: int) -> None:
    """Train one seed, or go on with it, and keep it."""
    seed, split = SEEDS[name], split_of(name, data)
    keras.utils.set_random_seed(0)
    model = seed.build(split.data.x)
    before = split.tested(compiled(model, seed.rate, 1))
    belongs = {"epochs": epochs, "rate": seed.rate, "name": name, "data": data}
    run = Run(
        model=model, split=split, epochs=epochs, rate=seed.rate, order=(0,),
        folder=path_of(name, data, "run"), belongs=belongs,
    )  # fmt: skip
    seconds = run.go()
    model.save(path_of(name, data, "keras"))
    record = {
        **belongs,
        "before": before,
        "test_accuracy": split.tested(model),
        "seconds": round(seconds),
        "parameters": model.count_params(),
        "columns": COLUMNS,
        "curve": run.curve.rows,
    }
    path_of(name, data, "json").write_text(json.dumps(record, indent=1))
    Unfinished.of(run.folder).forget()
    print(f"{name} {data}: {record['test_accuracy']:.2%} on test images in {seconds:.0f} s")


def pace(name: str, data: str) -> None:
    """Print what an epoch of a seed takes."""
    seed, split = SEEDS[name], split_of(name, data)
    model = compiled(seed.build(split.data.x), seed.rate, STEPS)
    feed = Feed(split.data, (0,), flipped_and_shifted)
    batches = feed.whole()["x"]
    begin = 0.0
    for step in range(FIRST + STEPS):
        if step == FIRST:
            begin = time.process_time()
        model.train_on_batch(*batches[step])
    seconds = (time.process_time() - begin) / STEPS * split.data.steps
    print(f"{name} {data}: {seconds:.1f} s of the processor an epoch", flush=True)


def report() -> None:
    """Write a page of all that were trained."""
    figures, curves = [], {}
    for path in sorted(place.folder("seeds").glob("*.json")):
        record = json.loads(path.read_text())
        what = f"{record['name']}, {record['data']}, {record['parameters']:,} parameters"
        spent = f"{record['epochs']} epochs, {record['seconds']} s"
        given = f"{100 * record['before']:.1f} as it was given"
        figures.append(
            ledger.figure(
                path.stem, f"{what}: test accuracy after {spent} ({given})",
                100 * record["test_accuracy"], "%", seed=0,
            )
        )  # fmt: skip
        curves[path.stem] = record
    rows = [
        f"{stem} | " + ", ".join(f"{100 * row[3]:.1f}" for row in record["curve"])
        for stem, record in curves.items()
    ]
    note = ledger.table("seed | accuracy on 2,000 images kept apart, by epoch, %", rows)
    ledger.write("seeds", topic="win", figures=figures, detail={"seeds": curves}, notes=[note])


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("step", choices=("pace", "train", "report"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(SEEDS))
    parser.add_argument("--data", choices=images.DATA_SETS, default="cifar10")
    parser.add_argument("--epochs", type=int, help="by default each seed's own")
    options = parser.parse_args()
    for name in options.names:
        if name not in SEEDS:
            parser.error(f"there is no seed {name!r}; known: {', '.join(SEEDS)}")
    for name in options.names or SEEDS:
        if options.step == "pace":
            pace(name, options.data)
        elif options.step == "train":
            train(name, options.data, options.epochs or SEEDS[name].epochs)
    if options.step == "report":
        report()


if __name__ == "__main__":
    main()

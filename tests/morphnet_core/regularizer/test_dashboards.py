"""What loggers of Keras see of a regularized training, through Keras' own logs."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from morphnet_core.budget import LatencyBudget
from morphnet_core.regularizer import CostRegularizer

pytestmark = pytest.mark.keras

EPOCHS = 3
SHARED = {"cost", "cost_share", "strength", "penalty", "penalty_share", "alive_channels"}


def network() -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 2))
    for name, width in (("a", 8), ("b", 6)):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm_{name}")(x))
    outputs = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs, name="net")


def fit(regularizer: Any, *loggers: Any) -> Any:
    random = np.random.default_rng(0)
    x = random.normal(size=(32, 6, 6, 2)).astype("float32")
    y = random.integers(3, size=32)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    regularizer.model.compile(keras.optimizers.SGD(0.1), loss)
    return regularizer.model.fit(
        x, y, batch_size=8, epochs=EPOCHS, verbose=0, callbacks=[regularizer, *loggers]
    )


def scalars(folder: Path) -> dict[str, list[float]]:
    """What TensorBoard shows of a folder of logs, by name."""
    (run,) = {path.parent for path in folder.rglob("events.*")}
    events = EventAccumulator(str(run))
    events.Reload()
    return {
        name: [float(make_ndarray(item.tensor_proto)) for item in events.Tensors(name)]
        for name in events.Tags()["tensors"]
        if name.startswith("epoch_")
    }


def test_every_logger_of_keras_has_the_numbers_of_a_budget(tmp_path: Path) -> None:
    budget = LatencyBudget(network(), "flops", target="50%", steps=4 * EPOCHS)
    history = fit(budget, keras.callbacks.CSVLogger(str(tmp_path / "log.csv"))).history
    groups = {f"alive/{group.name}" for group in budget.grouping.groups if not group.frozen}
    assert len(groups) == 2
    assert SHARED | {"target", "budget_goal", "loss"} | groups <= set(history)
    assert "latency_ms" not in history
    with (tmp_path / "log.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == EPOCHS
    for name in SHARED | {"target"} | groups:
        assert [float(row[name]) for row in rows] == pytest.approx(history[name]), name
    assert history["target"] == [budget.targets[0]] * EPOCHS
    alive = sum(history[name][-1] for name in groups)
    assert alive <= history["alive_channels"][-1]
    report = budget.report()
    assert history["cost"][-1] == report.cost
    assert {name: history[name][-1] for name in groups} == {
        f"alive/{name}": now for name, (now, _) in report.alive.items() if f"alive/{name}" in groups
    }


@pytest.mark.filterwarnings("ignore:::(tensorboard|tensorflow|google)")
def test_tensorboard_has_them_too(tmp_path: Path) -> None:
    regularizer = CostRegularizer(network(), "v100", strength=0.1)
    board = keras.callbacks.TensorBoard(str(tmp_path), write_graph=False)
    history = fit(regularizer, board).history
    shown = scalars(tmp_path)
    names = SHARED | {"latency_ms"} | {name for name in history if name.startswith("alive/")}
    assert len(names) == len(SHARED) + 3
    for name in names:
        assert shown[f"epoch_{name}"] == pytest.approx(history[name], rel=1e-6), name
    assert history["latency_ms"] == history["cost"]


def test_groups_can_be_left_out() -> None:
    history = fit(CostRegularizer(network(), "flops", log_groups=False)).history
    assert set(history) >= SHARED
    assert [name for name in history if name.startswith("alive/")] == []

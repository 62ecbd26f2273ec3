"""Whatever ends a course, the same call goes on and comes to the same network, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.errors import CostModelError, InvalidInputError, LockedError
from costmodel.profiler.lock import hold
from morphnet_core.morphing import Data, morph

pytestmark = pytest.mark.keras


def network(width: int = 12) -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="a")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


def data(count: int = 36) -> Data:
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 6, 6, 3)).astype("float32")
    y = (x.mean(axis=(1, 2, 3)) * 30).astype(int) % 3
    return Data(x=x, y=y, x_val=x[:12], y_val=y[:12], batch_size=12)


def compiled(model: Any, steps: int) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    schedule = keras.optimizers.schedules.CosineDecay(0.05, steps)
    optimizer = keras.optimizers.SGD(schedule, momentum=0.9)
    model.compile(optimizer, loss, metrics=["accuracy"], run_eagerly=True)
    return model


class Stops(keras.callbacks.Callback):
    """Ends the process, as far as anybody can tell, after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


class Law:
    """A device whose time follows from the weights; it is away at some of its calls."""

    def __init__(self, away: Sequence[int] = ()) -> None:
        self.calls = 0
        self.away = away

    def __call__(self, models: Sequence[Any]) -> list[float]:
        self.calls += 1
        if self.calls in self.away:
            message = "the board is away"
            raise CostModelError(message)
        return [0.3 + model.count_params() / 1e4 for model in models]


def morphed(out: Path | None = None, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "compiled": compiled, "target": "60%", "search_epochs": 2, "finish": "finetune",
        "finish_epochs": 1, "distil": 0.5, "verbose": 0, "exports": (), "dry_run": False,
        "save_every_s": 0.0, "clock": Law(), **options,
    }  # fmt: skip
    return morph(settings.pop("model", None) or network(), data(), "params", out=out, **settings)


class Counts(keras.callbacks.Callback):
    """Counts steps of training."""

    count = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1


def test_interrupted_anywhere_it_comes_to_the_same_network(tmp_path: Path) -> None:
    whole = morphed(tmp_path / "whole")
    out, clock, told = tmp_path / "out", Law(away=(3,)), list[str]()
    options: dict[str, Any] = {"out": out, "clock": clock, "tell": told.append}
    with pytest.raises(KeyboardInterrupt):  # amid the second epoch, when charging has begun
        morphed(callbacks=[Stops(5)], **options)
    said = f"What was done is saved in {out / 'unfinished'}: the same command goes on."
    assert told[-1] == said
    with pytest.raises(CostModelError, match="away"):  # after the search, when widths are timed
        morphed(**options)
    with pytest.raises(KeyboardInterrupt):  # amid the last epoch
        morphed(callbacks=[Stops(3)], **options)
    clock.away = range(1000)  # what has been timed is not asked for again
    done = morphed(**options)
    assert f"going on from {out / 'unfinished' / 'search.npz'}" in "\n".join(told)
    for one, two in zip(whole.model.get_weights(), done.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert done.metrics == whole.metrics
    assert str(done.loop) == str(whole.loop)
    assert not (out / "unfinished").exists()


def test_another_command_is_refused_by_what_differs(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        morphed(tmp_path, callbacks=[Stops(1)])
    with pytest.raises(InvalidInputError, match=r"search.npz was begun with target: 60%, and this"):
        morphed(tmp_path, target="70%")
    other = network()
    other.get_layer("a").kernel.assign(other.get_layer("a").kernel + 1.0)
    with pytest.raises(InvalidInputError, match="begun with seed network"):
        morphed(tmp_path, model=other)


def test_two_do_not_write_into_one_folder(tmp_path: Path) -> None:
    (tmp_path / "out" / "unfinished").mkdir(parents=True)
    with (
        hold(tmp_path / "out" / "unfinished" / "lock", "the folder"),
        pytest.raises(LockedError, match=r"Another training holds the folder .*out: process \d+"),
    ):
        morphed(tmp_path / "out")


def test_what_fails_before_anything_is_saved_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(CostModelError, match="away"):
        morphed(tmp_path / "out", clock=Law(away=(1,)))
    assert list(tmp_path.iterdir()) == []


def test_a_clock_is_tried_before_the_search() -> None:
    steps = Counts()
    with pytest.raises(CostModelError, match="away"):
        morphed(clock=Law(away=(1,)), callbacks=[steps])
    with pytest.raises(InvalidInputError, match="cannot keep a target of 200 params"):
        morphed(target=200.0, callbacks=[steps])
    assert steps.count == 0

"""Of several resolutions the one with the least loss is taken, at the budget of the full one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.errors import CostModelError, InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.groups import find_groups
from morphnet_core.morphing import Data, morph, resolving
from morphnet_core.morphing.resolving import budget_of
from morphnet_core.pricing import Pricer
from morphnet_core.projection.problem import candidates

pytestmark = pytest.mark.keras


def network() -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((16, 16, 3), name="image")
    for name in "ab":
        x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm_{name}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


def data() -> Data:
    x = np.random.default_rng(0).random((36, 16, 16, 3)).astype("float32")
    y = np.arange(36) % 3
    return Data(x=x, y=y, x_val=x[:12], y_val=y[:12], batch_size=12)


def morphed(**options: Any) -> Any:
    settings: dict[str, Any] = {
        "target": "50%", "clock": None, "search_epochs": 0, "finish": "none", "verbose": 0,
        "exports": (), "dry_run": False, "resolutions": (16, 8), **options,
    }  # fmt: skip
    return morph(network(), data(), "flops", **settings)


@pytest.mark.parametrize("better", [16, 8])
def test_morph_takes_the_best(better: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def judged(model: Any, *_: Any) -> float:
        asked.append(model.input_shape[1])
        return float(model.input_shape[1] != better)

    monkeypatch.setattr(resolving, "loss_of_cut", judged)
    done = morphed(out=tmp_path, exports=("onnx",) if better == 8 else ())
    assert asked == [16, 8]
    assert done.model.input_shape == (None, better, better, 3)
    seed = Pricer(find_groups(read_keras(network())), "flops").seed
    assert done.loop.target_ms == pytest.approx(0.5 * seed)
    assert done.loop.best.projection.cost <= done.loop.target_ms
    if better == 8:  # a quarter of the work: everything fits
        assert not done.loop.best.projection.grew(done.grouping)
        assert done.loop.best.projection.counts.tolist() == done.grouping.full_counts.tolist()


def test_what_was_found_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("morphnet_core.morphing.course.fit_to_device", failing)
        with pytest.raises(KeyboardInterrupt):
            morphed(out=tmp_path)
    monkeypatch.setattr(resolving, "loss_of_cut", failing)
    assert morphed(out=tmp_path).model.input_shape[1] in {8, 16}


def test_mistakes_are_told() -> None:
    with pytest.raises(InvalidInputError, match="from 1"):
        morphed(resolutions=(0,))
    with pytest.raises(InvalidInputError, match="At no resolution"):
        morphed(target=1e-6)
    grouping = find_groups(read_keras(network()))
    with pytest.raises(InvalidInputError, match="Groups are of one resolution"):
        morphed(grouping=grouping)
    with pytest.raises(CostModelError, match="target"):
        morphed(target=None)


def test_a_budget_for_small_images_alone_is_tried_at_these() -> None:
    """The dry run is of the least resolution: at the full one no widths are cheap enough."""
    pricer = Pricer(find_groups(read_keras(network())), "flops")
    least = np.array([own[0] for own in candidates(pricer, pricer.grouping.full_counts, 1.0)])
    done = morphed(target=0.9 * pricer.at_counts(least), dry_run=True)
    assert done.model.input_shape[1] == 8


def test_the_batch_that_is_deployed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "loss_of_cut", lambda model, *_: float(model.input_shape[1]))
    seeds = [morphed(sizes=sizes).loop.seed_ms for sizes in ({}, {"batch": 4})]
    assert seeds[1] == pytest.approx(4 * seeds[0])


def test_what_grows_may_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "loss_of_cut", lambda model, *_: -float(model.input_shape[1]))
    assert morphed(target="120%", grow=1.5).loop.best.predicted_ms > morphed().loop.seed_ms


def test_a_budget_is_a_number_by_the_clock_and_by_the_prices() -> None:
    pricer: Any = SimpleNamespace(seed=10.0, unit="ms")

    foreign: Any = SimpleNamespace(seed=10.0, unit="FLOPs")
    clock: Any = lambda _: [20.0]  # noqa: E731

    assert budget_of("50%", None, pricer, clock) == (10.0, 5.0)
    assert budget_of(15.0, None, pricer, clock) == (15.0, 7.5)
    assert budget_of("50%", None, pricer, None) == (5.0, 5.0)
    with pytest.raises(InvalidInputError, match="seed network costs"):
        budget_of("120%", None, pricer, clock)
    with pytest.raises(InvalidInputError, match="Give prices in ms, or no clock"):
        budget_of("50%", None, foreign, clock)

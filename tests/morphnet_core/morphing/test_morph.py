"""One call does all of it, on the real runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras_layers import exports_litert

from costmodel.errors import CostModelError, InvalidInputError
from costmodel.profiler import Plan
from costmodel.readers.keras import read_keras
from morphnet_core.groups import find_groups
from morphnet_core.morphing import Data, DeviceClock, morph
from morphnet_core.morphing.verify import same_outputs
from morphnet_core.pricing import Pricer
from morphnet_core.structure import Structure

pytestmark = pytest.mark.keras

QUICK = Plan(rounds=2, min_rounds=2, visit_ms=5.0, restart_every=2, anchor_every_ms=float("inf"))


def network(width: int = 16) -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    for name in "ab":
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.BatchNormalization(name=f"norm_{name}")(x)
        x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


def data(count: int = 64) -> Data:
    random = np.random.default_rng(0)
    x = random.normal(size=(count, 8, 8, 3)).astype("float32")
    y = random.integers(3, size=count)
    return Data(x=x, y=y, x_val=x[:16], y_val=y[:16], batch_size=16)


def compiled(model: Any, steps: int) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    schedule = keras.optimizers.schedules.CosineDecay(0.05, steps)
    model.compile(keras.optimizers.SGD(schedule), loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize("finish", ["retrain", "finetune"])
def test_everything_in_one_call(tmp_path: Path, finish: Any) -> None:
    both = finish == "retrain" and exports_litert()
    exports = ("onnx", "litert") if both else ("onnx",)
    told: list[str] = []
    done = morph(
        network(), data(), "flops",
        compiled=compiled, target="50%", search_epochs=2, finish=finish, finish_epochs=1,
        out=tmp_path, exports=exports, verbose=0, tell=told.append,
        dry_run=finish == "retrain",
    )  # fmt: skip
    assert done.loop.predicted_only
    assert done.model.count_params() < network().count_params()
    assert 0.0 <= done.metrics["accuracy"] <= 1.0
    assert set(done.files) == {"keras", "record", "structure", "widths", *exports}
    assert set(done.difference) == set(exports)
    assert max(done.difference.values()) < 1e-4
    assert Structure.load(done.files["structure"]).costs["flops"] <= 0.5 * 1e9
    assert keras.models.load_model(done.files["keras"]).count_params() == done.model.count_params()
    assert told
    assert "onnx" in str(done)


def test_the_clock_times_the_real_runtime() -> None:
    clock = DeviceClock(runner="ort", options={"threads": 1}, plan=QUICK)
    small, large = clock([network(4), network(96)])
    assert 0 < small < large


def test_taylor_importance_and_growth() -> None:
    done = morph(
        network(), data(), "flops",
        compiled=compiled, target="60%", search_epochs=1, finish="none", importance="taylor",
        verbose=0, dry_run=False,
    )  # fmt: skip
    assert done.loop.best.projection.value < 1.0
    assert done.files == {}


def test_a_network_grows_with_its_weights_at_the_cost_it_has() -> None:
    model = network()
    told: list[str] = []
    first = model.get_layer("norm_a").gamma
    first.assign([1.0] * 4 + [0.01] * 12)  # most of the first layer is worth little
    target: Any = "100%"
    for number in range(2):
        done = morph(
            model, data(), "flops",
            compiled=compiled, target=target, search_epochs=0, finish="finetune", finish_epochs=1,
            grow=2.0, distil=0.5, verbose=0, tell=told.append, dry_run=False,
        )  # fmt: skip
        assert number or done.loop.best.projection.grew(done.grouping)
        assert (done.structure is None) == done.loop.best.projection.grew(done.grouping)
        counts = dict(zip(done.grouping.by_name, done.loop.best.projection.counts, strict=True))
        assert done.model.get_layer("b").filters == counts["b"]
        assert 0.8 <= done.loop.best.predicted_ms / done.loop.target_ms <= 1.0
        model, target = done.model, done.loop.target_ms
    assert done.loop.target_ms == pytest.approx(morph_cost(network()))
    assert done.model.get_layer("b").filters > 16
    with pytest.raises(InvalidInputError, match="above 0 and at most"):
        morph(network(), data(), "flops", compiled=compiled, target="150%", dry_run=False)


def morph_cost(model: Any) -> float:
    return Pricer(find_groups(read_keras(model)), "flops").seed


def test_a_file_that_computes_something_else_is_refused(tmp_path: Path) -> None:
    from morphnet_core.morphing.clock import as_onnx

    path = as_onnx(network(), tmp_path / "other.onnx")
    other = network()
    other.set_weights([w + 0.5 for w in other.get_weights()])
    with pytest.raises(CostModelError, match="computes something else"):
        same_outputs(other, path, data().x[:1])
    with pytest.raises(InvalidInputError, match="neither an ONNX nor a LiteRT"):
        same_outputs(other, tmp_path / "x.bin", data().x[:1])


def test_wrong_options_are_named() -> None:
    with pytest.raises(InvalidInputError, match="finish is retrain, finetune or none"):
        morph(network(), data(), "flops", compiled=compiled, target="50%", finish="later")  # type: ignore[arg-type]


def images() -> Data:
    random = np.random.default_rng(0)
    x = random.integers(256, size=(32, 16, 16, 3)).astype("uint8")
    return Data(x=x, y=random.integers(3, size=32), batch_size=16)


def quickly(some: Data, **options: Any) -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((*some.x.shape[1:],))
    x = layers.Conv2D(8, 3, strides=4, use_bias=False, name="a")(x)
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization(name="norm")(x)))
    model = keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")
    settings: dict[str, Any] = {
        "target": "60%", "search_epochs": 1, "finish_epochs": 1, "verbose": 0, "dry_run": False,
        **options,
    }  # fmt: skip
    return morph(model, some, "flops", **settings)


def test_images_are_changed_where_that_is_asked_for_and_can_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from morphnet_core.morphing import course

    seen: list[Any] = []

    def change(some: Any, chance: np.random.Generator) -> Any:
        seen.append(some.shape)
        return some

    monkeypatch.setattr(course, "flipped_and_shifted", change)
    quickly(images(), augment=True)
    assert set(seen) == {(16, 16, 16, 3)}
    seen.clear()
    quickly(images())
    assert not seen
    for some, options in ((images(), {"compiled": compiled}), (data(), {})):
        with pytest.raises(InvalidInputError, match="augment is for the standard recipe"):
            quickly(some, augment=True, **options)


def test_the_seed_teaches_the_surviving_weights_as_much_as_is_asked() -> None:
    def found(**options: Any) -> Any:
        return np.concatenate([w.ravel() for w in quickly(data(), **options).model.get_weights()])

    plain, much = found(finish="finetune", distil=0.0), found(finish="finetune", distil=0.9)
    assert np.abs(much - plain).max() > 1e-4
    for distil, finish in ((1.5, "finetune"), (0.5, "retrain")):
        with pytest.raises(InvalidInputError, match=f"from 0 to 1, and .* distil={distil}"):
            found(distil=distil, finish=finish)


def test_statistics_are_those_of_the_network_that_is_left() -> None:
    from morphnet_core.morphing.sample import examples_for
    from morphnet_core.surgery import reestimate

    model = quickly(data(), finish="none").model
    before = model.get_weights()
    assert before[0].shape[-1] < 8
    reestimate(model, examples_for(model, data()))
    for one, two in zip(model.get_weights(), before, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)

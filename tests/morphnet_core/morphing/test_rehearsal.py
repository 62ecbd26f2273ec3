"""The dry run finds what cannot work before training, which stays what it was, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import keras_kinds
import numpy as np
import pytest
from keras import layers
from keras_kinds import KINDS, block, ended, image
from keras_layers import before_keras_3_8

from costmodel.errors import CostModelError, InvalidInputError
from morphnet_core.data import Data
from morphnet_core.morphing import course, morph

pytestmark = pytest.mark.keras


class Steps(keras.callbacks.Callback):
    """Counts steps of training."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.count += 1


def morphed(kind: keras_kinds.Kind, **options: Any) -> Any:
    keras.utils.set_random_seed(7)
    settings: dict[str, Any] = {
        "compiled": kind.compiled, "target": "60%", "clock": None, "search_epochs": 1,
        "finish": "none", "verbose": 0, **kind.options, **options,
    }  # fmt: skip
    return morph(settings.pop("model", None) or kind.model(), kind.made(), "flops", **settings)


def test_training_is_the_same_bit_for_bit() -> None:
    """With dropout and noise, whose random numbers a trial must not move on."""
    found = [
        morphed(KINDS["random layers"], dry_run=dry, finish="retrain", finish_epochs=1)
        for dry in (True, False)
    ]
    for one, two in zip(*(item.model.get_weights() for item in found), strict=True):
        np.testing.assert_array_equal(one, two)
    assert found[0].metrics == found[1].metrics


class Untaught(layers.Layer):
    """Says nothing of its argument, so that it cannot be made again."""

    def __init__(self, factor: Any) -> None:
        super().__init__()
        self.factor = factor

    def call(self, inputs: Any) -> Any:
        return inputs * self.factor.value


class Factor:
    value = 2.0


@keras.saving.register_keras_serializable("shop")
class Sorted(layers.Layer):
    """Computes what no ONNX file can."""

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        found = tf.numpy_function(lambda x: np.sort(x, axis=-1), [inputs], tf.float32)
        return keras.ops.reshape(found, keras.ops.shape(inputs))

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape


def with_layer(layer: Any) -> Any:
    inputs = image()
    return ended(inputs, block(layer(block(inputs, "a")), "b"))


def bad_loss(y_true: Any, y_pred: Any) -> Any:
    message = f"labels of {y_true.shape} do not suit"
    raise ValueError(message)


def other(**changes: Any) -> keras_kinds.Kind:
    given: dict[str, Any] = {"model": keras_kinds.plain, "data": KINDS["own loss"].data, **changes}
    return keras_kinds.Kind(**given)


WRONG = {
    "a layer without settings": (
        other(model=lambda: with_layer(Untaught(Factor()))),
        "'untaught.*' .Untaught. cannot be made again",
    ),
    "a layer that cannot be exported": (
        other(model=lambda: with_layer(Sorted(name="sorted"))),
        "cannot be converted to ONNX|have no ONNX form",
    ),
    "a loss that fails": (
        other(compile={"loss": bad_loss}),
        "before training, training under the budget .* failed: .* do not suit",
    ),
    "inputs of another size": (
        other(data=lambda: {"x": np.zeros((16, 8, 8, 1)), "y": np.zeros(16)}),
        "Input 'image' of model 'net' takes",
    ),
    "too few inputs": (
        other(model=keras_kinds.two_inputs),
        "has 2 inputs .left, right., but the data have 1",
    ),
    "targets for one of two outputs": (
        other(model=keras_kinds.two_outputs, compile=keras_kinds.BOTH),
        "before training",
    ),
    "no such metric": (
        other(compile={"loss": keras_kinds.LOGITS, "metrics": ["exactness"]}),
        "exactness",
    ),
}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(name, marks=before_keras_3_8("trains one of two outputs without a word"))
        if name == "targets for one of two outputs"
        else name
        for name in WRONG
    ],
)
def test_what_cannot_work_is_found_before_the_first_step(case: str, tmp_path: Path) -> None:
    kind, words = WRONG[case]
    steps = Steps()
    with pytest.raises(CostModelError, match=f"(?s){words}"):
        morphed(kind, callbacks=[steps], out=tmp_path / "out")
    assert steps.count == 0
    assert not (tmp_path / "out").exists()


def test_a_budget_that_no_widths_keep_is_found_before_the_first_step() -> None:
    steps = Steps()
    with pytest.raises(InvalidInputError):
        morphed(other(), target="0.01%", callbacks=[steps])
    assert steps.count == 0


def broken(*arguments: Any, **options: Any) -> Any:
    message = "the disk is full"
    raise CostModelError(message)


@pytest.mark.parametrize(
    ("fails", "folder"), [("as_onnx", "out"), ("fit_to_device", "out"), ("fit_to_device", "")]
)
def test_what_was_trained_is_kept_whatever_fails_then(
    fails: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course, fails, broken)
    told: list[str] = []
    out = tmp_path / folder if folder else None
    with pytest.raises(CostModelError, match="disk is full") as found:
        morphed(other(), out=out, dry_run=False, tell=told.append)
    assert told[-1] == found.value.__notes__[-1]
    path = Path(told[-1].removeprefix("What had been trained is kept in ").rstrip("."))
    kept = keras.models.load_model(path, compile=False)
    assert kept.predict(np.zeros((1, 8, 8, 3)), verbose=0).shape == (1, 3)
    assert (path.parent == out) is bool(folder)
    assert path.name == ("model.keras" if fails == "as_onnx" else "searched.keras")


def test_nothing_spare_is_left_after_success(tmp_path: Path) -> None:
    done = morphed(other(), out=tmp_path, exports=())
    assert {path.name for path in tmp_path.iterdir()} == {
        "model.keras", "morph.json", "structure.json", "widths.svg",
    }  # fmt: skip
    assert done.structure.counts["a/Conv2D"] <= 8


def test_the_user_s_own_data_is_not_used_up() -> None:
    kind = KINDS["generator"]
    data: Data = kind.made()
    morph(
        kind.model(), data, "flops", compiled=kind.compiled, target="60%", clock=None,
        search_epochs=1, finish="none", verbose=0,
    )  # fmt: skip
    assert data.steps == 3

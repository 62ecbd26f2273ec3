"""The last look at a cut network, and the masked original that it is held against."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from comparing import grouped, outputs_of, random_alive, values
from keras import layers, ops
from keras_models import MODELS, example, randomised

from costmodel.errors import ModelFormatError
from morphnet_core.surgery import masked, shrink

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]


def normalised(*, dtype: str = "float32", end: Any = None) -> Any:
    """A model whose normalisation runs over the channels."""
    image = keras.Input((6, 6, 3), name="image", dtype=dtype if "int" in dtype else "float32")
    x = layers.Rescaling(0.5)(image)
    x = layers.Conv2D(8, 3, name="conv")(x)
    x = layers.LayerNormalization()(x)
    x = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x))
    return randomised(keras.Model(image, end(x) if end else x))


def wrongly_grouped(model: Any) -> Any:
    """Its groups, as if nothing depended on the other channels."""
    return replace(grouped(model, normalisations=True), normalisations=False)


def half(grouping: Any) -> Any:
    alive = grouping.full()
    alive[grouping.by_name["conv"].units] = np.arange(8) % 2 == 0
    return alive


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int32"])
def test_what_computes_something_else_is_refused(dtype: str) -> None:
    model = normalised(dtype=dtype)
    grouping = wrongly_grouped(model)
    with pytest.raises(ModelFormatError, match=r"the difference is .* check=False"):
        shrink(model, half(grouping), grouping=grouping)
    assert shrink(model, half(grouping), grouping=grouping, check=False).count_params() > 0


def test_what_was_let_go_on_purpose_is_not_compared() -> None:
    model = normalised()
    grouping = grouped(model, normalisations=True)
    small = shrink(model, half(grouping), grouping=grouping)
    assert small.get_layer("conv").filters == 4


@pytest.mark.parametrize(
    "end",
    [lambda x: ops.argmax(x, axis=-1), lambda x: x * float("nan"), lambda x: ops.log(x - 1e9)],
    ids=["whole_numbers", "nan", "infinite"],
)
def test_what_cannot_be_compared_is_not(end: Any) -> None:
    model = normalised(end=end)
    grouping = wrongly_grouped(model)
    assert shrink(model, half(grouping), grouping=grouping).get_layer("conv").filters == 4


def test_what_returns_something_else_every_time_is_not_compared() -> None:
    model = normalised(end=lambda x: layers.Dropout(0.5)(layers.Dense(64)(x), training=True))
    grouping = wrongly_grouped(model)
    assert shrink(model, half(grouping), grouping=grouping).get_layer("conv").filters == 4


@pytest.mark.parametrize("name", list(MODELS))
def test_nothing_masked_is_the_model_itself(name: str) -> None:
    model = randomised(MODELS[name](keras))
    grouping = grouped(model)
    fed = example(model)
    found = [values(item) for item in masked(model, grouping, grouping.full())(fed)]
    assert all(
        np.allclose(a, b, atol=1e-6) for a, b in zip(found, outputs_of(model, fed), strict=True)
    )


def test_masked_channels_are_zero_where_they_are_read() -> None:
    image = keras.Input((4,), name="image")
    x = layers.ReLU()(layers.Dense(3, name="first")(image))
    model = randomised(keras.Model(image, layers.Dense(2, name="second")(x + 1.0)))
    grouping = grouped(model)
    alive = grouping.full()
    alive[grouping.by_name["first"].start + 1] = False
    fed = example(model)
    first, second = ([values(w) for w in model.get_layer(n).weights] for n in ("first", "second"))
    hidden = np.maximum(fed @ first[0] + first[1], 0.0) + 1.0
    hidden[:, 1] = 0.0
    (found,) = masked(model, grouping, alive)(fed)
    assert np.allclose(values(found), hidden @ second[0] + second[1], atol=1e-5)


def test_weights_stay_as_they_are() -> None:
    model = randomised(MODELS["depthwise"](keras))
    grouping = grouped(model)
    before = [values(item) for item in model.weights]
    shrink(model, random_alive(grouping, 0.6, 0), grouping=grouping)
    assert all(np.array_equal(a, values(b)) for a, b in zip(before, model.weights, strict=True))

"""A channel is dead by a signal only if every way through it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from comparing import largest_error, outputs_of
from keras import layers
from keras_models import example, randomised

from morphnet_core.regularizer import CostRegularizer
from morphnet_core.surgery import shrink

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:All channels of:UserWarning"),
]
DEAD = 4


def norm(x: Any, name: str, *, act: bool = True, offset: bool = False) -> Any:
    x = layers.BatchNormalization(name=name, center=offset)(x)
    return layers.ReLU()(x) if act else x


def conv(x: Any, name: str, width: int = 8) -> Any:
    return layers.Conv2D(width, 3, padding="same", name=name)(x)


def ended(*ends: Any) -> Any:
    pooled = [layers.GlobalAveragePooling2D()(item) for item in ends]
    x = layers.Concatenate()(pooled) if len(ends) > 1 else pooled[0]
    return layers.Dense(3, name="head")(x)


def read_beside(x: Any) -> Any:
    c = conv(x, "c")
    return ended(norm(c, "n"), conv(c, "beside"))


def written_beside(stem: Any) -> Any:
    x = norm(conv(stem, "c"), "n", act=False)
    return ended(layers.Add()([x, conv(stem, "other")]))


def residual_around(x: Any) -> Any:
    c = conv(x, "c")
    return ended(layers.Add()([c, norm(c, "n")]))


def concatenated_around(x: Any) -> Any:
    c = conv(x, "c")
    return ended(layers.Concatenate()([c, norm(c, "n")]))


def one_branch_of_two(x: Any) -> Any:
    c = conv(x, "c")
    return ended(conv(norm(c, "n"), "a"), conv(layers.ReLU()(c), "b"))


def called_twice(x: Any) -> Any:
    again = layers.Conv2D(8, 3, padding="same", name="c")
    return ended(norm(again(x), "n"), layers.ReLU()(again(layers.MaxPooling2D()(x))))


def gate_around(x: Any) -> Any:
    c = conv(x, "c")
    gate = layers.GlobalAveragePooling2D(keepdims=True)(c)
    gate = layers.Dense(8, activation="sigmoid", name="gate")(gate)
    return ended(layers.Multiply()([norm(c, "n"), gate]))


def plain(x: Any) -> Any:
    return ended(conv(norm(conv(x, "c"), "n"), "after"))


def two_norms_of_one(x: Any) -> Any:
    c = conv(x, "c")
    return ended(conv(norm(c, "n"), "a"), conv(norm(c, "n2"), "b"))


def two_norms_one_after_the_other(x: Any) -> Any:
    return ended(norm(layers.MaxPooling2D()(norm(conv(x, "c"), "n")), "n2"))


def excited(x: Any) -> Any:
    x = norm(conv(x, "c"), "n")
    gate = layers.Dense(3, name="squeeze")(layers.GlobalAveragePooling2D(keepdims=True)(x))
    gate = layers.Dense(8, activation="sigmoid", name="excite")(gate)
    return ended(layers.Multiply()([x, gate]))


def all_branches(x: Any) -> Any:
    x = norm(conv(x, "c"), "n")
    return ended(layers.Add()([x, norm(conv(conv(x, "i"), "o"), "n2", act=False)]))


AROUND: dict[str, Callable[[Any], Any]] = {
    build.__name__: build
    for build in (
        *(read_beside, written_beside, residual_around, concatenated_around, one_branch_of_two),
        *(called_twice, gate_around),
    )
}
THROUGH: dict[str, Callable[[Any], Any]] = {
    build.__name__: build
    for build in (plain, two_norms_of_one, two_norms_one_after_the_other, excited, all_branches)
}


def pressed(build: Callable[[Any], Any], **options: Any) -> tuple[Any, Any]:
    """A model whose first gammas are zero everywhere, and its regularizer."""
    image = keras.Input((8, 8, 3), name="image")
    model = randomised(keras.Model(image, build(norm(conv(image, "stem"), "stem_norm"))))
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            gamma = np.array(keras.ops.convert_to_numpy(layer.gamma))
            gamma[:DEAD] = 0.0
            layer.gamma.assign(gamma)
    return model, CostRegularizer(model, "flops", **options)


@pytest.mark.parametrize("name", list(AROUND))
def test_what_goes_around_a_normalisation_keeps_its_channels(name: str) -> None:
    model, regularizer = pressed(AROUND[name])
    group = regularizer.grouping.by_name["c"]
    alive = regularizer.alive()
    assert alive[group.units].all()
    assert "a way to" in regularizer.report().silent["c"]
    assert "c: a way to" in str(regularizer.report())
    small = shrink(model, alive, grouping=regularizer.grouping)
    fed = example(model)
    assert largest_error(outputs_of(small, fed), outputs_of(model, fed)) <= 1e-5


@pytest.mark.parametrize("name", list(THROUGH))
def test_what_passes_a_dead_gamma_on_every_way_is_dead(name: str) -> None:
    model, regularizer = pressed(THROUGH[name])
    group = regularizer.grouping.by_name["c"]
    alive = regularizer.alive()
    assert alive[group.units].tolist() == [False] * DEAD + [True] * (8 - DEAD)
    assert not regularizer.report().silent.get("c")
    small = shrink(model, alive, grouping=regularizer.grouping)
    fed = example(model)
    assert largest_error(outputs_of(small, fed), outputs_of(model, fed)) <= 1e-5


def test_one_of_two_gammas_alive_is_alive() -> None:
    model, regularizer = pressed(two_norms_of_one)
    model.get_layer("n2").gamma.assign(np.ones(8, dtype="float32"))
    assert regularizer.alive()[regularizer.grouping.by_name["c"].units].all()


def test_a_constant_that_goes_with_dead_channels_is_told() -> None:
    def build(x: Any) -> Any:
        return ended(conv(norm(conv(x, "c"), "n", offset=True), "after"))

    model, regularizer = pressed(build)
    model.get_layer("n").beta.assign(np.linspace(0.0, 0.7, 8).astype("float32"))
    report = regularizer.report()
    assert report.offsets["n"].startswith("3 dead channels still carry a constant of up to 0.3")
    assert "constant: n: 3 dead channels" in str(report)


def test_norms_of_kernels_see_all_that_kernels_write() -> None:
    _, regularizer = pressed(written_beside, signal="group_lasso")
    assert "c" not in regularizer.report().silent

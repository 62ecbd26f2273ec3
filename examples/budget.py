"""Ask for a share of the cost, or for milliseconds, and get a trained network and its files."""

import keras
import numpy as np

import morphnet_core as mc

layers = keras.layers


def build() -> keras.Model:
    x = inputs = keras.Input((16, 16, 3))
    for index, width in enumerate((16, 32)):
        x = layers.Conv2D(width, 3, strides=2, padding="same", name=f"conv{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def compiled(model: keras.Model, steps: int) -> keras.Model:
    """How to train: called for the search and for the result, with the steps of each."""
    schedule = keras.optimizers.schedules.CosineDecay(0.05, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9), loss, metrics=["accuracy"])
    return model


if __name__ == "__main__":
    random = np.random.default_rng(0)
    x, y = random.normal(size=(160, 16, 16, 3)).astype("float32"), random.integers(10, size=160)
    done = mc.morph(
        build(),
        mc.Data(x=x[:128], y=y[:128], x_val=x[128:], y_val=y[128:]),
        "flops",  # with a table of your device instead: target_ms=5.0
        target="60%",
        compiled=compiled,
        search_epochs=2,
        finish_epochs=1,
        out="fast",
        verbose=0,
    )
    print(done)

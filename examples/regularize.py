"""Train under the price of channels, look at what is worth its price, and cut the rest out."""

import keras
import numpy as np

import morphnet_core as mc

layers = keras.layers


def build() -> keras.Model:
    x = inputs = keras.Input((8, 8, 3))
    for index, width in enumerate((16, 32)):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(layers.Flatten()(x)))


if __name__ == "__main__":
    random = np.random.default_rng(0)
    x, y = random.normal(size=(128, 8, 8, 3)).astype("float32"), random.integers(10, size=128)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model = build()

    # "flops" needs no device; a table's file or a shipped profile's name charges milliseconds.
    regularizer = mc.CostRegularizer(model, "flops", strength=3.0, threshold=0.1)
    model.compile(keras.optimizers.Adam(0.02), loss)
    model.fit(x, y, batch_size=8, epochs=5, callbacks=[regularizer], verbose=0)
    print(regularizer.report())

    structure = regularizer.structure()
    structure.save("structure.json")
    smaller = mc.shrink(model, structure)  # the weights that survive
    print(f"{model.count_params()} parameters, {smaller.count_params()} after shrinking")

    fresh = mc.rebuild(model, mc.Structure.load("structure.json"))  # the same widths, untrained
    fresh.compile("adam", loss)
    fresh.fit(x, y, verbose=0)

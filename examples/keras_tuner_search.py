"""Search with KerasTuner under a limit in milliseconds: what is too slow is never trained."""

import keras
import keras_tuner
import numpy as np

import costmodel as cm

layers = keras.layers
TABLE = cm.LatencyTable.load("amd-epyc-family-25-model-17/onnxruntime-float32")  # or your own
PRICES = cm.fit(TABLE)
LIMIT_MS = 0.02


class Fast(keras_tuner.HyperModel):  # type: ignore[misc]
    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        x = inputs = keras.Input((16, 16, 3))
        for i in range(2):
            width = hp.Int(f"width{i}", 8, 128, step=8)
            x = layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")(x)
        model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, metrics=["accuracy"])
        return model

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: object, **options: object
    ) -> dict[str, float]:
        ms = cm.predict(model, TABLE, cost=PRICES).total
        print(hp.values, f"{ms:.3f} ms", "is too slow" if ms > LIMIT_MS else "is trained")
        if ms > LIMIT_MS:
            return {"val_accuracy": 0.0}
        history = model.fit(*args, **options).history
        return {"val_accuracy": max(history["val_accuracy"])}


if __name__ == "__main__":
    random = np.random.default_rng(0)
    x, y = random.normal(size=(64, 16, 16, 3)).astype("float32"), random.integers(10, size=64)
    tuner = keras_tuner.RandomSearch(
        Fast(),
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_trials=3,
        seed=0,
        directory="search",
        overwrite=True,
    )
    tuner.search(x, y, validation_data=(x, y), epochs=1, verbose=0)
    (best,) = tuner.get_best_hyperparameters(1)
    print(f"best within {LIMIT_MS} ms: {best.values}")

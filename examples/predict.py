"""Profile this processor for one network, predict it, and hold the prediction against the clock."""

import keras

import costmodel as cm

layers = keras.layers
model = keras.Sequential(
    [
        keras.Input((32, 32, 3)),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    ],
    name="tiny",
)

if __name__ == "__main__":
    # Only this network's own kernels, each visited twice: seconds. For a table that prices other
    # networks, leave samples, thinned and rounds alone and give minutes: budget="10m".
    report = cm.profile("tiny.jsonl", models=model, samples=0, thinned=0, rounds=2)
    print(report.table.to_frame()[["label", "latency_ms"]])

    prediction = cm.predict(model, "tiny.jsonl")
    print(prediction)
    for layer in prediction.layers:
        print(f"  {layer.name}: {layer.price:.4g} {prediction.unit}")

    for comparison in cm.compare(model, "tiny.jsonl", rounds=2):
        print(comparison)

    # A profile that comes with the package, of a device that need not be here.
    print(cm.predict(model, "amd-epyc-family-25-model-17/openvino-float32"))

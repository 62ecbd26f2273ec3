"""Pad a network whose channel counts are odd to widths that its device runs faster."""

import keras

import morphnet_core as mc

layers = keras.layers
pruned = keras.Sequential(
    [
        keras.Input((32, 32, 3)),
        layers.Conv2D(17, 3, padding="same", activation="relu"),
        layers.Conv2D(33, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(10),
    ],
    name="pruned",
)

if __name__ == "__main__":
    # A profile that comes with the package; where its device is at hand, both networks are timed.
    found = mc.align(
        pruned, "amd-epyc-family-25-model-17/onnxruntime-float32-t2", predict_only=True
    )
    print(found)
    if found.changed:
        found.save("fast.onnx")  # computes what the other does; both were run and compared

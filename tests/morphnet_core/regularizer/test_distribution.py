"""Training on two (virtual) devices proposes the structure of training on one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import keras
import pytest

pytestmark = pytest.mark.keras

#: Trains a small network on as many devices as argument 1 says and prints what it learned.
PROGRAM = """
import contextlib, json, os, sys, warnings
devices, backend = int(sys.argv[1]), os.environ["KERAS_BACKEND"]
import numpy as np
import keras
from keras import layers
from morphnet_core.regularizer import CostRegularizer

warnings.simplefilter("ignore")
scope = None
if backend == "tensorflow":
    import tensorflow as tf
    cpu = tf.config.list_physical_devices("CPU")[0]
    parts = [tf.config.LogicalDeviceConfiguration()] * devices
    tf.config.set_logical_device_configuration(cpu, parts)
    names = [f"/cpu:{index}" for index in range(devices)]
    if devices > 1:
        scope = tf.distribute.MirroredStrategy(names).scope
elif devices > 1:
    keras.distribution.set_distribution(keras.distribution.DataParallel())
    assert len(keras.distribution.list_devices()) == devices
random = np.random.default_rng(0)
images = random.normal(size=(48, 6, 6, 2)).astype("float32")
targets = np.stack([images[..., 0].mean((1, 2)) * 9, images[..., 1].max((1, 2))], axis=1)
found = {}
for signal in ("gamma", "hard_concrete"):
    keras.utils.set_random_seed(0)
    with scope() if scope else contextlib.nullcontext():
        x = inputs = keras.Input((6, 6, 2))
        for name in "ab":
            x = layers.Conv2D(6, 3, use_bias=False, name=name)(x)
            # A replica's statistics are those of its part of the batch unless synchronised.
            x = layers.BatchNormalization(synchronized=scope is not None, name=f"norm_{name}")(x)
            x = layers.ReLU()(x)
        model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))
    regularizer = CostRegularizer(
        model, "flops", signal=signal, strength=1.0, threshold=0.95, refresh_every=2, seed=4
    )
    regularizer.model.compile(keras.optimizers.SGD(0.3), "mse")
    history = regularizer.model.fit(
        images, targets, batch_size=8, epochs=2, shuffle=False, verbose=0, callbacks=[regularizer]
    )
    scores = regularizer.scores()
    found[signal] = {
        "counts": regularizer.structure().counts,
        "scores": scores[np.isfinite(scores)].tolist(),
        "cost": history.history["cost"],
        "penalty": regularizer.report().penalty,
    }
print(json.dumps(found))
"""


def run(devices: int) -> Any:
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(devices)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras has no distribution there")
def test_two_devices_propose_what_one_does() -> None:
    one, two = run(1), run(2)
    for signal in ("gamma", "hard_concrete"):
        alone, together = one[signal], two[signal]
        assert together["counts"] == alone["counts"]
        assert together["scores"] == pytest.approx(alone["scores"], abs=1e-4)
        assert together["cost"] == alone["cost"]
        assert together["penalty"] == pytest.approx(alone["penalty"], rel=1e-4)
        assert len(set(alone["scores"])) > 6
    assert one["gamma"]["counts"]["a/Conv2D"] < 6

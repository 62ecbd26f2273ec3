"""Models of the user's own layers, and files with code, at the command line."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import keras
import pytest
from command_line import Ended, runs
from keras import layers

from costmodel.cli import main as costmodel_main
from morphnet_core.cli import main as morphnet_main

pytestmark = pytest.mark.keras

LAYERS = """
import keras

@keras.saving.register_keras_serializable("{package}")
class Sharpen(keras.layers.Layer):
    def call(self, inputs):
        return inputs * 1.5

class Plain(keras.layers.Layer):
    def call(self, inputs):
        return inputs + 1.0
"""
DATA = """
import numpy as np
import {module}

def load():
    random = np.random.default_rng(0)
    return random.normal(size=(16, 8, 8, 3)), random.integers(3, size=16)
"""


def save_net(own: Any, path: Path) -> None:
    x = inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, use_bias=False, name="a")(own.Plain()(own.Sharpen()(x)))
    x = layers.ReLU()(layers.BatchNormalization()(x))
    outputs = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, outputs, name="net").save(path)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with layers, data, and a model; of the layers this process knows nothing more."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "shop_own.py").write_text(LAYERS.format(package="shop_own"))
    (folder / "shop_data.py").write_text(DATA.format(module="shop_own"))
    known = keras.saving.get_custom_objects()
    before = dict(known)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        save_net(importlib.import_module("shop_own"), folder / "net.keras")
    sys.modules.pop("shop_own", None)
    known.clear()
    known.update(before)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(main: Any, *arguments: object) -> Ended:
        ended = runs(main, capsys)(*arguments)
        assert "fault of costmodel" not in ended.err
        return ended

    return call


def test_missing_classes_are_all_named_with_the_way_to_give_them(run: Any, shop: Path) -> None:
    for main, verb, *more in (
        (costmodel_main, "predict", "--cost", "flops"),
        (morphnet_main, "expand", "--by", "2", "-o", shop / "out.keras"),
    ):
        code, _, err = run(main, verb, shop / "net.keras", *more)
        assert code == 2
        assert "'Plain', 'shop_own>Sharpen'" in err or "'shop_own>Sharpen', 'Plain'" in err
        assert "--import" in err


def test_every_verb_opens_what_is_imported_first(run: Any, shop: Path, tmp_path: Path) -> None:
    net, own = shop / "net.keras", ("--import", shop / "shop_own.py")
    code, out, err = run(costmodel_main, "predict", net, *own, "--cost", "flops", "--json")
    assert code == 0, err
    assert json.loads(out)["total"] > 0
    wide = tmp_path / "wide.keras"
    code, _, err = run(morphnet_main, "expand", net, *own, "--by", "2", "-o", wide)
    assert code == 0, err
    assert keras.models.load_model(wide).get_layer("a").filters == 16
    small = tmp_path / "small.keras"
    code, _, err = run(
        morphnet_main, "shrink", net, "--data", shop / "shop_data.py", "--cost", "flops",
        "--target", "60%", "-o", small,
    )  # fmt: skip
    assert code == 0, err
    assert keras.models.load_model(small).get_layer("a").filters < 8


def test_the_script_with_the_data_is_run_before_the_model_is_opened(
    run: Any, shop: Path, tmp_path: Path
) -> None:
    code, out, err = run(
        morphnet_main, "train", shop / "net.keras", "--data", shop / "shop_data.py", "--cost",
        "flops", "--target", "60%", "--search-epochs", 1, "--finish", "none", "--json",
        "-o", tmp_path,
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["differences"]["onnx"]["head"] < 1e-4


@pytest.fixture
def code_in_file(tmp_path: Path) -> Path:
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="a")(layers.Lambda(lambda t: t * 2.0)(inputs))
    path = tmp_path / "code.keras"
    keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="net").save(path)
    return path


def test_code_in_a_file_is_run_only_for_who_says_so(
    run: Any, code_in_file: Path, tmp_path: Path
) -> None:
    code, _, err = run(costmodel_main, "predict", code_in_file, "--cost", "flops")
    assert code == 2
    assert "Lambda layer with Python code of its own, which is not run" in err
    assert "enable_unsafe_deserialization" in err
    trust = tmp_path / "trust.py"
    trust.write_text("import keras\n\nkeras.config.enable_unsafe_deserialization()\n")
    try:
        asked = ("--import", trust, "--cost", "flops")
        assert run(costmodel_main, "predict", code_in_file, *asked)[0] == 0
    finally:
        from keras.src.backend.common import global_state

        global_state.set_global_attribute("safe_mode_saving", None)


def test_open_sizes_are_given_by_size_or_shape(run: Any, tmp_path: Path) -> None:
    inputs = keras.Input((None, None, 3), name="image")
    x = layers.Conv2D(4, 3, name="a")(inputs)
    net, out = tmp_path / "open.keras", tmp_path / "wide.keras"
    keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="net").save(net)
    code, _, err = run(morphnet_main, "expand", net, "--by", 2, "-o", out)
    assert code == 2
    assert "--size" in err
    for given in (("--size", "image:1=8", "--size", "image:2=8"), ("--shape", "1x8x8x3")):
        assert run(morphnet_main, "expand", net, "--by", 2, "-o", out, *given)[0] == 0
    assert keras.models.load_model(out).inputs[0].shape == (None, None, None, 3)

"""A sample of the zoo's Keras models on the backend of this process: read, and some exported.

scripts/bench/zoo.py walks all of them on every backend, and counts them in JAX's trace.
"""

from __future__ import annotations

import pytest
from model_zoo import keras_models
from model_zoo.keeper import judged, wrong

pytestmark = [
    pytest.mark.keras,
    pytest.mark.filterwarnings("ignore:::(keras|tensorflow|tf2onnx|ml_dtypes|h5py|flatbuffers)"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

NAMES = keras_models.names(240)
LAYERS = [name for name in NAMES if name.startswith("layer ")]
NETS = [name for name in NAMES if name.startswith("net ")]
DRAWN = [name for name in NAMES if name.startswith("drawn ")]
#: Cases of one test, so that none takes long.
CHUNK = 20


@pytest.fixture(scope="module")
def keras():
    pytest.importorskip("tensorflow", reason="needs the keras extra")
    return pytest.importorskip("keras", reason="needs the keras extra")


def walked(names, **more):
    from model_zoo.keras_walk import walk

    return [walk(name, **more) for name in names]


def faults(records):
    return [
        (item["name"], judged(item), item["crashed"], item["refused"], wrong(item))
        for item in records
        if judged(item) not in {"equal", "named", "cannot"}
    ]


@pytest.mark.parametrize("start", range(0, len(LAYERS), CHUNK))
def test_every_layer_is_read_or_named(keras, start):
    records = walked(LAYERS[start : start + CHUNK], export=False)
    assert faults(records) == []
    assert sum(judged(item) == "cannot" for item in records) < len(records) // 2


@pytest.mark.parametrize("start", range(0, len(NETS) + 20, CHUNK))
def test_networks_are_read_or_refused_by_name(keras, start):
    records = walked([*NETS, *DRAWN[:20]][start : start + CHUNK], export=False)
    assert [item for item in faults(records) if item[0] != "net subclass_model"] == []


def test_a_model_without_a_graph_of_layers_is_refused_by_name(keras):
    (record,) = walked(["net subclass_model"], export=False)
    assert record["crashed"] == {}
    assert "no graph of layers" in record["refused"]["read"]


@pytest.mark.parametrize(
    "name", [*NETS[:3], "net recurrent_head", "net channels first", *DRAWN[:3]]
)
def test_exports_compute_the_same_and_count_the_same(keras, name):
    if keras.config.backend() != "tensorflow":
        pytest.skip("only models on TensorFlow are converted to ONNX")
    (record,) = walked([name])
    if record["note"]:  # channels first has no kernels on a CPU
        assert "Keras cannot run it" in record["note"]
        return
    assert record["error"] < 1e-4
    assert record["exported"] == record["exported_read"]
    assert record["exported"] > 0 or name.startswith("drawn")  # some have no products


def test_a_model_is_counted_in_jax_s_trace(keras):
    pytest.importorskip("jax", reason="needs the xla extra")
    from model_zoo.keeper import Keeper

    with Keeper(backend="jax") as keeper:
        for name, expected in {
            "layer Conv2D": 6 * 6 * 6 * 4 * 9,
            "layer Conv2DTranspose": 8 * 8 * 4 * 6 * 9,
            "layer Dense[5]": 3 * 4 * 6 * 5,
        }.items():
            assert keeper.walk("keras", name)["traced"] == expected, name

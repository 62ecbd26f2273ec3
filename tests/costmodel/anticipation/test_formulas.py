"""Normalisations without a kernel: what is foreseen calculates what the runtime really does."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import pytest
from keras_layers import layer_of
from onnx import TensorProto, helper, numpy_helper
from rule_versions import follows

from costmodel.anticipation import anticipate
from costmodel.anticipation.formulas import write_out
from costmodel.costs.counts import Flops
from costmodel.network import Layer, Network
from costmodel.op import Op
from costmodel.readers.keras import export_onnx, read_keras
from costmodel.runners.ort.runner import OrtRunner

RUNNER = OrtRunner()
#: Kernels that only move values, whose places the rules do not say.
MOVES = {
    "cast", "concat", "expand", "identity", "reorder_input", "reorder_output", "reshape", "session",
    "shape", "transpose",
}  # fmt: skip


def maths(network: Network) -> Counter[tuple[str, int]]:
    """Kernels that calculate, with how many elements they read or write at most."""
    found: Counter[tuple[str, int]] = Counter()
    for op in network.ops:
        if op.kind in MOVES or not op.inputs or op.input_dtypes or op.dtype != "float32":
            continue
        # A mean along the last axes is exported as a pooling.
        kind = "reduce_mean" if op.kind == "global_average_pool" else op.kind
        shapes = (*op.inputs, *op.outputs)
        found[kind, max(int(np.prod(shape)) for shape in shapes)] += 1
    return found


@pytest.fixture(scope="module")
def keras() -> Any:
    pytest.importorskip("tensorflow", reason="needs the keras extra")
    found = pytest.importorskip("keras", reason="needs the keras extra")
    if found.config.backend() != "tensorflow":
        pytest.skip("only models on TensorFlow are converted to ONNX")
    return found


CASES = {
    "group": lambda k: k.layers.GroupNormalization(4),
    "group without parameters": lambda k: k.layers.GroupNormalization(4, scale=False, center=False),
    "instance": lambda k: k.layers.GroupNormalization(-1),
    "layer": lambda k: k.layers.LayerNormalization(),
    "rms": lambda k: layer_of(k, "RMSNormalization")(),
    "unit": lambda k: k.layers.UnitNormalization(),
}


@follows("onnxruntime")
@pytest.mark.keras
@pytest.mark.filterwarnings("ignore:::(keras|tensorflow|tf2onnx|ml_dtypes|h5py|flatbuffers)")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", CASES)
def test_normalisations_of_keras_calculate_as_foreseen(keras, tmp_path, case: str) -> None:
    image = keras.Input((10, 8, 24), name="image")
    middle = keras.layers.Conv2D(16, 3, padding="same")(image)
    model = keras.Model(image, keras.layers.ReLU()(CASES[case](keras)(middle)))
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(random.uniform(0.5, 1.0, variable.shape))
    export_onnx(model, tmp_path / "net.onnx")
    lowered = RUNNER.lower(tmp_path / "net.onnx", {})
    network = anticipate(read_keras(model), RUNNER.device)
    network.check()
    assert network.unread == {}
    assert maths(network) == maths(lowered)
    # Nothing but plain kernels is left, so that any table which has these can price it.
    assert not {op.kind for op in network.ops} & {"group_norm", "rms_norm", "unit_norm"}
    assert not Flops().price(network.ops).reasons


@pytest.mark.parametrize(("version", "scales"), [(18, 4), (21, 8)])
def test_group_normalisation_of_onnx_calculates_as_foreseen(tmp_path, version, scales) -> None:
    size = (2, 8, 6, 5)
    parameters = [numpy_helper.from_array(np.ones(scales, dtype=np.float32), n) for n in "sb"]
    attributes = {"epsilon": 1e-5, "num_groups": 4}
    graph = helper.make_graph(
        [helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], **attributes)],
        "group",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, size)],
        parameters,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    model.ir_version = 10
    onnx.save(model, tmp_path / "group.onnx")
    op = Op(
        kind="group_norm",
        inputs=(size,),
        outputs=(size,),
        weights=((scales,),) * 2,
        attributes=(*sorted(attributes.items()), ("since", version)),
    )
    layer = Layer(name="norm", op=op, inputs=("x",), outputs=("y",))
    network = Network(name="group", layers=(layer,), inputs={"x": size}, outputs=("y",))
    foreseen = anticipate(network, RUNNER.device)
    foreseen.check()
    assert maths(foreseen) == maths(RUNNER.lower(tmp_path / "group.onnx", {}))


def test_kernels_of_files_stay_and_formulas_keep_names_and_covers() -> None:
    size = (1, 6, 8)
    own = Op(kind="layer_norm", inputs=(size,), outputs=(size,), attributes=(("axis", -1),))
    layers = (
        Layer(name="kept", op=own, inputs=("x",), outputs=("a",)),
        Layer(
            name="spelled",
            op=Op(kind="rms_norm", inputs=(size,), outputs=(size,), weights=((6,),),
                  attributes=(("axes", (1,)),)),
            inputs=("a",), outputs=("b",),
        ),
    )  # fmt: skip
    network = Network(name="net", layers=layers, inputs={"x": size}, outputs=("b",))
    found = write_out(network)
    found.check()
    assert found.layers[0] is layers[0]
    assert (found.layers[-1].name, found.layers[-1].outputs) == ("spelled", ("b",))
    assert {layer.covers for layer in found.layers[1:]} == {("spelled",)}
    plain = Network(name="net", layers=layers[:1], inputs={"x": size}, outputs=("a",))
    assert write_out(plain) is plain

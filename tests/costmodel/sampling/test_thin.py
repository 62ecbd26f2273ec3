from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from architectures import network_file
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from costmodel.errors import InvalidInputError
from costmodel.sampling.thin import _Plan, thin

Values = NDArray[np.float32]


class Net:
    """Writes a small network; constants get the name of their node's output and a suffix."""

    def __init__(self, *shape: int) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.input = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)

    def constant(self, name: str, value: object) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def normal(self, name: str, *shape: int) -> str:
        return self.constant(name, self.rng.standard_normal(shape).astype(np.float32) * 0.3)

    def add(self, kernel: str, out: str, *inputs: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(kernel, inputs, [out], name=out, **attributes))
        return out

    def conv(self, out: str, source: str, into: int, to: int, side: int = 3, **more: int) -> str:
        groups = more.pop("group", 1)
        weight = self.normal(f"{out}.w", to, into // groups, side, side)
        operands = [source, weight]
        if groups == 1:
            operands.append(self.normal(f"{out}.b", to))
        strides = [more.pop("stride", 1)] * 2
        pads = [side // 2] * 4
        return self.add("Conv", out, *operands, group=groups, pads=pads, strides=strides)

    def model(self, *outputs: str, ir: int = 8) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "net", [self.input], infos, self.constants)
        opsets = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=ir)


def residual_net() -> onnx.ModelProto:
    """Chain, shortcut, normalisation, depthwise, gate, concatenation, padding and a dense head."""
    net = Net(1, 3, 12, 12)
    net.add("Relu", "a", net.conv("c1", "x", 3, 16))
    net.conv("c2", "a", 16, 16)
    names = [net.normal(f"bn.{part}", 16) for part in ("scale", "bias", "mean")]
    net.constant("bn.var", np.abs(net.rng.standard_normal(16)).astype(np.float32) + 0.5)
    net.add("BatchNormalization", "bn", "c2", *names, "bn.var")
    net.add("Relu", "r1", net.add("Add", "s1", "bn", "a"))
    net.conv("dw", "r1", 16, 16, group=16)
    net.add("GlobalAveragePool", "gap0", "dw")
    net.add("Sigmoid", "gate", net.conv("se", "gap0", 16, 16, side=1))
    net.add("Mul", "m", "dw", "gate")
    net.conv("c3", "m", 16, 10, side=1)
    net.conv("c4", "m", 16, 14)
    net.add("Concat", "cat", "c3", "c4", axis=1)
    net.add("MaxPool", "pool", "cat", kernel_shape=[2, 2], strides=[2, 2])
    net.conv("c5", "pool", 24, 32)
    pads = net.constant("pads", np.array([0, 4, 0, 0, 0, 4, 0, 0], np.int64))
    net.add("Relu", "r2", net.add("Add", "s2", "c5", net.add("Pad", "pad", "pool", pads)))
    net.conv("c6", "r2", 32, 7)
    net.add("Reshape", "flat", "c6", net.constant("target", np.array([1, 252], np.int64)))
    net.add("Gemm", "fc1", "flat", net.normal("fc1.w", 20, 252), net.normal("fc1.b", 20), transB=1)
    net.add("Relu", "r3", "fc1")
    net.add("MatMul", "fc2", "r3", net.normal("fc2.w", 20, 5))
    net.add("Add", "y", "fc2", net.normal("fc2.b", 5))
    return net.model("y")


def run(model: onnx.ModelProto, feed: dict[str, Values] | None = None) -> list[Values]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    rng = np.random.default_rng(5)
    if feed is None:
        feed = {
            item.name: rng.standard_normal(
                [d if isinstance(d, int) else 1 for d in item.shape], dtype=np.float32
            )
            for item in session.get_inputs()
        }
    return list(session.run(None, feed))


def kept_channels(
    model: onnx.ModelProto, *, keep: tuple[float, float], seed: int
) -> dict[str, NDArray[np.bool_]]:
    """Which output channels ``thin`` keeps of each convolution or product, by output tensor."""
    plan = _Plan(model, keep, seed)
    return {name: plan.mask(ids) for name, ids in plan.tracer.producers.items()}


def weights(model: onnx.ModelProto) -> dict[str, Values]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def zeroed(model: onnx.ModelProto, kept: dict[str, NDArray[np.bool_]]) -> onnx.ModelProto:
    """The model whose cut channels compute zero."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    values = weights(copy)
    for name, mask in kept.items():
        for part in ("w", "b"):
            value = values.get(f"{name}.{part}")
            if value is not None:
                out_axis = 1 if name == "fc2" and part == "w" else 0
                lanes = [1] * value.ndim
                lanes[out_axis] = -1
                values[f"{name}.{part}"] = value * mask.reshape(lanes)
    for part in ("scale", "bias"):
        values[f"bn.{part}"] = values[f"bn.{part}"] * kept["c2"]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in values.items())
    return copy


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    low=st.floats(0.05, 1.0),
    width=st.floats(0.0, 1.0),
)
def test_thinned_equals_the_original_with_the_cut_channels_at_zero(
    seed: int, low: float, width: float
) -> None:
    model = residual_net()
    keep = (low, low + width * (1 - low))
    thinned = thin(model, keep=keep, seed=seed)
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(thinned, strict_mode=True))
    (expected,) = run(zeroed(model, kept_channels(model, keep=keep, seed=seed)))
    (actual,) = run(thinned)
    np.testing.assert_allclose(expected, actual, rtol=2e-3, atol=2e-4)


def test_channel_counts_are_those_asked_for() -> None:
    model = residual_net()
    kept = kept_channels(model, keep=(0.5, 0.5), seed=3)
    counts = {name: int(mask.sum()) for name, mask in kept.items()}
    free = {name: counts[name] for name in ("c1", "c2", "se", "c3", "c4", "c6", "fc1")}
    # c3, c4 and c5 are tied by the padded shortcut: 32 channels, half of which stay.
    assert counts["c5"] == 16
    assert free["c3"] + free["c4"] <= 16
    assert (free["c1"], free["c2"], free["se"]) == (8, 8, 8)
    assert (free["c6"], free["fc1"], counts["fc2"]) == (4, 10, 5)
    shapes = {
        name: value.shape for name, value in weights(thin(model, keep=(0.5, 0.5), seed=3)).items()
    }
    assert shapes["c2.w"] == (8, 8, 3, 3)
    assert shapes["dw.w"] == (8, 1, 3, 3)
    assert shapes["fc1.w"] == (10, 4 * 36)
    for name, mask in kept.items():
        assert shapes[f"{name}.w"][1 if name == "fc2" else 0] == mask.sum()


def test_keeping_all_changes_nothing() -> None:
    model = residual_net()
    assert weights(thin(model, keep=(1.0, 1.0), seed=0)).keys() == weights(model).keys()
    (expected,) = run(model)
    (actual,) = run(thin(model, keep=(1.0, 1.0), seed=0))
    np.testing.assert_array_equal(expected, actual)


def test_same_seed_same_network_and_the_model_itself_is_left_alone() -> None:
    model = residual_net()
    before = model.SerializeToString()
    first = thin(model, keep=(0.3, 0.9), seed=1)
    assert first == thin(model, keep=(0.3, 0.9), seed=1)
    assert first != thin(model, keep=(0.3, 0.9), seed=2)
    assert model.SerializeToString() == before


def shuffled() -> onnx.ModelProto:
    net = Net(1, 3, 8, 8)
    net.conv("c1", "x", 3, 8)
    net.add("Reshape", "five", "c1", net.constant("t5", np.array([1, 2, 4, 8, 8], np.int64)))
    net.add("Transpose", "turn", "five", perm=[0, 2, 1, 3, 4])
    net.add("Reshape", "four", "turn", net.constant("t4", np.array([1, 8, 8, 8], np.int64)))
    net.conv("y", "four", 8, 4)
    return net.model("y")


def split() -> onnx.ModelProto:
    net = Net(1, 3, 8, 8)
    net.conv("c1", "x", 3, 8)
    sizes = net.constant("sizes", np.array([4, 4], np.int64))
    net.nodes.append(helper.make_node("Split", ["c1", sizes], ["p", "q"], axis=1))
    net.add("Add", "sum", "p", "q")
    net.conv("y", "sum", 4, 4)
    return net.model("y")


def grouped() -> onnx.ModelProto:
    net = Net(1, 3, 8, 8)
    net.conv("c1", "x", 3, 8)
    net.conv("g", "c1", 8, 8, group=2)
    net.conv("y", "g", 8, 4)
    return net.model("y")


def measured_size() -> onnx.ModelProto:
    net = Net(1, 3, 8, 8)
    net.conv("c1", "x", 3, 8)
    net.nodes.append(helper.make_node("Shape", ["c1"], ["size"]))
    net.add("Add", "plus", "c1", net.constant("one", np.ones(1, np.float32)))
    net.add("Reshape", "y", "plus", "size")
    return net.model("y")


@pytest.mark.parametrize("make", [shuffled, split, grouped, measured_size])
def test_channels_that_a_node_mixes_stay(make: object) -> None:
    model = make()  # type: ignore[operator]
    kept = kept_channels(model, keep=(0.3, 0.3), seed=0)
    assert kept["c1"].all()
    (expected,) = run(model)
    (actual,) = run(thin(model, keep=(0.3, 0.3), seed=0))
    np.testing.assert_allclose(expected, actual, rtol=1e-4, atol=1e-5)


def test_weight_shared_by_two_nodes_is_cut_for_each() -> None:
    net = Net(1, 3, 8, 8)
    net.conv("c0", "x", 3, 8)
    net.add("Conv", "p", "c0", net.normal("w", 8, 8, 1, 1))
    net.add("Conv", "q", "p", "w")
    net.conv("y", "q", 8, 4)
    thinned = thin(net.model("y"), keep=(0.2, 0.9), seed=4)
    assert run(thinned)[0].shape == (1, 4, 8, 8)


def test_stripped_weights_stay_stripped() -> None:
    net = Net(1, 3, 8, 8)
    shape = net.constant("shape", np.array([200, 3, 3, 3], np.int64))
    fill = numpy_helper.from_array(np.array([0.1], np.float32))
    net.add("ConstantOfShape", "w", shape, value=fill)
    net.add("Conv", "c1", "x", "w", pads=[1, 1, 1, 1])
    net.conv("y", "c1", 200, 4)
    thinned = thin(net.model("y"), keep=(0.5, 0.5), seed=0)
    (node,) = [n for n in thinned.graph.node if n.op_type == "ConstantOfShape"]
    assert node.output[0] == "w"
    assert weights(thinned)["y.w"].shape == (4, 100, 3, 3)
    assert run(thinned)[0].shape == (1, 4, 8, 8)


def test_constants_listed_as_inputs_stay_listed() -> None:
    net = Net(1, 3, 8, 8)
    net.conv("c1", "x", 3, 8)
    net.conv("y", "c1", 8, 4)
    model = net.model("y", ir=4)
    model.graph.input.append(helper.make_tensor_value_info("c1.w", TensorProto.FLOAT, [8, 3, 3, 3]))
    thinned = thin(model, keep=(0.5, 0.5), seed=0)
    sizes = {
        item.name: [d.dim_value for d in item.type.tensor_type.shape.dim]
        for item in thinned.graph.input
    }
    assert sizes == {"x": [1, 3, 8, 8], "c1.w": [4, 3, 3, 3]}


@pytest.mark.parametrize("keep", [(0.0, 0.5), (0.6, 0.5), (0.5, 1.1)])
def test_refuses_shares_outside_their_range(keep: tuple[float, float]) -> None:
    with pytest.raises(InvalidInputError, match="least and the greatest share"):
        thin(residual_net(), keep=keep, seed=0)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("resnet20", 19),
        ("light_squeezenet", 25),
        ("light_inception_v1", 50),
        ("yunet", 15),
        ("ultraface", 14),
        ("mnist", 2),
        ("light_shufflenet", 0),
        ("mobilenet_v3", 14),
    ],
)
def test_real_networks_are_thinned_and_run(name: str, least: int) -> None:
    model = onnx.load(network_file(name))
    kept = kept_channels(model, keep=(0.3, 0.8), seed=7)
    assert sum(not mask.all() for mask in kept.values()) >= least
    thinned = thin(model, keep=(0.3, 0.8), seed=7)
    onnx.checker.check_model(thinned)
    assert [v.shape for v in run(model)] == [v.shape for v in run(thinned)]

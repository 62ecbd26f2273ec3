"""An ONNX network of what is awkward to show on a graph, each once."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper


def awkward_model(second: str = "same") -> onnx.ModelProto:
    """Nodes without a name and with another's, a function of its own, a graph inside a node.

    Convolutions take in an activation and a sum; in a blocked layout the runtime adds reorders.

    Args:
        second: name of the second convolution, by default that of the first activation. The
            runtime itself takes no name twice.
    """
    rng = np.random.default_rng(0)
    float_, side = TensorProto.FLOAT, 32
    shape = [1, 16, side, side]

    def weight(name: str, *sizes: int) -> onnx.TensorProto:
        return numpy_helper.from_array(rng.standard_normal(sizes).astype(np.float32), name)

    branches = {
        branch: helper.make_graph(
            [helper.make_node(kind, ["gated"], [branch])],
            branch,
            [],
            [helper.make_tensor_value_info(branch, float_, shape)],
        )
        for branch, kind in (("then_branch", "Relu"), ("else_branch", "Neg"))
    }
    pads = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["a"], pads=pads),
        helper.make_node("Relu", ["a"], ["b"], name="same"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name=second, pads=pads),
        helper.make_node("Add", ["c", "b"], ["d"]),
        helper.make_node("Gate", ["d"], ["gated"], domain="own"),
        helper.make_node("If", ["flag"], ["chosen"], name="choose", **branches),
        helper.make_node("MaxPool", ["chosen"], ["y"], name="pool", kernel_shape=[2, 2]),
    ]
    gate = helper.make_function(
        "own",
        "Gate",
        ["x"],
        ["y"],
        [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])],
        [helper.make_opsetid("", 17)],
    )
    graph = helper.make_graph(
        nodes,
        "awkward",
        [
            helper.make_tensor_value_info("image", float_, [1, 3, side, side]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", float_, [1, 16, side - 1, side - 1])],
        [weight("w1", 16, 3, 3, 3), weight("w2", 16, 16, 3, 3)],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=imports, functions=[gate])


def looped_model() -> onnx.ModelProto:
    """A convolution, three turns of a loop around a product, and a softmax; no node has a name."""
    rng = np.random.default_rng(0)
    value, float_ = helper.make_tensor_value_info, TensorProto.FLOAT
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (8, 8, 3, 3)), ("m", (14, 14)))
    ]
    turns = numpy_helper.from_array(np.asarray(3, np.int64), "turns")
    shape = [1, 8, 14, 14]
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["state", "m"], ["next"]),
            helper.make_node("Identity", ["go"], ["still"]),
        ],
        "body",
        [
            value("turn", TensorProto.INT64, []),
            value("go", TensorProto.BOOL, []),
            value("state", float_, shape),
        ],
        [value("still", TensorProto.BOOL, []), value("next", float_, shape)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "w"], ["seen"]),
            helper.make_node("Loop", ["turns", "", "seen"], ["turned"], body=body),
            helper.make_node("Softmax", ["turned"], ["y"]),
        ],
        "looped",
        [value("image", float_, [1, 8, 16, 16])],
        [value("y", float_, shape)],
        [*weights, turns],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def run_awkward(model: onnx.ModelProto) -> NDArray[np.float32]:
    """What the runtime makes of it, whatever its nodes are called."""
    nameless = onnx.ModelProto()
    nameless.CopyFrom(model)
    for node in nameless.graph.node:
        node.name = ""
    session = onnxruntime.InferenceSession(
        nameless.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    image = np.random.default_rng(1).standard_normal((1, 3, 32, 32)).astype(np.float32)
    found = session.run(None, {"image": image, "flag": np.asarray(1, bool)})
    return np.asarray(found[0], np.float32)

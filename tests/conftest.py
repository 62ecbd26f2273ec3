"""Settings of every test."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import skip_policy
from onnx import TensorProto, helper

# Values in the messages of failed asserts inside the contracts.
pytest.register_assert_rewrite("costmodel.testing")


def pytest_configure(config: pytest.Config) -> None:
    skip_policy.register(config)


@pytest.fixture(scope="session", autouse=True)
def _denormal_numbers_stay() -> None:
    """Keep this process's arithmetic as IEEE 754 says.

    The first session of a process decides whether its thread flushes denormal numbers to zero. The
    runner wants that for timing; Hypothesis rightly refuses to draw floats under it.
    """
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", infos[:1], infos[1:])
    opset = [helper.make_opsetid("", 13)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    assert np.float64(5e-324) * 1.0 > 0.0

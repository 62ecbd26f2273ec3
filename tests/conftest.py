"""Settings of every test."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # tests may import the runtime before costmodel

import numpy as np
import onnxruntime
import pytest
import skip_policy
from onnx import TensorProto, helper
from threadpoolctl import threadpool_limits

# Values in the messages of failed asserts inside the contracts.
pytest.register_assert_rewrite("costmodel.testing")


#: Files that take longest, longest first: where two processes share the tests, these must not be
#: left for the end, when one of them has nothing else to do.
LONGEST = (
    "test_site.py",
    "morphnet_core/budget/test_callback.py",
    "morphnet_core/regularizer/test_callback.py",
    "morphnet_core/cli/test_train.py",
    "costmodel/runners/ort/test_rebuild.py",
    "morphnet_core/morphing/test_morph.py",
    "costmodel/runners/openvino/test_runner.py",
    "costmodel/runners/tpu_aot/test_runner.py",
    "morphnet_core/morphing/test_loop.py",
    "costmodel/runners/litert/test_keras.py",
    "costmodel/anticipation/test_ort.py",
)
PLACES = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # alone, tests keep the order in which they are asked for
        items.sort(key=lambda item: PLACES.get(item.path, len(PLACES)))


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of every later collection of garbage."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    skip_policy.register(config)
    # Matrices of tests are small, and threads that share them out wait for each other, most of all
    # where another process of tests has the processor: fits took twice as much of it.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    threadpool_limits(1, user_api="blas")
    if hasattr(config, "workerinput"):
        # Device locks lie in the folder for temporary files; tests of two processes, documented
        # examples among them, would refuse each other.
        folder = tempfile.TemporaryDirectory(prefix="tests-")
        config.add_cleanup(folder.cleanup)
        tempfile.tempdir = os.environ["TMPDIR"] = folder.name


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

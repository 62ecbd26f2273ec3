"""Hands weights to a session as they lie in memory: files of hundreds of MB are parsed slowly.

What is handed over takes part in the runtime's optimisations as weights inside the file do.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto

from costmodel.runners.ort.providers import CPU, Setup
from costmodel.runners.ort.session import make_session

#: Bytes from which on a weight is handed over. Smaller ones stay where a reader of the graph may
#: look at their values.
LARGE_BYTES = 1 << 16
#: Element types that numpy itself has, by the same bytes; others stay in the file.
_DTYPES = {
    kind: onnx.helper.tensor_dtype_to_np_dtype(kind)
    for kind in (
        TensorProto.FLOAT,
        TensorProto.DOUBLE,
        TensorProto.FLOAT16,
        TensorProto.INT64,
        TensorProto.INT32,
        TensorProto.INT8,
        TensorProto.UINT8,
    )
}
#: Fields of a model and of a graph that a copy without weights needs.
_OF_MODEL = ("opset_import", "functions", "metadata_props")
_OF_GRAPH = ("node", "input", "output", "value_info", "sparse_initializer")


def session_of(
    model: onnx.ModelProto, options: onnxruntime.SessionOptions, setup: Setup = CPU
) -> onnxruntime.InferenceSession:
    """A session of a model in memory, which stays as it is.

    Args:
        model: what to load.
        options: of the session.
        setup: its provider.

    Raises:
        ValueError: if the model is larger than 2 GB without what can be handed over.
    """
    light, weights = _split(model)
    if weights:
        values = [onnxruntime.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        options.add_external_initializers(list(weights), values)
    return make_session(light.SerializeToString(), options, setup)


def weights_beside(options: onnxruntime.SessionOptions, name: str) -> None:
    """Have the large weights of an optimised graph written into a file of their own.

    Args:
        options: with the path of the optimised graph.
        name: of the file, which lies in the same folder.
    """
    key = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(f"{key}file_name", name)
    options.add_session_config_entry(f"{key}min_size_in_bytes", str(LARGE_BYTES))


def _split(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """A copy without its large weights, and these by name."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    _copy(model, light, _OF_MODEL)
    graph = light.graph
    graph.name = model.graph.name
    _copy(model.graph, graph, _OF_GRAPH)
    # The runtime has forgotten by then what nothing reads. What is an input, too, may be replaced
    # by a user: no optimisation may look at it.
    read = {name for node in model.graph.node for name in node.input}
    read -= {item.name for item in model.graph.input}
    weights: dict[str, NDArray[Any]] = {}
    for tensor in model.graph.initializer:
        dtype = _DTYPES.get(tensor.data_type)
        held = b"" if dtype is None or tensor.name not in read else tensor.raw_data
        if dtype is None or len(held) < LARGE_BYTES:
            graph.initializer.append(tensor)
            continue
        weights[tensor.name] = np.frombuffer(held, dtype).reshape(tuple(tensor.dims))
        hollow = graph.initializer.add(
            name=tensor.name, data_type=tensor.data_type, dims=tensor.dims
        )
        hollow.data_location = TensorProto.EXTERNAL
        hollow.external_data.add(key="location", value="memory")
    return light, weights


def _copy(source: Any, target: Any, fields: tuple[str, ...]) -> None:
    for field in fields:
        getattr(target, field).extend(getattr(source, field))

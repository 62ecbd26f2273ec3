"""Cuts random networks at random and holds them against the original with masked activations."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx
import onnxruntime
from comparing import largest_error, outputs_of, random_alive, values
from onnx.reference import ReferenceEvaluator
from random_keras import RandomKeras
from random_onnx import RandomOnnx, masked_onnx
from rule_versions import is_followed

from costmodel.readers.keras import read_keras
from morphnet_core.alignment import cut, pad, paddable, read_source
from morphnet_core.groups import Grouping, cascade, find_groups
from morphnet_core.surgery import masked, shrink

#: Two ONNX files that differ by no more in 32 bits are taken for equal.
ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What came of one network.

    Attributes:
        grouping: its groups.
        error: largest difference from the masked original, relative to the largest output.
        whole: the same with everything kept (Keras), or with padded channels (ONNX).
    """

    grouping: Grouping
    error: float
    whole: float

    @property
    def unreasoned(self) -> int:
        """Layers that cannot be followed and groups that are frozen without a word."""
        notes = self.grouping.notes.values()
        return sum(not reason.strip() for reason in notes)


def keras_cut(seed: int) -> Cut:
    """Draw, cut and compare a Keras model; a difference of the whole one raises already."""
    model = RandomKeras(seed).model()
    grouping = find_groups(read_keras(model))
    random = np.random.default_rng(seed)
    fed: Any = [random.standard_normal((2, *item.shape[1:])) for item in model.inputs]
    fed = fed[0] if len(fed) == 1 else fed
    same = shrink(model, grouping.full(), grouping=grouping, check=False)
    whole = largest_error(outputs_of(same, fed), outputs_of(model, fed))
    alive = random_alive(grouping, 0.6, seed)
    wanted = [values(item) for item in masked(model, grouping, cascade(grouping, alive))(fed)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All channels of", UserWarning)
        small = shrink(model, alive, grouping=grouping, examples=(), check=False)
    # Collecting all garbage would take a third of a second.
    keras.utils.clear_session(free_memory=False)
    error = largest_error(outputs_of(small, fed), wanted)
    return Cut(grouping=grouping, error=error, whole=whole)


def onnx_cut(seed: int, folder: Path) -> Cut:
    """Draw, cut, pad and compare an ONNX network."""
    path = RandomOnnx(seed).save(folder / f"drawn{seed}.onnx")
    source = read_source(path, {})
    grouping = paddable(source)
    random = np.random.default_rng(seed)
    alive = random.random(grouping.num_units) < 0.6
    for group in grouping.groups:
        alive[group.units] |= bool(group.frozen)
        alive[group.start] = True
    fed = _fed(source.model, random)
    smaller, wanted = cut(source, grouping, alive), masked_onnx(source, grouping, alive)
    error = _apart(smaller, wanted, fed)
    more = [0 if group.frozen else int(random.integers(0, 4)) for group in grouping.groups]
    wider = pad(source, grouping, grouping.full_counts + np.array(more, dtype=np.intp))
    whole = _apart(wider, source.model, fed)
    path.unlink()
    return Cut(grouping=grouping, error=error, whole=whole)


def _fed(model: onnx.ModelProto, random: np.random.Generator) -> dict[str, Any]:
    return {
        item.name: random.uniform(
            0.1, 1.0, [dim.dim_value for dim in item.type.tensor_type.shape.dim]
        ).astype(np.float32)
        for item in model.graph.input
    }


def _apart(one: onnx.ModelProto, other: onnx.ModelProto, fed: dict[str, Any]) -> float:
    """Largest difference of two models, of the largest output.

    Sums of 32 bits in another order are seldom 1e-6 apart, and 3e-5 behind a softmax of large
    numbers. Where they are, both are run without the runtime's optimiser, which may join more of
    the one than of the other, and at last in 64 bits by onnx's own reference, which is exact enough
    to tell rounding from a wrong channel and may take minutes.
    """
    for optimised in (True, False):
        error = largest_error(*(_run(model, fed, optimised=optimised) for model in (one, other)))
        if error <= ROUNDING:
            return error
    if not is_followed("onnxruntime"):
        return error  # onnx's reference of that time takes hours
    results = [_reference(model, fed) for model in (one, other)]
    assert all(np.isfinite(item).all() for item in results[1] if item.dtype == np.float64)
    return largest_error(*results)


def _reference(model: onnx.ModelProto, fed: dict[str, Any]) -> list[Any]:
    """What a model returns in 64 bits."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    tensors = [*graph.initializer, *(a.t for n in graph.node for a in n.attribute)]
    for tensor in tensors:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            value = onnx.numpy_helper.to_array(tensor).astype(np.float64)
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    for item in (*graph.input, *graph.output, *graph.value_info):
        if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT:
            item.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.DOUBLE
    values = {name: np.asarray(value, np.float64) for name, value in fed.items()}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # of the reference's exponentials
        return [np.asarray(item) for item in ReferenceEvaluator(wide).run(None, values)]


def _run(model: onnx.ModelProto, fed: dict[str, Any], *, optimised: bool) -> list[Any]:
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [np.asarray(item).astype("float64") for item in session.run(None, fed)]

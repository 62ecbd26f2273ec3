"""Every operator of the ONNX standard: the small models that the onnx package tests backends with.

Those models are fed all of their operands, settings such as the target of a Reshape among them,
which exporters store. Here whole numbers are stored, and floats beyond the first operand are stored
or fed, by seed.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_zoo.case import Case

#: Oldest operator set that is read, and the newest that the installed runtime loads.
OLDEST, NEWEST = 7, onnx.defs.onnx_opset_version()
#: Whole numbers up to this many are settings.
_FEW = 256
#: Operators whose further operands are settings, whatever type they are of.
_SETTINGS = frozenset(
    [
        "Clip",
        "Dropout",
        "MelWeightMatrix",
        "NonMaxSuppression",
        "OneHot",
        "Range",
        "Resize",
        "Upsample",
    ]
)
#: Operators all of whose operands are settings.
_ALL_SETTINGS = frozenset(
    ["BlackmanWindow", "ConstantOfShape", "HammingWindow", "HannWindow", "MelWeightMatrix", "Range"]
)


@cache
def tests() -> Mapping[str, Any]:
    """The onnx package's own cases of single operators, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = collect_testcases(None)
    return {item.name: item for item in found if item.data_sets}


@cache
def by_operator() -> Mapping[str, Sequence[str]]:
    """Names of the cases of each operator; expansions of functions are cases of no operator."""
    groups: dict[str, list[str]] = {}
    for name, item in tests().items():
        if "_expanded" not in name:
            groups.setdefault(item.model.graph.node[-1].op_type, []).append(name)
    return groups


def names(count: int, seed: int = 0) -> list[str]:
    """``count`` cases: one of each operator, then a second of each that has one, and so on."""
    rng = random.Random(seed)
    groups = [rng.sample(group, len(group)) for _, group in sorted(by_operator().items())]
    longest = max(map(len, groups))
    rounds = [group[turn] for turn in range(longest) for group in groups if turn < len(group)]
    expanded = sorted(name for name in tests() if "_expanded" in name)
    rounds += rng.sample(expanded, len(expanded))
    return rounds[:count]


def make(name: str, seed: int = 0) -> Case:
    """One of ``names``, in an operator set and with operands that ``seed`` draws."""
    item = tests()[name]
    rng = random.Random(f"{seed} {name}")
    model = onnx.ModelProto()
    model.CopyFrom(item.model)
    _choose_opset(model, rng)
    values, _ = item.data_sets[0]
    kind = model.graph.node[-1].op_type
    stores_floats = kind in _SETTINGS or rng.random() < 0.5
    feeds: dict[str, Any] = {}
    for place, (info, value) in enumerate(zip(list(model.graph.input), values, strict=True)):
        if isinstance(value, onnx.TensorProto):
            value = numpy_helper.to_array(value)
        first = place == 0 and kind not in _ALL_SETTINGS
        if not first and _is_stored(info, value, stores_floats=stores_floats):
            model.graph.input.remove(info)
            tensor = helper.make_tensor(
                info.name,
                info.type.tensor_type.elem_type,
                value.shape,
                value.tobytes() if value.dtype != object else value.ravel().tolist(),
                raw=value.dtype != object,
            )
            model.graph.initializer.append(tensor)
        else:
            feeds[info.name] = value
    if not model.graph.input:
        feeds["chosen"] = _choose_result(model)
    return Case(name=name, model=model, feeds=feeds)


def _is_stored(info: onnx.ValueInfoProto, value: Any, *, stores_floats: bool) -> bool:
    if not info.type.HasField("tensor_type") or not isinstance(value, np.ndarray):
        return False
    if not value.dtype.isbuiltin:  # four-bit numbers are packed in a file, and in no array
        return False
    if value.dtype.kind in "iub":
        return value.size <= _FEW
    return stores_floats and value.dtype.kind == "f"


def _choose_result(model: onnx.ModelProto) -> np.ndarray:
    """Something to feed a model that computes a constant: whether that is its result."""
    fed = helper.make_tensor_value_info("chosen", onnx.TensorProto.BOOL, [1])
    model.graph.input.append(fed)
    made = model.graph.output[0].name
    model.graph.node.append(helper.make_node("Where", ["chosen", made, made], ["result"]))
    info = onnx.ValueInfoProto()
    info.CopyFrom(model.graph.output[0])
    info.name = "result"
    del model.graph.output[:]
    model.graph.output.append(info)
    for opset in model.opset_import:
        opset.version = max(opset.version, 9) if not opset.domain else opset.version
    return np.ones(1, dtype=np.bool_)


def _choose_opset(model: onnx.ModelProto, rng: random.Random) -> None:
    """Any operator set in which the nodes mean the same."""
    for opset in model.opset_import:
        if opset.domain:
            continue
        low, high = OLDEST, NEWEST
        for node in _nodes(model.graph):
            if node.domain:
                continue
            since = onnx.defs.get_schema(node.op_type, opset.version, "").since_version
            low = max(low, since)
            later = [
                version
                for version in range(since + 1, NEWEST + 1)
                if onnx.defs.get_schema(node.op_type, version, "").since_version != since
            ]
            high = min(high, min(later, default=NEWEST + 1) - 1)
        opset.version = rng.randint(low, max(low, high))
    if not model.opset_import or all(item.domain for item in model.opset_import):
        model.opset_import.append(helper.make_opsetid("", NEWEST))


def _nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    found = []
    for node in graph.node:
        found.append(node)
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                found += _nodes(attribute.g)
    return found

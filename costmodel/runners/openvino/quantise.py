"""Quantises a float network to int8 as post-training quantisers do, without looking at data.

Weights get symmetric ranges per output channel; activations that convolutions and matrix products
read get ranges of their sign, for whoever else reads them too. The ranges are guesses: what a
kernel takes does not depend on them, and nobody uses the numbers that come out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.runners.openvino.core import ov

#: Range of activations that were clipped at zero, and of others.
_ABOVE_ZERO = (0.0, 4.0)
_AROUND_ZERO = (-4.0, 4.0)
_ACTIVATION_LEVELS, _WEIGHT_LEVELS = 256, 255
_PRODUCTS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
#: Nodes that pass values on unchanged, or a choice of them.
_CARRIERS = frozenset({"MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Concat"})
_POSITIVE = frozenset({"Relu", "Sigmoid", "Softmax"})


def quantise(model: Any) -> None:
    """Insert a FakeQuantize before both operands of every product with constant weights, in place.

    A model that holds a FakeQuantize already, as one read from quantised ONNX does, stays as it is.

    Args:
        model: an ``openvino.Model`` of float32.
    """
    nodes = model.get_ordered_ops()
    if any(node.get_type_name() == "FakeQuantize" for node in nodes):
        return
    done: set[tuple[str, int]] = set()
    for node in nodes:
        if node.get_type_name() not in _PRODUCTS or not _is_stored(node.input(1)):
            continue
        weights = node.input(1).get_source_output()
        node.input(1).replace_source_output(_quantised_weights(weights, _channel_axes(node)))
        data = node.input(0).get_source_output()
        key = (data.get_node().get_friendly_name(), data.get_index())
        if data.get_node().get_type_name() != "FakeQuantize" and key not in done:
            done.add(key)
            low, high = _ABOVE_ZERO if _is_positive(data.get_node()) else _AROUND_ZERO
            readers = [r for r in data.get_target_inputs() if not _is_result(r)]
            rounded = fake_quantise(data, low, high)
            for reader in readers:
                reader.replace_source_output(rounded)
    model.validate_nodes_and_infer_types()


def fake_quantise(data: Any, low: float, high: float) -> Any:
    """``data`` rounded to 256 levels between two bounds."""
    bounds = [ov.opset13.constant(np.float32(v)) for v in (low, high, low, high)]
    return ov.opset13.fake_quantize(data, *bounds, _ACTIVATION_LEVELS).output(0)


def _is_result(reader: Any) -> bool:
    return bool(reader.get_node().get_type_name() == "Result")


def _is_stored(entry: Any) -> bool:
    node = entry.get_source_output().get_node()
    kind, element = node.get_type_name(), node.get_element_type().to_string()
    return bool(kind == "Constant" and element == "f32")


def _channel_axes(node: Any) -> tuple[int, ...]:
    """Axes of the weights that have a range for each of their positions."""
    kind = node.get_type_name()
    if kind == "Convolution":
        return (0,)
    if kind == "GroupConvolution":
        return (0, 1)
    rank = len(node.input(1).get_shape())
    return (rank - 2 if node.get_attributes()["transpose_b"] else rank - 1,)


def _quantised_weights(weights: Any, kept: tuple[int, ...]) -> Any:
    values = np.abs(weights.get_node().get_data())
    axes = tuple(axis for axis in range(values.ndim) if axis not in kept)
    top = np.maximum(values.max(axis=axes, keepdims=True), np.float32(1e-6))
    bounds = [ov.opset13.constant(bound) for bound in (-top, top, -top, top)]
    return ov.opset13.fake_quantize(weights, *bounds, _WEIGHT_LEVELS).output(0)


def _is_positive(node: Any) -> bool:
    """Whether nothing below zero can come out of a node."""
    kind = node.get_type_name()
    if kind == "Clamp":
        return bool(node.get_attributes()["min"] >= 0)
    if kind in _CARRIERS:
        sources = node.inputs() if kind == "Concat" else node.inputs()[:1]
        return all(_is_positive(entry.get_source_output().get_node()) for entry in sources)
    return kind in _POSITIVE

"""The reading of ONNX files under the name by which this runner's modules know it."""

from __future__ import annotations

from costmodel.onnx_model.inputs import bound_model

__all__ = ["bound_model"]

"""Runners of both types, and the same models as ONNX and as TensorFlow Lite files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="needs the litert extra")

from costmodel.lite_model.write import write_model
from costmodel.runners.litert.delegated import open_model
from costmodel.runners.litert.runner import LiteRtRunner

#: Models that TensorFlow Lite has counterparts for.
CONVERTED = (
    "bn_left_over", "branches", "chain", "classifier", "conv_relu", "depthwise", "float16",
    "folded_bn", "odd_channels", "old_classifier", "pools", "residual", "resize", "shuffle",
    "slices", "split_18",
)  # fmt: skip


@pytest.fixture(params=CONVERTED)
def converted_model(request: pytest.FixtureRequest) -> str:
    """Name of each model in turn."""
    return str(request.param)


@pytest.fixture(params=["float32", "int8"])
def dtype(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def lite_runner() -> Callable[[str], LiteRtRunner]:
    """One runner per type, so that overheads are measured once."""
    found = {dtype: LiteRtRunner(dtype=dtype) for dtype in ("float32", "int8")}
    return found.__getitem__


@pytest.fixture
def lite_file(model_file: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    """Path of a ``.tflite`` file of a model by name."""

    def path_of(name: str, dtype: str = "float32") -> Path:
        path = tmp_path / f"{name}-{dtype}.tflite"
        path.write_bytes(write_model(open_model(model_file(name), {}, dtype)))
        return path

    return path_of

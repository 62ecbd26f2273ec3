"""The runner contract for both types and both kinds of file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from costmodel.runners.litert.runner import LiteRtRunner
from costmodel.testing import RunnerContract


class TestFloatFromOnnx(RunnerContract):
    @pytest.fixture
    def runner(self, lite_runner: Callable[[str], LiteRtRunner]) -> LiteRtRunner:
        return lite_runner("float32")

    @pytest.fixture
    def model(self, model_file: Callable[[str], Path]) -> Path:
        return model_file("residual")


class TestFloatFromTflite(TestFloatFromOnnx):
    @pytest.fixture
    def model(self, lite_file: Callable[..., Path]) -> Path:
        return lite_file("depthwise")


class TestInt8FromOnnx(TestFloatFromOnnx):
    @pytest.fixture
    def runner(self, lite_runner: Callable[[str], LiteRtRunner]) -> LiteRtRunner:
        return lite_runner("int8")


class TestInt8FromTflite(TestInt8FromOnnx):
    @pytest.fixture
    def model(self, lite_file: Callable[..., Path]) -> Path:
        return lite_file("depthwise", "int8")

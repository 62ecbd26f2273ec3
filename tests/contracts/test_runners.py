"""The runner contract, held by every runner: one class each."""

from __future__ import annotations

from pathlib import Path

import pytest

from costmodel.runners.fake import FakeRunner, write_model
from costmodel.testing import UNKNOWN_OP, RunnerContract, example_ops


class TestFakeRunner(RunnerContract):
    @pytest.fixture
    def runner(self) -> FakeRunner:
        return FakeRunner(noise=0.1, misbehave=f"unsupported:{UNKNOWN_OP.kind}")

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return write_model(tmp_path / "model.json", example_ops())


class TestFakeRunnerInRealTime(TestFakeRunner):
    @pytest.fixture
    def runner(self) -> FakeRunner:
        return FakeRunner(realtime=True, misbehave=f"unsupported:{UNKNOWN_OP.kind}")

"""Models by name and a runner, for the tests of runners and of what is anticipated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import pytest
from architectures import network_file
from small_models import MODELS

if TYPE_CHECKING:
    from costmodel.runners.xla.runner import XlaRunner


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Path of a model of ``MODELS`` or of a known architecture by name."""
    folder = tmp_path_factory.mktemp("models")

    def path_of(name: str) -> Path:
        if name not in MODELS:
            return network_file(name)
        path = folder / f"{name}.onnx"
        onnx.save(MODELS[name](), path)
        return path

    return path_of


@pytest.fixture(scope="session")
def xla_runner() -> XlaRunner:
    """One runner for all tests: a process starts JAX once."""
    pytest.importorskip("jax", reason="needs the xla extra")
    from costmodel.runners.xla.backend import started_threads
    from costmodel.runners.xla.runner import XlaRunner

    return XlaRunner(threads=started_threads(), platform="cpu")

"""What ONNX Runtime executes of small models and known architectures, asked once each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import MODELS

from costmodel.network import Network
from costmodel.runners.ort.runner import OrtRunner

#: Well-known architectures that lower in under a second each.
QUICK = (
    "light_densenet121",
    "light_inception_v1",
    "light_inception_v2",
    "light_shufflenet",
    "light_squeezenet",
    "mnist",
    "mobilenet_v3",
    "resnet20",
    "ultraface",
    "yunet",
)
#: Of these, branches that have equal weights: the runtime computes one and reads it twice.
MERGED = ("light_inception_v1", "light_inception_v2")


@pytest.fixture(scope="session")
def runner() -> OrtRunner:
    return OrtRunner()


@pytest.fixture(scope="session")
def lower(runner: OrtRunner, model_file: Callable[[str], Path]) -> Callable[[str], Network]:
    """Lower a model of ``MODELS`` or of a known architecture by name, once."""
    found: dict[str, Network] = {}

    def lowered(name: str) -> Network:
        if name not in found:
            found[name] = runner.lower(model_file(name), {})
        return found[name]

    return lowered


@pytest.fixture(params=[*MODELS, *QUICK])
def every_model(request: pytest.FixtureRequest) -> str:
    """Name of each model in turn."""
    return str(request.param)


@pytest.fixture(params=[*MODELS, *(name for name in QUICK if name not in MERGED)])
def unmerged_model(request: pytest.FixtureRequest) -> str:
    """Name of each model of whose layers the runtime executes all, in turn."""
    return str(request.param)

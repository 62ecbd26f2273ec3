"""The versions that the rules were held against are those that the tests run with."""

from __future__ import annotations

from pathlib import Path

import pytest
from rule_versions import PACKAGES

from costmodel.anticipation.versions import HELD_AGAINST, doubt_of, is_held_against
from costmodel.device import Device

LOCK = Path(__file__).parents[3] / "constraints.txt"


@pytest.mark.parametrize("runtime", sorted(HELD_AGAINST))
def test_the_lock_holds_the_series_that_the_rules_follow(runtime: str) -> None:
    pins = dict(
        line.split("==") for line in LOCK.read_text(encoding="utf-8").splitlines() if "==" in line
    )
    assert is_held_against(runtime, pins[PACKAGES.get(runtime, runtime)])


@pytest.mark.parametrize(
    ("runtime", "version"), [("onnxruntime", "1.20.1"), ("openvino", "2025.0.0"), ("xla", "0.4.30")]
)
def test_another_version_is_named(runtime: str, version: str) -> None:
    said = doubt_of(Device(name="board", runtime=runtime, runtime_version=version))
    assert f"{runtime} {HELD_AGAINST[runtime]}; {version} may" in said


@pytest.mark.parametrize(
    ("runtime", "version"),
    [
        ("onnxruntime", "1.32.4"),
        ("xla", "libtpu 0.0.52 jax 0.10.2"),
        ("miopen", ""),
        ("cudnn", "tensorflow 1"),
    ],
)
def test_what_has_no_version_is_not_doubted(runtime: str, version: str) -> None:
    assert not doubt_of(Device(name="board", runtime=runtime, runtime_version=version))

"""One runner for all tests of XLA: whoever starts JAX first decides how many threads it has."""

from __future__ import annotations

import pytest

pytest.importorskip("jax", reason="needs the xla extra")

from costmodel.runners.xla.runner import XlaRunner


@pytest.fixture(autouse=True)
def started(xla_runner: XlaRunner) -> XlaRunner:
    """The runner starts JAX before a test does."""
    return xla_runner

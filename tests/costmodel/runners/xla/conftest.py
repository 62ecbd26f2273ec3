"""One runner for all tests of XLA: a process starts JAX once."""

from __future__ import annotations

import pytest

pytest.importorskip("jax", reason="the XLA runner needs JAX: pip install 'morphnet-latency[xla]'")

from costmodel.runners.xla.backend import started_threads
from costmodel.runners.xla.runner import XlaRunner


@pytest.fixture(scope="session", autouse=True)
def xla_runner() -> XlaRunner:
    # Whoever starts JAX first in this process decides how many threads it has.
    return XlaRunner(threads=started_threads(), platform="cpu")

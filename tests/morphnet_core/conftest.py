"""Settings of the tests that need Keras."""

from __future__ import annotations

import os

import pytest
from written_networks import Tools

# Under JAX these tests compile thousands of tiny kernels once each; halves their time. Read by JAX
# when it is imported.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")


@pytest.fixture(scope="session")
def tools() -> type[Tools]:
    """Networks written by hand, and cost models whose law is known."""
    return Tools

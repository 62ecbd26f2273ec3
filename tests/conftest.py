"""Settings of every test."""

from __future__ import annotations

import pytest

# Values in the messages of failed asserts inside the contracts.
pytest.register_assert_rewrite("costmodel.testing")

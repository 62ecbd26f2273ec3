"""Whatever an ONNX network is made of, cutting equals masking activations; padding is exact."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_cuts import onnx_cut
from rule_versions import follows

pytestmark = [
    pytest.mark.keras,  # its helpers hold both kinds of networks
    follows("onnxruntime"),  # others compute a few networks otherwise once they are cut
]
#: Networks of one test.
EACH = 5


@pytest.mark.parametrize("first", range(0, 8 * EACH, EACH))
def test_a_random_cut_equals_the_masked_network(first: int, tmp_path: Path) -> None:
    for seed in range(first, first + EACH):
        found = onnx_cut(seed, tmp_path)
        assert found.error <= 1e-5, seed
        assert found.whole <= 1e-5, seed
        assert not found.unreasoned, seed

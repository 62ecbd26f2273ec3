"""Where inputs and weights lie: as the runtime's own tensors, at the start of a cache line."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.registry import load_runner
from costmodel.runners.ort.bound import ALIGNMENT, aligned, input_values, weight_cut
from costmodel.runners.ort.rebuild import rebuild
from costmodel.runners.ort.session import random_input
from costmodel.runners.ort.weights import pool, weight_view
from costmodel.sampling.lowered import lower_together
from costmodel.sampling.probe import Probe

SHAPES = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


def begins(values: np.ndarray) -> int:
    return values.ctypes.data % ALIGNMENT


@settings(deadline=None, max_examples=60, derandomize=True)
@given(shape=SHAPES, dtype=st.sampled_from(["float32", "int64", "float16", "uint8"]))
def test_inputs_and_weights_begin_at_a_cache_line(shape: tuple[int, ...], dtype: str) -> None:
    values = random_input(shape, dtype)
    assert values.shape == shape
    assert str(values.dtype) == dtype
    assert begins(values) == 0
    offset = 0
    for _ in range(3):
        view, offset = weight_view(shape, dtype, offset)
        assert begins(view) == 0


def test_a_copy_has_memory_of_its_own_and_the_same_values() -> None:
    shifted = np.arange(100.0, dtype=np.float32)[1:]
    found = aligned(shifted)
    np.testing.assert_array_equal(found, shifted)
    assert begins(found) == 0
    assert aligned(found) is found
    again = aligned(found, copy=True)
    assert not np.shares_memory(again, found)
    texts = np.array(["a"], dtype=object)
    assert aligned(texts) is texts


def test_a_weight_larger_than_the_pool_is_repeated() -> None:
    small = aligned(np.arange(32.0, dtype=np.float32))
    values, offset = weight_cut(small, (5, 20), 3)
    assert values.shape == (5, 20)
    assert offset == 3
    assert begins(values) == 0
    assert begins(pool()) == 0
    assert input_values((3,), "str", small).tolist() == ["a"] * 3


@pytest.mark.parametrize("replicas", [1, 6])
def test_everything_that_a_rebuilt_kernel_reads_is_aligned(replicas: int) -> None:
    probe = Probe(
        name="p", kind="conv", in_channels=16, out_channels=24, size=(14, 14), kernel=(3, 3)
    )
    ops = lower_together(load_runner("ort"), [probe]).ops
    (lowered,) = (item for item in ops if item.kind == "conv")
    rebuilt = rebuild(lowered, replicas)
    assert {begins(value) for value in (*rebuilt.feed.values(), *rebuilt.weights.values())} == {0}


@pytest.mark.parametrize("begins_at", [0, 16])
def test_large_arrays_lie_in_pages_of_the_usual_size(begins_at: int) -> None:
    held = np.ones((8 << 20) + 2 * ALIGNMENT, dtype=np.uint8)
    start = -held.ctypes.data % ALIGNMENT + begins_at
    values = aligned(held[start : start + (8 << 20)].view(np.float32))
    assert aligned(values) is values
    part = values[: 1 << 20]
    assert aligned(part) is part
    values[-1] = 2.0  # of memory of its own
    address = values.ctypes.data
    flags: list[str] = []
    inside = False
    for line in Path("/proc/self/smaps").read_text(encoding="ascii").splitlines():
        words = line.split()
        if re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", words[0]):
            low, high = (int(end, 16) for end in words[0].split("-"))
            inside = low <= address < high
        elif inside and words[0] == "VmFlags:":
            flags = words[1:]
    assert "wr" in flags
    assert "hg" not in flags  # what numpy asks of its own large arrays

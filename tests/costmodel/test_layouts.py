from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from costmodel.layouts import logical, physical


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 4), layout=st.sampled_from(["nchw", "nhwc", "nchw16c"])
)
def test_physical_sizes_hold_all_elements(shape: tuple[int, ...], layout: str) -> None:
    found = physical(shape, layout)
    assert sorted(logical(found, layout)) >= sorted(shape) or layout == "nchw16c"
    if layout != "nchw16c":
        assert logical(found, layout) == shape
    else:
        assert (found[0], found[2:]) == (shape[0], shape[2:])
        assert 0 <= found[1] - shape[1] < 16

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from morphnet_core.pricing.grid import axis_widths, envelope, grid_widths, right_edges, rounding_of

COSTS = arrays(np.float64, array_shapes(min_dims=1, max_dims=2), elements=st.floats(0, 1e6))


@settings(deadline=None)
@given(st.integers(1, 4096), st.sampled_from([1, 8, 16]), st.sampled_from([1, 4, 8]))
def test_grids_ascend_to_the_full_size_in_allowed_steps(
    size: int, block: int, multiple: int
) -> None:
    widths = grid_widths(size, block=block, multiple=multiple, most=16)
    assert widths[-1] == size
    assert list(widths) == sorted(set(widths))
    assert all(width % multiple == 0 for width in widths[:-1])
    assert len(widths) <= 18
    rounding = rounding_of(widths, block)
    assert rounding in {1, block}
    assert all(width % rounding == 0 for width in widths[:-1])


@settings(deadline=None)
@given(st.integers(1, 600), st.integers(1, 60))
def test_shared_axes_step_by_what_their_groups_have_in_common(units: int, quantum: int) -> None:
    widths = axis_widths(units * quantum, quantum, block=16, most=16)
    assert widths[-1] == units * quantum
    assert all(width % quantum == 0 for width in widths)


@settings(deadline=None)
@given(COSTS)
def test_the_envelope_is_the_greatest_monotone_bound_from_below(costs: np.ndarray) -> None:
    found = envelope(costs)
    assert (found <= costs).all()
    for axis in range(costs.ndim):
        assert (np.diff(found, axis=axis) >= 0).all()
    for place in np.ndindex(costs.shape):
        assert found[place] == costs[tuple(slice(n, None) for n in place)].min()


@settings(deadline=None)
@given(arrays(np.float64, st.integers(1, 20), elements=st.integers(0, 5).map(float)))
def test_right_edges_keep_every_level_at_its_widest(costs: np.ndarray) -> None:
    profile = envelope(costs)
    edges = right_edges(profile)
    assert edges[-1] == len(profile) - 1
    assert sorted(set(profile)) == profile[edges].tolist()

from hypothesis import given
from hypothesis import strategies as st

from costmodel.sampling.draw import COMMON_CHANNELS, channels, draws, log_piecewise


@given(exact=st.floats(1, 2400), mode=st.floats(0, 0.499))
def test_pruned_counts_are_near_and_no_multiple_of_four(exact: float, mode: float) -> None:
    count = channels(exact, mode)
    assert count >= 1
    assert count % 4 != 0
    assert abs(count - exact) <= 1.5


@given(exact=st.floats(1, 2400), mode=st.floats(0.65, 0.999))
def test_chosen_counts_are_common_ones(exact: float, mode: float) -> None:
    assert channels(exact, mode) in COMMON_CHANNELS


def test_streams_differ_and_fill_the_range() -> None:
    first = [next(stream).amount for stream in (draws(0, 0), draws(0, 1), draws(1, 0))]
    assert len(set(first)) == 3
    stream = draws(0, 0)
    sixteenths = {int(16 * next(stream).place) for _ in range(16)}
    assert sixteenths == set(range(16))


def test_log_piecewise_meets_its_knots() -> None:
    shares, values = (0.0, 0.5, 1.0), (1.0, 10.0, 1000.0)
    assert [round(log_piecewise(u, shares, values), 9) for u in (0, 0.5, 0.75, 1)] == [
        1,
        10,
        100,
        1000,
    ]

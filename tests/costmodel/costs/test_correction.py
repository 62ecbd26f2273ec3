"""What a new device takes over what a donor takes."""

from __future__ import annotations

import numpy as np
import pytest

from costmodel.costs.correction import Correction, Donation, clipped, most_telling

SHARES = 3


def donation(count: int, seed: int, quirks: float = 0.0) -> Donation:
    draw = np.random.default_rng(seed)
    shares = draw.dirichlet(np.ones(SHARES), count)
    return Donation(
        log_ms=draw.normal(0.0, 2.0, count),
        doubt=np.full(count, 1e-4),
        quirk=quirks * draw.normal(0.0, 1.0, count),
        shares=shares,
        features=draw.normal(size=(count, 4)),
        paths=draw.choice(np.array(["a", "b"]), count),
        classes=np.full(count, "product"),
    )


def held_to(truth: np.ndarray, found: Correction, fresh: Donation) -> float:
    return float(np.median(np.abs(found.predict(fresh)[0] - truth)))


@pytest.mark.parametrize("factor", [0.1, 7.0])
def test_one_factor_takes_a_handful_of_rows(factor: float) -> None:
    rows, fresh = donation(5, 1), donation(50, 2)
    found = Correction(rows, rows.log_ms + np.log(factor), np.full(5, 1e-4))
    assert held_to(fresh.log_ms + np.log(factor), found, fresh) < 0.03


def test_a_term_that_takes_longer_is_found() -> None:
    rows, fresh = donation(50, 1), donation(50, 2)
    law = np.array([0.0, 1.0, -0.5])
    found = Correction(rows, rows.log_ms + rows.shares @ law, np.full(50, 1e-4))
    assert held_to(fresh.log_ms + fresh.shares @ law, found, fresh) < 0.05


def test_quirks_of_the_donor_are_left_behind() -> None:
    rows, fresh = donation(60, 1, quirks=0.4), donation(50, 2, quirks=0.4)
    found = Correction(rows, rows.log_ms - rows.quirk, np.full(60, 1e-4))
    assert held_to(fresh.log_ms - fresh.quirk, found, fresh) < 0.1


def test_one_kernel_of_another_algorithm_does_not_bend_the_rest() -> None:
    rows, fresh = donation(40, 1), donation(50, 2)
    wrong = rows.log_ms.copy()
    wrong[7] += 5.0
    assert held_to(fresh.log_ms, Correction(rows, wrong, np.full(40, 1e-4)), fresh) < 0.2


def test_rows_left_out_are_not_looked_at() -> None:
    rows = donation(30, 1)
    noise = np.random.default_rng(3).normal(0.0, 0.3, 30)
    found = Correction(rows, rows.log_ms + noise, np.full(30, 1e-4))
    left_out = np.abs(found.held_out - rows.log_ms - noise)
    assert left_out.mean() > 0.6 * np.abs(noise).mean()
    assert (found.deviation > 0.1).all()


def test_many_rows_are_thinned() -> None:
    rows = donation(1500, 1)
    found = Correction(rows, rows.log_ms, np.full(1500, 1e-4))
    assert len(found.rows) == len(found.held_out) <= 600


def test_without_rows_the_donor_speaks() -> None:
    nothing, fresh = donation(0, 1), donation(5, 2)
    mean, deviation = Correction(nothing, np.empty(0), np.empty(0)).predict(fresh)
    np.testing.assert_array_equal(mean, fresh.log_ms)
    assert (deviation > 1.0).all()


def test_features_far_out_count_as_near() -> None:
    found = clipped(np.array([[1e9, 2.0]]), np.zeros(2), np.ones(2))
    np.testing.assert_array_equal(found, [[4.0, 2.0]])


def test_telling_rows_come_from_every_path() -> None:
    pool = donation(80, 1)
    chosen = most_telling([pool], 8)
    assert len(set(chosen)) == 8
    assert {str(path) for path in pool.paths[chosen]} == {"a", "b"}
    assert len(most_telling([pool], 500)) == 80

"""What physics leaves, learned per path."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from costmodel.costs.residual import (
    MIN_ROWS,
    Hyper,
    Process,
    Residual,
    search_hyper,
    standardisation,
)


def sample(rows: int, columns: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features and a smooth residual of the first two."""
    features = np.random.default_rng(seed).normal(size=(rows, columns)) * 3.0 + 1.0
    return features, 0.2 * np.sin(features[:, 0]) + 0.1 * features[:, 1]


def test_a_process_is_scikit_learns_with_the_same_hyper_parameters() -> None:
    features, residual = sample(80)
    noise = np.random.default_rng(1).uniform(1e-4, 1e-2, 80)
    hyper = Hyper(amplitude=0.3, noise=2e-3, relevances=(0.5, 0.25, 2.0, 1.0))
    mean, scale = standardisation(features)
    process = Process(hyper=hyper, mean=mean, scale=scale)
    process.fit(features, residual, noise)
    fresh, _ = sample(1500, seed=2)  # more than are predicted at once
    found, variance = process.predict(fresh)
    scales = 1.0 / np.array(hyper.relevances)
    kernel = ConstantKernel(hyper.amplitude, "fixed") * Matern(scales, "fixed", nu=1.5)
    theirs = GaussianProcessRegressor(kernel, alpha=noise + hyper.noise, optimizer=None)
    theirs.fit((features - mean) / scale, residual)
    expected, deviation = theirs.predict((fresh - mean) / scale, return_std=True)
    # All but distances and sums is done in 32 bits.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, deviation**2 + hyper.noise, rtol=1e-5)


def conditioned(rows: int, monkeypatch: pytest.MonkeyPatch, most: int) -> Process:
    """A process that may hold ``most`` rows, of a residual with a little noise."""
    monkeypatch.setattr("costmodel.costs.residual.EXACT_ROWS", most)
    monkeypatch.setattr("costmodel.costs.residual.POINTS", most)
    features, residual = sample(rows)
    residual = residual + np.random.default_rng(3).normal(size=rows) * 0.02
    hyper = Hyper(amplitude=0.1, noise=4e-4, relevances=(0.7, 0.4, 0.05, 0.05))
    mean, scale = standardisation(features)
    process = Process(hyper=hyper, mean=mean, scale=scale)
    process.fit(features, residual, np.full(rows, 1e-5))
    return process


def test_points_that_are_nearly_all_rows_give_nearly_the_exact_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = conditioned(120, monkeypatch, 120)
    condensed = conditioned(121, monkeypatch, 120)  # one row more than may be held exactly
    assert len(exact.inputs) == len(condensed.inputs) == 120
    fresh, _ = sample(300, seed=5)
    mean, variance = condensed.predict(fresh)
    theirs, their_variance = exact.predict(fresh)
    assert np.median(np.abs(mean - theirs)) < 1e-3
    assert np.median(np.abs(variance / their_variance - 1.0)) < 0.01


def test_many_rows_are_condensed_and_still_tell_more_than_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh, truth = sample(500, seed=5)

    def error(process: Process) -> float:
        return float(np.abs(process.predict(fresh)[0] - truth).mean())

    few, many = (
        conditioned(100, monkeypatch, 100),
        conditioned(5000, monkeypatch, 100),
    )
    assert len(many.inputs) == 100
    assert error(many) < 0.6 * error(few)
    again = conditioned(5000, monkeypatch, 100).predict(fresh)
    for one, other in zip(many.predict(fresh), again, strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_process_returns_to_the_base_far_from_the_data() -> None:
    features, residual = sample(50)
    hyper = Hyper(amplitude=0.3, noise=1e-3, relevances=(1.0,) * 4)
    mean, scale = standardisation(features)
    process = Process(hyper=hyper, mean=mean, scale=scale)
    process.fit(features, residual, np.zeros(50))
    (far,), (variance,) = process.predict(np.full((1, 4), 1e4))
    assert far == pytest.approx(0.0, abs=1e-12)
    assert variance == pytest.approx(hyper.amplitude + hyper.noise)


def test_features_that_do_not_vary_are_standardised_too() -> None:
    mean, scale = standardisation(np.array([[1.0, 5.0], [3.0, 5.0]]))
    assert mean.tolist() == [2.0, 5.0]
    assert scale.tolist() == [1.0, 1.0]


def test_the_search_finds_which_features_matter() -> None:
    features, _ = sample(150)
    features[:, 3] = 7.0
    residual = 0.3 * np.sin(2.0 * features[:, 0])
    hyper = search_hyper(features, residual, np.full(150, 1e-4))
    assert hyper.relevances[0] > 3 * max(hyper.relevances[1:])
    assert hyper.relevances[3] == 0.0
    assert hyper.amplitude > 0
    assert hyper.noise > 0


def test_the_search_is_deterministic() -> None:
    features, residual = sample(60)
    noise = np.full(60, 1e-4)
    assert search_hyper(features, residual, noise) == search_hyper(features, residual, noise)


def test_few_rows_share_one_length_scale() -> None:
    features, residual = sample(MIN_ROWS, columns=8)
    found = search_hyper(features, residual, np.full(MIN_ROWS, 1e-4))
    assert len(set(found.relevances)) == 1


@pytest.mark.parametrize("residual", [np.zeros(20), np.linspace(0.0, 1.0, 20)])
def test_rows_that_are_all_alike_can_be_searched(residual: np.ndarray) -> None:
    hyper = search_hyper(np.ones((20, 3)), residual, np.full(20, 1e-4))
    assert hyper.relevances == (0.0, 0.0, 0.0)


def fitted(paths: list[str], hypers: dict[str, Hyper]) -> tuple[Residual, np.ndarray, np.ndarray]:
    features, residual = sample(len(paths))
    found = Residual(hypers).fit(features, residual, np.full(len(paths), 1e-4), paths)
    return found, features, residual


def test_the_residual_follows_the_data() -> None:
    hyper = Hyper(amplitude=0.3, noise=1e-4, relevances=(1.0, 1.0, 0.1, 0.1))
    found, features, residual = fitted(["a"] * 200, {"a": hyper})
    mean, deviation = found.predict(features, ["a"] * 200)
    assert np.abs(mean - residual).mean() < 0.3 * np.abs(residual).mean()
    assert (deviation > 0).all()


def test_a_path_of_few_rows_stays_near_physics() -> None:
    few = MIN_ROWS - 1
    hyper = Hyper(amplitude=0.3, noise=1e-4, relevances=(1.0,) * 4)
    found, features, residual = fitted(["a"] * 100 + ["b"] * few, {"a": hyper, "b": hyper})
    mean, deviation = found.predict(features[-few:], ["b"] * few)
    assert (np.abs(mean) <= np.abs(residual).max() / 2 + 1e-9).all()
    np.testing.assert_allclose(deviation, 0.2)


def test_an_unknown_path_has_an_answer() -> None:
    found, features, _ = fitted(["a"] * 30, {})
    mean, deviation = found.predict(features[:3], ["never seen"] * 3)
    assert np.isfinite(mean).all()
    assert np.isfinite(deviation).all()

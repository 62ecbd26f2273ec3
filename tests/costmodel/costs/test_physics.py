"""Laws of time: non-negative sums of amounts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.costs.features import TERMS
from costmodel.costs.physics import MIN_ROWS, Physics, base_of, fit_physics, make_up


def amounts(rows: int, seed: int = 0) -> np.ndarray:
    """Random amounts over three decades; the constant is 1."""
    terms = 10 ** np.random.default_rng(seed).uniform(-2, 1, (rows, len(TERMS)))
    terms[:, TERMS.index("constant")] = 1.0
    return terms


def fit(terms: np.ndarray, latency_ms: np.ndarray, *paths: str) -> Physics:
    names = list(paths) if len(paths) > 1 else list(paths) * len(terms)
    kinds = [name.partition("/")[0] for name in names]
    return fit_physics(terms, latency_ms, np.ones(len(terms)), names, kinds)


def test_a_known_law_is_found() -> None:
    truth = np.random.default_rng(1).uniform(0.1, 1.0, len(TERMS))
    terms = amounts(200)
    physics = fit(terms, terms @ truth, "conv/dense")
    np.testing.assert_allclose(physics.by_path["conv/dense"], truth, rtol=5e-3)
    fresh = amounts(20, seed=5)
    priced = physics.price(fresh, ["conv/dense"] * 20, ["conv"] * 20)
    np.testing.assert_allclose(priced, fresh @ truth, rtol=5e-3)


def test_paths_of_one_family_keep_their_own_laws() -> None:
    terms = amounts(300)
    slow, quick = np.full(len(TERMS), 3.0), np.full(len(TERMS), 1.0)
    names = ["conv/dense"] * 150 + ["conv/pointwise"] * 150
    latency = np.concatenate([terms[:150] @ slow, terms[150:] @ quick])
    physics = fit(terms, latency, *names)
    priced = physics.price(terms, names, ["conv"] * 300)
    assert np.median(np.abs(priced / latency - 1.0)) < 0.1


def test_outliers_do_not_bend_a_law() -> None:
    truth = np.random.default_rng(1).uniform(0.1, 1.0, len(TERMS))
    terms = amounts(200)
    latency = terms @ truth
    latency[::20] *= 4.0
    physics = fit(terms, latency, "add")
    priced = physics.price(terms, ["add"] * 200, ["add"] * 200)
    sound = np.arange(200) % 20 != 0
    assert np.median(np.abs(priced[sound] / latency[sound] - 1.0)) < 0.05


@settings(deadline=None, max_examples=40, derandomize=True)
@given(
    rows=st.integers(1, 40),
    seed=st.integers(0, 1000),
    spread=st.floats(0.01, 3.0),
    paths=st.lists(st.sampled_from(["conv/dense", "conv/stem", "add"]), min_size=40, max_size=40),
)
def test_no_coefficient_is_ever_negative(
    rows: int, seed: int, spread: float, paths: list[str]
) -> None:
    terms = amounts(rows, seed)
    latency = np.exp(np.random.default_rng(seed).normal(0.0, spread, rows))
    names = paths[:rows]
    kinds = [name.partition("/")[0] for name in names]
    physics = fit_physics(terms, latency, np.ones(rows), names, kinds)
    for law in (*physics.by_path.values(), *physics.by_kind.values()):
        assert law.shape == (len(TERMS),)
        assert (law >= 0).all()
    assert (physics.price(terms, names, kinds) > 0).all()


def test_a_path_of_few_rows_follows_its_family() -> None:
    truth = np.random.default_rng(1).uniform(0.1, 1.0, len(TERMS))
    terms = amounts(100 + MIN_ROWS - 1)
    names = ["conv/dense"] * 100 + ["conv/stem"] * (MIN_ROWS - 1)
    latency = terms @ truth
    physics = fit(terms, latency, *names)
    priced = physics.price(terms, names, ["conv"] * len(names))
    np.testing.assert_allclose(priced, latency, rtol=0.02)


def test_an_unseen_path_follows_its_kind_and_an_unseen_kind_has_no_law() -> None:
    terms = amounts(50)
    physics = fit(terms, terms.sum(axis=1), "conv/dense")
    priced = physics.price(terms[:2], ["conv/grouped", "lrn"], ["conv", "lrn"])
    np.testing.assert_allclose(priced[0], terms[0].sum(), rtol=1e-3)
    assert np.isnan(priced[1])
    assert physics.law_of("lrn", "lrn") is None


def test_a_small_kernel_of_a_kind_with_large_rows_starts_like_others() -> None:
    """What large rows are off by must not become what every run costs."""
    draw = np.random.default_rng(0)
    start_ms, names = 0.001, ["relu"] * 20 + ["add"] * 20
    terms = np.zeros((40, len(TERMS)))
    terms[:, TERMS.index("constant")] = 1.0
    terms[:, TERMS.index("input")] = 10 ** np.r_[draw.uniform(-4, 0, 20), draw.uniform(0, 1, 20)]
    latency = (start_ms + 0.1 * terms[:, TERMS.index("input")]) * np.exp(draw.normal(0, 0.1, 40))
    latency[20:25] += 0.03
    physics = fit(terms, latency, *names)
    small = terms[:1].copy()
    small[0, TERMS.index("input")] = 1e-3
    assert physics.price(small, ["add"], ["add"])[0] < 5.0 * start_ms


def test_no_law_answers_zero() -> None:
    physics = Physics(by_path={"a": np.zeros(len(TERMS))}, by_kind={})
    assert physics.price(amounts(3), ["a"] * 3, ["a"] * 3) == pytest.approx([1e-5] * 3)


def test_more_of_anything_never_costs_less() -> None:
    terms = amounts(60)
    physics = fit(terms, np.exp(np.random.default_rng(3).normal(size=60)), "conv/dense")
    base = physics.price(terms, ["conv/dense"] * 60, ["conv"] * 60)
    for column in range(len(TERMS)):
        more = terms.copy()
        more[:, column] *= 2.0
        assert (physics.price(more, ["conv/dense"] * 60, ["conv"] * 60) >= base).all()


def test_parts_add_up_to_the_base() -> None:
    terms = amounts(30)
    physics = fit(terms, terms.sum(axis=1), "add")
    parts = physics.parts(terms, ["add"] * 30, ["add"] * 30)
    base = physics.price(terms, ["add"] * 30, ["add"] * 30)
    np.testing.assert_allclose(base_of(parts), base)
    shares = make_up(parts)
    np.testing.assert_allclose(shares[:, :-1].sum(axis=1), 1.0)
    np.testing.assert_allclose(shares[:, -1], np.log2(base))


def test_laws_are_described_without_their_zeros() -> None:
    law = np.zeros(len(TERMS))
    law[TERMS.index("work")] = 0.05
    physics = Physics(by_path={"conv/dense": law}, by_kind={})
    assert physics.describe() == {"conv/dense": {"work": 0.05}}

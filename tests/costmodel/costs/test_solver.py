"""The solver on networks whose law is known: recovered, never negative, sure where it may be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from timed_networks import drawn_networks, law_of

from costmodel.costs import solver
from costmodel.costs.beliefs import unknown
from costmodel.costs.solver import NOISE, USUAL, foreseen, most_telling, settle, solve
from costmodel.costs.work import work_of


@pytest.fixture(scope="module")
def work():
    return work_of(drawn_networks(60, seed=1))


def times_of(work, speed=3.0):
    return work.counts @ (work.amounts @ law_of(work.things, speed))


def solved(work, rows, times):
    part = work_of([_kernels(work, row) for row in rows], work.things)
    return part, solve(part, times[rows], unknown(work.things), np.full(len(rows), NOISE))


def _kernels(work, row):
    return [op for op, n in zip(work.kernels, work.counts[row], strict=True) for _ in range(int(n))]


def test_other_networks_are_foretold_from_twenty(work):
    times = times_of(work)
    _, found = solved(work, list(range(20)), times)
    singles = work_of([[op] for op in work.kernels], work.things)
    prices, deviations = found.prices(singles)
    assert (prices > 0).all()
    assert (deviations >= 0).all()
    errors = np.abs(work.counts[20:] @ prices / times[20:] - 1.0)
    assert np.median(errors) < 0.05


def test_more_networks_leave_less_open(work):
    times = times_of(work)
    singles = work_of([[op] for op in work.kernels], work.things)
    few, many = (
        solved(work, list(range(number)), times)[1].prices(singles)[1] for number in (5, 40)
    )
    assert (many <= few + 1e-9).all()


def test_the_belief_that_foresaw_the_times_counts_most(work):
    times = times_of(work)
    known = unknown(work.things)
    right = np.log(law_of(work.things, 3.0))
    sure = 0.01 * known.covariance
    good, bad = (
        type(known)(things=known.things, mean=mean, covariance=sure) for mean in (right, -right)
    )
    rows = list(range(5))
    part = work_of([_kernels(work, row) for row in rows], work.things)
    singles = work_of([[op] for op in work.kernels], work.things)
    prices, _ = settle(part, times[rows], [bad, good]).prices(singles)
    assert work.counts @ prices == pytest.approx(times, rel=0.05)


def test_times_that_contradict_the_belief_are_met_nonetheless(work):
    """Whole steps of Gauss and Newton swing to and fro here, and never come near."""
    times = times_of(work, 1.0)
    known = unknown(work.things)
    wrong = replace(known, mean=3.0 * np.random.default_rng(5).normal(size=len(known.mean)))
    part = work_of([_kernels(work, row) for row in range(12)], work.things)
    found = solve(part, times[:12], wrong, np.full(12, NOISE))
    took = part.counts @ found.prices(work_of([[op] for op in part.kernels], work.things))[0]
    assert took == pytest.approx(times[:12], rel=0.05)


def test_beliefs_that_differ_leave_the_networks_sums_as_they_were(work):
    times = times_of(work, 1.0)
    known = unknown(work.things)
    tilt = np.where([thing.bound == "maths" for thing in known.things], 2.0, -2.0)
    part = work_of([_kernels(work, 0)], work.things)
    settled = settle(part, times[:1], [replace(known, mean=s * tilt) for s in (1.0, -1.0)])
    singles = work_of([[op] for op in part.kernels], work.things)
    each = [part.counts @ found.prices(singles)[0] for found in settled.found]
    assert settled.weights.max() < 0.9
    assert part.counts @ settled.prices(singles)[0] == pytest.approx(settled.weights @ each)
    assert part.counts @ settled.prices(singles)[0] == pytest.approx(times[:1], rel=0.05)


def test_a_device_whose_time_is_all_starts_is_told_from_eight(work):
    """A graphics card that waits for its host: multiply-adds take a thousandth of what is usual."""
    starts = np.array([thing.is_start for thing in work.things])
    times = work.counts @ (work.amounts @ np.where(starts, 20.0, 1e-3))
    part = work_of([_kernels(work, row) for row in range(8)], work.things)
    singles = work_of([[op] for op in work.kernels], work.things)
    prices, _ = settle(part, times[:8], [unknown(work.things)]).prices(singles)
    assert work.counts[8:] @ prices == pytest.approx(times[8:], rel=0.1)


def test_noise_is_told_by_the_times(work):
    times = times_of(work)
    rows = list(range(30))
    part = work_of([_kernels(work, row) for row in rows], work.things)
    singles = work_of([[op] for op in work.kernels], work.things)
    off = np.random.default_rng(2).normal(size=30)
    exact, noisy = (
        settle(part, times[rows] * np.exp(noise * off), [unknown(work.things)])
        for noise in (0.005, 0.08)
    )
    assert exact.leeway.noise < 0.02 < 0.04 < noisy.leeway.noise
    assert np.median(noisy.prices(singles)[1]) > np.median(exact.prices(singles)[1])


def test_nothing_is_solved_twice(work, monkeypatch):
    asked = []

    def noted(work, times, belief, noise, leeway=USUAL, **more):
        asked.append((id(belief), leeway))
        return solve(work, times, belief, noise, leeway, **more)

    monkeypatch.setattr(solver, "solve", noted)
    part = work_of([_kernels(work, row) for row in range(8)], work.things)
    settled = settle(part, times_of(work)[:8], [unknown(work.things)])
    assert USUAL in {found.leeway for found in settled.found}
    assert len(asked) == len(set(asked))


def test_times_that_are_unlike_the_donors_widen_what_is_believed(work):
    law = np.log(law_of(work.things, 3.0))
    known = unknown(work.things)
    rows = list(range(20))
    part = work_of([_kernels(work, row) for row in rows], work.things)
    like, unlike = (
        settle(part, times_of(work)[rows], [replace(known, mean=mean)])
        for mean in (law, 3.0 * np.random.default_rng(1).permutation(law))
    )
    assert like.leeway.width < 1.0 < unlike.leeway.width


def test_the_most_telling_are_unlike_each_other(work):
    covariance = foreseen(work, unknown(work.things))
    chosen = most_telling(covariance, 8)
    assert len(set(chosen)) == 8
    assert most_telling(covariance, 3, chosen[:5]) == chosen[5:]
    left = np.linalg.slogdet(covariance[np.ix_(chosen, chosen)] + NOISE**2 * np.eye(8))[1]
    first = np.linalg.slogdet(covariance[:8, :8] + NOISE**2 * np.eye(8))[1]
    assert left > first

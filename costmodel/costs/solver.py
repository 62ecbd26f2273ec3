"""Solver: how slow a device is at each thing, from whole networks' times and what is usual.

A kernel takes ``sum_k amount[k] * exp(scale[k]) * exp(offset)`` and a network the sum of its
kernels: non-negative whatever is found. The scales of a device have a normal distribution before
anything is timed: things alike are about as slow. The offsets say what no scale does, and are a
Gaussian process over the kernels' sizes: kernels alike are off alike (Rasmussen & Williams 2006).
What is most probable given the times is found by Gauss and Newton's method on their logarithms, and
Laplace's approximation says how sure it is (Bishop 2006, 4.4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from costmodel.costs.work import Thing, Work, unlikeness
from costmodel.op import Op

Floats = NDArray[np.float64]
Offsets = Callable[[Sequence[Op]], Floats]

#: Standard deviations of logarithms, before anything is known: of a device's speed; of what its
#: things of one loop have in common, of one bound, of both; and of each alone.
SPEED, _LOOP, _BOUND, _BOTH, _OWN = 1.5, 0.5, 0.4, 0.4, 0.4
#: The same of a kernel's offset, and how many octaves apart kernels have little in common.
_OFFSET, _REACH = 0.2, 1.5
#: Relative error of a network's time that nothing explains.
NOISE = 0.02
_STEPS, _LONGEST, _STILL = 40, 0.7, 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """What is believed of how slow a device is at things, in logarithms.

    Attributes:
        things: what they are.
        mean: ``(things,)``.
        covariance: ``(things, things)``.
        offsets: expected offsets of kernels; None for none.
    """

    things: tuple[Thing, ...]
    mean: Floats
    covariance: Floats
    offsets: Offsets | None = None

    def offsets_of(self, ops: Sequence[Op]) -> Floats:
        """``(ops,)`` expected offsets."""
        return np.zeros(len(ops)) if self.offsets is None else self.offsets(ops)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What to believe once networks have been timed.

    Attributes:
        before: the belief before.
        scales: ``(things,)`` most probable logarithms.
        kernels: of the timed networks.
        shares: ``(networks, kernels)`` of each network's time.
        slopes: ``(networks, things)`` the same of things.
        pulls: ``(networks,)`` what each network adds to what is like it.
        inverse: ``(networks, networks)`` inverse covariance of the logarithms of their times.
        evidence: logarithm of how well the belief before foresaw the times.
    """

    before: Belief
    scales: Floats
    kernels: tuple[Op, ...]
    shares: Floats
    slopes: Floats
    pulls: Floats
    inverse: Floats
    evidence: float

    def offsets(self, ops: Sequence[Op]) -> Floats:
        """``(ops,)`` most probable offsets of any kernels."""
        return self.before.offsets_of(ops) + _alike(ops, self.kernels) @ (
            self.shares.T @ self.pulls
        )

    def prices(self, work: Work) -> tuple[Floats, Floats]:
        """What kernels take.

        Args:
            work: kernels, with the things of the belief.

        Returns:
            ``(kernels,)`` ms, and the standard deviations of their logarithms.
        """
        parts = work.amounts * np.exp(self.scales)
        total = np.maximum(parts.sum(axis=1), 1e-12)
        slopes = parts / total[:, None]
        spread = slopes @ self.before.covariance
        common = spread @ self.slopes.T + _alike(work.kernels, self.kernels) @ self.shares.T
        variance = (spread * slopes).sum(axis=1) + _OFFSET**2
        variance = variance - ((common @ self.inverse) * common).sum(axis=1)
        values = total * np.exp(self.offsets(work.kernels))
        return values, np.sqrt(np.maximum(variance, 0.0))


def kinship(things: Sequence[Thing], *, speed: float = SPEED) -> Floats:
    """``(things, things)`` covariance of things by what they have in common."""
    loop, bound, form = (
        np.array([getattr(thing, name) for thing in things]) for name in ("loop", "bound", "form")
    )
    same_loop, same_bound = loop[:, None] == loop, bound[:, None] == bound
    both = same_loop & same_bound
    own = both & (form[:, None] == form)
    return np.asarray(
        speed**2 + _LOOP**2 * same_loop + _BOUND**2 * same_bound + _BOTH**2 * both + _OWN**2 * own
    )


def solve(work: Work, latency_ms: Floats, belief: Belief, noise: Floats) -> Found:
    """What to believe once networks (or kernels) have been timed.

    Args:
        work: what they ask for, with the things of ``belief``.
        latency_ms: ``(networks,)`` what each took.
        belief: before.
        noise: ``(networks,)`` relative error of each time.
    """
    prior, before = belief.covariance, belief.mean
    expected = belief.offsets_of(work.kernels)
    alike = _alike(work.kernels, work.kernels)
    scales, offsets = before.copy(), expected.copy()
    shares, slopes = _shares(work, scales, offsets)
    inverse: Floats = np.zeros((0, 0))
    pulls, errors = np.zeros(0), np.zeros(0)
    for _ in range(_STEPS):
        shares, slopes = _shares(work, scales, offsets)
        total = work.counts @ ((work.amounts @ np.exp(scales)) * np.exp(offsets))
        errors = np.log(latency_ms / np.maximum(total, 1e-12))
        errors = errors + slopes @ (scales - before) + shares @ (offsets - expected)
        part = csr_array(shares)  # a timed kernel alone is all of its own time
        covariance = slopes @ prior @ slopes.T + part @ (part @ alike).T
        inverse = np.asarray(np.linalg.inv(covariance + np.diag(noise**2)), dtype=np.float64)
        pulls = inverse @ errors
        step = np.clip(before + prior @ (slopes.T @ pulls) - scales, -_LONGEST, _LONGEST)
        scales = scales + step
        offsets = expected + alike @ (shares.T @ pulls)
        if np.abs(step).max(initial=0.0) < _STILL:
            break
    evidence = -0.5 * float(errors @ pulls - np.linalg.slogdet(inverse)[1])
    return Found(
        before=belief,
        scales=scales,
        kernels=work.kernels,
        shares=shares,
        slopes=slopes,
        pulls=pulls,
        inverse=inverse,
        evidence=evidence,
    )


def settle(
    work: Work, latency_ms: Floats, beliefs: Sequence[Belief], noise: Floats, kernels: Work
) -> tuple[Floats, Floats]:
    """What kernels take, with several beliefs before: each counts by how well it foresaw the times.

    Args:
        work: timed networks.
        latency_ms: as ``solve``.
        beliefs: before, about the same things.
        noise: as ``solve``.
        kernels: that are asked for.

    Returns:
        As ``Found.prices``.
    """
    found = [solve(work, latency_ms, belief, noise) for belief in beliefs]
    best = max(item.evidence for item in found)
    weights = np.exp([item.evidence - best for item in found])
    weights = weights / weights.sum()
    prices, deviations = zip(*(item.prices(kernels) for item in found), strict=True)
    logs = np.log(prices)
    mean = weights @ logs
    return np.exp(mean), np.sqrt(weights @ (np.square(deviations) + (logs - mean) ** 2))


def foreseen(work: Work, belief: Belief) -> Floats:
    """``(networks, networks)`` covariance of the logarithms of networks' times."""
    parts = parts_of(work, belief)
    return covariance_between(belief, (work, parts), (work, parts))


def parts_of(work: Work, belief: Belief) -> tuple[Floats, Floats]:
    """What part of each network's time its kernels take, and its things."""
    return _shares(work, belief.mean, belief.offsets_of(work.kernels))


def covariance_between(
    belief: Belief, a: tuple[Work, tuple[Floats, Floats]], b: tuple[Work, tuple[Floats, Floats]]
) -> Floats:
    """``(networks of a, networks of b)`` covariance of the logarithms of their times.

    Args:
        belief: about the things of both.
        a: networks and their parts.
        b: likewise.
    """
    (left, (shares, slopes)), (right, (other_shares, other_slopes)) = a, b
    alike = _alike(left.kernels, right.kernels)
    return np.asarray(slopes @ belief.covariance @ other_slopes.T + shares @ alike @ other_shares.T)


def most_telling(covariance: Floats, number: int, timed: Sequence[int] = ()) -> list[int]:
    """Which networks to time next, the most telling first.

    Each is the one after which least is left open of all of them together (A-optimal design, chosen
    greedily).

    Args:
        covariance: ``(networks, networks)`` of what is to be known, as ``foreseen`` tells.
        number: how many to choose.
        timed: those that have been timed.
    """
    left, chosen = covariance.copy(), list(timed)
    for row in timed:
        left = _without(left, row)
    for _ in range(min(number, len(left) - len(chosen))):
        gain = (left**2).sum(axis=0) / (np.diag(left) + NOISE**2)
        gain[chosen] = -1.0
        chosen.append(int(np.argmax(gain)))
        left = _without(left, chosen[-1])
    return chosen[len(timed) :]


def _without(covariance: Floats, row: int) -> Floats:
    """What is left open once a network is timed."""
    column = covariance[:, row]
    return np.asarray(covariance - np.outer(column, column) / (column[row] + NOISE**2))


def _alike(a: Sequence[Op], b: Sequence[Op]) -> Floats:
    """``(len(a), len(b))`` covariance of kernels' offsets."""
    return np.asarray(_OFFSET**2 * np.exp(-0.5 * (unlikeness(a, b) / _REACH) ** 2))


def _shares(work: Work, scales: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    """The same at given scales and offsets."""
    each = work.amounts * np.exp(scales) * np.exp(offsets)[:, None]
    total = np.maximum(work.counts @ each.sum(axis=1), 1e-12)[:, None]
    return work.counts * each.sum(axis=1) / total, work.counts @ each / total

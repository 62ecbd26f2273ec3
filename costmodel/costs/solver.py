"""Solver: how slow a device is at each thing, from whole networks' times and what is usual.

A kernel takes ``sum_k amount[k] * exp(scale[k]) * exp(offset)`` and a network the sum of its
kernels: non-negative whatever is found. The scales of a device have a normal distribution before
anything is timed: things alike are about as slow. The offsets say what no scale does, and are a
Gaussian process over the kernels' sizes: kernels alike are off alike (Rasmussen & Williams 2006).
What is most probable given the times is found by Gauss and Newton's method on their logarithms,
never uphill, and Laplace's approximation says how sure it is (Bishop 2006, 4.4). How wide what is
believed, how large offsets and how noisy times are is for the times to say: their evidence weighs
the points of a small grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from costmodel.costs.work import Thing, Work, unlikeness
from costmodel.op import Op

Floats = NDArray[np.float64]
Offsets = Callable[[Sequence[Op]], Floats]

#: Standard deviations of logarithms, before anything is known: of a device's speed; of how long a
#: start takes besides, which is its host's and its runtime's doing; of what its things of one loop
#: have in common, of one bound, of both; and of each alone.
_SPEED, _STARTS, _LOOP, _BOUND, _BOTH, _OWN = 1.5, 3.0, 0.5, 0.4, 0.4, 0.4
#: How many octaves apart kernels' offsets have little in common.
_REACH = 1.5
#: Relative error of a network's time that nothing explains.
NOISE = 0.02
#: Most steps of the search, how often one is halved that leads uphill, and what is no gain.
_STEPS, _HALVINGS, _STILL = 60, 12, 1e-3
#: Widths, offsets and noise that are tried, all of them as likely before.
_WIDTHS, _OFFSETS, _NOISES = (0.5, 1.0, 2.0), (0.1, 0.2, 0.4, 0.8), (0.01, 0.02, 0.04, 0.08)
#: What the logarithm of the evidence may lack, were everything linear, and still be looked at.
_HOPELESS = 5.0


@dataclass(frozen=True, slots=True)
class Leeway:
    """How far a device may be from what is believed of it, and its times from what it takes.

    Attributes:
        width: of the speeds at its things, as a factor on the belief's.
        offset: standard deviation of the logarithms of kernels' offsets.
        noise: relative error of a network's time that nothing explains.
    """

    width: float = 1.0
    offset: float = 0.2
    noise: float = NOISE


USUAL = Leeway()
_GRID = tuple(Leeway(*values) for values in product(_WIDTHS, _OFFSETS, _NOISES))


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

    def widened(self, width: float) -> Belief:
        """The same, with so many times the standard deviations."""
        return replace(self, covariance=width**2 * self.covariance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What to believe once networks have been timed.

    Attributes:
        before: the belief before.
        scales: ``(things,)`` most probable logarithms.
        kernels: of the timed networks.
        shares: ``(networks, kernels)`` of each network's time.
        slopes: ``(networks, things)`` the same of things.
        lifts: ``(kernels,)`` what each of them adds to what is like it.
        linear: ``(networks,)`` what the belief leaves to explain, by these shares and slopes.
        leeway: how far the device might be from the belief.
        inverse: ``(networks, networks)`` inverse covariance of the logarithms of their times.
        evidence: logarithm of how well the belief before foresaw the times.
    """

    before: Belief
    scales: Floats
    kernels: tuple[Op, ...]
    shares: Floats
    slopes: Floats
    lifts: Floats
    linear: Floats
    leeway: Leeway
    inverse: Floats
    evidence: float

    def offsets(self, ops: Sequence[Op], likeness: Floats | None = None) -> Floats:
        """``(ops,)`` most probable offsets of any kernels.

        Args:
            ops: that are asked for.
            likeness: ``(ops, kernels)`` of theirs and the timed ones, where it has been calculated.
        """
        alike = _likeness(ops, self.kernels) if likeness is None else likeness
        return self.before.offsets_of(ops) + alike @ (self.leeway.offset**2 * self.lifts)

    def prices(self, work: Work, likeness: Floats | None = None) -> tuple[Floats, Floats]:
        """What kernels take.

        Args:
            work: kernels, with the things of the belief.
            likeness: as for ``offsets``.

        Returns:
            ``(kernels,)`` ms, and the standard deviations of their logarithms.
        """
        parts = work.amounts * np.exp(self.scales)
        total = np.maximum(parts.sum(axis=1), 1e-12)
        slopes = parts / total[:, None]
        spread = slopes @ self.before.covariance
        alike = _likeness(work.kernels, self.kernels) if likeness is None else likeness
        shares = self.leeway.offset**2 * csr_array(self.shares)
        common = spread @ self.slopes.T + (shares @ alike.T).T
        variance = (spread * slopes).sum(axis=1) + self.leeway.offset**2
        variance = variance - ((common @ self.inverse) * common).sum(axis=1)
        values = total * np.exp(self.offsets(work.kernels, alike))
        return values, np.sqrt(np.maximum(variance, 0.0))


def kinship(things: Sequence[Thing], *, unlike: float = 1.0) -> Floats:
    """``(things, things)`` covariance of things by what they have in common.

    Args:
        things: of a device.
        unlike: factor on the standard deviations of all but its two speeds: that of its work, and
            that at which kernels are started.
    """
    loop, bound, form = (
        np.array([getattr(thing, name) for thing in things]) for name in ("loop", "bound", "form")
    )
    same_loop, same_bound = loop[:, None] == loop, bound[:, None] == bound
    both = same_loop & same_bound
    own = both & (form[:, None] == form)
    alike = _LOOP**2 * same_loop + _BOUND**2 * same_bound + _BOTH**2 * both + _OWN**2 * own
    starts = np.array([thing.is_start for thing in things])
    return np.asarray(_SPEED**2 + _STARTS**2 * np.outer(starts, starts) + unlike**2 * alike)


def solve(
    work: Work,
    latency_ms: Floats,
    belief: Belief,
    noise: Floats,
    leeway: Leeway = USUAL,
    *,
    likeness: Floats | None = None,
) -> Found:
    """What to believe once networks (or kernels) have been timed.

    Args:
        work: what they ask for, with the things of ``belief``.
        latency_ms: ``(networks,)`` what each took.
        belief: before.
        noise: ``(networks,)`` relative error of each time, where that of ``leeway`` is less.
        leeway: how far the device may be from ``belief``.
        likeness: ``(kernels, kernels)`` of those of ``work``, where it has been calculated.
    """
    belief = belief.widened(leeway.width)
    prior, before, expected = belief.covariance, belief.mean, belief.offsets_of(work.kernels)
    alike = _likeness(work.kernels, work.kernels) if likeness is None else likeness
    alike = leeway.offset**2 * alike
    noise = np.maximum(noise, leeway.noise)

    def at(duals: Floats, lifts: Floats) -> _Place:
        scales, offsets = before + prior @ duals, expected + alike @ lifts
        total = work.counts @ ((work.amounts @ np.exp(scales)) * np.exp(offsets))
        errors = np.log(latency_ms / np.maximum(total, 1e-300))
        prior_loss = float(duals @ (scales - before) + lifts @ (offsets - expected))
        loss = 0.5 * (float(np.sum((errors / noise) ** 2)) + prior_loss)
        return _Place(duals, lifts, scales, offsets, errors, loss)

    here, gain = at(np.zeros(len(before)), np.zeros(len(expected))), np.inf
    for _ in range(_STEPS):
        shares, slopes = _shares(work, here.scales, here.offsets)
        part = csr_array(shares)  # a timed kernel alone is all of its own time
        covariance = slopes @ prior @ slopes.T + part @ (part @ alike).T + np.diag(noise**2)
        linear = here.errors + slopes @ (here.scales - before) + shares @ (here.offsets - expected)
        if gain < _STILL:
            break
        pulls = np.linalg.solve(covariance, linear)
        duals, lifts = slopes.T @ pulls - here.duals, shares.T @ pulls - here.lifts
        # Where networks disagree with the belief, whole steps swing to and fro.
        tried = (
            at(here.duals + 0.5**n * duals, here.lifts + 0.5**n * lifts) for n in range(_HALVINGS)
        )
        there = next((place for place in tried if place.loss < here.loss), here)
        gain, here = here.loss - there.loss, there
    return Found(
        before=belief,
        leeway=leeway,
        scales=here.scales,
        kernels=work.kernels,
        shares=shares,
        slopes=slopes,
        lifts=here.lifts,
        linear=linear,
        inverse=np.asarray(np.linalg.inv(covariance), dtype=np.float64),
        evidence=-here.loss - 0.5 * float(np.linalg.slogdet(covariance)[1]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What several beliefs before, and several leeways, come to together.

    Attributes:
        found: of each that counts.
        weights: by how well it foresaw the times; they add up to one.
    """

    found: tuple[Found, ...]
    weights: Floats

    @property
    def leeway(self) -> Leeway:
        """The mean one."""
        values = [astuple(item.leeway) for item in self.found]
        return Leeway(*np.exp(self.weights @ np.log(values)).tolist())

    def prices(self, kernels: Work) -> tuple[Floats, Floats]:
        """As ``Found.prices``."""
        likeness = _likeness(kernels.kernels, self.found[0].kernels)
        told = [item.prices(kernels, likeness) for item in self.found]
        each, deviations = zip(*told, strict=True)
        # The mean of times, not of logarithms: where beliefs put the same time into other kernels,
        # the networks' sums stay what they were.
        mean = self.weights @ np.array(each)
        apart = np.log(np.array(each) / mean)
        return mean, np.sqrt(self.weights @ (np.square(deviations) + apart**2))


def settle(
    work: Work, latency_ms: Floats, beliefs: Sequence[Belief], noise: Floats | float = 0.0
) -> Settled:
    """What to believe with several beliefs before: each counts by how well it foresaw the times.

    So does how wide it is, how large offsets are, and what noise the times have.

    Args:
        work: timed networks.
        latency_ms: as ``solve``.
        beliefs: before, about the same things.
        noise: as ``solve``.
    """
    likeness = _likeness(work.kernels, work.kernels)
    noise = np.broadcast_to(noise, latency_ms.shape)
    usual = [solve(work, latency_ms, belief, noise, likeness=likeness) for belief in beliefs]
    hopes = [
        (hope, belief, there, leeway)
        for belief, there in zip(beliefs, usual, strict=True)
        for hope, leeway in _hopes(there, noise, likeness)
    ]
    most = max(hope for hope, *_ in hopes)
    found = tuple(
        there
        if leeway == there.leeway
        else solve(work, latency_ms, belief, noise, leeway, likeness=likeness)
        for hope, belief, there, leeway in hopes
        if hope > most - _HOPELESS
    )
    evidence = np.array([item.evidence for item in found])
    weights = np.exp(evidence - evidence.max())
    return Settled(found=found, weights=weights / weights.sum())


def _hopes(found: Found, noise: Floats, likeness: Floats) -> list[tuple[float, Leeway]]:
    """The evidence with other leeways, were everything linear: tells what need not be solved."""
    part = csr_array(found.shares)
    things = found.slopes @ found.before.covariance @ found.slopes.T
    kernels = part @ (part @ likeness).T
    hopes = []
    for leeway in _GRID:
        covariance = leeway.width**2 * things + leeway.offset**2 * kernels
        covariance = covariance + np.diag(np.maximum(noise, leeway.noise) ** 2)
        misfit = found.linear @ np.linalg.solve(covariance, found.linear)
        hope = -0.5 * float(misfit + np.linalg.slogdet(covariance)[1])
        hopes.append((hope, leeway))
    return hopes


def foreseen(work: Work, belief: Belief) -> Floats:
    """``(networks, networks)`` covariance of the logarithms of networks' times."""
    parts = parts_of(work, belief)
    return covariance_between(belief, (work, parts), (work, parts))


def parts_of(work: Work, belief: Belief) -> tuple[Floats, Floats]:
    """What part of each network's time its kernels take, and its things."""
    return _shares(work, belief.mean, belief.offsets_of(work.kernels))


def covariance_between(
    belief: Belief,
    a: tuple[Work, tuple[Floats, Floats]],
    b: tuple[Work, tuple[Floats, Floats]],
    offset: float = USUAL.offset,
) -> Floats:
    """``(networks of a, networks of b)`` covariance of the logarithms of their times.

    Args:
        belief: about the things of both.
        a: networks and their parts.
        b: likewise.
        offset: standard deviation of kernels' offsets.
    """
    (left, (shares, slopes)), (right, (other_shares, other_slopes)) = a, b
    alike = offset**2 * _likeness(left.kernels, right.kernels)
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


def _likeness(a: Sequence[Op], b: Sequence[Op]) -> Floats:
    """``(len(a), len(b))`` correlation of kernels' offsets."""
    return np.asarray(np.exp(-0.5 * (unlikeness(a, b) / _REACH) ** 2))


class _Place(NamedTuple):
    """Where the search is; duals and lifts are what the priors turn into scales and offsets."""

    duals: Floats
    lifts: Floats
    scales: Floats
    offsets: Floats
    errors: Floats
    loss: float


def _shares(work: Work, scales: Floats, offsets: Floats) -> tuple[Floats, Floats]:
    """The same at given scales and offsets."""
    each = work.amounts * np.exp(scales) * np.exp(offsets)[:, None]
    total = np.maximum(work.counts @ each.sum(axis=1), 1e-12)[:, None]
    return work.counts * each.sum(axis=1) / total, work.counts @ each / total

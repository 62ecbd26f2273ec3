"""Outlook: how many visits and rounds are still to come, for a time left that is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What is to be expected.

    Attributes:
        visits: of all jobs.
        rounds: until the last job is finished; each may need a process of its own.
    """

    visits: float
    rounds: float


def foresee(jobs: Mapping[tuple[int, int], int], chance: float) -> Outlook:
    """Expected visits and rounds of jobs that go on until they settle.

    Args:
        jobs: how many jobs there are of each pair: visits that they get in any case, and the most
            that they can get.
        chance: that a job settles, at each look after the visits that it gets in any case.

    >>> foresee({(8, 12): 2}, chance=1.0)
    Outlook(visits=16.0, rounds=8.0)
    >>> foresee({(1, 4): 1}, chance=0.0)
    Outlook(visits=4.0, rounds=4.0)
    >>> foresee({(1, 4): 1}, chance=0.5)
    Outlook(visits=1.875, rounds=1.875)
    """
    visits = rounds = 0.0
    for ahead in range(1, max((most for _, most in jobs), default=0) + 1):
        none = 1.0
        for (certain, most), count in jobs.items():
            goes_on = (1.0 - chance) ** max(ahead - certain, 0) if ahead <= most else 0.0
            visits += count * goes_on
            none *= (1.0 - goes_on) ** count
        rounds += 1.0 - none
    return Outlook(visits=visits, rounds=rounds)

"""Proposals: many choices of widths within one budget, for somebody who can tell which is best.

What a group is worth beside others is known roughly: importances are of single channels, to first
order, and how they add up is a rule. Widths that the budget pays for under importances a little
different are as likely to be right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morphnet_core.pricing import Pricer
from morphnet_core.projection.project import Projection, project

#: Standard deviation of the logarithm of what a group's importances are multiplied by.
SPREAD = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """One choice.

    Attributes:
        importance: ``(units,)`` that it comes from.
        projection: the widths, and the units that stay: the most important of each group.
    """

    importance: NDArray[np.float64]
    projection: Projection


def proposals(
    pricer: Pricer,
    importance: NDArray[np.floating],
    target: float,
    *,
    count: int,
    seed: int,
    **options: Any,
) -> Iterator[Proposal]:
    """Projections by the importances as they are, then with every group's multiplied by a number.

    Within a group the order of units stays. Widths that came before are left out, so there may be
    fewer than asked for: where a budget leaves little choice, one.

    Args:
        pricer: of the network.
        importance: ``(units,)`` what each unit is worth.
        target: greatest cost, as for ``project``.
        count: how often the problem is solved.
        seed: of the numbers that groups are multiplied by.
        **options: of ``project``.

    Raises:
        InvalidInputError: as ``project``.
    """
    chance = np.random.default_rng(seed)
    groups = pricer.grouping.groups
    known: set[bytes] = set()
    for number in range(count):
        factors = np.exp(SPREAD * chance.standard_normal(len(groups))) if number else None
        scores = np.array(importance, dtype=float)
        if factors is not None:
            for group, factor in zip(groups, factors, strict=True):
                scores[group.units] *= factor
        found = project(pricer, scores, target, **options)
        key = found.counts.tobytes()
        if key not in known:
            known.add(key)
            yield Proposal(importance=scores, projection=found)

"""The exact choice for any network: a mixed-integer programme, solved by HiGHS.

One variable per group and candidate, of which one is 1, and per pair of groups and candidates a
product, linearised by its margins (as MDP does: Sun et al., "Multi-Dimensional Pruning: Joint
Channel, Layer and Block Pruning with Latency Constraint", 2024): it is then whole by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from costmodel.streams import redirected
from morphnet_core.projection.problem import Choice, Problem

#: Share of the best value that is given up for speed, and longest search in seconds.
GAP, SECONDS = 1e-3, 20.0


def solve_integer(problem: Problem, target: float) -> Choice | None:
    """The choice of most value that costs at most ``target``; the best found in ``SECONDS``.

    Args:
        problem: any.
        target: greatest cost.

    Returns:
        The choice; None where there is none, or none was found in time.
    """
    sizes = [len(widths) for widths in problem.widths]
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    blocks = [matrix.size for matrix in problem.pairs.values()]
    pair_starts = starts[-1] + np.concatenate([[0], np.cumsum(blocks)]).astype(int)
    total = int(pair_starts[-1])
    value = np.zeros(total)
    # From the least width on, so that the gap is a share of what there is to win: what goes with a
    # width of 0 may be worth many times that.
    least = [
        own[: 1 + (not width[0])].max()
        for own, width in zip(problem.values, problem.widths, strict=True)
    ]
    value[: starts[-1]] = np.concatenate(
        [*(own - start for own, start in zip(problem.values, least, strict=True)), np.zeros(0)]
    )
    costs = np.zeros(total)
    costs[: starts[-1]] = np.concatenate([*problem.singles, np.zeros(0)])
    rows = [(starts[g] + np.arange(size), np.ones(size), 1.0) for g, size in enumerate(sizes)]
    for number, ((g, h), matrix) in enumerate(problem.pairs.items()):
        at = pair_starts[number] + np.arange(matrix.size).reshape(matrix.shape)
        costs[at] = matrix
        for group, products in ((g, at), (h, at.T)):
            factors = np.append(np.ones(products.shape[1]), -1.0)
            for place, own in enumerate(products):
                rows.append((np.append(own, starts[group] + place), factors, 0.0))
    limits = [([starts[g], starts[h]], [1.0, -1.0], 0.0) for g, h in problem.implied]
    limits += [
        ([starts[g] for g in clash], [1.0] * len(clash), len(clash) - 1.0)
        for clash in problem.clashes
    ]
    scale = max(abs(target - problem.constant), 1e-300)
    budget = LinearConstraint(
        csr_array((costs / scale)[None, :]), -np.inf, (target - problem.constant) / scale
    )
    whole = np.zeros(total, dtype=np.uint8)
    whole[: starts[-1]] = 1
    # HiGHS prints past its own options, and stdout may be somebody's JSON.
    with redirected(1, to=2):
        answer = milp(
            -value / max(float(np.abs(value).max(initial=0.0)), 1e-300),
            constraints=[_rows(rows, total, least=None), budget]
            + ([_rows(limits, total, least=-np.inf)] if limits else []),
            integrality=whole,
            bounds=Bounds(0.0, 1.0),
            options={"mip_rel_gap": GAP, "time_limit": SECONDS},
        )
    if answer.x is None:
        return None
    return np.array(
        [int(np.argmax(answer.x[starts[g] : starts[g + 1]])) for g in range(len(sizes))],
        dtype=np.intp,
    )


def _rows(
    rows: Sequence[tuple[Sequence[int] | np.ndarray, Sequence[float] | np.ndarray, float]],
    total: int,
    *,
    least: float | None,
) -> LinearConstraint:
    """Rows of columns, their factors and what they sum up to, over ``total`` variables.

    Args:
        rows: them.
        total: variables.
        least: what they sum up to at least; None for equalities.
    """
    columns, values, right = zip(*rows, strict=True)
    ends = np.cumsum([0, *(len(own) for own in columns)])
    data = (np.concatenate(values), np.concatenate(columns), ends)
    matrix = csr_array(data, shape=(len(rows), total))
    return LinearConstraint(matrix, right if least is None else least, right)

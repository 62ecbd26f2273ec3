"""Profiling until it suffices: in stages, each measuring what the last one left doubtful."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from costmodel.calibration import TRAFFIC_NETWORKS
from costmodel.costs.features import path_of
from costmodel.costs.regression import fit_regression
from costmodel.errors import InvalidInputError
from costmodel.learning import left_out_networks
from costmodel.model_rows import model_op_counts
from costmodel.op import Op
from costmodel.profiler import Job, ProfileReport, joined
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable

_LOG = logging.getLogger("costmodel")
#: Length of a stage: so long that looking at what it gave (some seconds) costs little beside it.
STAGE_MS = 90_000.0
#: Part of a network's time that a kind of kernel counts for if no timed network runs it.
_UNUSED_SHARE = 0.01


def profile_until(
    goal: float,
    jobs: Sequence[Job],
    budget_ms: float | None,
    measure: Callable[[Sequence[Job], float], ProfileReport],
) -> ProfileReport:
    """Measure in stages until so many networks are predicted within 10 % without their kernels.

    Args:
        goal: share of the timed networks, above 0 to 1.
        jobs: what to time; networks first. The others are measured in the order in which they tell
            most about the time of networks.
        budget_ms: most time in all, or None.
        measure: times jobs for so many ms into the table, going on where it ended.

    Returns:
        The report of all stages; its ``out_of_budget`` says that the goal was not reached.

    Raises:
        InvalidInputError: for a goal that is no share, or too few networks among the jobs.
    """
    networks = sum(job.model is not None for job in jobs)
    if not 0.0 < goal <= 1.0:
        message = f"Expected a share of networks above 0 and up to 1, such as 0.95; got {goal:g}."
        raise InvalidInputError(message)
    if networks < TRAFFIC_NETWORKS:
        message = (
            f"Whether a table suffices is seen by networks timed whole, at least "
            f"{TRAFFIC_NETWORKS}; here are {networks}. Ask for 480 or more samples, which bring "
            "some, or give networks of your own (models)."
        )
        raise InvalidInputError(message)
    begin = time.perf_counter()
    report: ProfileReport | None = None
    while True:
        spent_ms = (time.perf_counter() - begin) * 1000.0
        left_ms = math.inf if budget_ms is None else budget_ms - spent_ms
        if report is not None and left_ms <= 0:
            return report
        stage = measure(jobs, min(STAGE_MS, left_ms))
        report = stage if report is None else joined(report, stage)
        if stage.interrupted or not stage.out_of_budget:
            return report
        found = left_out_networks(stage.table)
        if found is not None:
            within = found.networks.within_10
            _LOG.info(
                "%d rows: %.0f %% of %d networks left out are within 10 %% (median %.1f %%).",
                len(stage.table.kernels()), 100 * within, found.networks.rows,
                100 * found.networks.median,
            )  # fmt: skip
            if within >= goal:
                return replace(report, out_of_budget=False)
        jobs = most_telling(jobs, stage.table, fit_regression(stage.table))


def most_telling(jobs: Sequence[Job], table: LatencyTable, cost: CostModel) -> list[Job]:
    """Jobs in the order in which they say most about networks: what is doubtful and much used.

    Networks and what has been visited stay in front. Of the others, the more the cost model doubts
    the price, and the larger the share of kernels of that path in the timed networks' time, the
    sooner: what a row lowers is about the squared doubt times the share.

    Args:
        jobs: in any order.
        table: measured so far.
        cost: prices, with intervals, in ms.
    """
    first = [job for job in jobs if job.model is not None or _visited(table, job.op)]
    known = {job.op for job in first}
    rest = [job for job in jobs if job.op not in known]
    if not rest:
        return first
    shares = _shares(table, cost)
    ops = [job.op for job in rest]
    prices = cost.price(ops)
    with np.errstate(divide="ignore", invalid="ignore"):
        doubt = np.log(prices.high / np.maximum(prices.low, 1e-12))
    doubt = np.where(np.isfinite(doubt), doubt, np.inf)
    weight = np.array([max(shares.get(path_of(op), 0.0), _UNUSED_SHARE) for op in ops])
    order = np.argsort(-(doubt**2) * weight, kind="stable")
    return [*first, *(rest[index] for index in order)]


def _visited(table: LatencyTable, op: Op) -> bool:
    return op in table and bool(table[op].rounds)


def _shares(table: LatencyTable, cost: CostModel) -> dict[str, float]:
    """Share of each path in the time of the table's networks, which count alike."""
    ops = {op.digest: op for op in table.rows}
    found: dict[str, float] = defaultdict(float)
    for row in table.models():
        counts = {ops[d]: n for d, n in model_op_counts(row.op).items() if d in ops}
        times = np.nan_to_num(cost.price(list(counts)).values) * np.array(list(counts.values()))
        for op, time_ms in zip(counts, times, strict=True):
            found[path_of(op)] += float(time_ms) / max(float(times.sum()), 1e-12)
    total = sum(found.values())
    return {path: share / total for path, share in found.items()} if total else {}

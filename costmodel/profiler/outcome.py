"""ProfileReport: what a profile gave, and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from costmodel.measurement import UNMEASURED, Repeatability
from costmodel.op import Op
from costmodel.profiler.account import Account
from costmodel.table import LatencyTable
from costmodel.timing.anchor import SLOW


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What the anchor kernel saw of the machine.

    Attributes:
        probes: how often it was timed.
        slow: how many probes stayed slow after waiting.
        best_ms: its least time; NaN without probes.
        median_ratio: median of its times over the least.
        worst_ratio: greatest of its times over the least.
    """

    probes: int
    slow: int
    best_ms: float
    median_ratio: float
    worst_ratio: float

    @classmethod
    def of(cls, times_ms: Iterable[float]) -> Drift:
        """Summarise the anchor's times.

        >>> Drift.of([2.0, 2.0, 3.0]).worst_ratio
        1.5
        """
        times = list(times_ms)
        if not times:
            nan = float("nan")
            return cls(probes=0, slow=0, best_ms=nan, median_ratio=nan, worst_ratio=nan)
        best = min(times)
        return cls(
            probes=len(times),
            slow=sum(time > SLOW * best for time in times),
            best_ms=best,
            median_ratio=median(times) / best,
            worst_ratio=max(times) / best,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileReport:
    """What a profile gave.

    Attributes:
        table: the table, with every finished visit in it.
        rows: rows that were asked for, each in one of the next four counts.
        ok: rows whose halves agree.
        noisy: rows with a number whose halves never agreed.
        failed: rows without a number; the table tells why.
        unmeasured: rows that the budget or an interruption left without a visit.
        visits: visits made in this session.
        revisits: visits repeated because the anchor was slow around them.
        blocks: undisturbed blocks timed in this session.
        discarded: blocks thrown away because the machine disturbed them.
        seconds: wall time of the session.
        shares: share of the wall time in ``timed`` runs, ``warm_up``, ``load``, ``wait`` (for a
            slow machine), ``start`` (of processes) and ``other``.
        repeatability: agreement of the halves of these rows.
        drift: what the anchor saw.
        restarts: worker processes started after the first.
        interrupted: whether a signal ended it early.
        out_of_budget: whether the budget ended it before every row was finished.
        times_ms: of whole networks, every single time that this session took.
    """

    table: LatencyTable
    rows: int
    ok: int
    noisy: int
    failed: int
    unmeasured: int
    visits: int
    revisits: int
    blocks: int
    discarded: int
    seconds: float
    shares: Mapping[str, float]
    repeatability: Repeatability
    drift: Drift
    restarts: int
    interrupted: bool
    out_of_budget: bool
    times_ms: Mapping[Op, Sequence[float]]


def joined(earlier: ProfileReport, later: ProfileReport) -> ProfileReport:
    """One report of two sessions over the same rows, in this order."""
    seconds = earlier.seconds + later.seconds
    return replace(
        later,
        visits=earlier.visits + later.visits,
        revisits=earlier.revisits + later.revisits,
        blocks=earlier.blocks + later.blocks,
        discarded=earlier.discarded + later.discarded,
        seconds=seconds,
        shares={
            name: (earlier.shares[name] * earlier.seconds + share * later.seconds) / seconds
            for name, share in later.shares.items()
        },
        restarts=earlier.restarts + 1 + later.restarts,
    )


def make_report(
    table: LatencyTable,
    ops: Iterable[Op],
    account: Account,
    *,
    wall_ms: float,
    interrupted: bool,
    visits_left: int,
) -> ProfileReport:
    """Sum up a session.

    Args:
        table: where the rows are.
        ops: what was asked for.
        account: the session's books.
        wall_ms: how long it took.
        interrupted: whether a signal ended it.
        visits_left: visits that were still wanted at the end.
    """
    wanted = list(ops)
    known = (table.rows[op] for op in wanted if op in table.rows)
    rows = [row for row in known if row.status != UNMEASURED]
    ok = sum(row.status == "ok" for row in rows)
    noisy = sum(row.status == "noisy" for row in rows)
    return ProfileReport(
        table=table,
        rows=len(wanted),
        ok=ok,
        noisy=noisy,
        failed=len(rows) - ok - noisy,
        unmeasured=len(wanted) - len(rows),
        visits=account.counts["visits"],
        revisits=account.counts["revisits"],
        blocks=account.counts["blocks"],
        discarded=account.counts["discarded"],
        seconds=wall_ms / 1000.0,
        shares=account.shares(wall_ms),
        repeatability=Repeatability.of(row.rounds for row in rows if row.has_number),
        drift=Drift.of(account.anchor_ms),
        restarts=max(0, account.counts["starts"] - 1),
        interrupted=interrupted,
        out_of_budget=bool(visits_left or len(wanted) > len(rows)) and not interrupted,
        times_ms={wanted[job]: times for job, times in account.times_ms.items() if times},
    )

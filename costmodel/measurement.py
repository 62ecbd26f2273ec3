"""Measurement: what one Op took on one Device, and how far to trust it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from statistics import fmean, median
from typing import Annotated, Literal

import msgspec

from costmodel.equality import same_fields
from costmodel.op import Op

Status = Literal["ok", "noisy", "timeout", "crashed", "out_of_memory", "rejected", "unmeasured"]

#: Status of a kernel that a profile had no time for: a network that was timed whole runs it.
UNMEASURED: Status = "unmeasured"

#: A time that a table may hold: no kernel takes less than a picosecond or longer than 30 years. The
#: bounds make msgspec refuse zero, negative and infinite times by field.
Milliseconds = Annotated[float, msgspec.Meta(ge=1e-9, le=1e12)]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

#: Halves of a row's rounds that differ by more than this share make the row ``noisy``.
HALVES_AGREE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One visit to an Op: rounds are minutes apart, so that a burst of noise spoils only one.

    Attributes:
        number: 0 for the first round of the table.
        quiet_ms: least time per execution among the undisturbed blocks of the visit.
        median_ms: median time per execution over the same blocks.
        blocks: undisturbed blocks timed.
        discarded: blocks thrown away because the machine disturbed them.
        runs: executions timed.
    """

    number: Count
    quiet_ms: Milliseconds
    median_ms: Milliseconds
    blocks: Count = 1
    discarded: Count = 0
    runs: Count = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One row of a table.

    Attributes:
        op: what was executed.
        latency_ms: the quiet estimate: the time on an undisturbed machine. NaN in rows without
            a number (see ``status``).
        median_ms: what a user of the busy machine saw.
        spread: relative disagreement of the two halves of the rounds (even against odd); NaN
            with fewer than two rounds. Of an imported row: of the halves of its repeats, or the
            relative standard deviation that its source gives.
        rounds: the visits behind the numbers; empty for imported or estimated rows.
        status: ``ok``; ``noisy`` when the halves never agreed; else why there is no number.
        reason: one sentence for any status but ``ok``.
    """

    op: Op
    latency_ms: float
    median_ms: float
    spread: float = math.nan
    rounds: tuple[Round, ...] = ()
    status: Status = "ok"
    reason: str = ""

    __eq__ = same_fields

    @property
    def has_number(self) -> bool:
        """Whether the row carries a latency."""
        return self.status in {"ok", "noisy"}

    @property
    def num_runs(self) -> int:
        """Timed executions behind the row."""
        return sum(item.runs for item in self.rounds)

    @classmethod
    def from_rounds(
        cls, op: Op, rounds: Iterable[Round], *, status: Status = "ok", reason: str = ""
    ) -> Measurement:
        """Summarise visits into a row.

        Rounds are ordered by number and of a repeated number the quietest visit is kept, so that
        merging is independent of order and repetition, and the latency is the least of them all.

        Args:
            op: what was executed.
            rounds: the visits, in any order.
            status: a failure to record; ``ok`` and ``noisy`` are decided from the rounds.
            reason: why, for a failure.
        """
        unique: dict[int, Round] = {}
        for item in rounds:
            kept = unique.setdefault(item.number, item)
            if kept is not item and astuple(item) < astuple(kept):
                unique[item.number] = item
        ordered = tuple(unique[number] for number in sorted(unique))
        if status not in {"ok", "noisy"} or not ordered:
            # The one math.nan object, so that rows without a number still compare equal.
            return cls(
                op=op,
                latency_ms=math.nan,
                median_ms=math.nan,
                rounds=ordered,
                status=status,
                reason=reason,
            )
        spread = half_spread([item.quiet_ms for item in ordered])
        noisy = spread > HALVES_AGREE
        return cls(
            op=op,
            latency_ms=quiet_estimate([item.quiet_ms for item in ordered]),
            median_ms=median(item.median_ms for item in ordered),
            spread=spread,
            rounds=ordered,
            status="noisy" if noisy else "ok",
            reason=f"halves of the rounds differ by {spread:.1%}" if noisy else "",
        )


def quiet_estimate(times_ms: Sequence[float]) -> float:
    """Time on an undisturbed machine from one quiet time per round: the least of them.

    Interference only ever adds time, and rounds are minutes apart, so the least round is the one
    the machine left alone (research trial: it repeats within 10 % for 95 % of shapes where one
    60 ms window does so for 48 %).

    >>> quiet_estimate([1.5, 1.0, 1.01])
    1.0
    """
    return min(times_ms)


def half_spread(times_ms: Sequence[float]) -> float:
    """Relative difference between the quiet estimates of the even and of the odd rounds.

    >>> round(half_spread([1.0, 1.1, 1.3, 1.2]), 3)
    0.1
    """
    if len(times_ms) < 2:
        return math.nan
    even, odd = quiet_estimate(times_ms[0::2]), quiet_estimate(times_ms[1::2])
    return abs(even - odd) / min(even, odd) if min(even, odd) > 0 else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeatability:
    """How well one half of the rounds of rows predicts the other: the ceiling of any accuracy.

    The profiler stops visiting an Op once its halves agree, so this leans to the good side; only a
    second, fixed profile of the same Ops is free of that.

    Attributes:
        mape: mean absolute relative difference of even rounds from odd ones, as a share (0.04).
        within_5: share of rows that differ by at most 5 %.
        within_10: share of rows that differ by at most 10 %.
        rows: rows with at least two rounds; with none, the other figures are NaN.
    """

    mape: float
    within_5: float
    within_10: float
    rows: int

    @classmethod
    def of(cls, rows: Iterable[Sequence[Round]]) -> Repeatability:
        """Predict the quiet time of each row's odd rounds by that of its even rounds.

        >>> def row(*times_ms):
        ...     return [Round(number=n, quiet_ms=t, median_ms=t) for n, t in enumerate(times_ms)]
        >>> Repeatability.of([row(1.0, 1.0), row(2.0, 2.14), row(5.0)]).within_5
        0.5
        """
        halves = (
            (quiet_estimate(times_ms[0::2]), quiet_estimate(times_ms[1::2]))
            for times_ms in ([item.quiet_ms for item in rounds] for rounds in rows)
            if len(times_ms) > 1
        )
        return cls._of_errors([abs(even - odd) / odd for even, odd in halves])

    @classmethod
    def of_spreads(cls, spreads: Iterable[float]) -> Repeatability:
        """From how far repeats disagree, where nothing else is known of them.

        >>> Repeatability.of_spreads([0.01, 0.09, math.nan]).within_5
        0.5
        """
        return cls._of_errors([spread for spread in spreads if not math.isnan(spread)])

    @classmethod
    def _of_errors(cls, errors: Sequence[float]) -> Repeatability:
        if not errors:
            return cls(mape=math.nan, within_5=math.nan, within_10=math.nan, rows=0)
        return cls(
            mape=fmean(errors),
            within_5=fmean(error <= 0.05 for error in errors),
            within_10=fmean(error <= 0.10 for error in errors),
            rows=len(errors),
        )

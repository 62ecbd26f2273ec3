"""``check --pace``: whether a device still runs as when its table was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from costmodel.clocking import DEFAULT_PLAN, time_rows, witness_jobs
from costmodel.errors import InvalidInputError
from costmodel.pace import LEAST_MS, MOST_MS, Pace
from costmodel.profiler import Job, Progress
from costmodel.registry import Option
from costmodel.table import LatencyTable
from costmodel.uses.matching import Choice, timing_runner
from costmodel.uses.tables import Table, open_table


def pace_now(table: Table, *, rounds: int | None = None, progress: Progress | None = None) -> Pace:
    """Time some rows of a table again, on the device that made it.

    Args:
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        rounds: most visits to a row; 12 by default.
        progress: who is told how far it is.

    Raises:
        DeviceMismatchError: if the table is of another device.
        InvalidInputError: if it has no row that could be timed again, or none could.
        LockedError: if a profiler holds the device.
        KeyboardInterrupt: when interrupted.
    """
    rows = open_table(table)
    name, settings = timing_runner(Choice.of(None, None, None), rows.device, other_device=False)
    with witness_jobs(rows) as jobs:
        return _pace_of(rows, jobs, name, settings, rounds, progress)


def _pace_of(
    rows: LatencyTable,
    jobs: Sequence[Job],
    name: str,
    settings: Mapping[str, Option],
    rounds: int | None,
    progress: Progress | None,
) -> Pace:
    if not jobs:
        message = (
            f"The table has no quiet row between {LEAST_MS:g} and {MOST_MS:g} ms to time again. "
            "Measure it for longer first: run its profile command again."
        )
        raise InvalidInputError(message)
    found = time_rows(jobs, name, settings, DEFAULT_PLAN.with_rounds(rounds), progress)
    pace = Pace.of(rows, found)
    if pace is None:
        reasons = sorted({row.reason for row in found.values()})
        message = f"No row could be timed again: {reasons[0]}."
        raise InvalidInputError(message)
    return pace

"""The profiler: times kernels and networks on a device into a latency table.

Shapes are shuffled and interleaved over rounds spread in time, in a worker process that may die of
any of them; see ``docs/decisions/profiler.md`` for why. Every finished visit is on disk at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from costmodel._moved import moved_names
from costmodel.errors import InvalidInputError
from costmodel.measurement import Repeatability
from costmodel.profiler.interrupt import Interrupt
from costmodel.profiler.lock import device_lock, hold, table_lock
from costmodel.profiler.outcome import Drift, ProfileReport, joined
from costmodel.profiler.plan import Job, Plan, Progress, unique_jobs
from costmodel.profiler.session import Session
from costmodel.table import LatencyTable
from costmodel.timing.cores import affinity_restored

__all__ = [
    "Drift",
    "Job",
    "Plan",
    "ProfileReport",
    "Progress",
    "Repeatability",
    "joined",
    "time_jobs",
]

_DEFAULT_PLAN = Plan()


def time_jobs(
    jobs: Sequence[Job],
    *,
    runner: str,
    options: Mapping[str, str | int | float | bool],
    out: Path,
    plan: Plan = _DEFAULT_PLAN,
    progress: Progress | None = None,
) -> ProfileReport:
    """Time every job into the table ``out``; run again after any sort of end to resume.

    The first SIGINT or SIGTERM ends it cleanly after the present visit, the second at once; what
    is in the table by then stays.

    Args:
        jobs: what to time; a repeated Op is timed once.
        runner: entry-point name of the runner, such as ``ort``.
        options: its options; ``threads`` also decides how many processors the worker is kept on.
        out: the table, made if it does not exist; rows in it count, and finished ones are skipped;
            rows that stayed noisy get new rounds.
        plan: how much care and time to spend.
        progress: who is told how far it is.

    Raises:
        InvalidInputError: for no jobs, options that the runner does not take, or an output that
            cannot be written; everything timed before stays in the table.
        LockedError: if another profiler holds the table or the device; names it.
        DeviceMismatchError: if the table belongs to another device.
        TableFormatError: if ``out`` is not a table.
        MissingDependencyError: if the runner's package is not installed.
        CostModelError: if no worker process stays alive.
    """
    wanted = unique_jobs(jobs)
    out = Path(out)
    _make_folder(out)
    with hold(table_lock(out), f"the table {out}"), Interrupt() as interrupt, affinity_restored():
        session = Session(
            wanted,
            runner=runner,
            options=options,
            plan=plan,
            progress=progress,
            interrupt=interrupt,
        )
        try:
            device = session.start()
            with hold(device_lock(device), f"the device {device.name}"):
                table = LatencyTable.open(out, device)
                report = session.run(table)
                table.compact()
                return report
        finally:
            session.close()


def _make_folder(out: Path) -> None:
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        message = (
            f"Cannot make the folder of {out}: {error.strerror}. Choose an output in a folder that "
            "you may write to."
        )
        raise InvalidInputError(message) from error


__getattr__ = moved_names(__name__, {"profile": ":time_jobs"})

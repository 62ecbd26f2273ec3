"""Clocking: whole networks, and rows of a table beside them, timed as the profiler times rows."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.network import Network, model_digest
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.op import Op
from costmodel.pace import witness_networks, witnesses
from costmodel.profiler import Job, Plan, ProfileReport, Progress, time_jobs
from costmodel.registry import Option, load_runner
from costmodel.sampling.networks import PREFIX, named_network
from costmodel.sizes import Sizes

if TYPE_CHECKING:
    from costmodel.table import LatencyTable

#: Visits are longer than those of kernels: one run of a network may take a second.
#: A whole network may be 10 % slower in one process than in the next, by where its memory lies, so
#: every round has a process of its own.
DEFAULT_PLAN = Plan(rounds=12, min_rounds=8, visit_ms=60.0, restart_every=1)


def measure(
    models: Sequence[Path],
    *,
    runner: str,
    options: Mapping[str, Option] | None = None,
    sizes: Sizes | None = None,
    plan: Plan = DEFAULT_PLAN,
    progress: Progress | None = None,
) -> tuple[Measurement, ...]:
    """Time whole networks, by the protocol that makes a table's rows.

    Args:
        models: files that the runner reads.
        runner: entry-point name of the runner.
        options: the runner's, such as ``{"threads": 2}``.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``; each must be of
            use for one of the models.
        plan: how much care to take; a missing anchor is chosen here.
        progress: who is told how far it is.

    Returns:
        One per model, in order; one that could not be timed says why.

    Raises:
        InvalidInputError: for no models.
        ModelFormatError: if a file cannot be read; nothing has been measured then.
        LockedError: if a profiler holds the device.
        KeyboardInterrupt: when interrupted.
    """
    if not models:
        message = "There is nothing to measure. Give at least one model."
        raise InvalidInputError(message)
    chosen = load_runner(runner, options)
    bound = sizes_of_each(models, sizes or {})
    networks = [chosen.lower(path, own) for path, own in zip(models, bound, strict=True)]
    jobs = network_jobs(models, networks, bound)
    rows = time_rows(jobs, runner, options or {}, with_anchor(plan, networks), progress)
    return tuple(rows[job.op] for job in jobs)


@contextmanager
def witness_jobs(table: LatencyTable | None) -> Iterator[tuple[Job, ...]]:
    """Rows of a table to time again: some of its kernels, and of the profiler's own networks.

    Args:
        table: whose; None for nothing to time.
    """
    if table is None:
        yield ()
        return
    with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        jobs = [Job(op=op) for op in witnesses(table)]
        for op in witness_networks(table, PREFIX):
            network = named_network(op.attribute("name", ""))
            if network is not None:
                path = Path(folder) / f"{network.name}.onnx"
                path.write_bytes(network.model.SerializeToString())
                if model_digest(path, {}) == op.implementation:  # as this version writes it
                    jobs.append(Job(op=op, model=path))
        yield tuple(jobs)


def network_jobs(
    models: Sequence[Path], networks: Sequence[Network], sizes: Sequence[Mapping[str, int]]
) -> list[Job]:
    """What to time whole networks by.

    Args:
        models: their files.
        networks: what the runner executes of each.
        sizes: of the open dimensions of each.
    """
    return [
        Job(
            op=model_op(network.name, model_digest(path, own), network.ops),
            model=path.resolve(),
            sizes=tuple(sorted(own.items())),
        )
        for path, network, own in zip(models, networks, sizes, strict=True)
    ]


def with_anchor(plan: Plan, networks: Sequence[Network]) -> Plan:
    """The plan with the convolution of middle size as drift probe, unless it names one.

    Args:
        plan: how much care to take.
        networks: whose convolutions.
    """
    if plan.anchor is not None:
        return plan
    convolutions = {op for network in networks for op in network.ops if op.kind == "conv"}
    ranked = sorted(convolutions, key=lambda op: (op.macs, op.digest))
    if not ranked:
        return plan
    return replace(plan, anchor=ranked[len(ranked) // 2])


def time_rows(
    jobs: Sequence[Job],
    runner: str,
    options: Mapping[str, Option],
    plan: Plan,
    progress: Progress | None,
) -> dict[Op, Measurement]:
    """Rows of ``time_apart``.

    Args:
        jobs: as for ``time_apart``.
        runner: as for ``time_apart``.
        options: as for ``time_apart``.
        plan: as for ``time_apart``.
        progress: as for ``time_apart``.

    Returns:
        A row for every job; one that was not timed says why.

    Raises:
        LockedError: as ``time_apart``.
        KeyboardInterrupt: as ``time_apart``.
    """
    return rows_of(jobs, time_apart(jobs, runner, options, plan, progress))


def time_apart(
    jobs: Sequence[Job],
    runner: str,
    options: Mapping[str, Option],
    plan: Plan,
    progress: Progress | None,
) -> ProfileReport:
    """Time jobs into a table that is thrown away.

    Args:
        jobs: of networks or kernels.
        runner: entry-point name of the runner.
        options: the runner's.
        plan: how much care to take.
        progress: who is told how far it is.

    Raises:
        LockedError: if a profiler holds the device.
        KeyboardInterrupt: when interrupted.
    """
    with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        out = Path(folder) / "compare.jsonl"
        report = time_jobs(
            jobs, runner=runner, options=options, out=out, plan=plan, progress=progress
        )
    if report.interrupted:
        raise KeyboardInterrupt
    return report


def rows_of(jobs: Sequence[Job], report: ProfileReport) -> dict[Op, Measurement]:
    """A row for every job, with a reason where there was no time for it.

    Args:
        jobs: that were to be timed.
        report: of timing them.
    """
    rows = dict(report.table.rows)
    for job in jobs:
        if job.op not in rows:
            reason = "the time allowed ended before its first round"
            rows[job.op] = Measurement.from_rounds(job.op, (), status="timeout", reason=reason)
    return rows

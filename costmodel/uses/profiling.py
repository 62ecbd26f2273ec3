"""``profile``: a device's own kernels into a latency table."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.experimental import label_of
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.op import Op
from costmodel.profiler import Job, Plan, ProfileReport, Progress, time_jobs
from costmodel.protocols import Estimator, Runner
from costmodel.readers.written import require_runtime
from costmodel.registry import Option, load_runner
from costmodel.sampling.networks import own_networks
from costmodel.sampling.select import Chooser, sample_ops
from costmodel.sizes import Sizes
from costmodel.table import LatencyTable
from costmodel.uses.matching import Choice
from costmodel.uses.models import Model, as_list, model_files
from costmodel.uses.tables import Table, open_donors
from costmodel.uses.until import profile_until

_LOG = logging.getLogger("costmodel")
#: Ops chosen unless a number is given, and variants of each network with channels cut.
SAMPLES, THINNED = 400, 2
#: Most networks of the profiler's own, two of a family, and rows for which there is one of them.
OWN_NETWORKS, OWN_PER_ROWS = 24, 60
#: Largest of them that is sent to another machine; what boards can hold is small, too.
_MOST_SENT_BYTES = 24 << 20
#: Fewest milliseconds left for timing when choosing Ops took most of the budget.
_LEAST_BUDGET_MS = 1000.0
#: Probes and variants left out that are told of; more would bury the rest.
_MOST_TOLD = 5
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
#: The longest budget that makes sense, in seconds: a week.
MOST_BUDGET_S = 7 * 24 * 3600.0


def profile(  # noqa: PLR0913 - each has a sensible default
    out: str | Path,
    *,
    runner: str | Runner = "ort",
    models: Model | Sequence[Model] = (),
    budget: str | float | None = None,
    samples: int = SAMPLES,
    donors: Table | Sequence[Table] = (),
    thinned: int = THINNED,
    rounds: int | None = None,
    until: float | None = None,
    seed: int = 0,
    threads: int | None = None,
    options: Mapping[str, Option] | None = None,
    sizes: Sizes | None = None,
    progress: Progress | None = None,
    example: Any = None,
    signature: str = "",
    deal: Callable[[list[Job]], list[Job]] | None = None,
) -> ProfileReport:
    """Measure kernels into a latency table. Call it again to resume.

    Args:
        out: the table, a ``.jsonl`` file; rows in it count, and finished ones are skipped.
        runner: what measures: the name of a runner (``devices`` lists them), an address such as
            ``ssh://board``, or a Runner.
        models: networks whose own kernels are measured, too, and which are timed as a whole:
            one or several, each as for ``predict``.
        budget: most time: ``"10m"``, ``"90s"``, or seconds as a number; None to take what it takes.
        samples: Ops to choose by design, over what real networks use.
        donors: tables of other devices, one or several, from which the device shall start; see
            ``fit``. Of many Ops by design those are measured that tell most about the difference.
        thinned: variants of each network with channels cut, whose kernels are measured as well.
        rounds: most visits to one Op; 24 by default.
        until: stop as soon as this share of the timed networks is predicted within 10 % without
            their own kernels, such as 0.95; until then what tells most is measured next.
        seed: of the choice and order of Ops.
        threads: of one kernel; 1 by default.
        options: further options of the runner.
        sizes: values of open dimensions, as for ``predict``, for all models: each must be of use
            for one of them.
        progress: who is told how far it is.
        example: as for ``predict``.
        signature: as for ``predict``.
        deal: chooses those of all rows that are measured here, where other boards of the same kind
            measure the rest (``costmodel.fleets``); None for all.

    Returns:
        What was done: ``table``, rows by status, repeatability; ``interrupted`` when it was stopped
        by a signal, after which everything finished is in the table.

    Raises:
        InvalidInputError: for options or files that cannot be used, or an output that cannot be
            written.
        ModelFormatError: if a model cannot be read.
        DeviceMismatchError: if the table belongs to another device.
        LockedError: if another profiler holds the table or the device; names it.
        MissingDependencyError: if the runner's package is not installed.

    >>> import onnx, tempfile
    >>> net = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = profile(f"{folder}/t.jsonl", models=net, samples=0, thinned=0, rounds=2)
    >>> sorted({op.kind for op in report.table})
    ['model', 'relu', 'session']
    """
    started = time.perf_counter()
    out, allowed_ms = Path(out), None if budget is None else parse_budget(budget)
    if out.is_dir():
        message = f"--out {out} is a folder. Give the name of a table file, such as {out}/t.jsonl."
        raise InvalidInputError(message)
    named = Choice.of(runner, options, threads).named(None)
    assert named is not None
    chosen = load_runner(*named)
    device = chosen.device  # what cannot be reached is told before Ops are chosen
    if label := label_of(named[0], device.provider, named[1]):
        _LOG.warning("%s: %s.", device.label, label)
    given = model_files(as_list(models), sizes or {}, example=example, signature=signature)
    with given as (files, bound), TemporaryDirectory(prefix="costmodel-") as folder:
        held = Path(folder)
        for path in files:
            require_runtime(path, device.runtime)
        own = own_files(chosen, named[0], samples, seed, held)
        choose = _chooser(donors, chosen.device)
        jobs = _jobs(chosen, samples, seed, files, bound, thinned, own, choose)
        if deal is not None:
            jobs = deal(jobs)
        if allowed_ms is not None:
            spent_ms = (time.perf_counter() - started) * 1000.0
            allowed_ms = max(_LEAST_BUDGET_MS, allowed_ms - spent_ms)
        plan = Plan(budget_ms=allowed_ms, seed=seed).with_rounds(rounds)
        _tell_start(out, len(jobs), device.label)
        if isinstance(chosen, Estimator):
            _estimate(chosen, [job.op for job in jobs if job.model is None], progress)

        def measure(some: Sequence[Job], for_ms: float | None) -> ProfileReport:
            return time_jobs(
                some, runner=named[0], options=named[1], out=out,
                plan=replace(plan, budget_ms=for_ms), progress=progress,
            )  # fmt: skip

        if until is not None:
            return profile_until(until, jobs, allowed_ms, measure)
        return measure(jobs, allowed_ms)


def parse_budget(budget: str | float, what: str = "budget") -> float:
    """Milliseconds of a duration such as ``90s``, ``10m`` or ``1h30m``; a number is seconds.

    Args:
        budget: the duration.
        what: it is, for the message.

    Raises:
        InvalidInputError: if it is no duration, or not above 0 and at most a week.

    >>> parse_budget("1h30m"), parse_budget(90)
    (5400000.0, 90000.0)
    """
    wanted = "Give a duration above 0 and at most a week, such as 90s, 10m, 1h or 1h30m."
    text = str(budget)
    rest = text.strip().lower()
    seconds, pieces = 0.0, 0
    while rest:
        found = _DURATION.match(rest)
        if found is None or found[2] not in _UNITS or (pieces and not found[2]):
            message = f"The {what} {text!r} is not a duration. {wanted}"
            raise InvalidInputError(message)
        seconds += float(found[1]) * _UNITS[found[2]]
        pieces += 1
        rest = rest[found.end() :].lstrip()
    if not 0 < seconds <= MOST_BUDGET_S:
        message = f"The {what} {text!r} is {seconds:g} seconds. {wanted}"
        raise InvalidInputError(message)
    return seconds * 1000.0


def _jobs(
    runner: Runner,
    samples: int,
    seed: int,
    files: Sequence[Path],
    sizes: Sizes,
    thinned: int,
    own: Sequence[Path],
    choose: Chooser | None,
) -> list[Job]:
    """What to time, first what a short budget should take: networks, then kernels."""
    sample = sample_ops(
        runner, samples, seed, files, sizes, thinned=thinned, own=own, choose=choose
    )
    for name, reason in list(sample.skipped.items())[:_MOST_TOLD]:
        _LOG.info("Left out: %s: %s", name, reason)
    jobs = [
        Job(op=op, model=path.resolve(), sizes=tuple(sorted(bound.items())))
        for (op, path), bound in zip(sample.model_jobs, sizes_of_each(files, sizes), strict=True)
    ]
    jobs += [Job(op=op, model=path.resolve()) for op, path in sample.own_jobs]
    return jobs + [Job(op=op) for op in sample.ops]


def _chooser(donors: Table | Sequence[Table], device: Device) -> Chooser | None:
    """Chooses Ops that tell most beside donors; None without any."""
    others = open_donors(donors, LatencyTable(device))
    if not others:
        return None
    from costmodel.costs.donors import choose_telling
    from costmodel.costs.regression import fit_regression

    fitted = [fit_regression(donor) for donor in others]
    return lambda ops, count: choose_telling(fitted, ops, count, device=device)


def own_files(runner: Runner, name: str, samples: int, seed: int, folder: Path) -> list[Path]:
    """Files of the profiler's own networks, for as many rows.

    Args:
        runner: what measures.
        name: of it, or its address.
        samples: rows wished for.
        seed: of the networks.
        folder: where they are written.
    """
    if isinstance(runner, Estimator):
        return []  # a computed time is the same in a network: there is nothing to learn from one
    most_bytes = _MOST_SENT_BYTES if "://" in name else math.inf
    written = []
    for network in own_networks(min(OWN_NETWORKS, samples // OWN_PER_ROWS), seed):
        content = network.model.SerializeToString()
        if len(content) <= most_bytes:
            path = folder / f"{network.name}.onnx"
            path.write_bytes(content)
            written.append(path)
    return written


def _estimate(runner: Estimator, ops: Sequence[Op], progress: Progress | None) -> None:
    """Compute on all processors what the visits will then find ready."""
    started = time.perf_counter()

    def told(finished: int, op: Op) -> None:
        each_s = (time.perf_counter() - started) / finished
        if progress is not None:
            progress.advance(finished, len(ops), each_s * (len(ops) - finished), op.label)

    if progress is not None:
        progress.start(len(ops))
    try:
        runner.estimate_all(ops, told)
    finally:
        if progress is not None:
            progress.stop()


def _tell_start(out: Path, jobs: int, device: str) -> None:
    if out.is_file() and out.stat().st_size:
        rows = len(LatencyTable.load(out))
        _LOG.info("Resuming %s: it has %d rows; %d are wanted on %s.", out, rows, jobs, device)
    else:
        _LOG.info("Measuring %d rows on %s into %s.", jobs, device, out)

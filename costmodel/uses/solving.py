"""``solve``: a device's kernels from whole networks that somebody timed on it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.beliefs import HELPED_BY, NOBODY, SOLVED, Donor, beliefs, donor_of
from costmodel.costs.solved import NINE_OF_TEN, told_of
from costmodel.costs.solver import Belief, foreseen, most_telling, settle
from costmodel.costs.work import Work, asked, work_of
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement
from costmodel.op import Op
from costmodel.readers.timings import read_timings
from costmodel.sizes import Sizes
from costmodel.table import LatencyTable
from costmodel.uses.listed import Listed, find_networks
from costmodel.uses.tables import Table, open_table

Floats = NDArray[np.float64]
_LOG = logging.getLogger("costmodel")

#: Most that a device is slower or faster than its donors, or than is usual anywhere: beyond, the
#: unit of the times is mistaken.
_UNLIKELY = 150.0
#: Shortest time that a kernel may have, in ms.
_LEAST_MS = 1e-6
#: Runtime that networks were timed on where neither a donor nor anybody says.
_USUAL_RUNTIME = "litert"


def solve(
    timings: Path | str,
    donors: Table | Sequence[Table] = (),
    *,
    name: str,
    out: Path | str | None = None,
    runtime: str | None = None,
    dtype: str | None = None,
    threads: int = 1,
    sizes: Sizes | None = None,
) -> LatencyTable:
    r"""Make a table of a device from whole networks timed on it, by any benchmark.

    A few dozen speeds are solved, each of a kind of loop and of what bounds it: never negative, and
    where the networks do not tell, as the donors' are. From them follows what every kernel takes.
    The table prices as any other does, its intervals say what the networks leave open, and its
    header says what it was solved from.

    Args:
        timings: a CSV ``model,latency_ms``: model files beside it, or names of donors' networks.
            Lines without a time are left out.
        donors: tables, their files, or names of shipped profiles: devices that this one may be
            like. Without any, what is usual of processors is assumed, which takes more networks.
        name: of the device.
        out: the table's file, which must not exist yet; None keeps it in memory.
        runtime: that the networks were timed on; the first donor's by default, else ``litert``.
        dtype: element type; the first donor's by default.
        threads: that the networks were timed with.
        sizes: values of open dimensions of the model files.

    Returns:
        The table: ``model`` rows as they were timed, and every kernel of theirs and the donors'.

    Raises:
        InvalidInputError: for lists, tables or options that cannot be used; says how to mend it.
        ModelFormatError: if a model file cannot be read.

    >>> import tempfile
    >>> times = {"resnet18": 61.0, "mobilenet_w1": 21.0, "squeezenet_v1_1": 17.0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(f"{folder}/timings.csv")
    ...     lines = [f"{name},{latency_ms}" for name, latency_ms in times.items()]
    ...     _ = path.write_text("model,latency_ms\n" + "\n".join(lines))
    ...     found = solve(path, "pixel-4-gpu-adreno-640/tflite-gpu-float16", name="my phone")
    >>> found.device.provenance, len(found.models())
    ('imported', 3)
    """
    given = Path(timings)
    if out is not None and Path(out).exists():
        message = f"{out} exists. Give another --out, or remove it first."
        raise InvalidInputError(message)
    tables = _tables(donors)
    device = _device(name, tables, runtime=runtime, dtype=dtype, threads=threads)
    lines = [line for line in read_timings(given) if not math.isnan(line.latency_ms)]
    found, unknown = find_networks(lines, given.parent, device, tables, sizes)
    for line in unknown:
        _LOG.warning(
            "%s, line %d: %r is no model file and no network of a donor.",
            *(given, line.line, line.model),
        )
    if not found:
        message = (
            f"{given}: none of its {len(lines)} timed lines names a model file beside it or a "
            "network of a donor. Write paths from the list's folder."
        )
        raise InvalidInputError(message)
    told = {
        SOLVED: f"{len(found)} whole networks of {given.name}",
        HELPED_BY: "; ".join(table.device.label for table in tables) or NOBODY,
    }
    donated = [row.op for table in tables for row in table.kernels()]
    device = replace(device, state=told)
    table = solve_networks(found, [donor_of(table) for table in tables], device, donated)
    if out is None:
        return table
    table.save(Path(out))
    return LatencyTable.load(out)


def solve_networks(
    found: Sequence[Listed], donors: Sequence[Donor], device: Device, kernels: Sequence[Op] = ()
) -> LatencyTable:
    """Such a table, for networks that are already there.

    Args:
        found: networks and their times.
        donors: devices that this one may be like.
        device: that the networks were timed on; its state tells what the kernels are solved from.
        kernels: that are to be rows besides those of the networks.

    Raises:
        InvalidInputError: if the times are far from anything that a device could take.
    """
    networks = [item.network.ops for item in found]
    asking = dict.fromkeys((*(op for network in networks for op in network), *kernels))
    single = work_of([[op] for op in asking if asked(op)])
    work = work_of(networks, single.things)
    times = np.array([item.timing.latency_ms for item in found])
    noise = np.array([np.nan_to_num(item.timing.spread) / 2.0 for item in found])
    before = beliefs(donors, device, work)
    _require_likely(work, times, before, found[0])
    settled = settle(work, times, before, noise)
    values, deviations = settled.prices(single)
    each = zip(
        single.kernels,
        np.maximum(values, _LEAST_MS).tolist(),
        (NINE_OF_TEN * deviations).tolist(),
        strict=True,
    )
    rows = [
        Measurement(op=op, latency_ms=value, median_ms=value, spread=spread)
        for op, value, spread in each
    ]
    rows += [
        Measurement(
            op=item.row,
            latency_ms=item.timing.latency_ms,
            median_ms=item.timing.latency_ms,
            spread=item.timing.spread,
        )
        for item in found
    ]
    state = {**device.state, **told_of(settled.leeway)}
    return LatencyTable(replace(device, state=state), rows)


def suggest(
    timings: Path | str,
    number: int,
    donors: Table | Sequence[Table] = (),
    *,
    runtime: str | None = None,
    dtype: str | None = None,
    sizes: Sizes | None = None,
) -> tuple[str, ...]:
    """Which networks of a list to time, the most telling first.

    Args:
        timings: a list as for ``solve``; lines without a time may be chosen, the others count as
            timed.
        number: how many to choose.
        donors: as for ``solve``.
        runtime: as for ``solve``.
        dtype: as for ``solve``.
        sizes: as for ``solve``.

    Raises:
        InvalidInputError: as ``solve``.
        ModelFormatError: as ``solve``.
    """
    given = Path(timings)
    tables = _tables(donors)
    device = _device("", tables, runtime=runtime, dtype=dtype, threads=1)
    found, _ = find_networks(read_timings(given), given.parent, device, tables, sizes)
    if all(not math.isnan(item.timing.latency_ms) for item in found):
        message = (
            f"{given}: each of its {len(found)} networks that are known has a time, so none is "
            "left to choose. Add lines with an empty time."
        )
        raise InvalidInputError(message)
    chosen = most_telling_networks(found, number, [donor_of(t) for t in tables], device)
    return tuple(item.timing.model for item in chosen)


def most_telling_networks(
    found: Sequence[Listed], number: int, donors: Sequence[Donor], device: Device
) -> list[Listed]:
    """The same for networks that are already there; those without a time may be chosen."""
    work = work_of([item.network.ops for item in found])
    covariance = np.mean(
        [foreseen(work, belief) for belief in beliefs(donors, device, work)], axis=0
    )
    timed = [i for i, item in enumerate(found) if not math.isnan(item.timing.latency_ms)]
    return [found[i] for i in most_telling(covariance, number, timed)]


def _tables(donors: Table | Sequence[Table]) -> list[LatencyTable]:
    if isinstance(donors, LatencyTable | Path | str):
        return [open_table(donors)]
    return [open_table(donor) for donor in donors]


def _device(
    name: str,
    tables: Sequence[LatencyTable],
    *,
    runtime: str | None,
    dtype: str | None,
    threads: int,
) -> Device:
    first = tables[0].device if tables else Device(name=name, runtime=_USUAL_RUNTIME)
    runtime = runtime or first.runtime
    like = first if first.runtime == runtime else Device(name=name, runtime=runtime)
    return replace(
        like,
        name=name,
        runtime_version="",
        caches=(),
        threads=threads,
        dtype=dtype or first.dtype,
        provenance="imported",
        state={},
    )


def _require_likely(work: Work, times: Floats, before: Sequence[Belief], first: Listed) -> None:
    """Refuse times that no device takes: ms and us are easily mistaken.

    Raises:
        InvalidInputError: naming the first network, its time and how far off all of them are.
    """
    usual = work.counts @ (work.amounts @ np.exp(before[0].mean))
    ratio = float(np.median(times / usual))
    if not 1.0 / _UNLIKELY < ratio < _UNLIKELY:
        word = "longer" if ratio > 1.0 else "shorter"
        message = (
            f"The networks' times are {max(ratio, 1 / ratio):.0f} times {word} than such devices "
            f"take: {first.timing.model} in {first.timing.latency_ms:g} ms (line "
            f"{first.timing.line}). Is the unit in the name of the time's column right?"
        )
        raise InvalidInputError(message)

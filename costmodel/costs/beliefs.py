"""Beliefs: what other devices' tables say of a device before anything is timed on it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.solver import NOISE, Belief, Found, Offsets, kinship, solve
from costmodel.costs.work import Thing, Work, asked, work_of
from costmodel.device import Device
from costmodel.op import Op
from costmodel.table import LatencyTable

Floats = NDArray[np.float64]

#: State of a device whose kernels were solved from whole networks: says from which.
SOLVED = "kernels_solved_from"
#: Further state of such a device: whose tables helped, and what it says where none did.
HELPED_BY, NOBODY = "donors", "none"
#: Relative error of one kernel's time that neither its sizes nor its like explain.
_KERNEL_NOISE = 0.2
#: Kernels of a donor that are looked at; more of them say the same again.
_MOST_KERNELS = 600
#: Donors that are also tried alone; of more, there are enough that are like the device.
_MOST_SINGLE = 16
#: How far a device's things lie from its donors', over how far any two things of it lie apart.
_FROM_DONOR = 0.6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Donor:
    """Another device, and how slow it is at things.

    Attributes:
        device: whose numbers they are.
        found: from its own rows; None where they say nothing.
    """

    device: Device
    found: Found | None


def donor_of(table: LatencyTable) -> Donor:
    """What a table says of its device, from its kernels and its whole networks.

    Kernels that were themselves solved from networks say nothing that those do not.
    """
    measured = SOLVED not in table.device.state
    rows = [row for row in table.kernels() if measured and asked(row.op)]
    if len(rows) > _MOST_KERNELS:
        rows = random.Random(0).sample(rows, _MOST_KERNELS)
    asking: list[Sequence[Op]] = [[row.op] for row in rows]
    noise = [float(np.hypot(_KERNEL_NOISE, np.nan_to_num(row.spread))) for row in rows]
    for row, ops in table.known_networks():
        asking.append(ops)
        noise.append(NOISE)
        rows.append(row)
    work = work_of(asking)
    if not work.kernels:
        return Donor(device=table.device, found=None)
    times = np.array([row.latency_ms for row in rows])
    found = solve(work, times, unknown(work.things), np.array(noise))
    return Donor(device=table.device, found=found)


def unknown(things: Sequence[Thing]) -> Belief:
    """Before any device was looked at: things alike are about as slow."""
    return Belief(things=tuple(things), mean=np.zeros(len(things)), covariance=kinship(things))


def near(things: Sequence[Thing]) -> Floats:
    """``(things, things)`` covariance of a device's scales around those of one that is like it.

    How fast the device is altogether stays open, and so does how fast its kernels are started.
    """
    return kinship(things, unlike=_FROM_DONOR)


def beliefs(donors: Sequence[Donor], device: Device, work: Work) -> list[Belief]:
    """What to expect of a device, one belief per group of donors that may be like it.

    Donors of the same runtime and type, of the same runtime, all of them, each alone where they are
    few, and none: which of these foresees the timed networks best is for the times to say.

    Args:
        donors: other devices; none for what is usual anywhere.
        device: whose speeds are wanted.
        work: what is asked for.
    """
    known = [donor for donor in donors if donor.found is not None]
    groups = [
        [other for other in known if same(other.device)]
        for same in (
            lambda other: (other.runtime, other.dtype) == (device.runtime, device.dtype),
            lambda other: other.runtime == device.runtime,
            lambda _: True,
        )
    ]
    if len(known) <= _MOST_SINGLE:
        groups += [[donor] for donor in known]
    found: dict[tuple[int, ...], Belief] = {}
    for group in filter(None, groups):
        key = tuple(map(id, group))
        if key not in found:
            found[key] = _of(group, device, work)
    return [*found.values(), unknown(work.things)]


def _of(donors: Sequence[Donor], device: Device, work: Work) -> Belief:
    """The donors' mean, how they differ, and how devices differ anyway."""
    scales = np.array([_filled(donor.found, work.things) for donor in donors if donor.found])
    # How fast donors are altogether is not how they differ: one timed network tells a speed.
    typical = work.counts @ (work.amounts @ np.exp(scales.T))
    speeds = np.median(np.log(np.maximum(typical, 1e-12)), axis=0)
    scales = scales - (speeds - speeds.mean())[:, None]
    mean = scales.mean(axis=0)
    between = (scales - mean).T @ (scales - mean) / max(len(donors) - 1, 1)
    kin = [item for item in donors if item.found and item.device.runtime == device.runtime]

    return Belief(
        things=work.things,
        mean=mean,
        covariance=between + near(work.things),
        offsets=_mean_offsets(tuple(kin)) if kin else None,
    )


@lru_cache(maxsize=64)
def _mean_offsets(donors: tuple[Donor, ...]) -> Offsets:
    """The donors' mean offsets, each kernel's calculated once."""
    told: dict[Op, float] = {}

    def offsets(ops: Sequence[Op]) -> Floats:
        fresh = [op for op in ops if op not in told]
        if fresh:
            each = [donor.found.offsets(fresh) for donor in donors if donor.found]
            told.update(zip(fresh, np.mean(each, axis=0).tolist(), strict=True))
        return np.array([told[op] for op in ops])

    return offsets


def _filled(found: Found, things: Sequence[Thing]) -> Floats:
    """A donor's scales of all things; those that it never did follow from their like."""
    place = {thing: index for index, thing in enumerate(found.before.things)}
    known = [thing for thing in things if thing in place]
    values = found.scales[[place[thing] for thing in known]]
    if len(known) == len(things):
        return values
    cover = kinship([*known, *things])
    own = cover[: len(known), : len(known)] + 1e-4 * np.eye(len(known))
    middle = float(values.mean()) if known else 0.0
    return np.asarray(
        middle + cover[len(known) :, : len(known)] @ np.linalg.solve(own, values - middle)
    )

"""What donors say of a device that nobody has timed yet."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from timed_networks import drawn_networks, law_of

from costmodel.costs.beliefs import SOLVED, beliefs, donor_of, unknown
from costmodel.costs.solver import settle
from costmodel.costs.work import work_of
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.op import Op
from costmodel.table import LatencyTable

PHONE = Device(name="phone", runtime="litert", provenance="imported")


@pytest.fixture(scope="module")
def work():
    return work_of(drawn_networks(40, seed=2))


def row(op, latency_ms):
    return Measurement(op=op, latency_ms=latency_ms, median_ms=latency_ms)


def networks_of(work):
    return [
        [op for op, n in zip(work.kernels, counts, strict=True) for _ in range(int(n))]
        for counts in work.counts
    ]


def table_of(work, law, device, *, whole):
    """A device's kernels, or its networks and their kernels' definitions."""
    each = work.amounts @ law
    rows = [row(op, float(ms)) for op, ms in zip(work.kernels, each, strict=True)]
    if whole:
        rows += [
            row(model_op(f"net{i}", str(i), tuple(ops)), float(work.counts[i] @ each))
            for i, ops in enumerate(networks_of(work))
        ]
        device = replace(device, state={SOLVED: "40 networks"})
    return LatencyTable(device, rows)


@pytest.mark.parametrize("whole", [False, True])
def test_a_donor_like_the_device_needs_three_networks(work, whole):
    law = law_of(work.things)
    donor = donor_of(table_of(work, law, PHONE, whole=whole))
    truth = work.counts @ (work.amounts @ (4.0 * law))
    few = work_of(networks_of(work)[:3], work.things)
    singles = work_of([[op] for op in work.kernels], work.things)
    found = []
    for before in (beliefs([donor], PHONE, work), [unknown(work.things)]):
        prices, _ = settle(few, truth[:3], before).prices(singles)
        found.append(float(np.median(np.abs(work.counts[3:] @ prices / truth[3:] - 1.0))))
    assert found[0] < min(0.03, found[1])


def test_donors_are_grouped_by_what_they_run(work):
    law = law_of(work.things)
    donors = [
        donor_of(table_of(work, law_of(work.things, seed=seed), device, whole=False))
        for seed, device in enumerate(
            (PHONE, replace(PHONE, dtype="int8"), replace(PHONE, runtime="onnxruntime"))
        )
    ]
    found = beliefs(donors, PHONE, work)
    own, runtime, everyone, *_, nobody = (item.mean for item in found)
    assert (nobody == 0).all()
    assert np.abs(own - np.log(law)).mean() < np.abs(everyone - np.log(law)).mean()
    assert not np.allclose(own, runtime)
    assert len(beliefs(donors[:1], PHONE, work)) == 2


def test_things_that_a_donor_never_did_follow_from_their_like(work):
    law = law_of(work.things, 5.0)
    some = [op for op in work.kernels if op.kind == "conv" and op.groups == 1]
    part = work_of([[op] for op in some], work.things)
    donor = donor_of(table_of(part, law, PHONE, whole=False))
    found, _ = beliefs([donor], PHONE, work)
    unseen = [
        i for i, thing in enumerate(work.things)
        if thing.loop == "depthwise"
    ]  # fmt: skip
    assert unseen
    assert np.isfinite(found.mean).all()
    assert found.mean[unseen].mean() > 0.5


def test_a_table_that_says_nothing_is_no_donor(work):
    empty = LatencyTable(PHONE, [row(Op(kind="session"), 0.1)])
    donor = donor_of(LatencyTable(PHONE))
    assert donor.found is None
    assert donor_of(empty).found is not None
    (found,) = beliefs([donor], PHONE, work)
    assert (found.mean == 0).all()

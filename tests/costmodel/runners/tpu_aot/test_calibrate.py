"""Calibration of estimates: exact laws are found again, bad input is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from costmodel.runners.tpu_aot.calibrate import (
    EstimateCalibration,
    Point,
    calibrate,
    load_calibration,
)

SIZES = [(1.0, 20), (2.0, 90), (4.0, 30), (8.0, 120), (3.0, 200), (12.0, 60), (0.5, 10)]


def points(law: EstimateCalibration, count: int) -> list[Point]:
    return [
        Point(estimated_ms=ms, kernels=n, measured_ms=law.apply(ms, kernels=n))
        for ms, n in SIZES[:count]
    ]


@given(scale=st.floats(0.8, 1.5), per_op=st.floats(0.0, 0.02), offset=st.floats(0.0, 1.0))
@settings(max_examples=40, deadline=None)
def test_a_law_is_found_again(scale: float, per_op: float, offset: float) -> None:
    truth = EstimateCalibration(scale=scale, per_op_ms=per_op, offset_ms=offset)
    found = calibrate(points(truth, len(SIZES)))
    for ms, kernels in SIZES:
        expected = truth.apply(ms, kernels=kernels)
        assert found.apply(ms, kernels=kernels) == pytest.approx(expected, rel=0.03)
    assert found.points == len(SIZES)


def test_one_timing_gives_a_scale_alone() -> None:
    found = calibrate([Point(estimated_ms=2.0, kernels=50, measured_ms=2.5)])
    assert (found.scale, found.per_op_ms, found.offset_ms) == (1.25, 0.0, 0.0)
    assert found.error is None


def test_kernels_and_their_run_add_up_to_the_network() -> None:
    law = EstimateCalibration(scale=1.1, per_op_ms=0.02, offset_ms=0.3)
    kernels = [0.5, 1.5, 0.25]
    summed = sum(law.apply(ms, runs=0) for ms in kernels) + law.offset_ms
    assert summed == pytest.approx(law.apply(sum(kernels), kernels=3))


def test_better_than_none_on_timings_it_has_not_seen() -> None:
    truth = EstimateCalibration(scale=1.2, per_op_ms=0.01, offset_ms=0.4)
    noise = (1.03, 0.97, 1.02, 0.98, 1.01, 1.0, 0.99)
    timed = [
        Point(estimated_ms=p.estimated_ms, kernels=p.kernels, measured_ms=p.measured_ms * by)
        for p, by in zip(points(truth, 7), noise, strict=True)
    ]
    assert (calibrate(timed).error or 1.0) < 0.1


def test_it_survives_its_file(tmp_path: Path) -> None:
    law = calibrate(points(EstimateCalibration(scale=1.3), 4))
    law.save(tmp_path / "law.json")
    assert load_calibration(tmp_path / "law.json") == law


@pytest.mark.parametrize("text", [None, "", "[]", '{"scale": 0}', '{"scale": 1, "offset_ms": -1}'])
def test_damaged_files_are_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "law.json"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"law\.json"):
        load_calibration(path)


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [Point(estimated_ms=0.0, kernels=1, measured_ms=1.0)],
        [Point(estimated_ms=1.0, kernels=1, measured_ms=float("nan"))],
    ],
)
def test_bad_timings_are_refused(bad: list[Point]) -> None:
    with pytest.raises(InvalidInputError, match="at least one timing"):
        calibrate(bad)

"""Profiles of the runtime's own held against predictions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from costmodel.errors import InvalidInputError
from costmodel.prediction import Prediction
from costmodel.viewers.ort_profile import compare_shares, read_ort_profile


def event(name: str, kind: str, start: int, dur: int, *outputs: list[int]) -> dict[str, Any]:
    shapes = [{"float": shape} for shape in outputs]
    args = {"op_name": kind, "node_index": name, "output_type_shape": shapes}
    return {
        "cat": "Node", "ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": dur,
        "name": f"{name}_kernel_time", "args": args,
    }  # fmt: skip


def run(start: int, slow: int = 1) -> list[dict[str, Any]]:
    """One run of the network of these tests, 2 ms of kernels, the If with a kernel inside."""
    return [
        event("conv_nchwc", "Conv", start, 1000 * slow, [1, 8, 8, 8]),
        event("reorder", "ReorderOutput", start + 1000 * slow, 100, [1, 8, 8, 8]),
        event("fc", "Gemm", start + 1100 * slow, 700, [1, 10]),
        event("inner", "Relu", start + 1800 * slow + 10, 90, [1, 10]),
        event("choose", "If", start + 1800 * slow, 150, [1, 10]),
        event("strange", "Softmax", start + 1950 * slow, 50, [1, 10]),
        {"cat": "Session", "ph": "X", "pid": 1, "tid": 1, "ts": start, "dur": 9, "name": "run"},
    ]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.json"
    runs = [*run(0, slow=9), *run(100_000), *run(200_000)]
    path.write_text(json.dumps(runs), encoding="utf-8")
    return path


def test_the_first_run_is_left_out_and_inner_kernels_belong_to_their_node(profile: Path) -> None:
    found = read_ort_profile(profile)
    assert found.runs == 3
    wanted = {"conv_nchwc": 1.0, "reorder": 0.1, "fc": 0.7, "choose": 0.15, "strange": 0.05}
    assert {item.name: item.ms for item in found.kernels} == pytest.approx(wanted)
    assert found.total_ms == pytest.approx(2.0)


def test_kernels_are_found_by_work_and_by_name(prediction: Prediction, profile: Path) -> None:
    found = compare_shares(prediction, read_ort_profile(profile))
    rows = {item.name: item for item in found.kernels}
    assert set(rows) == {"relu/n0", "reorder_1/n1", "fc/n2", "odd/n3", "choose", "strange"}
    assert rows["relu/n0"].profiled == pytest.approx(0.5)
    assert rows["relu/n0"].predicted == pytest.approx(1.0 / 1.5)
    assert rows["choose"].profiled == pytest.approx(0.075)  # by its name: it has no Op
    assert rows["choose"].difference != rows["choose"].difference  # NaN: it has no price
    assert (rows["strange"].predicted, rows["strange"].work) == (0.0, "softmax -> 1x10")
    assert rows["odd/n3"].profiled == 0.0
    assert found.matched == pytest.approx(0.975)
    assert found.kernels[0].name == "relu/n0"  # parts most
    assert found.moved == pytest.approx((0.35 - 0.4 / 1.5) + 0.025)
    assert str(found) == (
        "net: 10.8 % of the time is spent in other kernels than predicted (97.5 % of the profile "
        "found in the prediction)"
    )
    told = found.to_json()
    json.dumps(told, allow_nan=False)
    assert told["moved_share"] == found.moved


def test_as_viewers_save_it(tmp_path: Path) -> None:
    path = tmp_path / "saved.json"
    path.write_text(json.dumps({"traceEvents": [*run(0), "other things"]}), encoding="utf-8")
    assert read_ort_profile(path).runs == 1


def test_a_profile_of_another_network_is_refused(prediction: Prediction, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps([event("x", "Conv", 0, 5, [1, 64, 7, 7])]), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="no kernel of this profile is in 'net'"):
        compare_shares(prediction, read_ort_profile(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ('[{"cat" : "Session", ', "is not a profile, or its session has not ended it"),
        ('"text"', "is no list of events"),
        ("[1, 2]", "has no kernel of a run in it"),
        (
            '[{"cat": "Node", "name": "a_kernel_time", "ts": 0, "dur": 1, "args": '
            '{"output_type_shape": [{"float": ["x"]}]}}]',
            "'a_kernel_time' has sizes that cannot be read",
        ),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "p.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=message):
        read_ort_profile(path)


@pytest.mark.parametrize(
    "change",
    [
        {"ts": float("nan")},
        {"dur": float("inf")},
        {"dur": -5},
        {"ts": "3"},
        {"name": 7},
        {"args": []},
    ],
)
def test_events_that_are_no_times_are_nobodys_mistake(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps([*run(0), *run(90_000), run(180_000)[0] | change]), encoding="utf-8")
    assert read_ort_profile(path).runs == 2


@pytest.mark.parametrize(
    "change", [{"pid": [1]}, {"args": {"op_name": {"a": 1}, "output_type_shape": []}}]
)
def test_odd_fields_of_events_are_read(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps([event | change for event in run(0)]), encoding="utf-8")
    assert read_ort_profile(path).runs >= 1


def test_a_profile_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(InvalidInputError, match="is not a profile"):
        read_ort_profile(path)

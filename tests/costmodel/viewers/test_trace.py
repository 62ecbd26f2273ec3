"""Traces keep to the form of ONNX Runtime's own profiles and to the rules of trace viewers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from awkward_graphs import awkward_model

from costmodel.comparison import Comparison
from costmodel.op import Op
from costmodel.prediction import Prediction
from costmodel.viewers.trace import MEASURED, PREDICTED, trace_events


def lasting(events: Sequence[dict[str, Any]], process: int, thread: int) -> list[dict[str, Any]]:
    return [
        item
        for item in events
        if item["ph"] == "X" and (item["pid"], item["tid"]) == (process, thread)
    ]


def check_rules(events: Sequence[dict[str, Any]]) -> None:
    """What a viewer asks: complete or metadata events, times from 0, and proper nesting."""
    for item in events:
        assert {"ph", "pid", "tid", "ts", "name", "cat", "args"} <= set(item)
        assert item["ph"] in {"X", "M"}
        assert all(isinstance(item[key], int) for key in ("pid", "tid"))
        assert isinstance(item["args"], dict)
        if item["ph"] == "X":
            assert item["ts"] >= 0
            assert item["dur"] >= 0
    for process, thread in {(item["pid"], item["tid"]) for item in events}:
        open_: list[float] = []
        for item in sorted(
            lasting(events, process, thread), key=lambda item: (item["ts"], -item["dur"])
        ):
            end = item["ts"] + item["dur"]
            while open_ and open_[-1] <= item["ts"] + 1e-9:
                open_.pop()
            assert not open_ or end <= open_[-1] + 1e-6, item["name"]
            open_.append(end)


def test_two_threads_with_names(comparison: Comparison) -> None:
    events = trace_events([comparison])
    check_rules(events)
    names = {
        (item["name"], item["tid"]): item["args"]["name"] for item in events if item["ph"] == "M"
    }
    assert names == {
        ("process_name", 0): "net",
        ("thread_name", PREDICTED): "predicted",
        ("thread_name", MEASURED): "measured",
    }
    assert json.loads(json.dumps(events, allow_nan=False)) == json.loads(json.dumps(events))


def test_kernels_follow_each_other_and_add_up(comparison: Comparison) -> None:
    events = trace_events([comparison])
    run, *kernels = lasting(events, 0, PREDICTED)
    assert [item["name"] for item in kernels] == [
        "relu/n0_kernel_time",
        "reorder_1/n1_kernel_time",
        "fc/n2_kernel_time",
        "session",
        "beyond_kernels",
    ]
    ends = [item["ts"] + item["dur"] for item in kernels]
    assert [item["ts"] for item in kernels] == pytest.approx([0.0, *ends[:-1]])
    assert (run["name"], run["cat"]) == ("model_run", "Session")
    assert run["dur"] == pytest.approx(1e3 * comparison.prediction.total, abs=2e-3)
    run, *kernels = lasting(events, 0, MEASURED)
    assert len(kernels) == 5  # what has no price takes time all the same
    assert run["dur"] == pytest.approx(2500.0)
    assert sum(item["dur"] for item in kernels) == pytest.approx(2500.0, abs=1e-2)


def test_a_sum_beyond_the_total_is_told(prediction: Prediction) -> None:
    quick = replace(prediction, total=1.0)
    run, *kernels = lasting(trace_events([quick]), 0, PREDICTED)
    assert kernels[-1]["name"] == "session"
    assert run["dur"] == pytest.approx(2000.0)
    assert (run["args"]["predicted_ms"], run["args"]["sum_of_kernels_ms"]) == (1.0, 2.0)


def test_bytes_are_those_of_each_inputs_own_type(prediction: Prediction) -> None:
    gather = Op(
        kind="gather", inputs=((4, 3), (5,)), outputs=((5, 3),), input_dtypes=("float32", "int64")
    )
    packed = Op(kind="relu", inputs=((3,),), outputs=((3,),), dtype="int4")
    layers = [replace(prediction.layers[0], op=op) for op in (gather, packed)]
    events = trace_events([replace(prediction, layers=tuple(layers), unpriced=())])
    told = [item["args"] for item in lasting(events, 0, PREDICTED) if item["cat"] == "Node"]
    assert [item["activation_size"] for item in told] == [str(12 * 4 + 5 * 8), "2"]
    assert [item["output_size"] for item in told] == [str(15 * 4), "2"]


def test_a_prediction_has_one_thread(prediction: Prediction) -> None:
    events = trace_events([prediction, replace(prediction, model="other")])
    check_rules(events)
    assert {item["tid"] for item in events} == {0, PREDICTED}
    assert {item["pid"] for item in events} == {0, 1}


def test_what_was_measured_as_a_whole_is_one_event(comparison: Comparison) -> None:
    layers = tuple(replace(item, seen=nan) for item in comparison.prediction.layers)
    blind = replace(comparison, prediction=replace(comparison.prediction, layers=layers))
    blind = replace(blind, prediction=replace(blind.prediction, unpriced=()))
    assert [item["name"] for item in lasting(trace_events([blind]), 0, MEASURED)] == ["model_run"]


def test_the_form_is_the_runtimes_own(comparison: Comparison, tmp_path: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = onnxruntime.InferenceSession(
        awkward_model("other").SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, {"image": np.zeros((1, 3, 32, 32), np.float32), "flag": np.asarray(1, bool)})
    theirs = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    check_rules(theirs)
    ours = trace_events([comparison])
    for sort in ("Node", "Session"):
        (own, *_), (given, *_) = (
            [item for item in events if item["cat"] == sort] for events in (ours, theirs)
        )
        assert set(own) == set(given)
        assert own["ph"] == given["ph"] == "X"
    own, given = (
        next(item["args"] for item in events if item["name"].endswith("_kernel_time"))
        for events in (ours, theirs)
    )
    shared = set(given) & set(own)
    assert shared == {
        *("node_index", "provider", "op_name", "input_type_shape", "output_type_shape"),
        *("activation_size", "parameter_size", "output_size"),
    }
    for key in shared:
        assert type(own[key]) is type(given[key]), key

"""Lists of timings as people write them: what is read, and what is refused and why."""

from __future__ import annotations

import math

import pytest

from costmodel.errors import InvalidInputError
from costmodel.readers.timings import read_timings


def write(folder, text, encoding="utf-8"):
    path = folder / "timings.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model,latency_ms\na.onnx,12.5\n", {"a.onnx": 12.5}),
        ("latency_us,model\n12500,a.onnx\n", {"a.onnx": 12.5}),
        ("Network;Time (s)\na;0,0125\n", {"a": 12.5}),
        ("model\tmean_ms\tstd_ms\na\t12.5\t1\n", {"a": 12.5}),
        ("\ufeffname,latency_ms\r\na,12.5\r\n\r\nb,\r\n", {"a": 12.5, "b": math.nan}),
        ('model,latency_ms\n"a, b",12.5\n', {"a, b": 12.5}),
    ],
)
def test_units_marks_and_columns(tmp_path, text, expected):
    found = {item.model: item.latency_ms for item in read_timings(write(tmp_path, text))}
    assert found == pytest.approx(expected, nan_ok=True)


def test_repeats_become_their_median_with_a_spread(tmp_path):
    (found,) = read_timings(write(tmp_path, "model,latency_ms\na,10\na,11\na,30\n"))
    assert found.latency_ms == 11
    assert found.spread == pytest.approx(20 / 11)
    assert found.line == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1"),
        ("model,latency_ms\n", "no network"),
        ("model,latency\na,1\n", "with its unit in its name"),
        ("model,latency_ms,total_ms\na,1,2\n", "latency_ms, total_ms"),
        ("model,name,latency_ms\na,b,1\n", "model, name"),
        ("latency_ms\n1\n", "the model"),
        ("model,latency_ms\na,fast\n", "line 2, column latency_ms"),
        ("model,latency_ms\na,-1\n", "'-1'"),
        ("model,latency_ms\na,=1+1\n", "'=1+1'"),
        ("model,latency_ms\na,1e999\n", "above 0"),
        ("model,latency_ms\na\n", "line 2"),
        ("model,latency_ms\n,1\n", "no model"),
        ("model,latency_ms\na\0.onnx,1\n", "no model"),
        ("model,latency_ms\na,12,5\nb,1.2.3\n", "line 3"),
    ],
)
def test_what_is_refused_names_line_and_column(tmp_path, text, says):
    with pytest.raises(InvalidInputError, match=r"timings\.csv") as caught:
        read_timings(write(tmp_path, text))
    assert says in str(caught.value)


def test_no_text_and_no_file(tmp_path):
    with pytest.raises(InvalidInputError, match="no text file"):
        read_timings(write(tmp_path, "model,latency_ms\nä,1\n", "utf-16"))
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read_timings(tmp_path / "absent.csv")


@pytest.mark.parametrize("cell", ["1e308", "1e-320", "1e13"])
def test_times_that_no_network_takes_are_refused(tmp_path, cell):
    path = tmp_path / "list.csv"
    path.write_text(f"model,latency_s\na,{cell}\n", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"line 2, column latency_s"):
        read_timings(path)

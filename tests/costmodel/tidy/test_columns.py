"""Which column of a file is which."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from costmodel.errors import InvalidInputError
from costmodel.tidy.columns import Asked, match_columns

SIZES = ["op", "hw", "cin", "cout", "ks"]


@pytest.mark.parametrize(
    ("header", "latency"),
    [
        (["latency_us"], ("latency_us", 1e-3)),
        (["Latency (ms)"], ("Latency (ms)", 1.0)),
        (["time_ns"], ("time_ns", 1e-6)),
        (["inferenceTime [s]"], ("inferenceTime [s]", 1e3)),
        (["avg_ms", "median_ms", "min_ms"], ("median_ms", 1.0)),
        (["avg_ms", "p99_ms"], ("avg_ms", 1.0)),
        (["best_time_us"], ("best_time_us", 1e-3)),
        (["latency_us", "latency_us_min", "latency_us_std"], ("latency_us", 1e-3)),
        (["timeUsed_median_ms", "timeUsed_std_ms"], ("timeUsed_median_ms", 1.0)),
        (["Elapsed time, \N{MICRO SIGN}s"], ("Elapsed time, \N{MICRO SIGN}s", 1e-3)),
    ],
)
def test_times_are_known_by_name_and_unit(
    header: Sequence[str], latency: tuple[str, float]
) -> None:
    assert match_columns([*SIZES, *header], Asked()).latency == latency


def test_usual_names_are_known_and_the_rest_is_told() -> None:
    header = ["Op Type", "Input-Size", "inChannels", "filters", "kernelSize", "note", "t_ms"]
    found = match_columns(header, Asked(columns={"latency_ms": "t_ms"}))
    assert found.columns == {
        "op": "Op Type",
        "height": "Input-Size",
        "in_channels": "inChannels",
        "out_channels": "filters",
        "kernel": "kernelSize",
    }
    assert found.unused == ("note",)


def test_what_the_user_says_goes_first() -> None:
    asked = Asked(columns={"height": "rows", "latency_us": "ms"}, constants={"op": "conv2d"})
    found = match_columns(["op", "height", "rows", "ms"], asked)
    assert found.columns == {"height": "rows"}
    assert found.latency == ("ms", 1e-3)


@pytest.mark.parametrize(
    ("header", "asked", "told"),
    [
        (["op", "op", "time_us"], Asked(), "column 'op' is there twice"),
        (["op", "cin"], Asked(), "no column's name says that it holds times"),
        (["op", "time"], Asked(), "column 'time' does not say its unit. Say it: --map latency_ms"),
        (["time_us", "latency_ms"], Asked(), "'time_us' and 'latency_ms' may each be the time"),
        (["cin", "ic", "time_us"], Asked(), "'cin' and 'ic' both look like in_channels"),
        (
            ["op", "time_us"],
            Asked(columns={"height": "heigth"}),
            "column 'heigth' is missing, which was to be height",
        ),
    ],
)
def test_doubt_is_an_error_that_says_how_to_end_it(
    header: Sequence[str], asked: Asked, told: str
) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(told)):
        match_columns(header, asked)


@pytest.mark.parametrize(
    ("columns", "constants", "told"),
    [
        ({"heigth": "h"}, {}, "Did you mean height"),
        ({}, {"xyz": "1"}, "Known: op, batch"),
        ({"height": "h"}, {"height": "8"}, "both mapped to a column and set"),
    ],
)
def test_fields_that_there_are_not(
    columns: dict[str, str], constants: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidInputError, match=told):
        Asked(columns=columns, constants=constants)

"""Texts of options: budgets, sizes, runner options."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.cli.options import parse_runner_options, parse_sizes
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.uses.matching import runner_of, with_settings
from costmodel.uses.profiling import parse_budget


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90s", 90e3), ("10m", 600e3), ("1h", 3600e3), ("1h30m", 5400e3), ("0.5m", 30e3), ("7", 7e3)],
)
def test_budgets(text: str, milliseconds: float) -> None:
    assert parse_budget(text) == milliseconds


@pytest.mark.parametrize("text", ["", "0s", "-5m", "10 parsecs", "m", "1e3s", "8d", "999h", "1m5"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInputError, match="90s, 10m, 1h"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_a_clear_error(text: str) -> None:
    said = told(lambda: [parse_budget(text)])
    assert said is None or repr(text) in said


@given(st.lists(st.text(max_size=12), max_size=3))
def test_any_texts_are_sizes_or_a_clear_error(items: list[str]) -> None:
    said = told(lambda: [n for n in parse_sizes(items).values() if isinstance(n, int)])
    assert said is None or "--size" in said


def told(parse: Callable[[], Iterable[float]]) -> str | None:
    """The error's text; None when all numbers are above 0."""
    try:
        numbers = list(parse())
    except InvalidInputError as error:
        return str(error)
    return None if all(number > 0 for number in numbers) else ""


def test_sizes_and_options() -> None:
    assert parse_sizes(["a=1", "b:2=3", "a=1"]) == {"a": 1, "b:2": 3}
    with pytest.raises(InvalidInputError, match="twice"):
        parse_sizes(["a=1", "a=2"])
    found = parse_runner_options(["seed=3", "speed=1.5", "realtime=False", "mode=a=b"], None)
    assert found == {"seed": 3, "speed": 1.5, "realtime": False, "mode": "a=b"}


@pytest.mark.parametrize(
    ("device", "runner", "options"),
    [
        (Device(name="a", runtime="onnxruntime", threads=2), "ort", {"threads": 2}),
        (
            Device(name="a", runtime="onnxruntime", dtype="int8", provider="CPUExecutionProvider"),
            "ort",
            {"threads": 1, "dtype": "int8"},
        ),
        (
            Device(name="a", runtime="onnxruntime", provider="CUDAExecutionProvider"),
            "ort",
            {"threads": 1, "provider": "cuda"},
        ),
        (
            Device(name="a", runtime="xla", provider="gpu", dtype="bfloat16"),
            "xla",
            {"threads": 1, "dtype": "bfloat16", "platform": "gpu"},
        ),
        (
            Device(name="t", runtime="xla", isa="v5e", dtype="bfloat16", provenance="estimated"),
            "tpu-aot",
            {"generation": "v5e", "dtype": "bfloat16"},
        ),
        (Device(name="a", runtime="none"), None, {"threads": 1}),
    ],
)  # fmt: skip
def test_a_table_knows_the_runner_that_made_it(
    device: Device, runner: str | None, options: dict[str, object]
) -> None:
    assert runner_of(device) == runner
    assert with_settings({}, device) == options
    assert with_settings({"threads": 7}, device)["threads"] == 7

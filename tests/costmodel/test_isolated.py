"""A call in another process: its result, or why there is none, and never our own end."""

from __future__ import annotations

import pytest

from costmodel.isolated import DiedError, isolated


def test_results_come_back_as_values() -> None:
    assert isolated("math:gcd", 12, 18) == 6
    assert isolated("json:loads", '{"a": [1, null]}') == {"a": [1, None]}


def test_what_is_printed_is_no_answer() -> None:
    assert isolated("builtins:print", "loud") is None


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (("math:sqrt", -1), "math domain error|nonnegative"),
        (("os:abort",), "SIGABRT"),
        (("os:_exit", 3), "ended with 3"),
        (("no_such_module:f",), "no_such_module"),
    ],
)
def test_failures_are_told(call: tuple[object, ...], told: str) -> None:
    with pytest.raises(DiedError, match=told):
        isolated(*call)  # type: ignore[arg-type]


def test_what_never_ends_is_ended() -> None:
    with pytest.raises(DiedError, match=r"after 0\.5 seconds"):
        isolated("time:sleep", 60, limit_s=0.5)

"""JSON of others holds nothing that a later step stumbles over."""

from __future__ import annotations

import math

import pytest

from costmodel.plain_json import plain_json


def test_values_are_as_json_has_them() -> None:
    text = '{"a": [1, -2.5, true, null, "\\ud83d\\ude00"], "b": 123456789012345678}'
    assert plain_json(text) == {"a": [1, -2.5, True, None, "\U0001f600"], "b": 123456789012345678}


def test_no_whole_number_is_too_long_for_a_float() -> None:
    found = plain_json(f"[1{'0' * 400}, -1{'0' * 400}, {2**70}, 1{'0' * 5000}]")
    assert [type(item) for item in found] == [float] * 4
    assert found[:2] == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('["\\ud800"]', "half a character"),
        ('{"\\udfff\\ud800": 1}', "half a character"),
        ("[1", "delimiter"),
        ("", "Expecting value"),
    ],
)
def test_the_rest_is_one_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plain_json(text)


def test_options_are_those_of_json() -> None:
    assert plain_json('{"a": 1}', object_pairs_hook=list) == [("a", 1)]

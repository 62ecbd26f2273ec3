"""Structures: what is saved is read back, and files of others fail with file, field and remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from morphnet_core.structure import LARGEST_FILE, OPERATIONS, Structure, match_names
from morphnet_core.structure_fields import LayerWidth

STRUCTURE = Structure(
    layers={
        "b/conv": LayerWidth(count=2, of=4, kept=(0, 3), operation="Conv2D"),
        "a": LayerWidth(count=0, of=3, kept=(), operation="MatMul"),
        "c": LayerWidth(count=5, of=9, operation="Conv3D"),
    },
    groups={"b/conv": 2, "a": 0},
    device="cpu é",
    costs={"flops": 1.5e9},
    predicted_ms=1.25,
)


def names() -> st.SearchStrategy[str]:
    return st.text(min_size=1).filter(lambda name: name.rpartition("/")[2] not in OPERATIONS)


@st.composite
def widths(draw: st.DrawFn) -> LayerWidth:
    of = draw(st.integers(1, 40))
    kept = draw(st.sets(st.integers(0, of - 1)))
    operation = draw(st.sampled_from(OPERATIONS))
    known = draw(st.booleans())
    return LayerWidth(
        count=len(kept),
        of=of,
        kept=tuple(sorted(kept)) if known else None,
        operation=operation,
    )


@given(st.dictionaries(names(), widths()), st.floats(0, 1e9))
def test_a_saved_structure_is_read_back(layers: dict[str, LayerWidth], ms: float) -> None:
    structure = Structure(layers=layers, measured_ms=ms, costs={"x": ms})
    assert Structure.from_json(structure.to_json()) == structure


def test_the_top_level_is_the_originals(tmp_path: Path) -> None:
    path = STRUCTURE.save(tmp_path / "new" / "s.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    assert list(content) == ["a/MatMul", "b/conv/Conv2D", "c/Conv3D", "morphnet"]
    del content["morphnet"]
    assert content == {"a/MatMul": 0, "b/conv/Conv2D": 2, "c/Conv3D": 5}
    assert '"kept": [ 0, 3 ]' in path.read_text(encoding="utf-8")
    assert Structure.load(path) == STRUCTURE


def test_the_originals_file_is_read() -> None:
    text = '{"net/conv1/Conv2D": 25, "net/up/Conv2DBackpropInput": 7, "net/odd": 3}'
    structure = Structure.from_json(text)
    assert structure.layers == {
        "net/conv1": LayerWidth(count=25, operation="Conv2D"),
        "net/up": LayerWidth(count=7, operation="Conv2DBackpropInput"),
        "net/odd": LayerWidth(count=3),
    }
    assert structure.counts == json.loads(text)


def broken(**changes: object) -> str:
    content = json.loads(STRUCTURE.to_json())
    content["morphnet"].update(changes)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is no JSON: Expecting value"),
        (STRUCTURE.to_json()[:-40], "it is no JSON"),
        ("[1]", "it holds a list; expected an object"),
        ('{"a/Conv2D": 2.5}', "'a/Conv2D': 2.5 is no count of channels"),
        ('{"a/Conv2D": true}', "True is no count"),
        ('{"a/Conv2D": -1}', "-1 is no count"),
        ('{"a/Conv2D": 4294967296}', "4294967296 is no count"),
        ('{"a/Conv2D": ' + "9" * 5000 + "}", "inf is no count of channels"),
        ('{"a/Conv2D": NaN}', "it holds NaN"),
        ('{"a/Conv2D": 1, "a/Conv2D": 2}', "the key 'a/Conv2D' is there twice"),
        ('{"a/Conv2D": 1, "a/MatMul": 2}', "layer 'a' has a count already"),
        ('{"": 1}', "''"),
        ("[" * 100_000, "it is nested too deeply"),
        (broken(format=2), "'format': it is 2, not 1; update this package"),
        (broken(layers=None), "'layers': there is no such object"),
        (broken(layers={}), "is missing; both must name the same layers"),
        (broken(groups={"a": -1}), "'groups': not every group has a count"),
        (broken(costs={"flops": "many"}), "'costs': not every cost is a number"),
        (broken(predicted_ms=-1), "'predicted_ms': -1 is no time"),
        (broken(device=3), "'device': it is no text"),
    ],
)
def test_a_bad_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Structure.from_json(text, where="s.json")
    assert str(caught.value).startswith("s.json")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kept": [0, 2, 3]}, "Expected 2 different positions below 4"),
        ({"kept": [3, 0]}, "ascending order"),
        ({"kept": [0, 9]}, "below 4"),
        ({"kept": "all"}, "'kept': it is no list of positions"),
        ({"of": 1, "kept": [0]}, "A layer of 1 channels cannot keep 2"),
        ({"of": "4"}, "'of' a count"),
        ({"operation": "Conv3D"}, "the top level has no 'b/conv/Conv3D'"),
    ],
)
def test_a_bad_layer_is_named(fields: dict[str, object], message: str) -> None:
    content = json.loads(STRUCTURE.to_json())
    content["morphnet"]["layers"]["b/conv"].update(fields)
    with pytest.raises(InvalidInputError) as caught:
        Structure.from_json(json.dumps(content), where="s.json")
    assert "s.json, 'morphnet', 'layers', 'b/conv'" in str(caught.value)
    assert message in str(caught.value)


def test_what_is_no_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    with pytest.raises(InvalidInputError, match="cannot be read"):
        Structure.load(path)
    path.write_bytes(b'{"a": \xff}')
    with pytest.raises(InvalidInputError, match="byte 6 is not UTF-8"):
        Structure.load(path)
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    with pytest.raises(InvalidInputError, match="larger than 64 MiB"):
        Structure.load(path)


@pytest.mark.parametrize(
    ("given", "wanted", "found"),
    [
        (["a", "b/c"], ["b/c", "a"], {"a": "a", "b/c": "b/c"}),
        (["net/a", "net/b"], ["a", "b"], {"net/a": "a", "net/b": "b"}),
        (["a", "b"], ["net/a", "net/b"], {"a": "net/a", "b": "net/b"}),
        (["x/y/a", "x/y/b"], ["net/a", "net/b"], {"x/y/a": "net/a", "x/y/b": "net/b"}),
        (["a", "z"], ["a", "b"], {"a": "a"}),
    ],
)
def test_names_match_without_common_folders(
    given: list[str], wanted: list[str], found: dict[str, str]
) -> None:
    assert match_names(given, wanted) == found

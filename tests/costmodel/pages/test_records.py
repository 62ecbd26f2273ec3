"""Records: what verbs wrote is read back, and what is no such file is told from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from shown import morph_folder, small_comparisons, small_prediction

from costmodel.errors import InvalidInputError
from costmodel.pages.records import MorphRecord, PredictionRecord, read_record
from costmodel.uses.predicting import predict


def written(folder: Path, content: Any) -> Path:
    path = folder / "found.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def test_a_prediction_comes_back_with_its_kernels(tmp_path: Path) -> None:
    prediction = small_prediction()
    found = read_record(written(tmp_path, prediction.to_json()))
    assert isinstance(found, PredictionRecord)
    assert [layer.kernel for layer in found.ops] == [layer.op for layer in prediction.layers]
    assert found.predicted_ms == prediction.predicted_ms
    assert found.parts_ms == prediction.parts_ms
    assert found.unpriced[0].reason == prediction.unpriced[0].reason


def test_parts_add_up_to_the_clock(tmp_path: Path) -> None:
    comparisons = small_comparisons()
    found = read_record(written(tmp_path, [item.to_json() for item in comparisons]))
    assert isinstance(found, tuple)
    for record, item in zip(found, comparisons, strict=True):
        assert record.parts_ms is not None
        assert next(iter(record.parts_ms)) == "kernels"
        assert sum(record.parts_ms.values()) == pytest.approx(item.measured_ms)
        assert record.parts_ms["moving data"] > 0


def test_a_morph_comes_back(tmp_path: Path) -> None:
    found = read_record(morph_folder(tmp_path / "fast"))
    assert isinstance(found, MorphRecord)
    assert found.groups["conv1"] == (64, 48)
    assert found.metrics["loss"] is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "no JSON"),
        ([], "empty list"),
        ({"rows": 3}, "a dict with 'rows'"),
        ("[1]", "Expected `object`"),
        ([{"model": "net"}], "predicted_ms"),
        ({"ops": [], "unit": "flops"}, "prediction in 'flops'"),
        ({"ops": [{"name": "a"}], "unit": "ms"}, "costmodel predict --json"),
    ],
)
def test_what_is_none_of_these_is_told(tmp_path: Path, content: Any, words: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(InvalidInputError, match=r"found\.json") as caught:
        read_record(path)
    assert words in str(caught.value)


def test_a_folder_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"no morph\.json"):
        read_record(tmp_path)


def test_counts_have_no_parts_in_milliseconds() -> None:
    relu = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> tiny (float[1, 8] x) => (float[1, 8] y)'
        "{ y = Relu(x) }"
    )
    assert predict(relu, cost="flops").parts_ms is None

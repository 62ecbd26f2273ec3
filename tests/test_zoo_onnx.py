"""A sample of the zoo's ONNX files: read, counted, lowered, anticipated and run.

scripts/bench/zoo.py walks all of them, in processes that may crash.
"""

from __future__ import annotations

import re

import pytest
from model_zoo import onnx_drawn, onnx_files, onnx_foreign, onnx_older, onnx_operators
from model_zoo.keeper import judged, wrong
from model_zoo.onnx_walk import walk

#: How many of each family, their names and their maker. The onnx package takes seconds to tell the
#: names of its operators' cases: they are asked for by the process that walks them.
FAMILIES = {
    "files": (59, onnx_files.names, onnx_files.make),
    "older": (67, lambda: onnx_older.names()[::2], onnx_older.make),
    "foreign": (73, lambda: onnx_foreign.names()[::2], onnx_foreign.make),
    "operators": (67, lambda: onnx_operators.names(200)[::3], onnx_operators.make),
    "drawn": (60, lambda: onnx_drawn.names(60), onnx_drawn.make),
}
#: Cases of one test, so that none takes long.
CHUNK = 20
#: What the runner does not run though the runtime does: types that numpy lacks cannot be fed.
UNFED = re.compile("of numbers that numpy has, or of texts|No corresponding Numpy type")
PARTS = [
    (family, start)
    for family, (count, _, _) in FAMILIES.items()
    for start in range(0, count, CHUNK)
]


@pytest.mark.parametrize(("family", "start"), PARTS)
def test_files_are_read_and_counted_or_named(family, start):
    count, names, make = FAMILIES[family]
    assert len(names()) == count, "so that none is left out"
    records = [walk(f"{family}/{name}", make(name)) for name in names()[start : start + CHUNK]]
    ran = [item for item in records if judged(item) != "cannot"]
    assert len(ran) > len(records) // 2
    for item in ran:
        assert judged(item) in {"equal", "named"}, (item["name"], item["refused"], wrong(item))
        unfed = bool(item["refused"]) and all(map(UNFED.search, item["refused"].values()))
        assert unfed or item["lowered"], (item["name"], item["refused"])
        assert unfed or "load" not in item["refused"], item["name"]


def test_operator_sets_from_the_oldest_to_the_newest_are_drawn():
    drawn = {onnx_drawn.make(name).model.opset_import[0].version for name in onnx_drawn.names(120)}
    assert {onnx_operators.OLDEST, onnx_operators.NEWEST} <= drawn
    assert len(drawn) > 18


def test_a_case_is_the_same_every_time():
    for name in onnx_drawn.names(5):
        first, second = (onnx_drawn.make(name).model.SerializeToString() for _ in range(2))
        assert first == second

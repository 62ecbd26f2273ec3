"""One vocabulary: whatever word a reader, a runtime or a table writes, the counts know it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from costmodel.anticipation.ort import op_type
from costmodel.costs.counts import COUNTED_KINDS, Activations, Bytes, Flops, Params
from costmodel.costs.roofline import DATASHEETS, Roofline
from costmodel.kinds import (
    ELEMENTWISE,
    MOVES,
    NAMES,
    OWN_RULE,
    RECIPES,
    REDUCTIONS,
    RELABELS,
    RENAMED,
    UNCOUNTED,
    WINDOWS,
    kind_of,
    op_type_of,
)
from costmodel.lite_model import kernels
from costmodel.op import MODEL, Op, decode_op
from costmodel.products import PRODUCT_KINDS
from costmodel.readers import keras_activations, keras_functions
from costmodel.runners.openvino import describe, steps

ROOT = Path(__file__).parents[2]
PROFILES = sorted((ROOT / "profiles").rglob("*.jsonl"))
RUNTIME_ONLY = {"FusedConv", "FusedGemm", "FusedMatMul", "Upsample"}
WORDS = COUNTED_KINDS | frozenset(UNCOUNTED)


def operators() -> list[tuple[str, str]]:
    """Every operator of the standard and of the installed runtime."""
    standard = {(s.domain, s.name) for s in onnx.defs.get_all_schemas_with_history()}
    return sorted(standard | {(s.domain, s.name) for s in runtime.get_all_operator_schema()})


@pytest.mark.parametrize("operator", operators(), ids=":".join)
def test_every_operator_is_counted_or_says_why_not(operator: tuple[str, str]) -> None:
    kind = kind_of(operator[1])
    assert kind in WORDS
    prices = Flops().price([Op(kind=kind, inputs=((1, 8),), outputs=((1, 8),))])
    assert kind in COUNTED_KINDS or kind in prices.reasons[0]


def test_no_word_is_counted_in_two_ways() -> None:
    counted = (MOVES, ELEMENTWISE, REDUCTIONS, WINDOWS, frozenset(RECIPES), OWN_RULE)
    ways = (*counted, PRODUCT_KINDS, frozenset(UNCOUNTED))
    reductions = {"global_average_pool", "global_max_pool"}
    assert sum(map(len, ways)) == len(frozenset().union(*ways))
    assert RELABELS <= MOVES
    assert reductions <= REDUCTIONS
    assert not set(RENAMED) & WORDS


@pytest.mark.parametrize(
    "profile", sorted((ROOT / "profiles").rglob("*.jsonl")), ids=lambda p: p.stem
)
def test_every_kind_of_the_shipped_tables_is_in_the_vocabulary(profile: Path) -> None:
    lines = profile.read_text(encoding="utf-8").splitlines()[1:]
    kinds = {json.loads(line)["op"]["kind"] for line in lines}
    assert kinds
    assert kinds - {MODEL} <= WORDS


def test_every_word_of_the_runtimes_is_in_the_vocabulary() -> None:
    openvino = {describe.kind_of(name) for name in steps.UNARY | steps.BINARY}
    assert openvino | set(describe.KINDS.values()) <= WORDS
    assert set(kernels.KINDS.values()) <= WORDS


def test_every_word_of_the_functions_of_keras_is_in_the_vocabulary() -> None:
    tables = (
        keras_activations._ACTIVATIONS,
        keras_functions._BINARY,
        keras_functions._UNARY,
    )
    for table in tables:
        assert set(table.values()) <= WORDS
    assert {f"reduce_{name}" for name in keras_functions._REDUCTIONS.values()} <= WORDS


def test_tables_of_before_are_read_in_the_words_of_now() -> None:
    for old, new in RENAMED.items():
        assert decode_op(f'{{"kind": "{old}"}}') == Op(kind=new)
        assert new in WORDS


@pytest.mark.parametrize(
    "name",
    sorted(
        {*NAMES, *(item.name for item in onnx.defs.get_all_schemas() if not item.domain)}
        - RUNTIME_ONLY
        - {"Upsample"}  # read as the Resize that took its place
    ),
)
def test_an_operator_is_found_again_by_its_kind(name: str) -> None:
    assert op_type_of(kind_of(name)) == name
    assert op_type(Op(kind=kind_of(name))) == name


@pytest.mark.parametrize(
    "kind", ["group_norm", "rms_norm", "layer_norm", "instance_norm", "unit_norm", "batch_norm"]
)
def test_normalisations_have_a_price_on_any_datasheet(kind: str) -> None:
    op = Op(kind=kind, inputs=((1, 8, 6, 6),), outputs=((1, 8, 6, 6),), weights=((8,), (8,)))
    for cost in (Flops(), Params(), Activations(), Bytes()):
        assert cost.price([op]).values[0] > 0
    for sheet in DATASHEETS.values():
        priced = Roofline(sheet, next(iter(sheet.peak_flops))).price([op])
        assert priced.values[0] > 0

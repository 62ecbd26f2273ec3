"""What ``predict`` takes: one value, shown in full by the help of every use that takes it."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

import costmodel as cm
import morphnet_core as mc
from costmodel.costs.counts import Flops
from costmodel.errors import InvalidInputError
from costmodel.table import LatencyTable
from costmodel.uses.pricing import Pricing, Terms

PROFILE = "amd-epyc-family-25-model-17/onnxruntime-float32-t2"


def test_terms_are_the_fields_of_a_pricing():
    assert ["table", *Terms.__annotations__] == [field.name for field in fields(Pricing)]


@pytest.mark.parametrize("use", [cm.predict, cm.compare, cm.compare_profile, cm.explain, mc.align])
def test_help_names_every_term_with_its_default(use):
    shown = inspect.signature(use).parameters
    given = {field.name: field.default for field in fields(Pricing) if field.name != "table"}
    assert {name: shown[name].default for name in given} == given
    assert all(shown[name].kind is inspect.Parameter.KEYWORD_ONLY for name in given)
    assert "terms" not in shown


def test_an_unknown_term_is_an_error_of_the_call():
    with pytest.raises(TypeError, match="unexpected keyword argument 'treads'"):
        cm.predict("net.onnx", cost="flops", treads=2)  # type: ignore[call-arg]


def test_whose_numbers_they_are():
    table = LatencyTable.load(PROFILE)
    assert Pricing.of(table, {}).device == table.device
    assert Pricing.of(PROFILE, {}).device == table.device
    assert Pricing.of(None, {"cost": "flops"}).device is None
    datasheet = Pricing.of(None, {"cost": "roofline:t4"}).device
    assert datasheet is not None
    assert datasheet.name == "NVIDIA T4"
    with pytest.raises(InvalidInputError, match="'regression' needs a table"):
        _ = Pricing().device


def test_a_cost_model_is_taken_as_it_is():
    mine = Flops()
    pricing = Pricing.of(None, {"cost": mine, "calibrated": False})
    assert pricing.cost_model() is mine
    assert pricing.law(mine) is None


def test_threads_are_among_the_options_and_must_be_the_table_s():
    pricing = Pricing.of(PROFILE, {"options": {"dtype": "float32"}, "threads": 1})
    assert pricing.choice.options == {"dtype": "float32", "threads": 1}
    with pytest.raises(InvalidInputError, match="2 threads, --threads is 1"):
        pricing.require_threads()
    Pricing.of(PROFILE, {"threads": 2}).require_threads()

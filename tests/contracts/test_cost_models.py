"""The cost model contract, held by every cost model: one class each."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from costmodel.costs.counts import Activations, Bytes, Flops, Params
from costmodel.costs.lookup import Lookup
from costmodel.costs.regression import Regression
from costmodel.costs.roofline import DATASHEETS, Roofline
from costmodel.measurement import Measurement, Round
from costmodel.protocols import CostModel
from costmodel.runners.fake import FakeRunner
from costmodel.table import LatencyTable
from costmodel.testing import CostModelContract, example_ops


class TestCounts(CostModelContract):
    @pytest.fixture(params=[Flops, Params, Activations, Bytes])
    def cost(self, request: pytest.FixtureRequest) -> CostModel:
        made: CostModel = request.param()
        return made


class TestRoofline(CostModelContract):
    @pytest.fixture(params=sorted(DATASHEETS))
    def cost(self, request: pytest.FixtureRequest) -> CostModel:
        sheet = DATASHEETS[request.param]
        return Roofline(sheet, next(iter(sheet.peak_flops)))


class TestLookup(CostModelContract):
    @pytest.fixture
    def cost(self) -> CostModel:
        runner = FakeRunner(noise=0.1)
        table = LatencyTable(runner.device)
        for number in range(4):
            for op in example_ops():
                block = runner.load_op(op).block(1.0)
                visit = Round(number=number, quiet_ms=block.latency_ms, median_ms=block.latency_ms)
                table.append_round(op, visit)
        return Lookup(table)


@cache
def fitted_regression() -> Regression:
    """Fitted once, on neighbours of the Ops that it must price."""
    rows = []
    for number, op in enumerate(example_ops()):
        for batch in (2, 3, 4):
            inputs = tuple((batch, *shape[1:]) for shape in op.inputs)
            outputs = tuple((batch, *shape[1:]) for shape in op.outputs)
            seen = replace(op, inputs=inputs, outputs=outputs)
            latency_ms = FakeRunner().law_ms(seen)
            spread = 0.01 * (number % 3)
            rows.append(
                Measurement(op=seen, latency_ms=latency_ms, median_ms=latency_ms, spread=spread)
            )
    return Regression(rows)


class TestRegression(CostModelContract):
    @pytest.fixture
    def cost(self) -> Regression:
        return fitted_regression()

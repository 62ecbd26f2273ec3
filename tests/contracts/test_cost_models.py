"""The cost model contract, held by every cost model: one class each."""

from __future__ import annotations

import pytest

from costmodel.costs.counts import Activations, Bytes, Flops, Params
from costmodel.costs.lookup import Lookup
from costmodel.costs.roofline import DATASHEETS, Roofline
from costmodel.measurement import Round
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

"""Comparisons on the fake device, whose truth is known exactly."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from math import nan
from pathlib import Path

import numpy as np
import pytest

from costmodel.comparison import Comparison, compare_files, summarise
from costmodel.device import Device
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op
from costmodel.network import Layer, Network
from costmodel.op import Op, conv_op
from costmodel.prediction import price_network
from costmodel.profiler import Plan
from costmodel.protocols import Prices, Unit
from costmodel.runners.fake import law_ms, write_model

QUICK = Plan(rounds=2, min_rounds=2, visit_ms=1.0, block_ms=0.1)
CONV = conv_op(in_channels=64, out_channels=64, size=(28, 28), kernel=(3, 3))
ADD = Op(kind="add", inputs=((1, 64, 28, 28),) * 2, outputs=((1, 64, 28, 28),))


@pytest.fixture(autouse=True)
def own_device_lock(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake device's lock is one per machine: tests that run at once need one each."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


class LawCost:
    """The fake device's own law, off by a factor."""

    name = "law"
    device = None

    def __init__(self, factor: float = 1.0, unit: Unit = "ms") -> None:
        self.factor = factor
        self.unit = unit

    def price(self, ops: Sequence[Op]) -> Prices:
        values = np.array([law_ms(op) * self.factor for op in ops])
        return Prices(values=values, low=values, high=values)


def made_up(name: str, predicted: float, measured: Sequence[float]) -> Comparison:
    """A comparison from numbers: no rounds mean that the network could not be timed."""

    class Fixed:
        name = "fixed"
        device = None
        unit: Unit = "ms"

        def price(self, ops: Sequence[Op]) -> Prices:
            values = np.full(len(ops), predicted)
            return Prices(values=values, low=values, high=values)

    rounds = [Round(number=i, quiet_ms=ms, median_ms=ms) for i, ms in enumerate(measured)]
    row = Measurement.from_rounds(
        model_op(name, "0", ()),
        rounds,
        status="ok" if rounds else "crashed",
        reason="" if rounds else "it crashed",
    )
    network = Network(name=name, layers=(Layer(name="l", op=ADD),))
    device = Device(name="board", runtime="fake")
    return Comparison(prediction=price_network(network, Fixed()), measurement=row, device=device)


def test_the_law_predicts_the_fake_device_exactly(tmp_path: Path) -> None:
    small = write_model(tmp_path / "small.json", [CONV])
    large = write_model(tmp_path / "large.json", [CONV, ADD, CONV])
    found = compare_files([small, large], runner="fake", cost=LawCost(), plan=QUICK)
    assert [item.model for item in found] == ["small", "large"]
    assert [item.error for item in found] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert [item.priced_share for item in (x.prediction for x in found)] == [1.0, 1.0]
    assert [item.measurement.status for item in found] == ["ok", "ok"]
    assert [len(item.measurement.rounds) for item in found] == [2, 2]


def test_error_has_the_sign_of_the_prediction(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.json", [CONV])
    (found,) = compare_files([model], runner="fake", cost=LawCost(1.25), plan=QUICK)
    assert found.error == pytest.approx(0.25)
    assert found.in_interval is False


def test_a_file_given_twice_is_compared_twice(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.json", [CONV])
    found = compare_files([model, model], runner="fake", cost=LawCost(), plan=QUICK)
    assert [item.model for item in found] == ["m", "m"]
    assert found[0] == found[1]


def test_a_model_that_crashes_has_a_reason_and_no_error(tmp_path: Path) -> None:
    good = write_model(tmp_path / "good.json", [CONV])
    bad = write_model(
        tmp_path / "bad.json", [CONV, Op(kind="lrn", inputs=((1, 8),), outputs=((1, 8),))]
    )
    options = {"misbehave": "exit:lrn"}
    found = compare_files([good, bad], runner="fake", options=options, cost=LawCost(), plan=QUICK)
    assert found[0].error == pytest.approx(0.0, abs=1e-9)
    assert (found[1].measured_ms, found[1].error, found[1].in_interval) == (None, None, None)
    assert found[1].measurement.status == "crashed"
    assert found[1].measurement.reason
    assert json.loads(json.dumps(found[1].to_json(), allow_nan=False))["measured_ms"] is None


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="at least one model"):
        compare_files([], runner="fake", cost=LawCost())


def test_counts_cannot_be_held_against_a_clock(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.json", [CONV])
    with pytest.raises(InvalidInputError, match="flops"):
        compare_files([model], runner="fake", cost=LawCost(unit="flops"))


def test_a_missing_model_is_named_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"absent\.json"):
        compare_files([tmp_path / "absent.json"], runner="fake", cost=LawCost())


def test_summary_counts_the_networks_within_each_limit() -> None:
    found = summarise(
        [
            made_up("a", 1.02, [1.0, 1.0]),
            made_up("b", 0.92, [1.0, 1.0]),
            made_up("c", 1.14, [1.0, 1.02]),
            made_up("d", 2.0, [1.0, 1.0]),
            made_up("e", 2.0, []),
        ]
    )
    assert (found.models, found.compared) == (5, 4)
    assert (found.within_5, found.within_10, found.within_15) == (0.25, 0.5, 0.75)
    assert found.median_error == pytest.approx(0.11)
    assert (found.worst_error, found.worst_model) == (1.0, "d")
    assert found.repeatability == 0.0


def test_summary_of_nothing_measured_has_no_numbers() -> None:
    found = summarise([made_up("e", 2.0, [])])
    assert (found.compared, found.median_error, found.within_10) == (0, None, None)
    assert (found.worst_error, found.worst_model) == (None, "")


def test_json_has_the_documented_keys() -> None:
    data = json.loads(json.dumps(made_up("a", 1.1, [1.0, 1.0]).to_json(), allow_nan=False))
    expected = {"model", "predicted_ms", "interval_ms", "measured_ms", "error", "priced_share"}
    assert expected <= set(data)
    assert data["error"] == pytest.approx(0.1)


def test_a_prediction_of_nothing_has_no_error() -> None:
    found = made_up("a", nan, [1.0, 1.0])
    assert (found.predicted_ms, found.error, found.in_interval) == (None, None, None)

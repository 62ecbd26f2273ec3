"""Held-out error beside repeatability and beside what others do."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op
from costmodel.op import Op, conv_op
from costmodel.runners.fake import FakeRunner
from costmodel.scoring import Accuracy, Score, repeat_accuracy, score_rows, score_table
from costmodel.table import LatencyTable

FAKE = FakeRunner()


def convs(count: int, seed: int = 0) -> list[Op]:
    rng = np.random.default_rng(seed)
    found: dict[Op, None] = {}
    while len(found) < count:
        cin, cout = (int(c) for c in rng.integers(2, 33, 2) * 4)
        side = int(rng.choice([7, 14, 28]))
        found[conv_op(in_channels=cin, out_channels=cout, size=(side, side), kernel=(3, 3))] = None
    return list(found)


def row(op: Op, *quiet_ms: float) -> Measurement:
    """Rounds of these times; of the law's where none is given."""
    times = quiet_ms or (FAKE.law_ms(op),) * 2
    rounds = [Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times)]
    return Measurement.from_rounds(op, rounds)


def failed(op: Op) -> Measurement:
    return Measurement(op=op, latency_ms=math.nan, median_ms=math.nan, status="timeout")


@pytest.fixture(scope="module")
def table() -> LatencyTable:
    """80 convolutions, an addition, a session, a network and two failures."""
    ops = convs(82)
    add = Op(kind="add", inputs=((1, 8, 4, 4),) * 2, outputs=((1, 8, 4, 4),))
    session = Op(kind="session", inputs=((1,),), outputs=((1,),))
    rows = [row(op) for op in (*ops[:80], add, session)]
    rows += [row(model_op("net", "0", tuple(ops[:3])), 1.0, 1.0)]
    return LatencyTable(FAKE.device, [*rows, *(failed(op) for op in ops[80:])])


@pytest.fixture(scope="module")
def found(table: LatencyTable) -> Score:
    return score_table(table)


def test_accuracy_counts_relative_errors() -> None:
    found = Accuracy.of(np.array([1.04, 0.5, 2.0, 1.08]), np.array([1.0, 1.0, 1.0, 1.0]))
    assert found.rows == 4
    assert found.mape == pytest.approx((0.04 + 0.5 + 1.0 + 0.08) / 4)
    assert found.median == pytest.approx((0.08 + 0.5) / 2)
    assert (found.within_5, found.within_10) == (0.25, 0.5)
    assert found.bias == pytest.approx((0.04 + 0.08) / 2)


def test_what_has_no_price_is_wholly_wrong() -> None:
    found = Accuracy.of(np.array([np.nan, 1.0]), np.array([1.0, 1.0]))
    assert (found.mape, found.within_10) == (0.5, 0.5)


def test_a_quarter_is_held_out(found: Score) -> None:
    assert found.held_out == found.accuracy.rows == 20
    # 60 convolutions, the addition and the session: no network and no failure.
    assert found.rows == 62


def test_the_regression_is_beside_its_baselines(found: Score) -> None:
    assert set(found.baselines) == {"nn-meter recipe", "flops line"}
    assert all(item.rows == 20 for item in found.baselines.values())
    assert found.accuracy.median < found.baselines["flops line"].median
    assert 0.5 < found.coverage <= 1.0


def test_rounds_without_noise_repeat_perfectly(found: Score) -> None:
    assert found.repeatability == Accuracy(
        rows=20, mape=0.0, median=0.0, within_5=1.0, within_10=1.0, bias=0.0
    )


def test_the_split_depends_on_the_seed_only(table: LatencyTable, found: Score) -> None:
    assert score_table(table).to_json() == found.to_json()
    assert score_table(table, seed=1).accuracy != found.accuracy


def test_a_number_of_held_out_rows_can_be_asked_for(table: LatencyTable) -> None:
    found = score_table(table, held_out=30)
    assert (found.held_out, found.rows) == (30, 52)


@pytest.mark.parametrize(("count", "held_out"), [(0, None), (39, None), (40, 9), (40, 31), (40, 0)])
def test_too_few_convolutions_are_an_error_with_their_number(
    count: int, held_out: int | None
) -> None:
    small = LatencyTable(FAKE.device, [row(op) for op in convs(count)])
    with pytest.raises(InvalidInputError, match=f"The table has {count} with a latency"):
        score_table(small, held_out=held_out)


def test_rows_to_predict_are_never_learned_from() -> None:
    ops = convs(40)
    wrong = [row(op, 1000.0, 1000.0) for op in ops[:10]]
    truth = [row(op) for op in ops]
    cheat = score_rows([*truth[10:], *truth[:10]], wrong)
    assert cheat.rows == 30
    assert cheat.accuracy.within_10 == 0.0


def test_repeatability_holds_one_half_of_the_rounds_against_the_other() -> None:
    (op,) = convs(1)
    found = repeat_accuracy([row(op, 1.0, 1.2, 1.1, 1.3), row(op, 2.0, 2.0)])
    assert found is not None
    assert found.mape == pytest.approx((0.2 / 1.2) / 2)
    assert found.within_5 == 0.5


def test_rows_without_two_rounds_cannot_tell_how_they_repeat() -> None:
    (op,) = convs(1)
    imported = Measurement(op=op, latency_ms=1.0, median_ms=1.0)
    assert repeat_accuracy([row(op, 1.0), imported]) is None
    assert repeat_accuracy([]) is None


def test_the_json_form_is_plain(found: Score) -> None:
    shown = json.loads(json.dumps(found.to_json()))
    assert shown["rows"] == 62
    assert shown["held_out"] == 20
    assert shown["mape"] == found.accuracy.mape
    assert set(shown["repeatability"]) == {"mape", "median", "within_5", "within_10", "bias"}
    assert set(shown["baselines"]["flops line"]) == set(shown["repeatability"])


def test_a_table_without_rounds_has_no_repeatability_in_its_json() -> None:
    rows = [
        Measurement(op=op, latency_ms=FAKE.law_ms(op), median_ms=FAKE.law_ms(op))
        for op in convs(40)
    ]
    assert score_rows(rows[10:], rows[:10]).to_json()["repeatability"] == {}

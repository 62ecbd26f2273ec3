"""Boards of one kind: factors, who is kept apart, and the table that they make together."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest
from rows import conv

from costmodel.device import Device
from costmodel.fleets.boards import SAME, joined, kinds_of
from costmodel.fleets.dealing import Part
from costmodel.measurement import Measurement, Round
from costmodel.op import Op
from costmodel.runners.fake import law_ms
from costmodel.table import LatencyTable

DEVICE = Device(name="board", runtime="fake")
OPS = [conv(width) for width in range(8, 248, 8)]


def row(op: Op, factor: float, noise: float = 0.0, seed: int = 0) -> Measurement:
    stream = random.Random(f"{seed}/{op.digest}")
    times = [law_ms(op) * factor * (1.0 + noise * stream.random()) for _ in range(4)]
    rounds = (Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times))
    return Measurement.from_rounds(op, rounds)


def tables(factors: Mapping[str, float], noise: float = 0.0) -> dict[str, LatencyTable]:
    """Tables of boards that share a design."""
    names = tuple(sorted(factors))
    part = Part(boards=names, present=names)
    return {
        name: LatencyTable(
            DEVICE,
            [
                row(op, factors[name], noise, seed)
                for place, op in enumerate(OPS)
                if name in part.boards_of(place)
            ],
        )
        for seed, name in enumerate(names)
    }


def test_boards_that_agree_make_one_table_of_all_their_rounds() -> None:
    found = tables(dict.fromkeys("abcd", 1.0), noise=0.004)
    (kind,) = kinds_of(found)
    assert kind.together == ("a", "b", "c", "d")
    assert (kind.rows, kind.single) == (len(OPS), 0)
    assert all(board.factor == pytest.approx(1.0, abs=SAME) for board in kind.boards)
    table = joined(kind, found)
    assert list(table) == list(dict.fromkeys(op for one in found.values() for op in one))
    for op, whole in table.rows.items():
        own = [one.rows[op] for one in found.values() if op in one]
        assert len(own) == 2
        assert [item.number for item in whole.rounds] == list(range(8))
        # In turns: the halves, whose disagreement is the spread, are of different boards.
        assert [item.quiet_ms for item in whole.rounds[::2]] == [
            item.quiet_ms for item in own[0].rounds
        ]
        assert whole.latency_ms == min(item.latency_ms for item in own)


def test_a_slower_board_is_named_with_its_factor_and_kept_apart() -> None:
    found = tables({"a": 1.0, "b": 1.0, "c": 1.12, "d": 1.0}, noise=0.01)
    (kind,) = kinds_of(found)
    assert [board.name for board in kind.boards if board.apart] == ["c"]
    assert kind.factor("c") == pytest.approx(1.12, abs=0.01)
    table = joined(kind, found)
    for op, whole in table.rows.items():
        assert whole.latency_ms == pytest.approx(law_ms(op), rel=0.011)
    apart = joined(kind, found, scaled_to="c")
    assert set(apart) == set(OPS)
    for op, whole in apart.rows.items():
        assert whole.latency_ms == pytest.approx(1.12 * law_ms(op), rel=0.025)
        if op in found["c"]:
            assert whole == found["c"][op]


def test_of_two_that_disagree_the_faster_is_the_measure() -> None:
    (kind,) = kinds_of(tables({"a": 1.2, "b": 1.0}))
    assert kind.together == ("b",)
    assert kind.factor("a") == pytest.approx(1.2)
    assert kind.factor("b") == 1.0


def test_noisy_rows_make_no_board_a_stranger() -> None:
    (kind,) = kinds_of(tables({"a": 1.02, "b": 1.0}, noise=0.3))
    assert kind.limit > 0.02
    assert kind.together == ("a", "b")


def test_rows_merge_within_one_identity_only() -> None:
    other = LatencyTable(Device(name="board", runtime="fake", threads=2), [row(OPS[0], 1.0)])
    alone, pair = sorted(
        kinds_of({**tables({"a": 1.0, "b": 1.0}), "x": other}), key=lambda kind: len(kind.boards)
    )
    assert [board.name for board in alone.boards] == ["x"]
    assert (alone.boards[0].factor, alone.single, alone.boards[0].apart) == (None, 0, False)
    assert pair.together == ("a", "b")


def test_boards_without_a_row_in_common_are_not_judged() -> None:
    found = {
        name: LatencyTable(DEVICE, [row(op, 1.0)]) for name, op in zip("ab", OPS[:2], strict=True)
    }
    (kind,) = kinds_of(found)
    assert [board.factor for board in kind.boards] == [None, None]
    assert (kind.together, kind.single) == (("a", "b"), 2)
    assert set(joined(kind, found)) == set(OPS[:2])


def test_failures_and_numbers_of_others_count_as_they_are() -> None:
    failed = Measurement.from_rounds(OPS[0], (), status="rejected", reason="no")
    left = Measurement.from_rounds(OPS[1], (), status="unmeasured", reason="no time")
    given = Measurement(op=OPS[2], latency_ms=2.0, median_ms=2.0)
    found = {
        "a": LatencyTable(DEVICE, [failed, left, given, row(OPS[3], 1.0)]),
        "b": LatencyTable(DEVICE, [row(OPS[0], 1.0), failed_too(OPS[1]), row(OPS[3], 2.0)]),
    }
    (kind,) = kinds_of(found)
    table = joined(kind, found, scaled_to="b")
    assert table[OPS[0]].latency_ms == law_ms(OPS[0])
    assert table[OPS[1]].status == "rejected"
    assert table[OPS[2]].latency_ms == pytest.approx(2.0 * kind.factor("b"))
    assert math.isclose(table[OPS[3]].latency_ms, 2.0 * law_ms(OPS[3]))


def failed_too(op: Op) -> Measurement:
    return Measurement.from_rounds(op, (), status="rejected", reason="no")

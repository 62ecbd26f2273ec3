from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.measurement import Measurement, Round, Status
from costmodel.op import Op, conv_op
from costmodel.profiler import Job, Plan
from costmodel.profiler.schedule import Schedule


def op(channels: int) -> Op:
    return conv_op(in_channels=channels, out_channels=8, size=(8, 8), kernel=(3, 3))


def visit(quiet_ms: float, number: int = 0) -> Round:
    return Round(number=number, quiet_ms=quiet_ms, median_ms=quiet_ms)


def schedule(count: int, plan: Plan | None = None, **known: Measurement) -> Schedule:
    jobs = [Job(op=op(n + 1)) for n in range(count)]
    return Schedule(jobs, plan or Plan(), known)


@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 10))
def test_each_round_visits_every_unfinished_job_once(count: int, round_: int, seed: int) -> None:
    plan = Plan(seed=seed)
    order = schedule(count, plan).order(round_)
    assert sorted(order) == list(range(count))
    assert schedule(count, plan).order(round_) == order


@given(st.integers(1, 30), st.integers(0, 400))
def test_as_many_jobs_are_let_in_as_there_is_time_to_measure_well(count: int, visits: int) -> None:
    subject = schedule(count, Plan(min_rounds=8))
    subject.admit(visits)
    let_in = subject.order(0)
    assert sorted(let_in) == list(range(min(count, math.ceil(visits / 4))))
    assert subject.visits_left == 8 * len(let_in)
    assert subject.visits_waiting == 8 * (count - len(let_in))


def test_a_visited_job_stays_in_when_time_runs_short() -> None:
    subject = schedule(6, Plan(min_rounds=4))
    for number in range(3):
        subject.record(number, visit(1.0 + number))
    subject.admit(3.0)
    assert sorted(subject.order(1)) == [0, 1, 2]
    assert subject.is_waiting(3)
    subject.admit(math.inf)
    assert sorted(subject.order(1)) == list(range(6))


def test_rounds_have_different_orders() -> None:
    subject = schedule(30)
    assert subject.order(0) != subject.order(1) != list(range(30))


def test_a_job_is_finished_when_its_halves_agree() -> None:
    subject = schedule(1, Plan(min_rounds=4, rounds=6))
    for quiet in (1.0, 1.01, 1.5):
        subject.record(0, visit(quiet))
        assert not subject.is_finished(0)
    subject.record(0, visit(1.2))
    assert subject.is_finished(0)


def test_a_job_that_never_settles_ends_with_the_rounds() -> None:
    subject = schedule(1, Plan(min_rounds=2, rounds=4))
    for number, quiet in enumerate((1.0, 2.0, 1.0, 2.0)):
        assert subject.order(number) == [0]
        subject.record(0, visit(quiet))
    assert subject.order(4) == []


def test_a_spoiled_visit_may_be_made_up_for_but_not_without_end() -> None:
    subject = schedule(1, Plan(min_rounds=2, rounds=4))
    visits = 0
    while not subject.is_finished(0):
        subject.record(0, visit(1.0 + visits % 2))
        subject.spoil([0])
        visits += 1
    assert visits == 6


def test_rounds_of_an_earlier_session_count_and_numbers_go_on() -> None:
    earlier = Measurement.from_rounds(op(1), [visit(1.0), visit(1.5, 1)])
    subject = schedule(2, Plan(min_rounds=3), **{op(1).digest: earlier})
    assert subject.visits_done == 2
    assert subject.visits_left == 1 + 3
    assert subject.record(0, visit(1.0)).number == 2
    assert subject.record(1, visit(1.0)).number == 0


def test_a_row_that_stayed_noisy_gets_new_rounds_when_run_again() -> None:
    plan = Plan(min_rounds=2, rounds=3)
    noisy = Measurement.from_rounds(op(1), [visit(1.0), visit(2.0, 1), visit(2.0, 2)])
    restless = Measurement.from_rounds(op(2), [visit(1.0), visit(1.03, 1), visit(1.0, 2)])
    assert (noisy.status, restless.status) == ("noisy", "ok")
    subject = schedule(2, plan, **{op(1).digest: noisy, op(2).digest: restless})
    visits = 0
    while subject.order(visits) == [0]:
        subject.record(0, visit(3.0))
        visits += 1
    assert visits == 3
    assert subject.order(visits) == []


def test_failed_and_imported_rows_are_left_alone() -> None:
    failed = Measurement.from_rounds(op(1), (), status="crashed", reason="died")
    imported = Measurement(op=op(2), latency_ms=1.0, median_ms=1.0)
    subject = schedule(3, None, **{op(1).digest: failed, op(2).digest: imported})
    assert subject.order(0) == [2]


@pytest.mark.parametrize("status", ["crashed", "timeout"])
def test_a_death_is_tried_once_more(status: Status) -> None:
    subject = schedule(1)
    assert subject.fail(0, status, "first") is None
    assert not subject.is_finished(0)
    assert [row.reason for row in subject.abandoned()] == ["first"]
    final = subject.fail(0, status, "second")
    assert final is not None
    assert (final.status, final.reason) == (status, "second")
    assert subject.is_finished(0)
    assert subject.abandoned() == []


@pytest.mark.parametrize("status", ["rejected", "out_of_memory"])
def test_a_refusal_is_final(status: Status) -> None:
    subject = schedule(1)
    row = subject.fail(0, status, "no")
    assert row is not None
    assert row.status == status
    assert subject.is_finished(0)


def test_a_job_with_a_number_keeps_it_when_it_fails_later() -> None:
    subject = schedule(1)
    subject.record(0, visit(1.0))
    assert subject.fail(0, "crashed", "first") is None
    assert subject.fail(0, "crashed", "second") is None
    assert subject.is_finished(0)


def test_the_outlook_grows_with_jobs_that_do_not_settle() -> None:
    plan = Plan(rounds=12, min_rounds=4, settled=0.01)
    subject = schedule(10, plan)
    first = subject.outlook()
    assert 4 * 10 < first.visits < 12 * 10
    assert 4 < first.rounds < 12
    for number in range(10):
        for time in range(5):
            # Half of the jobs settle at the first look; the halves of the others never agree.
            if not subject.is_finished(number):
                subject.record(number, visit(1.0 + 0.2 * (number % 2) * (time % 2)))
    later = subject.outlook()
    # Five go on: their next visit, and of the seven after it those that a look did not end, which
    # was so of five looks in fifteen.
    chance = 6 / 17
    assert subject.visits_left == 5
    assert later.visits == pytest.approx(5 * sum((1 - chance) ** ahead for ahead in range(7)))
    assert later.visits / 5 < later.rounds <= 7


def test_the_outlook_of_what_is_finished_is_nothing() -> None:
    plan = Plan(rounds=4, min_rounds=2)
    subject = schedule(3, plan)
    for number in range(3):
        for _ in range(2):
            subject.record(number, visit(1.0))
    assert (subject.outlook().visits, subject.outlook().rounds) == (0.0, 0.0)


def test_the_outlook_never_goes_beyond_the_most_rounds() -> None:
    plan = Plan(rounds=6, min_rounds=2, settled=0.0)
    subject = schedule(4, plan)
    for seen in range(6):
        left = subject.outlook()
        assert max(2 - seen, 1) <= left.rounds <= 6 - seen
        for number in range(4):
            subject.record(number, visit(1.0 + 0.5 * (seen % 2) + number))
    assert subject.outlook().rounds == 0.0

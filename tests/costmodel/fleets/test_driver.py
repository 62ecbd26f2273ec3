"""The driver's loop over jobs that end well, are lost, and stay away; no process is started."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence

import pytest

from costmodel.fleets.dealing import Part
from costmodel.fleets.driver import Task, run_tasks
from costmodel.fleets.engine import Heard, Post
from costmodel.fleets.messages import (
    Begin,
    Broke,
    Bye,
    Described,
    Event,
    Finished,
    Moved,
    Order,
    Rows,
    decode_order,
    encode,
)

Life = Iterator[Event | str]


class Script(Task):
    """A task whose lives are written down: what each job says until it ends."""

    def __init__(self, name: str, *lives: Sequence[Event | str]) -> None:
        super().__init__(name, 1.0)
        self.lives = list(lives)
        self.taken: list[Event] = []

    def post(self) -> Post:
        return Post(module="", order=b"", folder="")

    def take(self, event: Event) -> Order | None:
        self.taken.append(event)
        return Begin(part=Part(boards=("a",))) if isinstance(event, Described) else None


class Stage:
    """An engine that plays scripts, one event a hearing; its clock is the driver's."""

    def __init__(self, tasks: list[Script], room: int = 99) -> None:
        self.scripts = {task.name: task for task in tasks}
        self.playing: dict[str, Life] = {}
        self.due: list[str] = []
        self.orders: list[tuple[str, Order]] = []
        self.problems: dict[str, str] = {}
        self.stopped: list[str] = []
        self.now = 0.0
        self.room = room
        self.most = 0

    def has_room(self, cpus: float) -> bool:
        return len(self.playing) < self.room

    def open(self, name: str, post: Post, cpus: float) -> None:
        self.playing[name] = iter(self.scripts[name].lives.pop(0))
        self.most = max(self.most, len(self.playing))
        self.due.append(name)

    def problem(self, name: str) -> str:
        return self.problems.get(name, "")

    def hear(self, within_s: float) -> list[Heard]:
        self.now += within_s
        due, self.due = self.due, []
        found = []
        for name in due:
            said = next(self.playing[name], "it ended")
            if isinstance(said, str):
                found.append(Heard(name=name, lost=said))
            else:
                found.append(Heard(name=name, lines=(encode(said),)))
        return found

    def answer(self, name: str, order: bytes = b"") -> None:
        if order:
            self.orders.append((name, decode_order(order)))
        self.due.append(name)

    def stop(self, name: str) -> None:
        self.stopped.append(name)
        self.playing[name] = iter([Finished(interrupted=True)])

    def close(self, name: str, order: bytes = b"") -> None:
        if order:
            self.orders.append((name, decode_order(order)))
        self.playing.pop(name)
        self.due = [other for other in self.due if other != name]

    def end(self) -> None:
        self.playing.clear()


HELLO: list[Event | str] = [Described(header="")]
WHOLE: list[Event | str] = [*HELLO, Rows(lines=("x",)), Finished(table="y")]


def play(
    *tasks: Script,
    patience_s: float = 60.0,
    stopping: Callable[[], bool] = lambda: False,
    look: Callable[[], None] = lambda: None,
    room: int = 99,
) -> Stage:
    stage = Stage(list(tasks), room)
    run_tasks(
        tasks, stage, patience_s=patience_s, stopping=stopping, look=look, clock=lambda: stage.now
    )
    return stage


def test_jobs_are_told_their_part_and_dismissed_when_all_is_kept() -> None:
    a, b = Script("a", WHOLE), Script("b", WHOLE)
    stage = play(a, b)
    assert (a.state, b.state) == ("done", "done")
    assert [type(event) for event in a.taken] == [Described, Rows, Finished]
    assert [type(order) for name, order in stage.orders if name == "a"] == [Begin, Bye]
    assert stage.playing == {}


def test_no_more_jobs_than_there_is_room_for() -> None:
    tasks = [Script(name, WHOLE) for name in "abcd"]
    assert play(*tasks, room=2).most == 2
    assert {task.state for task in tasks} == {"done"}


def test_a_lost_job_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    task = Script("a", ["its host is gone"], [*HELLO, "it died"], WHOLE)
    with caplog.at_level(logging.WARNING, "costmodel"):
        stage = play(task)
    assert (task.state, task.tries, task.lives) == ("done", 0, [])
    assert caplog.messages == [
        "a: its host is gone. It is tried again in 1 s.",
        "a: it died. It is tried again in 2 s.",  # it brought nothing meanwhile
    ]
    assert stage.now >= 3.0


def test_after_rows_losses_are_counted_anew(caplog: pytest.LogCaptureFixture) -> None:
    task = Script("a", ["away"], [*HELLO, Rows(lines=("x",)), "it died"], WHOLE)
    with caplog.at_level(logging.WARNING, "costmodel"):
        play(task)
    assert task.state == "done"
    assert caplog.messages == [
        "a: away. It is tried again in 1 s.",
        "a: it died. It is tried again in 1 s.",
    ]


def test_what_comes_and_is_lost_at_once_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    task = Script("a", *[[*HELLO, "it died"]] * 99)
    with caplog.at_level(logging.WARNING, "costmodel"):
        play(task, patience_s=10.0)
    assert task.state == "gone"
    assert caplog.messages[-1] == "a is given up after 10 s: it died."


def test_time_that_a_job_worked_is_not_time_that_it_was_away() -> None:
    hours: list[Event | str] = [*[Moved(done=n) for n in range(400)], "it died"]
    task = Script("a", hours, hours, [Finished()])
    stage = play(task, patience_s=10.0)
    assert task.state == "done"
    assert stage.now > 20.0


def test_what_stays_away_is_given_up_when_patience_ends(caplog: pytest.LogCaptureFixture) -> None:
    task, other = Script("a", *[["away"]] * 20), Script("b", WHOLE)
    with caplog.at_level(logging.WARNING, "costmodel"):
        stage = play(task, other, patience_s=10.0)
    assert (task.state, other.state) == ("gone", "done")
    assert 10.0 < stage.now < 20.0
    assert caplog.messages[-1] == "a is given up after 10 s: away."


def test_a_failure_that_would_repeat_is_final_and_others_are_not() -> None:
    final = Script("a", [*HELLO, Broke(text="no such option")])
    held = Script("b", [Broke(text="held by another", again=True)], WHOLE)
    play(final, held)
    assert (final.state, final.reason) == ("failed", "no such option")
    assert (held.state, held.reason) == ("done", "")


def test_a_job_without_a_place_says_how_to_make_one() -> None:
    task = Script("a", *[[Moved()]] * 20)
    stage = Stage([task])
    stage.problems["a"] = "no node has the resource"
    run_tasks(
        [task],
        stage,
        patience_s=5.0,
        stopping=lambda: False,
        look=lambda: None,
        clock=lambda: stage.now,
    )
    assert (task.state, task.reason) == ("gone", "no node has the resource")


def test_a_host_that_is_back_is_found_within_seconds_and_told_of_a_few_times(
    caplog: pytest.LogCaptureFixture,
) -> None:
    task = Script("a", *[[Moved()]] * 40, WHOLE)
    stage = Stage([task])
    stage.problems["a"] = "no node has the resource"

    def look() -> None:
        if stage.now > 60.0:
            stage.problems.clear()
            task.lives[:] = [WHOLE]

    with caplog.at_level(logging.WARNING, "costmodel"):
        run_tasks(
            [task],
            stage,
            patience_s=300.0,
            stopping=lambda: False,
            look=look,
            clock=lambda: stage.now,
        )
    assert task.state == "done"
    assert stage.now < 67.0
    assert len(caplog.messages) == 3  # after 1, 2 and 4 s


def test_an_end_that_is_asked_for_is_clean_and_nothing_is_begun_after() -> None:
    endless: list[Event | str] = [*HELLO, *[Moved(done=n) for n in range(99)]]
    running, later = Script("a", endless), Script("b", WHOLE)
    stage = play(running, later, room=1, stopping=lambda: len(running.taken) > 3)
    assert (running.state, later.state) == ("stopped", "stopped")
    assert stage.stopped == ["a"]
    assert later.taken == []


def test_a_job_that_dies_while_it_is_stopped_is_not_tried_again() -> None:
    task = Script("a", [*HELLO, Moved(), "it died"], WHOLE)
    stage = Stage([task])
    stage.stop = lambda name: stage.stopped.append(name)  # type: ignore[method-assign]
    run_tasks(
        [task],
        stage,
        patience_s=5.0,
        stopping=lambda: len(task.taken) > 1,
        look=lambda: None,
        clock=lambda: stage.now,
    )
    assert (task.state, len(task.lives)) == ("stopped", 1)


def test_a_task_that_is_asked_again_is_done_again() -> None:
    task = Script("a", WHOLE, WHOLE)

    def look() -> None:
        if task.state == "done" and task.lives:
            task.state = "waiting"

    play(task, look=look)
    assert (task.state, task.lives) == ("done", [])

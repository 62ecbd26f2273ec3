from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.op import Op, conv_op
from costmodel.profiler.messages import (
    Care,
    Done,
    Event,
    Failed,
    JobSpec,
    Segment,
    Setup,
    Started,
    Stop,
    Visited,
)
from costmodel.profiler.supervisor import Supervisor, WorkerDiedError

CARE = Care(visit_ms=10.0, block_ms=1.0, anchor_every_ms=1e9)
CONV = conv_op(in_channels=8, out_channels=8, size=(8, 8), kernel=(3, 3))

PLUGIN = '''
import os
import sys
import tempfile
from costmodel.errors import MissingDependencyError
from costmodel.runners.fake import FakeRunner

class Loud(FakeRunner):
    """Prints where the conversation would be, from Python and from below it."""
    def load_op(self, op):
        print("python was here")
        os.write(1, b'{"type": "Done"}\\nnative was here\\n')
        os.write(2, b"a warning\\n")
        print(repr(sys.stdin.read()), flush=True)
        return super().load_op(op)

class Littering(FakeRunner):
    """Makes files for itself, as connections and runtimes do, and is never asked to end."""
    def __init__(self):
        super().__init__()
        self.folder = tempfile.mkdtemp()

class Broken(FakeRunner):
    def load_op(self, op):
        if op.kind == "big":
            raise RuntimeError("bad allocation: std::bad_alloc")
        if op.kind == "last":
            os.write(2, b"assertion failed: x > 0\\n")
            os._exit(3)
        raise ZeroDivisionError("no\\n  way")

class Missing:
    def __init__(self):
        raise MissingDependencyError("torch", "torch", "The runner 'missing'")
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runners of another distribution, as a user would install it."""
    folder = tmp_path / "site"
    info = folder / "loud-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "loud_plugin.py").write_text(PLUGIN, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    points = "".join(
        f"{name.lower()} = loud_plugin:{name}\n"
        for name in ("Loud", "Littering", "Broken", "Missing")
    )
    (info / "entry_points.txt").write_text(f"[costmodel.runners]\n{points}")
    monkeypatch.setenv("PYTHONPATH", str(folder))


@contextlib.contextmanager
def worker(
    runner: str, *ops: Op, timeout_ms: float = 20_000.0, **options: str | int | float | bool
) -> Iterator[Supervisor]:
    supervisor = Supervisor(
        timeout_ms=timeout_ms, start_timeout_ms=20_000.0, memory_limit=512 << 20
    )
    try:
        supervisor.setup(
            Setup(
                runner=runner,
                options=options,
                cores=(),
                jobs=tuple(JobSpec(op=op) for op in ops),
            )
        )
        yield supervisor
    finally:
        supervisor.close()


def visit_all(supervisor: Supervisor, order: tuple[int, ...]) -> list[Event]:
    supervisor.send(Segment(order=order, care=CARE))
    events: list[Event] = []
    while not events or not isinstance(events[-1], Done):
        event = supervisor.hear(within_s=5.0)
        if event is not None:
            events.append(event)
    return events


def test_a_segment_is_answered_in_order() -> None:
    with worker("fake", CONV, Op(kind="add", inputs=((1, 8),), outputs=((1, 8),))) as subject:
        events = visit_all(subject, (1, 0))
    assert [type(event) for event in events] == [Started, Visited, Started, Visited, Done]
    assert [event.job for event in events if isinstance(event, Started | Visited)] == [1, 1, 0, 0]


def test_a_host_that_slept_does_not_blame_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    slept_s = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + slept_s[0])
    monkeypatch.setattr("costmodel.profiler.supervisor.time", clock)
    care = Care(visit_ms=600.0, block_ms=200.0, anchor_every_ms=1e9)
    with worker("fake", CONV, realtime=True, timeout_ms=10_000.0) as subject:
        subject.send(Segment(order=(0,), care=care))
        assert subject.hear(within_s=5.0) == Started(job=0)
        slept_s[0] = 3600.0
        found = None
        while found is None:
            found = subject.hear(within_s=1.0)
    assert isinstance(found, Visited)


@pytest.mark.usefixtures("plugin")
def test_files_that_a_worker_made_for_itself_go_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with worker("littering", CONV):
        assert len(list((tmp_path / "tmp").glob("*/*"))) == 1
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_worker_told_to_stop_ends_after_the_present_visit() -> None:
    care = Care(visit_ms=300.0, block_ms=100.0, anchor_every_ms=1e9)
    with worker("fake", CONV, realtime=True) as subject:
        subject.send(Segment(order=(0,) * 50, care=care))
        assert subject.hear(within_s=5.0) == Started(job=0)
        subject.send(Stop())
        assert isinstance(subject.hear(within_s=5.0), Visited)
        assert subject.hear(within_s=5.0) == Done()
        assert isinstance(visit_all(subject, (0,))[1], Visited)


@pytest.mark.usefixtures("plugin")
def test_what_a_runtime_prints_does_not_reach_the_conversation() -> None:
    with worker("loud", CONV, CONV) as subject:
        events = visit_all(subject, (0, 1))
    assert [type(event) for event in events] == [Started, Visited, Started, Visited, Done]


@pytest.mark.usefixtures("plugin")
def test_errors_of_a_runtime_become_reasons() -> None:
    with worker("broken", CONV, Op(kind="big")) as subject:
        events = visit_all(subject, (0, 1))
    assert [event for event in events if isinstance(event, Failed)] == [
        Failed(job=0, status="rejected", reason="ZeroDivisionError: no way"),
        Failed(
            job=1,
            status="out_of_memory",
            reason="RuntimeError: bad allocation: std::bad_alloc",
        ),
    ]


@pytest.mark.usefixtures("plugin")
def test_the_last_words_of_a_dead_worker_are_kept() -> None:
    with (
        worker("broken", Op(kind="last")) as subject,
        pytest.raises(WorkerDiedError) as death,
    ):
        visit_all(subject, (0,))
    assert death.value.status == "crashed"
    assert death.value.reason == (
        "the worker died (exit status 3); it last said: assertion failed: x > 0"
    )


@pytest.mark.usefixtures("plugin")
def test_a_missing_package_is_told_as_such() -> None:
    message = r"needs the package 'torch'.*morphnet-latency\[torch\]"
    with pytest.raises(MissingDependencyError, match=message), worker("missing"):
        pass


def test_an_unknown_runner_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no runner named 'nonesuch'"), worker("nonesuch"):
        pass


def test_a_signal_is_named() -> None:
    with (
        worker("fake", CONV, misbehave="segfault:conv") as subject,
        pytest.raises(WorkerDiedError, match=r"the worker died \(SIGSEGV\)") as death,
    ):
        visit_all(subject, (0,))
    assert death.value.status == "crashed"


def test_a_silent_worker_is_killed() -> None:
    with (
        worker("fake", CONV, misbehave="hang:conv", timeout_ms=400.0) as subject,
        pytest.raises(WorkerDiedError, match=r"no answer within 0\.4 s") as death,
    ):
        visit_all(subject, (0,))
    assert death.value.status == "timeout"


def test_a_greedy_worker_is_killed() -> None:
    with (
        worker("fake", CONV, misbehave="exhaust:conv") as subject,
        pytest.raises(WorkerDiedError, match="above the limit of 512 MiB") as death,
    ):
        visit_all(subject, (0,))
    assert death.value.status == "out_of_memory"

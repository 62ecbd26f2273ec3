"""The whole way to a board: a real ssh client, a real sshd, a real agent."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ssh_server import SshServer

from costmodel.errors import (
    InvalidInputError,
    LinkLostError,
    LockedError,
    RemoteError,
    UnsupportedOpError,
)
from costmodel.op import Op, conv_op
from costmodel.protocols import Runner
from costmodel.registry import load_runner
from costmodel.remote.runner import RemoteRunner
from costmodel.runners.ort.runner import OrtRunner
from costmodel.testing import RunnerContract

CONV = Op(
    kind="conv",
    implementation="Conv",
    inputs=((1, 8, 6, 6),),
    outputs=((1, 8, 6, 6),),
    weights=((8, 8, 1, 1),),
    stride=(1, 1),
    pads=(0, 0, 0, 0),
    dilation=(1, 1),
)


@pytest.fixture(scope="module")
def runner(board: SshServer) -> Iterator[Runner]:
    made = load_runner(board.address, board.options)
    yield made
    assert isinstance(made, RemoteRunner)
    made.close()


class TestContract(RunnerContract):
    @pytest.fixture
    def sizes(self) -> dict[str, int]:
        return {"side": 12}

    @pytest.fixture
    def model(self, small_model: Path) -> Path:
        return small_model


def test_a_board_executes_what_the_same_machine_does_without_a_link(
    runner: Runner, small_model: Path
) -> None:
    here = OrtRunner()
    assert runner.device.identity == here.device.identity
    assert runner.device.state["address"].startswith("ssh://127")
    assert runner.lower(small_model, {"side": 20}).ops == here.lower(small_model, {"side": 20}).ops


def test_an_op_that_writes_other_sizes_than_it_says_is_refused(runner: Runner) -> None:
    wrong = Op(**{**{f: getattr(CONV, f) for f in CONV.__slots__}, "outputs": ((1, 8, 9, 9),)})
    with pytest.raises(UnsupportedOpError, match=r"writes \(\(1, 8, 6, 6\),\)"):
        runner.load_op(wrong)


def connect(board: SshServer, **options: str | int | float | bool) -> None:
    runner = load_runner(board.address, {**board.options, **options})
    assert isinstance(runner, RemoteRunner)
    try:
        _ = runner.device
    finally:
        runner.close()


def test_a_key_that_the_board_does_not_know_is_refused(board: SshServer) -> None:
    stranger = board.folder / "stranger"
    stranger = stranger if stranger.exists() else board.make_key("stranger")
    with pytest.raises(RemoteError, match=r"Permission denied.*identity=FILE"):
        connect(board, identity=str(stranger))


def test_an_unknown_host_key_is_not_trusted(board: SshServer, tmp_path: Path) -> None:
    empty = tmp_path / "known"
    empty.touch()
    with pytest.raises(RemoteError, match=r"host key is not known here.*known_hosts=FILE"):
        connect(board, known_hosts=str(empty))
    assert empty.read_text() == ""


def test_a_changed_host_key_is_told_apart(board: SshServer, tmp_path: Path) -> None:
    other = board.folder / "other"
    other = other if other.exists() else board.make_key("other")
    known = tmp_path / "known"
    kind, value = other.with_suffix(".pub").read_text().split()[:2]
    known.write_text(f"[127.0.0.1]:{board.port} {kind} {value}\n")
    with pytest.raises(RemoteError, match=r"IDENTIFICATION HAS CHANGED.*ssh-keygen -R"):
        connect(board, known_hosts=str(known))


def test_a_board_that_does_not_answer_is_named(board: SshServer) -> None:
    # Nothing listens on port 1 of this machine.
    with pytest.raises(LinkLostError, match=r"ssh://127.*: .*Connection refused"):
        _ = load_runner("ssh://127.0.0.1:1", board.options).device


def test_an_unknown_name_is_said_to_be_one(board: SshServer) -> None:
    with pytest.raises(RemoteError, match=r"Could not resolve hostname nowhere\.invalid"):
        _ = load_runner("ssh://nowhere.invalid", board.options).device


def test_a_board_without_python_is_told_what_to_install(board: SshServer) -> None:
    with pytest.raises(RemoteError, match=r"has no Python \(tried: no-such-python\).*bundle=FILE"):
        connect(board, python="no-such-python")


def script(folder: Path, text: str) -> str:
    """A program on the device that starts its Python in some other way."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_python_without_the_runtime_is_told_what_to_install(
    board: SshServer, tmp_path: Path
) -> None:
    bare = script(tmp_path, f'exec "{sys.executable}" -S "$@"')
    with pytest.raises(RemoteError, match=r"No module named 'numpy'.*pip install numpy onnxrun"):
        connect(board, python=bare)


def test_a_runtime_that_the_processor_cannot_run_is_told(board: SshServer, tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGILL)")
    broken = script(tmp_path, f'PYTHONPATH="{tmp_path}" exec "{sys.executable}" "$@"')
    with pytest.raises(RemoteError, match=r"runtime died on the device \(SIGILL\)"):
        connect(board, python=broken)


def test_a_program_that_is_no_python_is_told(board: SshServer) -> None:
    with pytest.raises(RemoteError, match=r"the agent ended \(exit status 1\).*python=PATH"):
        connect(board, python="false")


def test_a_folder_that_cannot_be_made_is_told(board: SshServer) -> None:
    with pytest.raises(RemoteError, match=r"cannot be made there.*folder=PATH"):
        connect(board, folder="/dev/null/costmodel")


def test_a_full_disk_is_told(board: SshServer, tmp_path: Path, small_model: Path) -> None:
    # No file may grow over 4 KiB, which fails as a full disk does.
    narrow = script(tmp_path, f'ulimit -f 8; exec "{sys.executable}" "$@"')
    big = tmp_path / "big.bin"
    big.write_bytes(os.urandom(1 << 16))
    folder = str(tmp_path / "device")
    runner = load_runner(board.address, {**board.options, "python": narrow, "folder": folder})
    with pytest.raises(RemoteError, match=r"its disk is full: .*MiB free"):
        runner.load_model(small_model, {"side": 8})


def test_two_users_of_one_board_exclude_each_other(
    board: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_runner(board.address, board.options)
    _ = first.device
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("COSTMODEL_REMOTE_OWNER", "somebody else")
        with pytest.raises(LockedError, match=r"another profiler holds.*: .* on .*since 20"):
            connect(board)
    assert isinstance(first, RemoteRunner)
    first.close()
    board.wait_until_free()
    connect(board)


def test_a_second_runner_of_one_run_takes_the_board_over_and_back(
    board: SshServer, small_model: Path
) -> None:
    first, second = (load_runner(board.address, board.options) for _ in range(2))
    assert isinstance(first, RemoteRunner)
    assert isinstance(second, RemoteRunner)
    with first.load_op(CONV) as workload:
        assert workload.block(0.1).latency_ms > 0
        assert second.load_model(small_model, {"side": 8}).block(0.1).latency_ms > 0
        assert workload.block(0.1).latency_ms > 0
    first.close()
    second.close()


def test_a_damaged_file_on_the_board_is_sent_again(board: SshServer, tmp_path: Path) -> None:
    options = {**board.options, "folder": str(tmp_path / "device")}
    runner = load_runner(board.address, options)
    with runner.load_op(CONV):
        pass
    assert isinstance(runner, RemoteRunner)
    runner.close()
    board.wait_until_free()
    damaged = [path for path in (tmp_path / "device").rglob("*") if path.is_file()]
    assert len(damaged) > 4  # the agent, a journal, and files
    for path in damaged:
        content = bytearray(path.read_bytes())
        content[len(content) // 2 : len(content) // 2 + 8] = b"\0garbage"
        path.write_bytes(content)
    again = load_runner(board.address, options)
    with again.load_op(CONV) as workload:
        assert workload.block(0.1).latency_ms > 0
    assert isinstance(again, RemoteRunner)
    again.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cores": "4-x"}, "cores='4-x' names no processors"),
        ({"cores": "9000"}, "no processor 9000 to offer. It has: "),
        ({"cores": "0", "threads": 2}, "2 threads need as many processors; 1 were chosen"),
        ({"cores": "little"}, "no cluster 'little'"),
        ({"threads": 0}, "threads must be between"),
        ({"reconnect_s": -1}, "reconnect_s must be"),
        ({"identity": "no-such-file"}, "identity='no-such-file': there is no such file"),
        ({"port": 0}, "port must be between"),
        ({"wings": 2}, "'ssh' does not take these options"),
    ],
)
def test_options_that_cannot_be_used_are_named(
    board: SshServer, options: dict[str, str | int], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        connect(board, **options)


def test_the_board_works_on_the_chosen_processors(board: SshServer) -> None:
    runner = load_runner(board.address, {**board.options, "cores": "0"})
    assert dict(runner.device.options)["cores"] == "0"
    with runner.load_op(CONV) as workload:
        assert workload.block(0.1).latency_ms > 0
        agent = board.agent()
        assert agent is not None
        child = int(Path(f"/proc/{agent}/task/{agent}/children").read_text().split()[0])
        assert os.sched_getaffinity(child) == {0}
    assert isinstance(runner, RemoteRunner)
    runner.close()


def test_an_op_as_written_is_refused_without_asking(runner: Runner) -> None:
    with pytest.raises(UnsupportedOpError, match="only executed Ops"):
        runner.load_op(conv_op(in_channels=4, out_channels=4, size=(4, 4), kernel=(1, 1)))

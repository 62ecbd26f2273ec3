"""Files are whole after any write, and refusals leave them as they were."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from costmodel.durable import append_line, left_behind, mend_end, write_lines
from costmodel.errors import InvalidInputError


def test_a_whole_file_is_written_in_folders_that_are_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "t.jsonl"
    write_lines(path, [b"one\n", b"two\n"])
    assert path.read_bytes() == b"one\ntwo\n"
    assert [item.name for item in path.parent.iterdir()] == ["t.jsonl"]


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_lines(path, [b"new"])
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_lines(tmp_path / "link", [b"new"])
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(InvalidInputError, match=f"{name} cannot be written: it is a pipe"):
            write_lines(tmp_path / name, [b"new"])
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"cannot be written: (lstat: )?embedded null"):
        write_lines(tmp_path / "a\0b", [b"new"])


def test_a_loop_of_links_is_refused_or_replaced(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    if sys.version_info >= (3, 13):  # where a loop is taken for a name
        write_lines(loop, [b"new"])
        assert loop.read_bytes() == b"new"
    else:
        with pytest.raises(InvalidInputError, match="cannot be written: Symlink loop"):
            write_lines(loop, [b"new"])


def test_what_fails_midway_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"old")

    def lines() -> object:
        yield b"new"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InvalidInputError, match="cannot be written: No space left"):
        write_lines(path, lines())  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_was_writing_goes_with_the_next_write(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from costmodel.durable import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_bytes(b'half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path, other = tmp_path / "t", tmp_path / "t.other"
    for killed in (path, other):
        done = subprocess.run([sys.executable, "-c", program, str(killed)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert len(left_behind(tmp_path)) == 2
    (own,) = [item for item in left_behind(tmp_path) if ".other." not in item.name]
    pid = own.name.partition("-")[2].partition(".")[0]
    running = own.with_name(own.name.replace(pid, str(os.getppid())))
    elsewhere = own.with_name(own.name.replace(".t.", ".t.0"))
    for item in (running, elsewhere):
        item.write_bytes(b"half")
    write_lines(path, [b"whole"])
    assert path.read_bytes() == b"whole"
    assert not own.exists()
    assert len(left_behind(tmp_path)) == 3  # of another file, a process that runs, another machine


@pytest.mark.parametrize("sync", [True, False])
def test_a_line_is_added_whole(tmp_path: Path, sync: bool) -> None:  # noqa: FBT001
    path = tmp_path / "t"
    path.write_bytes(b"one\n")
    append_line(path, b"two\n", sync=sync)
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_line_that_a_full_disk_takes_in_part_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"one\n")
    real = os.write
    taken: list[int] = []

    def nearly_full(descriptor: int, data: bytes) -> int:
        if taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken.append(real(descriptor, data[:3]))
        return 3

    monkeypatch.setattr("os.write", nearly_full)
    with pytest.raises(InvalidInputError, match="run the same command again to go on"):
        append_line(path, b"two and more\n", sync=True)
    monkeypatch.undo()
    assert taken == [3]
    assert path.read_bytes() == b"one\n"


def test_a_file_that_is_not_there_is_not_added_to(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be added to"):
        append_line(tmp_path / "none", b"line\n", sync=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "torn", "is_open", "mended"),
    [
        (b"one\ntw", 2, True, b"one\n"),
        (b"one\ntwo", 0, True, b"one\ntwo\n"),
        (b"one\n", 0, False, b"one\n"),
    ],
)
def test_an_end_is_mended(
    tmp_path: Path,
    content: bytes,
    torn: int,
    is_open: bool,  # noqa: FBT001
    mended: bytes,
) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    mend_end(path, torn_bytes=torn, ends_open=is_open)
    assert path.read_bytes() == mended


def test_the_end_of_a_folder_cannot_be_mended(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="cannot be added to"):
        mend_end(tmp_path, torn_bytes=1, ends_open=False)

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from costmodel.timing.mishaps import is_out_of_memory, one_line


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("CUDA error:\n  Out of Memory"), True),
        (RuntimeError("no such kernel"), False),
    ],
)
def test_memory_that_ran_out_is_told_by_its_words(error: Exception, *, expected: bool) -> None:
    assert is_out_of_memory(error) is expected


def test_an_error_is_one_line_of_bearable_length() -> None:
    error = RuntimeError("first\n    second " + "x" * 1000)
    assert one_line(error, named=False).startswith("first second xxx")
    assert one_line(error, named=True).startswith("RuntimeError: first second xxx")
    assert len(one_line(error, named=True)) == 400


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs Linux")
def test_a_process_dies_with_its_parent() -> None:
    child = (
        "import os, time\n"
        "from costmodel.timing.mishaps import die_with_parent\n"
        "die_with_parent()\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)\n"
        "print(int(child.stdout.readline()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent], capture_output=True, text=True, check=True
    )
    pid = int(done.stdout)
    until = time.monotonic() + 20.0
    while time.monotonic() < until and _is_running(pid):
        time.sleep(0.05)
    assert not _is_running(pid)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        os.kill(pid, 0)
    except OSError:
        return False
    return state != "Z"

"""Walks cases in a process of its own, which may crash, hang, or take the whole machine's time."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

WORKER = Path(__file__).with_name("worker.py")
ROOT = WORKER.parents[3]


class Keeper:
    """One worker process, started anew where it died or was ended.

    Args:
        backend: what Keras runs on there.
        seconds: what one case may take; the first has its imports beside it.
        imports: what these may take.
        worker: the program.
    """

    def __init__(
        self,
        *,
        backend: str = "tensorflow",
        seconds: float = 60.0,
        imports: float = 60.0,
        worker: Path = WORKER,
    ) -> None:
        self._backend, self._seconds, self._imports = backend, seconds, imports
        self._worker = worker
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._log: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def walk(self, family: str, name: str) -> dict[str, Any]:
        """The record of a case.

        A case that ended its process, or did not end in time, is one with ``crashed["process"]``.

        Raises:
            RuntimeError: where the zoo itself is at fault: the case could not be made.
        """
        begun = self._process is None
        process = self._started()
        assert process.stdin is not None
        process.stdin.write(json.dumps({"family": family, "name": name}) + "\n")
        process.stdin.flush()
        line = self._heard(self._seconds + (self._imports if begun else 0.0))
        if line is None:
            self.close()
            return _lost(family, name, f"it did not end within {self._seconds:.0f} s")
        if not line:
            code = process.wait()
            told = self._told()
            self.close()
            return _lost(family, name, f"the process ended with {_exit(code)}: {told}")
        record: dict[str, Any] = json.loads(line)
        if "fault" in record:
            message = f"{family}/{name} is a fault of the zoo itself:\n{record['fault']}"
            raise RuntimeError(message)
        return record

    def close(self) -> None:
        """End the process, if there is one."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, self._log):
                if stream is not None:
                    stream.close()

    def _started(self) -> subprocess.Popen[str]:
        if self._process is not None:
            return self._process
        environment = {
            **os.environ,
            "KERAS_BACKEND": self._backend,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
        self._answers = queue.Queue()
        process = subprocess.Popen(
            [sys.executable, str(self._worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=environment,
        )
        threading.Thread(target=_listen, args=(process, self._answers), daemon=True).start()
        self._process = process
        return process

    def _heard(self, seconds: float) -> str | None:
        """The next line; None where there is none in time.

        Time in which this process was halted, as the whole machine may be, counts as one moment.
        """
        moment = min(0.5, seconds)
        for _ in range(round(seconds / moment)):
            try:
                return self._answers.get(timeout=moment)
            except queue.Empty:
                continue
        return None

    def _told(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        return " ".join(self._log.read()[-300:].split())


def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    """Hand on each line, and an empty one at the end."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            answers.put(line)
    except ValueError:  # the stream was closed, because the process was ended
        return
    answers.put("")


def _lost(family: str, name: str, why: str) -> dict[str, Any]:
    return {"name": name if family == "keras" else f"{family}/{name}", "crashed": {"process": why}}


def _exit(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


def judged(record: Mapping[str, Any]) -> str:
    """One word on a record: ``equal``, ``named``, ``wrong``, ``refused``, ``crashed``, ``cannot``.

    ``cannot`` is a file that the runtime does not run, or a model that Keras does not make, and
    that is no crash either; ``named`` one with layers that could not be read, each with a reason.
    """
    if record["crashed"]:
        return "crashed"
    if record["cannot"] and not record.get("runs", False):
        return "cannot"
    if record["refused"].get("read"):
        return "refused"
    if wrong(record):
        return "wrong"
    return "named" if record["unread"] else "equal"


def wrong(record: Mapping[str, Any]) -> list[Any]:
    """What of a record contradicts the independent counts."""
    found = [*record.get("counts", ()), *record.get("sizes", ()), *record.get("missing", ())]
    for mine, theirs, unread in (
        ("macs", "traced", "unread"),
        ("exported_read", "exported", "exported_unread"),  # exporters fold, so not held to Keras
    ):
        count = record.get(theirs)
        if count is not None and not record.get(unread) and record.get(mine) != count:
            found.append((theirs, record.get(mine), count))
    return found

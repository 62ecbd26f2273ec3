"""Commands that are killed at their file operations, and what is on disk then.

``watched`` runs a command line with an eye on what it does to the files of one folder, and tells
each step over a pipe, or ends the process before one of them: between two steps a file is as a
``kill -9`` leaves it. As a program it does that at many steps of one command, in forks of a process
that has imported everything already::

    python tests/helpers/killed.py '{"words": ["costmodel", ...], "folder": "...", "names": [...]}'
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

#: What a process does to a file, by the names of Python's audit events.
STEPS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
#: Stands for the folder of results in the words of a command.
OUT = "{out}"


@dataclass(slots=True)
class Watch:
    """An audit hook: counts the steps of this process on files of a folder.

    Attributes:
        folder: the files' own, or one above.
        tell: is called with the number of each step before it is taken, from 1 on.
        steps: taken so far.
        pid: whose steps count; not those of forks.
    """

    folder: str
    tell: Callable[[int], object]
    steps: int = 0
    pid: int = 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear of an event."""
        if event not in STEPS or os.getpid() != self.pid or not arguments:
            return
        path = arguments[0]
        if not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(self.folder):
            return
        if event == "open" and not arguments[2] & _WRITES:
            return
        self.steps += 1
        self.tell(self.steps)


def watched(folder: Path, tell: Callable[[int], object]) -> Watch:
    """Have this process watched until it ends."""
    found = Watch(str(folder), tell, pid=os.getpid())
    sys.addaudithook(found)
    return found


def call(words: Sequence[str]) -> int:
    """Give a command line to this process; its exit code."""
    if words[0] == "morphnet":
        from morphnet_core.cli import main
    else:
        from costmodel.cli import main
    try:
        main(list(words[1:]))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def damage(folder: Path) -> dict[str, str]:
    """Files below a folder that cannot be read as what their names say, and why.

    Files that are being written, and locks, are none of a user's and are left out.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not passing(path):
            try:
                _READERS.get(path.suffix, _read_nothing)(path)
            except Exception as error:  # every format has its own
                found[name] = f"{type(error).__name__}: {error}"
    return found


def passing(path: Path) -> bool:
    """Whether a file is one that is being written, or a lock or its note."""
    return path.name.startswith(".") or path.name == "lock" or ".lock" in path.name


def leftovers(folder: Path, names: Sequence[str]) -> list[str]:
    """Files below a folder that are neither of these names nor locks."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    every = (path.relative_to(folder).as_posix() for path in found)
    return [name for name in every if name not in names and ".lock" not in name]


def _read_nothing(path: Path) -> None:
    if not path.stat().st_size:
        message = "it is empty"
        raise ValueError(message)


def _read_table(path: Path) -> None:
    from costmodel.table import LatencyTable

    twice = [text for text in LatencyTable.load(path).warnings if "came before" in text]
    if twice:
        raise ValueError(twice[0])


def _read_onnx(path: Path) -> None:
    from costmodel.onnx_model.file import open_model

    open_model(path)


def _read_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as whole:
        if whole.testzip() is not None:
            message = "its sum is wrong"
            raise ValueError(message)


def _read_html(path: Path) -> None:
    if not path.read_text(encoding="utf-8").rstrip().endswith("</html>"):
        message = "it has no end"
        raise ValueError(message)


def _read_parquet(path: Path) -> None:
    import pandas as pd

    pd.read_parquet(path)


_READERS: Mapping[str, Callable[[Path], object]] = {
    ".html": _read_html,
    ".json": lambda path: json.loads(path.read_text(encoding="utf-8")),
    ".jsonl": _read_table,
    ".keras": _read_zip,
    ".npz": _read_zip,
    ".onnx": _read_onnx,
    ".parquet": _read_parquet,
    ".svg": ET.parse,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """A command that is killed at many of its steps, one after the other.

    Attributes:
        words: the command, ``OUT`` standing for its folder.
        folder: for everything; it is made.
        names: of all files that it writes.
        most: steps that are tried.
        same: whether two runs write the same bytes.
    """

    words: Sequence[str]
    folder: Path
    names: Sequence[str]
    most: int = 12
    same: bool = True

    def run(self) -> dict[str, Any]:
        """How many kills there were, and what was wrong after which of them."""
        warm = self.folder / "warm"  # so that forks find everything imported
        warm.mkdir(parents=True)
        with Path(os.devnull).open("w") as silence, contextlib.redirect_stdout(silence):
            call([word.replace(OUT, str(warm)) for word in self.words])
        whole = self.folder / "whole"
        code, steps = self._fork(whole, 0)
        problems = self._after(whole, "without a kill", code)
        kills = 0
        wanted = min(self.most, steps)
        for place in range(wanted):
            number = 1 + place * (steps - 1) // max(1, wanted - 1)
            for old in (False, True):
                kills += 1
                problems += self._killed(number, whole if old else None)
        return {"kills": kills, "steps": steps, "problems": problems}

    def _killed(self, number: int, old: Path | None) -> list[str]:
        out = self.folder / f"{number}-{'new' if old is None else 'old'}"
        if old is not None:
            shutil.copytree(old, out)
        where = f"killed before step {number} {'of the first' if old is None else 'of a later'} run"
        code, _ = self._fork(out, number)
        problems = [] if code == -signal.SIGKILL else [f"{where}: it ended with {code}"]
        problems += [f"{where}: {name}: {why}" for name, why in damage(out).items()]
        missing = [name for name in self.names if old and not (out / name).exists()]
        problems += [f"{where}: {name} is gone" for name in missing]
        code, _ = self._fork(out, 0)
        problems += self._after(out, f"{where}, then run again", code)
        if self.same:
            problems += [
                f"{where}, then run again: {name} is another"
                for name in self.names
                if (out / name).exists()
                and (out / name).read_bytes() != (self.folder / "whole" / name).read_bytes()
            ]
        return problems

    def _after(self, out: Path, where: str, code: int) -> list[str]:
        problems = [f"{where}: it ended with {code}"] if code else []
        problems += [f"{where}: {name}: {why}" for name, why in damage(out).items()]
        problems += [f"{where}: {name} is left" for name in leftovers(out, self.names)]
        return problems + [f"{where}: no {n}" for n in self.names if not (out / n).exists()]

    def _fork(self, out: Path, number: int) -> tuple[int, int]:
        """Run the command in a fork, killed before a step; exit code and steps that were told."""
        out.mkdir(parents=True, exist_ok=True)
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)

            def tell(step: int) -> None:
                os.write(writer, b".")
                if step == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            code = 1
            try:
                with Path(os.devnull).open("w") as silence, contextlib.redirect_stdout(silence):
                    watched(out, tell)
                    code = call([word.replace(OUT, str(out)) for word in self.words])
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader, "rb") as told:
            steps = len(told.read())
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), steps


def child() -> None:
    """A command in a process of its own, as ``scripts/bench/kills.py`` starts it.

    The first word says how in JSON: ``folder`` that is watched, file descriptors ``tell`` and
    ``wait``, ``stop`` as the step before which it waits to be killed, ``slow_s`` that a rename
    takes, and whether the clock ``jumps``.
    """
    how = json.loads(sys.argv[1])

    def tell(step: int) -> None:
        os.write(how["tell"], b"%d\n" % step)
        if step == how["stop"]:
            os.read(how["wait"], 1)

    if how["slow_s"]:
        _slow_renames(how["slow_s"])
    if how["jumps"]:
        _jumping_clock()
    _acknowledge(how["tell"])
    watched(Path(how["folder"]), tell)
    sys.argv[1:] = sys.argv[2:]
    sys.exit(call(sys.argv[1:]))


def _slow_renames(seconds: float) -> None:
    """Renames as a busy network folder does them: late, and answered late."""
    for name in ("rename", "replace"):
        quick = getattr(os, name)

        def slow(*arguments: Any, quick: Callable[..., None] = quick, **options: Any) -> None:
            time.sleep(seconds / 2)
            quick(*arguments, **options)
            time.sleep(seconds / 2)

        setattr(os, name, slow)


def _jumping_clock() -> None:
    """A wall clock that is set back and forth by days."""
    steady, calls = time.time, [0]  # noqa: TID251 - what is to be wrong here

    def jumping() -> float:
        calls[0] += 1
        return steady() + 86400.0 * calls[0] * (1 if calls[0] % 2 else -1)

    time.time = jumping  # noqa: TID251


def _acknowledge(tell: int) -> None:
    """Say of each round that a table has taken it, after it has."""
    from costmodel.table import LatencyTable

    taken = LatencyTable.append_round

    def append(self: LatencyTable, op: Any, item: Any) -> None:
        taken(self, op, item)
        line = json.dumps([op.digest, item.number, item.quiet_ms])
        os.write(tell, f"{line}\n".encode())

    LatencyTable.append_round = append  # type: ignore[method-assign]


if __name__ == "__main__":
    wanted = json.loads(sys.argv[1])
    found = Sweep(**{**wanted, "folder": Path(wanted["folder"])}).run()
    sys.stdout.write(json.dumps(found))

"""What fuzzing has done so far, kept on disk: executions, processor time, and what was found.

Everything lies in one folder, which grows over many runs: ``sessions.jsonl`` has a line for each
stretch of fuzzing; each reader has a folder with its ``corpus``, and with ``findings``: the
smallest input that was seen of each sort, and what became of it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import time
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: Longest that an input may take, in seconds of processor time under the fuzzer, and the most that
#: memory may grow by it, in bytes.
LIMIT_S, MOST_GROWTH = 20.0, 768 << 20
#: Largest input that is held for whoever looks after a process.
_ROOM = 1 << 20
_PACKAGES = ("costmodel", "morphnet_core")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One stretch of fuzzing.

    Attributes:
        reader: which.
        commit: of the code.
        executions: inputs that were read.
        seconds: processor time.
        findings: sorts of findings that were new in it.
    """

    reader: str
    commit: str
    executions: int
    seconds: float
    findings: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """An input that a reader must not end at as it did.

    Attributes:
        reader: which.
        sort: the error's class; ``hang``, ``memory`` or ``death``.
        where: the innermost function of the product; empty where none is known.
        text: of the error, or where the process was.
        commit: of the code that it was found in.
    """

    reader: str
    sort: str
    where: str
    text: str
    commit: str

    @property
    def key(self) -> str:
        """The same for all findings of one sort."""
        return hashlib.sha256(f"{self.reader} {self.sort} {self.where}".encode()).hexdigest()[:12]


class Account:
    """The folder.

    Args:
        folder: made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def sessions(self) -> list[Session]:
        """All stretches, the first one first; a torn line at the end is none."""
        found = []
        path = self.folder / "sessions.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            try:
                found.append(Session(**json.loads(line)))
            except ValueError:
                continue
        return found

    def add(self, session: Session) -> None:
        """Keep one more stretch."""
        with (self.folder / "sessions.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(session)) + "\n")

    def settle(self, reader: str) -> Session | None:
        """Keep the stretch whose progress was written last, once; None where there is none."""
        path = self.progress(reader)
        try:
            session = Session(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None
        self.add(session)
        path.unlink()
        return session

    def corpus(self, reader: str) -> Path:
        """The folder of inputs that reach something."""
        return self._made(reader, "corpus")

    def starts(self, reader: str) -> Path:
        """The folder of whole files that fuzzing starts from."""
        return self._made(reader, "starts")

    def artefacts(self, reader: str) -> Path:
        """Where the fuzzer itself writes the input that it died at."""
        return self._made(reader, "artefacts")

    def progress(self, reader: str) -> Path:
        """Where a process tells how far it is."""
        return self._made(reader) / "progress.json"

    def present(self, reader: str) -> Path:
        """Where a process holds the input that it reads."""
        return self._made(reader) / "present"

    def keep(self, finding: Finding, data: bytes) -> bool:
        """Keep what was found, the smallest input of each sort; whether the sort is new."""
        folder = self._made(finding.reader, "findings") / finding.key
        is_new = not folder.exists()
        folder.mkdir(exist_ok=True)
        held = folder / "input"
        if is_new or not held.exists() or len(data) < held.stat().st_size:
            held.write_bytes(data)
            about = json.dumps(asdict(finding), indent=1)
            (folder / "about.json").write_text(about, encoding="utf-8")
        return is_new

    def findings(self) -> Iterator[tuple[Finding, Path]]:
        """Everything that was ever found, with its input."""
        for about in sorted(self.folder.glob("*/findings/*/about.json")):
            yield Finding(**json.loads(about.read_text(encoding="utf-8"))), about.parent / "input"

    def _made(self, reader: str, *names: str) -> Path:
        folder = self.folder.joinpath(reader, *names)
        folder.mkdir(parents=True, exist_ok=True)
        return folder


class Present:
    """The input that a process reads now, where another one finds it when the process dies.

    Args:
        path: of the file that both know.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists() or path.stat().st_size < _ROOM + 64:
            path.write_bytes(bytes(_ROOM + 64))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def hold(self, data: bytes) -> None:
        """Remember what is read, and since when."""
        head = f"{len(data)} {time.process_time():.3f}".ljust(64).encode()
        self._map[:64] = head
        self._map[64 : 64 + min(len(data), _ROOM)] = data[:_ROOM]

    def held(self) -> tuple[bytes, float]:
        """The input, and the processor time at which it began."""
        words = self._map[:64].rstrip(b"\0 ").split()
        if len(words) != 2:
            return b"", 0.0
        return self._map[64 : 64 + int(words[0])], float(words[1])


def innermost(error: BaseException) -> str:
    """The last function of the product that an error came through.

    Files are named from the root, functions without their lines: these change.
    """
    found = ""
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in _PACKAGES:
            found = f"{path.relative_to(ROOT).as_posix()}:{frame.name}"
    return found

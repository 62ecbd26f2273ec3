"""Fuzzes one reader in this process until its time is over: started by ``fuzz.py``.

    python scripts/fuzz/one.py READER FOLDER SECONDS COMMIT

The process counts, keeps what it finds, and goes on; what ends it is found by whoever started it in
the file that holds the present input. Coverage is of the product's own modules.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

import atheris
from account import LIMIT_S, MOST_GROWTH, Account, Finding, Present, innermost

with atheris.instrument_imports(include=["costmodel", "morphnet_core"]):
    import readers

    import costmodel.lite_model.read
    import costmodel.lite_model.write  # noqa: F401 - imported late by its reader
    from costmodel.errors import CostModelError
    from costmodel.timing.mishaps import die_with_parent

#: Address space of this process, in bytes: what wants more ends in a MemoryError.
_SPACE = 12 << 30
#: Mutations that know the form of the input, of all.
_INFORMED = 0.7
_LONGEST = 1 << 15
_TELL_S = 2.0


class TooSlowError(BaseException):
    """An input takes too long; no reader may catch it."""


class Fuzzed:
    """One reader and what happens to it.

    Args:
        reader: which.
        account: where everything is kept.
        seconds: processor time to spend.
        commit: of the code.
    """

    def __init__(
        self, reader: readers.Reader, account: Account, seconds: float, commit: str
    ) -> None:
        self._reader = reader
        self._account = account
        self._seconds = seconds
        self._commit = commit
        self._present = Present(account.present(reader.name))
        shared = Path("/dev/shm")  # files that never reach a disk
        folder = tempfile.mkdtemp(prefix="costmodel-", dir=shared if shared.is_dir() else None)
        self._path = Path(folder) / f"model{reader.ending}"
        self._began = time.process_time()
        self._told = 0.0
        self._executions = self._new = 0

    def read(self, data: bytes) -> None:
        """One execution."""
        data = bytes(data)
        self._path.write_bytes(data)
        self._present.hold(data)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        try:
            self._reader.read(self._path)
        except CostModelError:
            pass
        except TooSlowError as error:
            self._found("hang", error, data)
        except Exception as error:
            self._found(type(error).__name__, error, data)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        if grown << 10 > MOST_GROWTH:
            self._found("memory", MemoryError(f"{grown >> 10} MiB more"), data)
        self._executions += 1
        self._tell()

    def mutate(self, data: bytes, most: int, seed: int) -> bytes:
        """Another input from a known one."""
        chance = random.Random(seed)
        if chance.random() < _INFORMED:
            return self._reader.mutate(bytes(data), chance)[:most]
        return bytes(atheris.Mutate(bytes(data), most))

    def _found(self, sort: str, error: BaseException, data: bytes) -> None:
        finding = Finding(
            reader=self._reader.name,
            sort=sort,
            where=innermost(error),
            text=" ".join(str(error).split())[:400],
            commit=self._commit,
        )
        self._new += self._account.keep(finding, data)

    def _tell(self) -> None:
        """Write down how far it is, now and then; end when the time is over."""
        now = time.process_time()
        is_over = now - self._began > self._seconds
        if now - self._told < _TELL_S and not is_over:
            return
        self._told = now
        said = {
            "reader": self._reader.name,
            "commit": self._commit,
            "executions": self._executions,
            "seconds": round(now - self._began, 1),
            "findings": self._new,
        }
        path = self._account.progress(self._reader.name)
        path.with_suffix(".new").write_text(json.dumps(said), encoding="utf-8")
        path.with_suffix(".new").replace(path)
        if is_over:
            self._path.unlink()
            self._path.parent.rmdir()
            os._exit(0)


def _too_slow(_: int, __: FrameType | None) -> None:
    raise TooSlowError


def main() -> None:
    """Fuzz."""
    name, folder, seconds, commit = sys.argv[1:]
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_AS, (_SPACE, _SPACE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, _too_slow)
    account = Account(Path(folder))
    fuzzed = Fuzzed(readers.reader_of(name), account, float(seconds), commit)
    arguments = [
        sys.argv[0],
        # Stretches end by processor time: whoever stops this process for a while takes none.
        *("-timeout=1000000", "-rss_limit_mb=0", "-detect_leaks=0", "-handle_segv=0"),
        *(f"-max_len={_LONGEST}", "-reload=0", f"-artifact_prefix={account.artefacts(name)}/"),
        str(account.corpus(name)),
    ]
    atheris.Setup(arguments, fuzzed.read, custom_mutator=fuzzed.mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

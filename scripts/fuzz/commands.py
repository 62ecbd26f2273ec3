"""Runs command lines on damaged files, one after the other: started by ``fuzzed.py``.

    python scripts/fuzz/commands.py FOLDER READER FIRST COUNT

FOLDER holds a network, a table and a list that the commands may need. Each input is made from its
number alone, so that any of them can be made again. A JSON line is written before each command and
one after it, so that whoever started this process knows at which one it died.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import readers
from account import Account
from starts import MOST_BYTES

from costmodel.cli import main as costmodel
from costmodel.timing.mishaps import die_with_parent
from morphnet_core.cli import main as morphnet

_PROGRAMS: dict[str, Callable[[Sequence[str]], None]] = {
    "costmodel": costmodel,
    "morphnet": morphnet,
}
#: Words of a message that stands for a traceback.
_FAULT = "this is a fault of costmodel"


def known_inputs(kept: Account, reader: readers.Reader) -> list[Path]:
    """What fuzzing started from, by name: what it has found since is damaged already."""
    return sorted(path for path in kept.starts(reader.name).iterdir() if path.is_file())


def damaged(known: Sequence[Path], reader: readers.Reader, number: int) -> bytes:
    """The input of a number: a known one, damaged once or twice."""
    chance = random.Random(f"{reader.name} {number}")
    data = chance.choice(known).read_bytes()[:MOST_BYTES]
    for _ in range(chance.choice((1, 1, 1, 2))):
        data = reader.mutate(data, chance)
    return data


def command_of(folder: Path, reader: readers.Reader, number: int) -> list[str]:
    """The words of one command line."""
    names = {
        "FILE": folder / f"input{reader.ending}",
        "NET": folder / "net.onnx",
        "TABLE": folder / "table.jsonl",
        "LIST": folder / "list.csv",
        "OUT": folder / "out",
    }
    words = []
    for word in shlex.split(reader.commands[number % len(reader.commands)]):
        first, _, rest = word.partition("/")
        words.append(str(names[first] / rest) if first in names else word)
    return words


def run(words: Sequence[str]) -> tuple[object, str]:
    """Exit code of a command, or how it ended otherwise; and what it said at its end."""
    said = io.StringIO()
    ended: object = 0
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            _PROGRAMS[words[0]](words[1:])
        except SystemExit as left:
            ended = left.code or 0
        except BaseException as error:
            ended = f"{type(error).__name__}: {error}"[:300]
    text = said.getvalue()
    if _FAULT in text or "Traceback (most recent" in text:
        ended = " ".join(text.split())[-300:]
    return ended, text[-300:]


def main() -> None:
    """Run a batch."""
    folder, name, first, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    die_with_parent()
    told = os.fdopen(os.dup(1), "w", buffering=1)
    reader = readers.reader_of(name)
    known = known_inputs(Account(folder.parent), reader)
    (folder / "out").mkdir(exist_ok=True)
    for number in range(first, first + count):
        data = damaged(known, reader, number)
        (folder / f"input{reader.ending}").write_bytes(data)
        told.write(json.dumps({"number": number, "cpu": time.process_time()}) + "\n")
        ended, said = run(command_of(folder, reader, number))
        told.write(json.dumps({"number": number, "ended": ended, "said": said}) + "\n")


if __name__ == "__main__":
    main()

"""Table files written by hand, line by line, and the few values that their tests share."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from costmodel.device import Device
from costmodel.measurement import Round
from costmodel.op import Op, conv_op

DEVICE = Device(name="board", runtime="fake", state={"load": "0.1"})
CONV = conv_op(in_channels=16, out_channels=32, size=(8, 8), kernel=(3, 3), epilogue=("relu",))
ADD = Op(kind="add", inputs=((1, 8), (1, 8)), outputs=((1, 8),))
NAN = math.nan


def visit(number: int, quiet_ms: float = 1.0) -> Round:
    return Round(number=number, quiet_ms=quiet_ms, median_ms=1.5 * quiet_ms)


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder for each hypothesis example; the ``tmp_path`` fixture is one for them all."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def write(folder: Path, *lines: str | bytes, header: str | None = None) -> Path:
    """A table file of ``lines`` as they are, behind a good header unless told otherwise."""
    path = folder / "t.jsonl"
    first = '{"format": 1, "device": {"name": "board", "runtime": "fake"}}\n'
    parts = [first if header is None else header, *lines]
    path.write_bytes(b"".join(p if isinstance(p, bytes) else p.encode() for p in parts))
    return path


def row_text(**fields: object) -> str:
    return json.dumps({"op": {"kind": "add", "inputs": [[1, 8]], "outputs": [[1, 8]]}, **fields})

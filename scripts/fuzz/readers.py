"""The readers that are fuzzed: what each is given, how its input is damaged, what it is called by.

One more reader is one more line of ``READERS``. A reader may end well or in an error of the
product's own (``CostModelError``), whatever it is given.
"""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import mutation
import starts

from costmodel.anticipation import anticipate
from costmodel.baseline import read_baseline
from costmodel.device import Device
from costmodel.errors import RemoteError
from costmodel.hlo_model.compiled import recipe_of
from costmodel.hlo_model.describe import implementation_of, op_of
from costmodel.hlo_model.module import parse
from costmodel.hlo_model.recipe import read_recipe
from costmodel.imports.mapping import read_mapping
from costmodel.op import Op
from costmodel.pages.records import read_record
from costmodel.profiler.messages import Care, JobSpec, Segment, Setup
from costmodel.readers.onnx import read_onnx
from costmodel.readers.tflite import read_tflite
from costmodel.readers.timings import read_timings
from costmodel.remote.pack import agent_digest
from costmodel.remote.runner import RemoteRunner
from costmodel.remote.transport import Finished, Transport
from costmodel.table import LatencyTable
from costmodel.uses.importing import import_file
from costmodel.viewers.ort_profile import read_ort_profile
from morphnet_core.structure import Structure

BOARD = Device(name="board", runtime="onnxruntime", runtime_version="1", isa="avx2")
LITE = Device(name="board", runtime="litert", runtime_version="1", isa="avx2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Something that reads what others wrote.

    Attributes:
        name: for people, and of its folder.
        ending: of the files that it is given.
        starts: small whole files.
        read: reads one file.
        mutate: damages a file's content.
        commands: command lines that read the file ``FILE``, with a network ``NET``, a table
            ``TABLE`` and a folder ``OUT`` beside it; empty where no verb reads such a file.
    """

    name: str
    ending: str
    starts: Callable[[], Iterable[bytes]]
    read: Callable[[Path], object]
    mutate: mutation.Mutation
    commands: Sequence[str] = ()


def _onnx(path: Path) -> None:
    # The runtime is asked in a process of its own, which may do as it likes.
    with patch("costmodel.readers.onnx_sizes.ask_runtime", lambda *_: {}):
        anticipate(read_onnx(path), BOARD)


def _tflite(path: Path) -> None:
    from costmodel.lite_model.graph import require_plain
    from costmodel.lite_model.read import read_lite
    from costmodel.lite_model.write import write_model

    anticipate(read_tflite(path), LITE)
    model = read_lite(path, {})
    require_plain(model)
    write_model(model)


def _hlo(path: Path) -> None:
    text = path.read_text(encoding="utf-8", errors="replace")
    if " | " in text:
        read_recipe(text)
        return
    module = parse(text)
    for item in module.executed():
        recipe, _, origins = recipe_of(module, item, {"w": "w"})
        op_of(recipe, implementation_of(item), [str(origin) for origin in origins], "nhwc")


def _import(path: Path) -> None:
    import_file(path, constants={"device": "board", "runtime": "lib"})


def _timed(path: Path) -> None:
    read_ort_profile(path)
    _import(path)


def _record(path: Path) -> None:
    read_record(path)
    if path.read_bytes()[:1] == b"[":
        read_baseline(path)


class _Told:
    """A transport whose other end says what a file holds: first what its shell prints."""

    address, folder = "ssh://board", ".cache/costmodel"

    def __init__(self, said: bytes) -> None:
        first, _, self._rest = said.partition(b"\n")
        try:
            self._shell = str(json.loads(first)).encode("utf-8", "replace")
        except (ValueError, RecursionError):
            self._shell = first

    def run(self, _: Sequence[str], **__: object) -> Finished:
        return Finished(status=0, out=self._shell, err="")

    def put(self, *_: object) -> None:
        """The file arrives."""

    def start(self, _: Sequence[str]) -> subprocess.Popen[bytes]:
        said, self._rest = self._rest, b""
        ended = SimpleNamespace(
            stdin=io.BytesIO(), stdout=io.BytesIO(said), stderr=io.BytesIO(),
            kill=lambda: None, wait=lambda: 1,
        )  # fmt: skip
        return cast("subprocess.Popen[bytes]", ended)

    def explain(self, *_: object) -> RemoteError | None:
        return None

    def close(self) -> None:
        """Nothing runs."""


_KERNEL = Op(kind="relu", implementation="Relu", inputs=((1, 8),), outputs=((1, 8),))
_CARE = Care(visit_ms=2.0, block_ms=1.0, anchor_every_ms=1e6)


def _agent(path: Path) -> None:
    with patch.dict(os.environ):
        os.environ.pop("COSTMODEL_REMOTE_REACHED", None)
        said = path.read_bytes().replace(starts.DIGEST.encode(), agent_digest().encode())
        runner = RemoteRunner(cast("Transport", _Told(said)), reconnect_s=0.0)
        try:
            _ = runner.device
            jobs = (JobSpec(op=_KERNEL), JobSpec(op=_KERNEL))
            setup = Setup(runner="ssh", options={}, cores=(), jobs=jobs, anchor=_KERNEL)
            visitor = runner.delegate(setup, lambda _: None)
            visitor.run(Segment(order=(0, 1), care=_CARE), threading.Event())
            runner.load_op(_KERNEL).block(1.0)
        finally:
            runner.close()


READERS = (
    Reader(
        name="onnx", ending=".onnx", starts=starts.onnx_models, read=_onnx,
        mutate=mutation.mutate_model,
        commands=("costmodel predict FILE --cost flops --json",
                  "costmodel predict FILE --table TABLE",
                  "costmodel predict FILE --table TABLE --overlay OUT/o.json --trace OUT/t.json",
                  "morphnet align FILE --table TABLE --predict-only --json"),
    ),
    Reader(
        name="tflite", ending=".tflite", starts=starts.lite_models, read=_tflite,
        mutate=mutation.mutate_bytes,
        commands=("costmodel predict FILE --cost flops --json",),
    ),
    Reader(
        name="hlo", ending=".txt", starts=starts.hlo_texts, read=_hlo,
        mutate=mutation.mutate_lines,
    ),
    Reader(
        name="table", ending=".jsonl", starts=starts.tables, read=LatencyTable.load,
        mutate=mutation.mutate_json,
        commands=("costmodel show FILE", "costmodel check FILE --json",
                  "costmodel predict NET --table FILE --cost lookup",
                  "costmodel report FILE --html OUT/page.html"),
    ),
    Reader(
        name="structure", ending=".json", starts=starts.structures, read=Structure.load,
        mutate=mutation.mutate_json,
    ),
    Reader(
        name="mapping", ending=".toml", starts=starts.mappings, read=read_mapping,
        mutate=mutation.mutate_lines,
        commands=("costmodel import LIST --mapping FILE --device Pixel --out OUT/table.jsonl",),
    ),
    Reader(
        name="import", ending=".csv", starts=starts.imports, read=_import,
        mutate=lambda data, chance: _either(data, chance),
        commands=("costmodel import FILE --set device=board --set runtime=lib --out OUT/t.jsonl",),
    ),
    Reader(
        name="ort-profile", ending=".json", starts=starts.ort_profiles, read=_timed,
        mutate=mutation.mutate_json,
        commands=("costmodel compare NET --ort-profile FILE --table TABLE",),
    ),
    Reader(
        name="timings", ending=".csv", starts=starts.timings, read=read_timings,
        mutate=mutation.mutate_lines,
        commands=("costmodel solve FILE --device phone --suggest 1",),
    ),
    Reader(
        name="records", ending=".json", starts=starts.records, read=_record,
        mutate=mutation.mutate_json,
        commands=("costmodel report FILE --html OUT/page.html",),
    ),
    Reader(
        name="agent", ending=".jsonl", starts=starts.conversations, read=_agent,
        mutate=mutation.mutate_json,
    ),
)  # fmt: skip


def _either(data: bytes, chance: random.Random) -> bytes:
    is_json = data.lstrip()[:1] in {b"{", b"["}
    return (mutation.mutate_json if is_json else mutation.mutate_lines)(data, chance)


def reader_of(name: str) -> Reader:
    """The reader of a name.

    Raises:
        SystemExit: naming those that there are.
    """
    for reader in READERS:
        if reader.name == name:
            return reader
    message = f"No reader {name!r}; there are {', '.join(item.name for item in READERS)}."
    raise SystemExit(message)

"""The accounts of fuzzing: nothing counted twice, no finding lost, inputs made again by number."""

from __future__ import annotations

import json
import random
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Imports of scripts/fuzz and scripts/bench, whose files go into a folder of the test's."""
    for folder in ("bench", "fuzz"):
        monkeypatch.syspath_prepend(str(ROOT / "scripts" / folder))
    monkeypatch.setenv("COSTMODEL_BENCH_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["fuzzed.py"])
    return import_module


def test_sessions_add_up_over_runs(scripts: Any, tmp_path: Path) -> None:
    account, fuzzed = scripts("account"), scripts("fuzzed")
    for executions in (10, 20):
        kept = account.Account(tmp_path)
        session = account.Session(reader="hlo", commit="c", executions=executions, seconds=30.0)
        kept.add(session)
    with (tmp_path / "sessions.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"reader": "hl')  # the machine went off
    assert fuzzed.by_reader(kept.sessions())["hlo"] == (1.0, 30)


def test_the_smallest_input_of_a_sort_is_kept(scripts: Any, tmp_path: Path) -> None:
    account = scripts("account")
    kept = account.Account(tmp_path)
    finding = account.Finding(reader="hlo", sort="KeyError", where="a:b", text="x", commit="c")
    assert kept.keep(finding, b"long one")
    assert not kept.keep(finding, b"short")
    assert not kept.keep(finding, b"a long one")
    ((found, path),) = kept.findings()
    assert (found.key, path.read_bytes()) == (finding.key, b"short")


def test_the_present_input_is_seen_from_outside(scripts: Any, tmp_path: Path) -> None:
    account = scripts("account")
    account.Present(tmp_path / "present").hold(b"what is read")
    data, began = account.Present(tmp_path / "present").held()
    assert data == b"what is read"
    assert began > 0


def test_batches_share_the_inputs_among_readers(scripts: Any, tmp_path: Path) -> None:
    fuzzed, readers = scripts("fuzzed"), scripts("readers")
    found = fuzzed.batches(20_000, 250)
    assert sum(batch.count for batch in found) == 20_000
    numbers = {(b.reader, n) for b in found for n in range(b.first, b.first + b.count)}
    assert len(numbers) == 20_000
    assert {batch.reader for batch in found} == {r.name for r in readers.READERS if r.commands}
    path = tmp_path / "batches.jsonl"
    lines = [json.dumps({"reader": "hlo", "first": 0, "count": 5}), '{"reader": "h']
    path.write_text("\n".join(lines), encoding="utf-8")
    assert list(fuzzed.done_batches(path)) == [("hlo", 0)]
    (fine,) = fuzzed.done_batches(path).values()
    assert not fine.bad
    wrong = fuzzed.Batch(reader="hlo", first=0, count=5, hangs=[3], tracebacks={"1": "KeyError"})
    assert wrong.bad == {"1": "KeyError", "3": "it did not end"}


def test_damaged_files_go_through_the_command_line(scripts: Any, tmp_path: Path) -> None:
    fuzzed, fuzz, readers = scripts("fuzzed"), scripts("fuzz"), scripts("readers")
    kept = fuzz.account()
    fuzz.plant(kept, readers.reader_of("mapping"))
    batch = fuzzed.Batch(reader="mapping", first=3, count=4)
    fuzzed.run_batch(fuzzed.prepare(kept), batch)
    assert sum(batch.codes.values()) == 4, (batch, list(tmp_path.rglob("*")))
    assert (batch.tracebacks, batch.hangs, batch.crashes) == ({}, [], {})


def test_an_input_is_made_again_by_its_number(scripts: Any, tmp_path: Path) -> None:
    readers, commands = scripts("readers"), scripts("commands")
    (tmp_path / "a").write_bytes(b'{"conv1/Conv2D": 2}')
    reader = readers.reader_of("structure")
    first, second = (commands.damaged([tmp_path / "a"], reader, 7) for _ in range(2))
    assert first == second
    others = {commands.damaged([tmp_path / "a"], reader, number) for number in range(9)}
    assert len(others) > 3


def test_changed_models_are_models(scripts: Any) -> None:
    onnx = import_module("onnx")
    starts, mutation = scripts("starts"), scripts("mutation")
    model = next(iter(starts.onnx_models()))
    whole = 0
    for seed in range(20):
        try:
            onnx.ModelProto.FromString(mutation.mutate_model(model, random.Random(seed)))
        except Exception:
            continue
        whole += 1
    assert whole > 12

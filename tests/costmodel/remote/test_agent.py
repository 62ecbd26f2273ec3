"""The agent's parts, in this process: what they keep, count and refuse."""

from __future__ import annotations

import ast
import io
import json
import os
import platform
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sensors import Sensors

from costmodel.errors import InvalidInputError
from costmodel.op import Op
from costmodel.remote.agent import facts, runtime
from costmodel.remote.agent.journal import Journal
from costmodel.remote.agent.store import Store, StoreError, digest_of
from costmodel.remote.cores import choose_cores, parse_cores
from costmodel.remote.describe import hardware_name, remote_device
from costmodel.remote.pack import packed_agent
from costmodel.remote.specs import op_spec, runtime_setup
from costmodel.runners.ort.device import instruction_set
from costmodel.runners.ort.rebuild import rebuild
from costmodel.timing import cores, visit
from costmodel.timing.lock import lock_path

AGENT = Path(runtime.__file__).parent
TIMING = Path(visit.__file__).parent
CONV = Op(
    kind="conv",
    implementation="Conv",
    inputs=((1, 8, 6, 6),),
    outputs=((1, 8, 6, 6),),
    weights=((8, 8, 1, 1), (8,)),
    stride=(1, 1),
    pads=(0, 0, 0, 0),
    dilation=(1, 1),
)


def test_the_agent_needs_nothing_that_a_device_lacks() -> None:
    allowed = {"numpy", "onnxruntime", "costmodel"}
    with zipfile.ZipFile(io.BytesIO(packed_agent())) as archive:
        names = [name for name in archive.namelist() if archive.read(name)]
        assert "__main__.py" in names
        for name in names:
            tree = ast.parse(archive.read(name), feature_version=(3, 8))
            for node in ast.walk(tree):
                found = [item.name for item in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    found.append(str(node.module))
                    if str(node.module).startswith("costmodel"):
                        assert f"{str(node.module).replace('.', '/')}.py" in names or (
                            node.module == "costmodel.remote.agent"
                        ), f"{name} imports {node.module}"
                for module in found:
                    top = module.partition(".")[0]
                    assert top in allowed or top in LIBRARY, f"{name} imports {module}"


LIBRARY = {
    "__future__", "base64", "collections", "contextlib", "ctypes", "dataclasses", "errno", "fcntl",
    "functools",
    "hashlib", "json", "math", "mmap", "os", "pathlib", "platform", "resource", "select", "shutil",
    "signal", "statistics", "struct", "sys", "tempfile", "time", "typing",
}  # fmt: skip


def test_equal_sources_make_the_same_file() -> None:
    first = packed_agent()
    packed_agent.cache_clear()
    assert packed_agent() == first


# Timing means the same there as here.


def test_the_loop_of_a_visit_is_this_hosts_own() -> None:
    with zipfile.ZipFile(io.BytesIO(packed_agent())) as archive:
        packed = {name for name in archive.namelist() if archive.read(name)}
        shared = {"costmodel/runners/ort/bound.py"}
        shared |= {f"costmodel/timing/{path.name}" for path in TIMING.glob("*.py")}
        assert {"costmodel/timing/visit.py", "costmodel/timing/watch.py"} <= shared <= packed
        for name in shared:
            assert archive.read(name) == (TIMING.parents[1] / name).read_bytes()


def test_a_time_costs_the_device_what_it_costs_here(tmp_path: Path) -> None:
    fields = op_spec(CONV, 5).fields
    store = tmp_path / "kernel.onnx"
    store.write_bytes(rebuild(CONV, 5).model)
    loader = runtime.Loader(runtime_setup(1), lambda _: store)
    workload = loader.load({**fields, "net": False})
    block = workload.block(1.0)
    assert block.wall_ms >= 1.0
    assert block.runs % 5 == 0
    assert block.latency_ms == pytest.approx(block.wall_ms / block.runs)
    assert workload.output_shapes() == [[1, 8, 6, 6]]


@pytest.mark.parametrize("replicas", [1, 5])
def test_inputs_and_weights_lie_there_as_they_do_here(replicas: int) -> None:
    built, fields = rebuild(CONV, replicas), op_spec(CONV, replicas).fields
    feed = runtime.make_feed(fields["feed"])
    weights = runtime.make_weights(fields["weights"], runtime_setup(1)["pool"])
    for ours, theirs in ((built.feed, feed), (built.weights, weights)):
        assert list(ours) == list(theirs)
        for name in ours:
            assert (ours[name].shape, ours[name].dtype) == (theirs[name].shape, theirs[name].dtype)
            assert np.isfinite(theirs[name]).all()
            assert theirs[name].any()
        overlaps = [
            {(a, b) for a in kept for b in kept if np.may_share_memory(kept[a], kept[b])}
            for kept in (ours, theirs)
        ]
        assert overlaps[0] == overlaps[1]


# Files and journals.


def test_a_file_is_kept_under_its_own_digest_only(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "x").write_bytes(b"abcdef")
    digest = digest_of(tmp_path / "x")
    store.put(digest, 0, b"abc", last=False)
    assert store.missing([digest]) == [digest]
    store.put(digest, 3, b"def", last=True)
    assert store.missing([digest]) == []
    with pytest.raises(StoreError, match="a file came as") as error:
        store.put("0" * 64, 0, b"abcdef", last=True)
    assert error.value.kind == "corrupt"
    with pytest.raises(StoreError, match="is no digest"):
        store.put("../escape", 0, b"", last=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([digest, "x"])


def test_a_damaged_file_is_not_found_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / "x").write_bytes(b"abcdef")
    digest = digest_of(tmp_path / "x")
    store.put(digest, 0, b"abcdef", last=True)
    path = store.find(digest)
    assert path is not None
    path.write_bytes(b"abcdeg")
    assert store.find(digest) is None
    assert not path.exists()


def test_old_files_make_room_for_new_ones(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(4):
        path = tmp_path / f"{number:064d}"
        path.write_bytes(b"x" * 100)
        os.utime(path, (number, number))
    store.prune(250)
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [2, 3]


@settings(max_examples=30, deadline=None)
@given(events=st.integers(1, 6), cut=st.integers(0, 400), garbage=st.binary(max_size=30))
def test_a_journal_keeps_every_whole_event_whatever_happens_to_its_end(
    tmp_path_factory: pytest.TempPathFactory, events: int, cut: int, garbage: bytes
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal = Journal(folder, "s1")
    for number in range(events):
        journal.add({"event": "visited", "step": str(number), "quiet_ms": number / 7})
    journal.close()
    path = folder / "s1.jsonl"
    content = path.read_bytes()
    whole = content[:cut].count(b"\n")
    path.write_bytes(content[:cut] + (b"" if cut >= len(content) else garbage.replace(b"\n", b"")))
    again = Journal(folder, "s1")
    assert len(again.entries) == min(whole, events)
    again.add({"event": "visited", "step": "new"})
    again.close()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert lines[-1]["step"] == "new"


def test_a_journal_tells_what_was_under_way(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "s1")
    assert journal.interrupted() is None
    journal.add({"event": "started", "step": "a"})
    journal.add({"event": "probed"})
    assert journal.interrupted() == "a"
    journal.add({"event": "visited", "step": "a"})
    assert journal.interrupted() is None
    assert [entry["seq"] for entry in journal.since(1)] == [2, 3]
    journal.close()


def test_the_lock_is_the_one_that_a_profiler_on_the_device_takes() -> None:
    from costmodel.device import Device
    from costmodel.profiler.lock import device_lock

    for name in ("AMD EPYC family 25 model 17", "Raspberry Pi 4 Model B (bcm2711)", "—"):
        assert lock_path(name) == device_lock(Device(name=name, runtime="x"))


# What a device is.


def test_clusters_are_told_by_their_clocks(tmp_path: Path) -> None:
    Sensors(tmp_path, {0: 1_800_000, 1: 1_800_000, 2: 2_400_000, 3: 3_000_000})
    found = facts.clusters(tmp_path, [0, 1, 2, 3])
    assert [(item["cores"], item["max_mhz"]) for item in found] == [
        ([0, 1], 1800), ([2], 2400), ([3], 3000),
    ]  # fmt: skip
    known = {"cores": [0, 1, 2, 3], "clusters": found}
    choose: Callable[[str, int], tuple[int, ...]] = lambda text, threads: choose_cores(  # noqa: E731
        parse_cores(text), known, threads, "ssh://board"
    )
    assert choose("little", 2) == (0, 1)
    assert choose("middle", 1) == (2,)
    assert choose("big", 1) == (3,)
    assert choose("0,3", 2) == (0, 3)
    assert choose("", 1) == (3,)
    assert choose("", 2) == (0, 1)
    assert choose("", 4) == (0, 1, 2, 3)
    with pytest.raises(InvalidInputError, match=r"big 3 \(3000 MHz\)"):
        choose("7", 1)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_as_many_processors_are_picked_as_there_are_threads(tmp_path: Path, threads: int) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text("cpu 9 9 9 9\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n")
    usable = [0, 1, 4, 5]
    found, others = cores.split_cores(usable, threads, root=tmp_path)
    assert len(found) == min(threads, 4)
    assert found == sorted(found)
    assert sorted(found + others) == usable
    turns = {tuple(cores.split_cores(usable, 1, turn, tmp_path)[0]) for turn in range(4)}
    assert turns == {(0,), (1,), (4,), (5,)}, "each process works on another one"


@given(st.sets(st.integers(0, 300), min_size=1))
def test_processors_survive_being_written_down(cores: set[int]) -> None:
    from costmodel.remote.describe import cores_text

    assert parse_cores(cores_text(tuple(sorted(cores)))) == tuple(sorted(cores))


def test_an_arm_board_is_described(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 4 Model B Rev 1.4\0")
    (tmp_path / "proc/device-tree/compatible").write_text("raspberrypi,4-model-b\0brcm,bcm2711\0")
    (tmp_path / "proc/cpuinfo").write_text(
        "processor\t: 0\nFeatures\t: fp asimd evtstrm crc32\nCPU implementer\t: 0x41\n"
        "CPU part\t: 0xd08\n\nprocessor\t: 1\n\nHardware\t: BCM2835\nModel\t: Raspberry\n"
    )
    found = {**facts.hardware(tmp_path), "machine": "aarch64", "emulated": False}
    assert hardware_name(found) == "Raspberry Pi 4 Model B Rev 1.4 (brcm,bcm2711)"
    assert instruction_set(found["cpuinfo"], found["machine"]) == "neon"
    assert instruction_set({}, "armv7l") == "armv7l"
    more: dict[str, Any] = {
        "address": "ssh://pi" + "@board", "version": "1.20.1", "threads": 2, "cores": "0-1",
        "emulated": False, "state": {"governor": "performance"},
    }  # fmt: skip
    device = remote_device(found, **more)
    assert device.provenance == "measured"
    assert device.state["address"] == "ssh://board"
    assert dict(device.options)["cores"] == "0-1"
    assert remote_device({**found, "emulated": True}, **more).provenance == "estimated"


def test_an_emulated_processor_is_noticed_by_the_programs_beside_it(tmp_path: Path) -> None:
    other = 183 if facts.family_of(platform.machine()) == "x86" else 62
    folder = tmp_path / f"proc/{os.getppid()}"
    folder.mkdir(parents=True)
    (folder / "stat").write_text("1 (a b) S 0 0")
    for machine, expected in ((other, True), (0, False)):
        head = b"\x7fELF\x02\x01" + bytes(12) + machine.to_bytes(2, "little")
        (folder / "exe").write_bytes(head)
        assert facts.is_emulated(tmp_path) is expected
    assert not facts.is_emulated(Path("/"))

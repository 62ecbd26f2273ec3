"""What a file may take of this machine, and how people raise it."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from costmodel import limits
from costmodel.baseline import read_baseline
from costmodel.cli import app
from costmodel.errors import InvalidInputError, LimitError, ModelFormatError
from costmodel.imports.mapping import read_mapping
from costmodel.limits import VARIABLE, in_time, limited, parse_limits, read_whole, still_in_time
from costmodel.pages.records import read_record
from costmodel.readers.onnx import read_onnx
from costmodel.readers.timings import read_timings
from costmodel.uses.importing import import_file
from costmodel.viewers.ort_profile import read_ort_profile


def chain(path: Path, length: int, *sparse: onnx.SparseTensorProto) -> Path:
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(length)]
    infos = [helper.make_tensor_value_info(f"t{i}", TensorProto.FLOAT, [1, 4]) for i in (0, length)]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], sparse_initializer=list(sparse))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def nested(path: Path, depth: int) -> Path:
    """Branches inside branches."""
    infos = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [], infos)
    for _ in range(depth):
        node = helper.make_node("If", ["f"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([node], "g", [], infos)
    feeds = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("f", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(inner.node, "g", feeds, infos)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def sparse(elements: int) -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    return helper.make_sparse_tensor(values, places, [elements])


def test_more_nodes_than_the_limit_are_refused_and_the_limit_can_be_raised(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.onnx", 9)
    with (
        limited(nodes=8),
        pytest.raises(LimitError, match=r"net\.onnx: it has 9 nodes, and at most 8 .*nodes=9"),
    ):
        read_onnx(path)
    with limited(nodes=9):
        assert len(read_onnx(path).layers) == 9


@pytest.mark.parametrize(
    ("make", "limit", "words"),
    [
        (lambda path: chain(path, 1, sparse(1 << 20)), {"unpacked": 1 << 20}, "unpacked"),
        (lambda path: chain(path, 1), {"bytes": 20}, "bytes"),
        (lambda path: nested(path, 3), {"nesting": 3}, "inside each other"),
        (lambda path: chain(path, 1, sparse(1)), {"elements": 0}, "elements in one tensor"),
    ],
)
def test_each_limit_is_named(make, limit, words, tmp_path: Path) -> None:
    path = make(tmp_path / "net.onnx")
    with limited(**limit), pytest.raises(LimitError, match=words):
        read_onnx(path)
    read_onnx(path)


def test_a_small_file_does_not_become_a_large_one(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="unpacked=1200000000"):
        read_onnx(chain(tmp_path / "net.onnx", 1, sparse(300_000_000)))


def test_a_packed_list_is_unpacked_as_far_as_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "list.csv.gz"
    path.write_bytes(gzip.compress(b"op,height,latency_ms\n" + b"\n" * (1 << 21)))
    assert path.stat().st_size < 10_000
    with limited(unpacked=1 << 20), pytest.raises(LimitError, match="when it is unpacked"):
        import_file(path, constants={"device": "d", "runtime": "r"})


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from costmodel.imports import files

    monkeypatch.setattr(files, "LONGEST_LINE", 1 << 16)
    monkeypatch.setattr(files, "BLOCK", 1 << 8)
    path = tmp_path / "list.csv.gz"
    path.write_bytes(gzip.compress(b"op,height,latency_ms\n" + b"x" * (1 << 17)))
    with pytest.raises(InvalidInputError, match="has a line of more than"):
        import_file(path, constants={"device": "d", "runtime": "r"})


def test_a_file_is_read_as_far_as_it_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(1 << 20))
    assert read_whole(path, 1 << 20) == bytes(1 << 20)
    path.write_bytes(bytes((1 << 20) + 1))
    with pytest.raises(InvalidInputError, match=r"f: it is larger than 1 MiB"):
        read_whole(path, 1 << 20)


@pytest.mark.parametrize(
    "read", [read_baseline, read_mapping, read_ort_profile, read_record, read_timings]
)
def test_a_device_without_an_end_does_not_fill_the_memory(
    read: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_less(path: Path, _most: int = 0) -> bytes:
        return read_whole(path, 1 << 20)

    monkeypatch.setattr(sys.modules[read.__module__], "read_whole", read_less)
    with pytest.raises(InvalidInputError, match=r"/dev/zero: it is larger than 1 MiB"):
        read(Path("/dev/zero"))


def test_reading_ends_when_its_time_is_over(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.onnx", 9)
    with limited(seconds=0), in_time(path):
        begin = time.process_time()
        while time.process_time() == begin:
            pass
        with in_time("inside"), pytest.raises(LimitError, match=r"net\.onnx: .*--limit seconds=1"):
            still_in_time()
    still_in_time()  # nothing is read any more


def test_the_command_line_raises_limits_for_one_command(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.onnx", 9)
    predict = ["predict", str(path), "--cost", "flops"]
    refused = CliRunner().invoke(app, ["--limit", "nodes=8", *predict])
    assert refused.exit_code == 2
    assert "--limit nodes=9 before the verb" in refused.output
    assert CliRunner().invoke(app, predict).exit_code == 0
    wrong = CliRunner().invoke(app, ["--limit", "knots=8", *predict])
    assert wrong.exit_code == 2
    assert "is no limit" in wrong.output


def test_worker_processes_have_the_same_limits() -> None:
    code = "from costmodel.limits import limits; print(limits().nodes)"
    with limited(nodes=7):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        with limited(bytes=9) as inner:
            assert (inner.nodes, inner.bytes) == (7, 9)
    assert done.stdout.strip() == b"7"
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("text", ["nodes", "nodes=", "nodes=-1", "nodes=1e3", "x=1", "nodes=٣"])
def test_what_is_no_limit_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInputError, match="is no limit"):
        parse_limits([text])
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(InvalidInputError, match="is no limit"):
        limits.limits()

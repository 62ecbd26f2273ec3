"""The zoo's own counts and its keeper, on models small enough to count by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from model_zoo.case import Case, Draft
from model_zoo.keeper import Keeper, judged, wrong
from model_zoo.onnx_counts import look

SLEEPER = "import sys, time\nfor line in sys.stdin: time.sleep(60)\n"
QUITTER = "import os, sys\nfor line in sys.stdin: os.abort()\n"
FAULTY = 'import sys\nfor line in sys.stdin: print(\'{"fault": "no such case"}\', flush=True)\n'


def counted(tmp_path: Path, case: Case) -> int:
    truth = look(case.save(tmp_path), case.values())
    return sum(count or 0 for count in truth.macs.values())


def conv(d: Draft) -> str:
    return d.conv(d.feed(2, 4, 8, 8), 4, 6)


def strided_group(d: Draft) -> str:
    return d.conv(d.feed(1, 4, 8, 8), 4, 6, group=2, strides=[2, 2])


def transposed(d: Draft) -> str:
    return d.node("ConvTranspose", d.feed(1, 4, 5, 5), d.weight(4, 3, 2, 2), strides=[2, 2])


def constant_first(d: Draft) -> str:
    return d.node("MatMul", d.weight(7, 5), d.feed(2, 5, 3))


def gemm(d: Draft) -> str:
    return d.node("Gemm", d.feed(7, 3), d.weight(5, 7), transA=1, transB=1)


def lstm(d: Draft) -> str:
    return d.node("LSTM", d.feed(7, 2, 5), d.weight(1, 24, 5), d.weight(1, 24, 6), hidden_size=6)


def einsum(d: Draft) -> str:
    return d.node("Einsum", d.feed(2, 7, 4), d.feed(2, 3, 4), equation="btc,bsc->bts")


def stored_only(d: Draft) -> str:
    return d.node("Add", d.node("MatMul", d.weight(3, 4), d.weight(4, 3)), d.feed(3, 3))


def quantised(d: Draft) -> str:
    scale, zero = d.const(0.1), d.const(3, np.uint8)
    x = d.node("QuantizeLinear", d.feed(5, 7), scale, zero)
    return d.node("MatMulInteger", x, d.const(np.ones((7, 3)), np.int8), zero)


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (conv, 2 * 6 * 8 * 8 * 4 * 9),
        (strided_group, 6 * 4 * 4 * 2 * 9),
        (transposed, 4 * 5 * 5 * 3 * 4),
        (constant_first, 2 * 7 * 5 * 3),
        (gemm, 3 * 7 * 5),
        (lstm, 7 * 2 * 4 * 6 * (5 + 6)),
        (einsum, 2 * 7 * 3 * 4),
        (stored_only, 0),
        (quantised, 5 * 7 * 3),
    ],
    ids=lambda item: getattr(item, "__name__", ""),
)
def test_formulas(tmp_path, write, expected):
    draft = Draft(17)
    assert counted(tmp_path, draft.case("case", write(draft))) == expected


def test_functions_are_written_out_by_the_runtime(tmp_path):
    from model_zoo import onnx_files

    plain = counted(tmp_path, onnx_files.make("classifier plain"))
    assert counted(tmp_path, onnx_files.make("classifier, functions")) == plain > 0


@pytest.mark.parametrize(
    ("program", "why"), [(SLEEPER, "did not end within"), (QUITTER, "signal SIGABRT")]
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_a_hang_and_an_abort_are_records(tmp_path, program, why):
    worker = tmp_path / "worker.py"
    worker.write_text(program, encoding="utf-8")
    with Keeper(seconds=0.5, imports=0.5, worker=worker) as keeper:
        for _ in range(2):  # the second in a process of its own
            record = keeper.walk("files", "any")
            assert why in record["crashed"]["process"]
            assert judged(record) == "crashed"


def test_a_fault_of_the_zoo_is_no_record(tmp_path):
    worker = tmp_path / "worker.py"
    worker.write_text(FAULTY, encoding="utf-8")
    with Keeper(worker=worker) as keeper, pytest.raises(RuntimeError, match="no such case"):
        keeper.walk("files", "any")


def record(**more):
    return {"refused": {}, "crashed": {}, "unread": [], "cannot": "", "runs": True, **more}


def test_a_record_is_judged_by_what_went_wrong_first():
    assert judged(record()) == "equal"
    assert judged(record(unread=["Loop"])) == "named"
    assert judged(record(counts=[("conv", 1, 2)])) == "wrong"
    assert judged(record(refused={"read": "no"}, counts=[1])) == "refused"
    assert judged(record(crashed={"read": "Traceback"}, refused={"read": "no"})) == "crashed"
    assert judged(record(cannot="no kernel", runs=False)) == "cannot"


def test_keras_counts_are_held_against_trace_and_export():
    keras = record(macs=5, traced=5, exported=5, exported_read=5)
    assert wrong(keras) == []
    assert wrong({**keras, "traced": 6}) == [("traced", 5, 6)]
    assert wrong({**keras, "traced": 6, "unread": ["lstm"]}) == []
    assert wrong({**keras, "exported_read": 4}) == [("exported", 4, 5)]
    assert wrong({**keras, "exported_read": 4, "exported_unread": ["Loop"]}) == []

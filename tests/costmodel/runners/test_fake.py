from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError, ModelFormatError, UnsupportedOpError
from costmodel.op import SESSION, Op, conv_op
from costmodel.registry import load_runner
from costmodel.runners.fake import (
    BYTES_PER_MS,
    KERNEL_MS,
    MACS_PER_MS,
    SESSION_MS,
    SLOW_PATH,
    FakeRunner,
    law_ms,
    write_model,
)
from costmodel.testing import ops

SOFTMAX = Op(kind="softmax", inputs=((1, 100),), outputs=((1, 100),))


def pointwise(read: int, written: int) -> Op:
    return conv_op(in_channels=read, out_channels=written, size=(10, 10), kernel=(1, 1), bias=False)


def test_law_of_a_convolution_is_the_documented_formula() -> None:
    macs = 100 * 32 * 48  # 17 and 33 channels are padded to blocks of 16
    elements = 100 * (17 + 33) + 17 * 33
    expected = KERNEL_MS + SLOW_PATH * macs / MACS_PER_MS + 4 * elements / BYTES_PER_MS
    assert expected == pytest.approx(law_ms(pointwise(17, 33)))


def test_law_of_a_depthwise_convolution_pads_only_its_outputs() -> None:
    op = conv_op(in_channels=20, out_channels=20, size=(4, 4), kernel=(3, 3), groups=20)
    elements = 2 * 20 * 16 + 20 * 9 + 20
    expected = KERNEL_MS + 16 * 32 * 9 / MACS_PER_MS + 4 * elements / BYTES_PER_MS
    assert expected == pytest.approx(law_ms(op))


@given(st.integers(1, 20))
def test_arithmetic_is_a_staircase_in_output_channels(block: int) -> None:
    def arithmetic_ms(written: int) -> float:
        op = pointwise(16, written)
        moved = op.num_input_elements + op.num_output_elements + op.num_weights
        return law_ms(op) - 4 * moved / BYTES_PER_MS

    top = 16 * block
    assert arithmetic_ms(top) == pytest.approx(arithmetic_ms(top - 15))
    assert arithmetic_ms(top) < arithmetic_ms(top + 1)


def test_leaving_the_fast_path_costs_more_than_a_channel_more() -> None:
    assert law_ms(pointwise(64, 64)) < law_ms(pointwise(63, 64))


@given(ops(), st.integers(1, 8))
def test_threads_never_slow_an_op_down(op: Op, threads: int) -> None:
    assert 0 < law_ms(op, threads=threads + 1) <= law_ms(op, threads=threads)


def test_speed_divides_every_latency() -> None:
    assert law_ms(SOFTMAX) / 4 == pytest.approx(FakeRunner(speed=4.0).law_ms(SOFTMAX))


def test_without_noise_a_block_tells_the_truth() -> None:
    block = FakeRunner().load_op(SOFTMAX).block(1.0)
    assert law_ms(SOFTMAX) == block.latency_ms
    assert block.runs == pytest.approx(1.0 / law_ms(SOFTMAX), abs=1)


def test_noise_only_adds_time_and_has_the_mean_asked_for() -> None:
    workload = FakeRunner(noise=0.2, seed=3).load_op(SOFTMAX)
    shares = [workload.block(1.0).latency_ms / law_ms(SOFTMAX) - 1 for _ in range(4000)]
    assert min(shares) >= 0
    assert sum(shares) / len(shares) == pytest.approx(0.2, rel=0.1)


def test_noise_repeats_with_its_seed_and_goes_on_over_workloads() -> None:
    def visits(seed: int) -> list[float]:
        runner = FakeRunner(noise=0.2, seed=seed)
        return [runner.load_op(SOFTMAX).block(1.0).latency_ms for _ in range(3)]

    assert visits(1) == visits(1)
    assert visits(1) != visits(2)
    assert len(set(visits(1))) == 3


@given(ops(), st.floats(0, 1e4))
def test_a_block_lasts_as_long_as_asked(op: Op, min_ms: float) -> None:
    block = FakeRunner(noise=0.1).load_op(op).block(min_ms)
    assert block.wall_ms >= min_ms
    assert block.runs >= 1


def test_real_time_blocks_sleep_for_their_wall_time(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    block = FakeRunner(realtime=True).load_op(SOFTMAX).block(20.0)
    assert slept == [block.wall_ms / 1000.0]
    FakeRunner().load_op(SOFTMAX).block(20.0)
    assert len(slept) == 1


def test_noise_and_misbehaviour_are_state_but_speed_and_threads_identity() -> None:
    plain = FakeRunner().device
    assert plain.identity == FakeRunner(noise=0.5, seed=9, misbehave="hang:lrn").device.identity
    assert plain.identity != FakeRunner(speed=2.0).device.identity
    assert plain.identity != FakeRunner(threads=2).device.identity


def test_the_registry_makes_it_by_name() -> None:
    runner = load_runner("fake", {"threads": 2, "speed": 2})
    assert FakeRunner(threads=2, speed=2.0).device.identity == runner.device.identity


@pytest.mark.parametrize(
    "options",
    [
        {"threads": 0},
        {"noise": -0.1},
        {"noise": float("inf")},
        {"speed": 0.0},
        {"speed": float("nan")},
        {"misbehave": "explode:conv"},
        {"misbehave": "hang"},
    ],
)
def test_refuses_impossible_options(options: dict[str, float | str]) -> None:
    with pytest.raises(InvalidInputError, match=r"Received|misbehaviour"):
        FakeRunner(**options)  # type: ignore[arg-type]


def test_a_model_takes_its_ops_and_one_session(tmp_path: Path) -> None:
    listed = [pointwise(16, 32), SOFTMAX, SOFTMAX]
    model = write_model(tmp_path / "net.json", [*listed, Op(kind=SESSION)])
    runner = FakeRunner()
    block = runner.load_model(model, {}).block(1.0)
    assert sum(map(law_ms, listed)) + SESSION_MS == pytest.approx(block.latency_ms)
    network = runner.lower(model, {"batch": 1})
    assert tuple(listed) == network.ops[:-1]
    assert tuple(x.name for x in network.layers) == ("conv0", "softmax1", "softmax2", "session")
    assert network.name == "net"


@pytest.mark.parametrize("sizes", [{"batch": 2}, {"height": 224}])
def test_refuses_sizes_that_the_file_does_not_have(tmp_path: Path, sizes: dict[str, int]) -> None:
    model = write_model(tmp_path / "net.json", [SOFTMAX])
    with pytest.raises(InvalidInputError, match="fixed sizes"):
        FakeRunner().lower(model, sizes)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[]", "holds no Op"),
        (b'[{"kind": "session"}]', "holds no Op"),
        (b'{"kind": "add"}', "not a list of Ops"),
        (b'[{"kind": 3}]', "not a list of Ops"),
        (b"[" * 100_000, "not a list of Ops"),
        (b"\xff\xfe", "not a list of Ops"),
        (b'[{"kind": "add"}, {"kind": "conv"}]', "Op 1 of"),
        (b'[{"kind": "gemm"}]', "Op 0 of"),
        (b'[{"kind": "model"}]', "Op 0 of"),
    ],
)
def test_refuses_damaged_models(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=told):
        FakeRunner().lower(path, {})


def test_refuses_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match=r"Cannot read .*none.json"):
        FakeRunner().load_model(tmp_path / "none.json", {})


def test_refuses_blocks_after_closing() -> None:
    with FakeRunner().load_op(SOFTMAX) as workload:
        workload.block(1.0)
    with pytest.raises(InvalidInputError, match="closed"):
        workload.block(1.0)


def test_unsupported_goes_by_kind_or_digest_and_spares_models(tmp_path: Path) -> None:
    other = replace(SOFTMAX, inputs=((1, 50),), outputs=((1, 50),))
    runner = FakeRunner(misbehave=f"unsupported:{other.digest}, unsupported:lrn")
    assert runner.load_op(SOFTMAX).block(1.0).runs > 1
    for op in (other, Op(kind="lrn")):
        with pytest.raises(UnsupportedOpError, match="told not to"):
            runner.load_op(op)
    model = write_model(tmp_path / "net.json", [other])
    assert runner.load_model(model, {}).block(1.0).runs > 1


def start(misbehave: str, *wrapper: str) -> subprocess.Popen[str]:
    code = (
        "from costmodel.runners.fake import *\n"
        f"runner = FakeRunner(misbehave={misbehave!r})\n"
        "workload = runner.load_op(Op(kind='lrn'))\n"
        "print('loaded', flush=True)\n"
        "workload.block(1.0)\n"
        "print('survived', flush=True)\n"
    )
    return subprocess.Popen(
        [*wrapper, sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("misbehave", "status", "output"),
    [
        ("exit:lrn", 70, "loaded\n"),
        ("segfault:lrn", -signal.SIGSEGV, "loaded\n"),
        ("exit:softmax", 0, "loaded\nsurvived\n"),
    ],
)
def test_an_op_can_end_its_process(misbehave: str, status: int, output: str) -> None:
    with start(misbehave) as process:
        printed, _ = process.communicate(timeout=30)
    assert (status, output) == (process.returncode, printed)


def test_an_op_can_hang_until_it_is_killed() -> None:
    with start("hang:lrn") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loaded\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.3)
        process.kill()
    assert process.returncode == -signal.SIGKILL


def test_an_op_can_use_up_memory() -> None:
    # By the shell: code between fork and exec is not safe where other tests have started threads.
    with start("exhaust:lrn", "sh", "-c", 'ulimit -v 524288; exec "$@"', "sh") as process:
        printed, complaint = process.communicate(timeout=30)
    assert printed == "loaded\n"
    assert "MemoryError" in complaint

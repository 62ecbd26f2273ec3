"""TpuAotRunner: the contract, what it estimates, and how it says no."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from costmodel.errors import (
    CostModelError,
    InvalidInputError,
    MissingDependencyError,
    UnsupportedOpError,
)
from costmodel.op import SESSION, Op, conv_op, decode_op, encode_op
from costmodel.protocols import Estimator
from costmodel.registry import load_runner
from costmodel.runners.tpu_aot import pool, runner
from costmodel.runners.tpu_aot.calibrate import EstimateCalibration
from costmodel.runners.tpu_aot.messages import Estimate, Request
from costmodel.runners.tpu_aot.ops import kernel_op
from costmodel.runners.tpu_aot.runner import TpuAotRunner
from costmodel.testing import RunnerContract


@pytest.fixture(scope="module")
def tpu(cache: Path) -> Iterator[TpuAotRunner]:
    found = TpuAotRunner(generation="v5e", cache=str(cache), jobs=1)
    yield found
    found.close()


class TestTpuAotRunner(RunnerContract):
    @pytest.fixture
    def runner(self, tpu: TpuAotRunner) -> TpuAotRunner:
        return tpu

    @pytest.fixture
    def model(self, tiny: Path) -> Path:
        return tiny


def conv(width: int) -> Op:
    return kernel_op(
        conv_op(
            in_channels=64, out_channels=width, size=(7, 7), kernel=(1, 1), batch=8, bias=False
        ),
        "bfloat16",
    )


def test_is_found_by_name_and_computes_many_at_once(cache: Path) -> None:
    found = load_runner("tpu-aot", {"generation": "v6e", "cache": str(cache)})
    assert isinstance(found, Estimator)
    assert found.device.provenance == "estimated"
    assert found.device.slug == "tpu-v6e/xla-bfloat16"
    assert "relative static estimate" in found.device.state["meaning"]


def test_steps_lie_behind_multiples_of_128_channels(tpu: TpuAotRunner) -> None:
    one, same, more = (tpu.estimate(conv(width)).cycles for width in (100, 128, 129))
    assert one == same < more


def test_ops_add_up_and_cover_every_layer(tpu: TpuAotRunner, tiny: Path) -> None:
    whole = tpu.estimate_model(tiny, {})
    network = tpu.lower(tiny, {})
    covered = [name for layer in network.layers for name in layer.covers]
    written = {"first", "relu1", "second", "sum", "pool", "classify"}
    assert written <= set(covered)
    found = tpu.estimate_all(network.ops)
    estimates = [found[op] for op in network.ops]
    summed = sum(e.cycles for e in estimates if isinstance(e, Estimate))
    assert not any(isinstance(e, CostModelError) for e in estimates)
    # So small a network has no time to bring weights in, which its Ops are granted.
    assert 0.7 * whole.cycles < summed <= 1.05 * whole.cycles
    shares = [layer.share for layer in network.layers]
    assert sum(shares) == pytest.approx(1.0)


def test_the_clock_turns_cycles_into_milliseconds(tpu: TpuAotRunner) -> None:
    assert tpu.milliseconds(1_500_000) == pytest.approx(1.0)
    with tpu.load_op(conv(128)) as workload:
        found = workload.block(5.0)
    assert found.latency_ms == tpu.milliseconds(tpu.estimate(conv(128)).cycles)
    assert found.wall_ms >= 5.0
    with pytest.raises(InvalidInputError, match="closed"):
        workload.block(1.0)


def test_estimates_are_kept_on_disk(tpu: TpuAotRunner, cache: Path) -> None:
    first = tpu.estimate(conv(128))
    again = TpuAotRunner(generation="v5e", cache=str(cache))
    again._pool.estimate = refuse  # type: ignore[method-assign]
    assert again.estimate(conv(128)) == first
    with pytest.raises(CostModelError, match="asked"):
        again.estimate(conv(2))


def refuse(request: Request) -> Estimate:
    message = "asked"
    raise CostModelError(message)


def test_refusals_are_kept_and_failures_are_not(tmp_path: Path) -> None:
    found = TpuAotRunner(cache=str(tmp_path), jobs=1)
    asked: list[Request] = []
    errors: list[CostModelError] = [UnsupportedOpError("too big"), CostModelError("died")]

    def fail(request: Request) -> Estimate:
        asked.append(request)
        raise errors[0]

    found._pool.estimate = fail  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(UnsupportedOpError, match="too big"):
            found.load_op(conv(64))
    assert len(asked) == 1
    errors.pop(0)
    for _ in range(2):
        results = found.estimate_all([conv(32), conv(32)])
        assert str(results[conv(32)]) == "died"
    assert len(asked) == 3


def test_a_damaged_cache_file_is_made_again(tpu: TpuAotRunner, cache: Path) -> None:
    cycles = tpu.estimate(conv(128)).cycles
    for path in tpu._cache.folder.rglob("*.json"):
        path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert tpu.estimate(conv(128)).cycles == cycles


def test_the_rooflines_stand_beside(tpu: TpuAotRunner, tiny: Path) -> None:
    assert (tpu.estimate_model(tiny, {}).optimal_ms or 0) > 0
    alone = tpu.estimate(conv(128), alone=True)
    assert alone.optimal_ms is not None
    assert alone.cycles >= tpu.estimate(conv(128)).cycles


def test_a_calibration_stretches_every_number(
    tpu: TpuAotRunner, tiny: Path, cache: Path, tmp_path: Path
) -> None:
    law = EstimateCalibration(scale=2.0, per_op_ms=0.01, offset_ms=0.5)
    law.save(tmp_path / "law.json")
    found = TpuAotRunner(cache=str(cache), calibration=str(tmp_path / "law.json"))
    assert found.device.fingerprint != tpu.device.fingerprint
    plain, session = tpu.load_op(conv(128)), Op(kind=SESSION)
    estimate_ms = plain.block(1.0).latency_ms
    assert found.load_op(conv(128)).block(1.0).latency_ms == pytest.approx(2 * estimate_ms + 0.01)
    assert found.load_op(session).block(1.0).latency_ms == 0.5
    kernels = len(tpu.lower(tiny, {}).ops) - 1
    whole_ms = tpu.load_model(tiny, {}).block(1.0).latency_ms
    expected = pytest.approx(2 * whole_ms + 0.01 * kernels + 0.5)
    assert found.load_model(tiny, {}).block(1.0).latency_ms == expected


def test_the_environment_stays_as_it_is(tpu: TpuAotRunner) -> None:
    before = dict(os.environ)
    tpu.estimate(conv(130))
    assert dict(os.environ) == before
    assert pool.ENVIRONMENT["TPU_SKIP_MDS_QUERY"] == "1"


@pytest.mark.parametrize(
    "damage",
    [
        {"kind": SESSION + "s"},
        {"attributes": (("program", "[]"), ("stored", "=>="))},
        {"attributes": (("program", "{}"), ("stored", "=>="))},
        {"weights": ()},
        {"epilogue": ("no_such",)},
        {"inputs": ()},
    ],
)
def test_damaged_ops_are_refused(tpu: TpuAotRunner, damage: dict[str, object]) -> None:
    op = decode_op(encode_op(replace(conv(128), **damage)))  # type: ignore[arg-type]
    with pytest.raises(UnsupportedOpError, match=r"\w"):
        tpu.load_op(op)


@pytest.mark.parametrize(
    "options",
    [{"generation": "v9"}, {"dtype": "int8"}, {"threads": 2}, {"jobs": -1}, {"jobs": 1000}],
)
def test_unknown_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match=r"Received|There is no"):
        TpuAotRunner(**options)  # type: ignore[arg-type]


def test_a_missing_compiler_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(runner, "version", missing)
    with pytest.raises(MissingDependencyError, match=r"morphnet-latency\[tpu-aot\]"):
        TpuAotRunner()


def test_other_machines_are_told_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    with pytest.raises(MissingDependencyError, match="x86-64"):
        TpuAotRunner()


def test_a_dead_compiler_is_told_and_replaced(tpu: TpuAotRunner) -> None:
    for process in tpu._pool._running:
        process.kill()
    ops: Sequence[Op] = [conv(131)]
    with pytest.raises(CostModelError, match="ended with status"):
        tpu.load_op(ops[0])
    assert tpu.estimate(ops[0]).cycles > 0

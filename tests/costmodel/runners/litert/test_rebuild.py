"""Single kernels: the same work as in the network, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from costmodel.errors import InvalidInputError, UnsupportedOpError
from costmodel.lite_model.execute import execute
from costmodel.op import SESSION, Op, decode_op, encode_op
from costmodel.runners.litert.rebuild import (
    TURN_BYTES,
    moved_bytes,
    num_turns,
    rebuild,
    weight_bytes,
)
from costmodel.runners.litert.runner import LiteRtRunner, num_replicas
from costmodel.runners.litert.session import delegated_operators

Runners = Callable[[str], LiteRtRunner]


def ops_of(runner: LiteRtRunner, path: Path) -> list[Op]:
    return [op for op in dict.fromkeys(runner.lower(path, {}).ops) if op.kind != SESSION]


@pytest.mark.parametrize("replicas", [1, 3])
def test_a_rebuilt_kernel_lowers_to_itself(
    lite_runner: Runners,
    model_file: Callable[[str], Path],
    converted_model: str,
    dtype: str,
    replicas: int,
) -> None:
    """Lowering the model of one Op gives that Op again, as often as it was asked for."""
    for op in ops_of(lite_runner(dtype), model_file(converted_model)):
        model = rebuild(decode_op(encode_op(op)), replicas).model
        layers = execute(model, delegated_operators(model))
        assert [layer.op for layer in layers if layer.op == op] == [op] * replicas, op.label


def test_every_kernel_can_be_timed(
    lite_runner: Runners, model_file: Callable[[str], Path], dtype: str
) -> None:
    runner = lite_runner(dtype)
    for name in ("old_classifier", "slices", "pools", "resize"):
        for op in ops_of(runner, model_file(name)):
            with runner.load_op(op) as workload:
                assert workload.block(0.1).latency_ms > 0, op.label


CONV = Op(
    kind="conv",
    implementation="XNNPACK:CONV_2D",
    inputs=((1, 8, 8, 16),),
    outputs=((1, 8, 8, 32),),
    weights=((32, 16, 3, 3), (32,)),
    layout="nhwc",
    stride=(1, 1),
    pads=(1, 1, 1, 1),
    dilation=(1, 1),
)


@pytest.mark.parametrize(
    "op",
    [
        replace(CONV, implementation=""),
        replace(CONV, implementation="XNNPACK:NO_SUCH_OPERATOR"),
        replace(CONV, outputs=((1, 8, 8, 33),)),
        replace(CONV, outputs=((1, 7, 8, 32),)),
        replace(CONV, weights=()),
        replace(CONV, dtype="float8"),
        replace(CONV, epilogue=("no_such_activation",)),
        replace(CONV, attributes=(("no_such_option", 1),)),
        replace(CONV, attributes=(("weight_types", "int8"),)),
        replace(CONV, inputs=((1, 1 << 15, 1 << 15, 16),)),
        replace(CONV, operands="dddd"),
    ],
)
def test_other_work_is_refused(lite_runner: Runners, op: Op) -> None:
    with pytest.raises(UnsupportedOpError, match=r"\w"):
        lite_runner("float32").load_op(op)


def test_a_kernel_that_would_run_elsewhere_is_refused(lite_runner: Runners) -> None:
    with pytest.raises(UnsupportedOpError, match="in XNNPACK"):
        lite_runner("float32").load_op(replace(CONV, implementation="TFLite:CONV_2D"))


def test_replicas_take_turns_in_a_cache_full_of_buffers() -> None:
    assert num_turns(CONV, 1) == 1
    assert num_turns(CONV, 8) == 8
    wide = replace(CONV, inputs=((1, 32, 32, 16),), outputs=((1, 32, 32, 32),))
    turns, touched = num_turns(wide, 128), moved_bytes(wide) + weight_bytes(wide)
    assert touched * turns >= TURN_BYTES > touched * (turns - 1)
    large = replace(CONV, inputs=((1, 256, 256, 16),), outputs=((1, 256, 256, 32),))
    assert num_turns(large, 128) == 1


def test_slow_kernels_with_little_data_run_once() -> None:
    assert num_replicas(CONV, 1000.0) == 1
    assert num_replicas(CONV, 0.001) > 1


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 2000}, {"dtype": "float64"}])
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError, match="must be"):
        LiteRtRunner(**options)  # type: ignore[arg-type]


def test_the_device_names_runtime_and_type() -> None:
    device = LiteRtRunner(threads=2, dtype="int8").device
    assert (device.runtime, device.provider, device.dtype, device.threads) == (
        "litert",
        "XNNPACK",
        "int8",
        2,
    )
    assert device.runtime_version

"""Numbers and vectors as data: a timestep, a mask. Followed or frozen, with a reason."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from random_networks import Builder

from costmodel.readers.onnx import read_onnx
from morphnet_core.alignment import paddable, read_source
from morphnet_core.groups import find_groups, resize

WIDE = 8
SIDE = 6


def vector(build: Builder) -> str:
    """Eight computed numbers, without channels."""
    return build.op("Mul", build.fed(1), build.weight(WIDE))


#: What is done to the eight numbers; a tensor of one axis, or none.
ON_VECTORS: dict[str, Callable[[Builder, str], str]] = {
    "add": lambda b, v: b.op("Add", b.weight(WIDE), v),
    "scalar": lambda b, v: b.op("Div", v, b.constant(2.0, np.float32)),
    "pow": lambda b, v: b.op("Pow", v, b.weight(1)),
    "max": lambda b, v: b.op("Max", v, b.weight(WIDE), v),
    "where": lambda b, v: b.op("Where", b.op("Greater", v, b.weight(WIDE)), v, b.weight(WIDE)),
    "relu": lambda b, v: b.op("Relu", v),
    "sin": lambda b, v: b.op("Sin", v),
    "prelu": lambda b, v: b.op("PRelu", v, b.weight(WIDE)),
    "concat": lambda b, v: b.op("Concat", v, b.op("Cos", v), b.weight(3), axis=0),
    "slice": lambda b, v: b.op("Slice", v, b.ints(1), b.ints(5), b.ints(0), b.ints(2)),
    "split": lambda b, v: b.op("Split", v, b.ints(WIDE), axis=0),
    "pad": lambda b, v: b.op("Pad", v, b.ints(1, 2)),
    "transpose": lambda b, v: b.op("Transpose", v),
    "reshape": lambda b, v: b.op("Reshape", v, b.ints(-1)),
    "flatten_and_back": lambda b, v: b.op("Squeeze", b.op("Unsqueeze", v, b.ints(0)), b.ints(0)),
    "expand": lambda b, v: b.op("Expand", v, b.ints(WIDE)),
    "matmul": lambda b, v: b.op("MatMul", v, b.weight(WIDE, 5)),
    "inner": lambda b, v: b.op("MatMul", v, b.weight(WIDE)),
    "reduce": lambda b, v: b.op("ReduceMean", v, keepdims=0),
    "reduce_kept": lambda b, v: b.op("ReduceMax", v, keepdims=1),
    "softmax": lambda b, v: b.op("Softmax", v, axis=0),
    "layer_norm": lambda b, v: b.op("LayerNormalization", v, b.weight(WIDE), axis=0),
    "lp_norm": lambda b, v: b.op("LpNormalization", v, axis=-1),
    "gather": lambda b, v: b.op("Gather", v, b.ints(1, 2), axis=0),
    "dropout": lambda b, v: b.op("Dropout", v),
    "clip": lambda b, v: b.op("Clip", v, b.constant(0.1, np.float32)),
    "cumulated": lambda b, v: b.op("CumSum", v, b.constant(0, np.int64)),
}


def network(tmp_path: Path, write: Callable[[Builder], tuple[str, ...]]) -> Path:
    build = Builder((1, 3, 6, 6))
    return build.save(tmp_path / "net.onnx", *write(build))


@pytest.mark.parametrize("name", list(ON_VECTORS))
def test_every_rule_takes_tensors_without_channels(name: str, tmp_path: Path) -> None:
    def write(build: Builder) -> tuple[str, ...]:
        out = ON_VECTORS[name](build, vector(build))
        y = build.op("Relu", build.conv("x", 3, 12))
        return build.conv(y, 12, 4), out

    path = network(tmp_path, write)
    grouping = find_groups(read_onnx(path))
    assert resize(grouping, grouping.full()) == grouping.network
    free = [group.size for group in grouping.groups if not group.frozen]
    assert free == [12]
    assert all(group.size for group in grouping.groups)
    aligned = paddable(read_source(path, {}))
    assert [group.size for group in aligned.groups if not group.frozen] == [12]


def test_a_timestep_leaves_the_layers_behind_it_free(tmp_path: Path) -> None:
    def write(build: Builder) -> tuple[str, ...]:
        rows = build.op("Unsqueeze", build.op("Sin", vector(build)), build.ints(0))
        hidden = build.op("Relu", build.op("Gemm", rows, build.weight(WIDE, 10)))
        shift = build.op("Gemm", hidden, build.weight(10, 12))
        shift = build.op("Reshape", shift, build.ints(1, 12, 1, 1))
        y = build.op("Add", build.conv("x", 3, 12), shift)
        return (build.conv(build.op("Relu", y), 12, 4),)

    grouping = find_groups(read_onnx(network(tmp_path, write)))
    assert sorted(group.size for group in grouping.groups if not group.frozen) == [10, 12]
    (source,) = [group for group in grouping.groups if group.size == WIDE]
    assert source.frozen.endswith("which has no channels")


@pytest.mark.parametrize(
    ("size", "free"), [(6, [12]), (1, [12]), (0, [12])], ids=["row", "number", "scalar"]
)
def test_a_vector_beside_pictures_leaves_the_channels(
    size: int, free: list[int], tmp_path: Path
) -> None:
    def write(build: Builder) -> tuple[str, ...]:
        mask = build.fed(size) if size else build.op("ReduceMean", build.fed(4), keepdims=0)
        y = build.op("Mul", build.conv("x", 3, 12), mask)
        return (build.conv(y, 12, 4),)

    grouping = find_groups(read_onnx(network(tmp_path, write)))
    assert [group.size for group in grouping.groups if not group.frozen] == free


def test_a_vector_over_the_channels_holds_them(tmp_path: Path) -> None:
    def write(build: Builder) -> tuple[str, ...]:
        flat = build.op("Flatten", build.op("GlobalMaxPool", build.conv("x", 3, WIDE)))
        flat = build.op("Add", flat, vector(build))
        return (build.op("Gemm", flat, build.weight(WIDE, 4)),)

    grouping = find_groups(read_onnx(network(tmp_path, write)))
    (held,) = [group for group in grouping.groups if group.producers and group.size == WIDE]
    assert "an operand without channels has a value for each of them" in held.frozen


STORED = {
    "where": lambda b, y, mask: b.op("Where", b.constant(mask, np.bool_), y, b.op("Neg", y)),
    "and": lambda b, y, mask: b.op("And", b.op("Cast", y, to=9), b.constant(mask, np.bool_)),
    "add": lambda b, y, mask: b.op("Add", b.constant(mask, np.int32), b.op("Cast", y, to=6)),
    "equal": lambda b, y, mask: b.op("Equal", b.op("Cast", y, to=6), b.constant(mask, np.int32)),
}


@pytest.mark.parametrize("name", STORED)
def test_whole_numbers_stored_beside_channels_hold_them(name: str, tmp_path: Path) -> None:
    """Their values are data of the operator, but no tensor of the network."""

    def write(build: Builder) -> tuple[str, ...]:
        y = build.op("Relu", build.conv("x", 3, 12))
        mask = np.arange(12 * SIDE * SIDE).reshape(1, 12, SIDE, SIDE) % 3
        z = build.op("Cast", STORED[name](build, y, mask), to=1)
        return (build.conv(build.op("Relu", build.conv(z, 12, 10)), 10, 4),)

    grouping = find_groups(read_onnx(network(tmp_path, write)))
    assert resize(grouping, grouping.full()) == grouping.network
    (free,) = [group for group in grouping.groups if not group.frozen]
    assert free.size == 10
    held = [group.frozen for group in grouping.groups if group.producers and group.size == 12]
    assert any("an operand of whole numbers is stored in the file" in reason for reason in held)
    fewer = grouping.full()
    fewer[free.units][:3] = False
    assert resize(grouping, fewer).layers[-1].op.inputs[0][1] == 7

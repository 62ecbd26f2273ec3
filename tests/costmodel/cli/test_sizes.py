"""Sizes on the command line: one way for every verb and model format, and what is missing told."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from costmodel.cli.options import parse_sizes
from costmodel.errors import InvalidInputError

Run = Callable[..., Any]  # the fixture's


@pytest.fixture
def resnet(tmp_path: Path) -> Path:
    """A network with an open batch, height and width, under names as exporters give them."""
    value = helper.make_tensor_value_info
    dims = ["p2o.0", 3, "p2o.1", "p2o.2"]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, dims)],
        [value("y", TensorProto.FLOAT, dims)],
    )
    path = tmp_path / "a net.onnx"
    imports = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=8), path)
    return path


@pytest.mark.parametrize("runner", [(), ("--runner", "ort")])
@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ("--size p2o.1=8 --size p2o.2=9", (1, 3, 8, 9)),
        ("--size x:2=8 --size x:3=9 --size batch=4", (4, 3, 8, 9)),
        ("--shape x:4x3x8x9", (4, 3, 8, 9)),
        ("--shape 4x3x8x9", (4, 3, 8, 9)),
        ("--shape [4,3,8,9]", (4, 3, 8, 9)),
        ("--shape x[4,3,8,9] --size batch=4", (4, 3, 8, 9)),
    ],
)
def test_sizes_are_taken(
    run: Run, resnet: Path, runner: tuple[str, ...], options: str, sizes: tuple[int, ...]
) -> None:
    found = run("predict", resnet, "--cost", "activations", "--json", *runner, *options.split())
    assert found.code == 0, found.err
    written = sizes[0] * sizes[1] * sizes[2] * sizes[3]
    assert found.json["total"] == written


@pytest.mark.parametrize("runner", [(), ("--runner", "ort")])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--shape 4x3x8x9 --size bacth=4", "no open dimension 'bacth' to set to 4; did you mean"),
        ("--shape 4x4x8x9", "is 3, so it cannot be 4"),
        ("--shape 4x3x8", "3 sizes"),
        ("--shape z:4x3x8x9", "no input 'z'"),
        ("--shape 4x3x8x9 --size x:2=7", "given as 8 and as 7"),
    ],
)
def test_sizes_that_mean_nothing_are_errors_whoever_is_asked(
    run: Run, resnet: Path, runner: tuple[str, ...], options: str, words: str
) -> None:
    found = run("predict", resnet, "--cost", "flops", *runner, *options.split())
    assert found.code == 2
    assert words in found.err


@pytest.mark.parametrize("runner", [(), ("--runner", "ort")])
def test_what_is_missing_is_a_command_to_copy(
    run: Run, resnet: Path, runner: tuple[str, ...]
) -> None:
    found = run("predict", resnet, "--cost", "flops", *runner)
    assert found.code == 2
    command = found.err.strip().splitlines()[-1].strip()
    assert command.startswith("costmodel predict ")
    assert run(*shlex.split(command)[1:]).code == 0


@pytest.mark.parametrize("text", ["", "x", "x:", "x:1x", "1x0x3", "1x-2", "x:1y2", "x[1,2", "1.5x2",
                                  "x:1x3,", "1x99999999999"])  # fmt: skip
def test_texts_that_are_no_shape(text: str) -> None:
    if text == "x:1x3,":
        assert parse_sizes([], [text]) == {"x": (1, 3)}
        return
    with pytest.raises(InvalidInputError, match=r"--shape .* is not INPUT:1x3x320x320"):
        parse_sizes([], [text])


def test_shapes_as_tools_of_the_runtimes_take_them() -> None:
    assert parse_sizes([], ["a:1x3,b:2x4"]) == {"a": (1, 3), "b": (2, 4)}
    assert parse_sizes([], ["a[1,3],b[2,4]"]) == {"a": (1, 3), "b": (2, 4)}
    assert parse_sizes([], ["serving:0:1x3"]) == {"serving:0": (1, 3)}
    assert parse_sizes([], ["7"]) == {"": (7,)}
    with pytest.raises(InvalidInputError, match="given twice"):
        parse_sizes([], ["a:1x3", "a:1x4"])


@pytest.mark.keras
def test_a_keras_model_takes_the_same(run: Run, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    image = keras.Input((None, None, 1), name="lr")
    keras.Model(image, keras.layers.Conv2D(2, 3)(image)).save(tmp_path / "net.keras")
    plain = ("predict", tmp_path / "net.keras", "--cost", "flops", "--json")
    asked = run(*plain)
    assert asked.code == 2
    assert "--size lr:1=224 --size lr:2=224" in asked.err
    totals = [
        run(*plain, *options.split()).json["total"]
        for options in (
            "--size lr:1=9 --size lr:2=9",
            "--shape lr:8x9x9x1",
            "--size lr:1=9 --size lr:2=9 --size batch=8",
            "--size lr:1=9 --size lr:2=9 --size lr:0=8 --runner ort",
        )
    ]
    assert totals[1] == totals[2] == 8 * totals[0]
    assert totals[3] > 7 * totals[0]
    wrong = run(*plain, "--shape", "lr:1x9x9x1", "--size", "bacth=8")
    assert wrong.code == 2
    assert "no open dimension 'bacth'" in wrong.err

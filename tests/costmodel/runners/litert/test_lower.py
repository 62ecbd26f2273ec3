"""What LiteRT executes, asked for real models of every sort, and what the rules say of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from random_networks import RandomNet

from costmodel.anticipation import anticipate
from costmodel.errors import ModelFormatError
from costmodel.lite_model.graph import LiteBuilder, LiteTensor
from costmodel.lite_model.write import write_model
from costmodel.network import Network
from costmodel.op import Op
from costmodel.readers.onnx import read_onnx
from costmodel.runners.litert.runner import LiteRtRunner

Lower = Callable[..., Network]
Files = Callable[..., Path]
REAL = ("resnet20", "light_squeezenet", "mnist", "yunet", "light_shufflenet")


@pytest.fixture
def lower(model_file: Files, lite_runner: Callable[[str], LiteRtRunner]) -> Lower:
    def lowered(name: str, dtype: str = "float32") -> Network:
        return lite_runner(dtype).lower(model_file(name), {})

    return lowered


def kernels(network: Network) -> list[Op]:
    """Ops without the session and the border of a quantised network."""
    border = {"session", "quantize", "dequantize"}
    return [op for op in network.ops if op.kind not in border]


def test_rules_say_what_the_runtime_does(
    lower: Lower, model_file: Files, converted_model: str, dtype: str
) -> None:
    lowered = lower(converted_model, dtype)
    device = LiteRtRunner(dtype=dtype).device
    anticipated = anticipate(read_onnx(model_file(converted_model)), device)
    anticipated.check()
    assert anticipated.ops == lowered.ops
    assert [layer.covers for layer in anticipated.layers] == [
        layer.covers for layer in lowered.layers
    ]


@pytest.mark.parametrize("name", REAL)
def test_rules_say_what_the_runtime_does_with_real_networks(
    lower: Lower, model_file: Files, name: str, dtype: str
) -> None:
    device = LiteRtRunner(dtype=dtype).device
    assert anticipate(read_onnx(model_file(name)), device).ops == lower(name, dtype).ops


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_rules_say_what_the_runtime_does_with_random_networks(
    lite_runner: Callable[[str], LiteRtRunner], tmp_path: Path, start: int, dtype: str
) -> None:
    runner = lite_runner(dtype)
    for seed in range(start, start + 20):
        path = RandomNet(seed).save(tmp_path / f"{seed}.onnx")
        anticipated = anticipate(read_onnx(path), runner.device)
        assert anticipated.ops == runner.lower(path, {}).ops, f"seed {seed}"


def test_a_file_and_its_conversion_have_the_same_ops(
    lower: Lower, lite_file: Files, lite_runner: Callable[[str], LiteRtRunner],
    converted_model: str, dtype: str,
) -> None:  # fmt: skip
    from_file = lite_runner(dtype).lower(lite_file(converted_model, dtype), {})
    assert from_file.ops == lower(converted_model, dtype).ops


def test_an_activation_and_a_normalisation_run_inside_their_convolution(lower: Lower) -> None:
    first, second = kernels(lower("folded_bn"))
    assert (first.kind, first.epilogue, first.layout) == ("conv", ("relu",), "nhwc")
    assert first.implementation == "XNNPACK:CONV_2D"
    assert first.inputs == ((1, 8, 8, 16),)
    assert first.weights == ((16, 16, 3, 3), (16,))
    assert (second.kernel, second.pads) == ((1, 1), (0, 0, 0, 0))


def test_a_quantised_network_is_so_between_its_borders(lower: Lower) -> None:
    first, *inner, last, session = lower("depthwise", "int8").ops
    assert (first.kind, first.dtype, first.input_dtypes) == ("quantize", "int8", ("float32",))
    assert (last.kind, last.dtype, last.input_dtypes) == ("dequantize", "float32", ("int8",))
    assert session.kind == "session"
    assert {op.dtype for op in inner} == {"int8"}
    assert [op.groups for op in inner] == [32, 1, 4]


def test_a_padding_that_tensorflow_has_no_word_for_is_folded(lower: Lower) -> None:
    """Padding one element on both sides of an even size, at stride 2, is not ``SAME``."""
    strided = next(op for op in lower("chain").ops if op.kind == "conv" and op.stride == (2, 2))
    assert strided.pads == (1, 1, 1, 1)
    assert "pad" not in {op.kind for op in lower("chain").ops}


def test_channel_shuffles_are_one_transposition(lower: Lower) -> None:
    kinds = [op.kind for op in kernels(lower("shuffle"))]
    assert kinds == ["conv", "transpose", "conv"]


def test_what_the_delegate_leaves_is_named(lower: Lower) -> None:
    found = {op.kind: op.implementation for op in lower("old_classifier").ops}
    assert found["lrn"] == "TFLite:LOCAL_RESPONSE_NORMALIZATION"
    assert found["conv"] == "XNNPACK:CONV_2D"
    quantised = {op.kind: op.implementation for op in lower("classifier", "int8").ops}
    assert quantised["softmax"] == "TFLite:SOFTMAX"
    assert quantised["gemm"] == "XNNPACK:FULLY_CONNECTED"


def test_every_layer_is_carried_out_once(lower: Lower, model_file: Files) -> None:
    covered = [name for layer in lower("chain").layers for name in layer.covers]
    assert sorted(covered) == sorted(x.name for x in read_onnx(model_file("chain")).layers)


@pytest.mark.parametrize(
    ("name", "layer"), [("transformer", "erf"), ("qdq", "quantizelinear"), ("integers", "nonzero")]
)
def test_a_layer_without_counterpart_is_named(lower: Lower, name: str, layer: str) -> None:
    with pytest.raises(ModelFormatError, match=layer):
        lower(name)


def test_options_that_do_not_fit_their_tensors_are_refused(
    lite_runner: Callable[[str], LiteRtRunner], tmp_path: Path
) -> None:
    builder = LiteBuilder()
    x = builder.tensor(LiteTensor(name="x", shape=(1, 4)))
    y = builder.tensor(LiteTensor(name="y", shape=(1, 4)))
    builder.operator("MAX_POOL_2D", [x], [y], stride_h=1, stride_w=1, filter_height=1,
                     filter_width=1)  # fmt: skip
    path = tmp_path / "flat.tflite"
    path.write_bytes(write_model(builder.model("flat", [x], [y])))
    with pytest.raises(ModelFormatError, match="flat"):
        lite_runner("float32").lower(path, {})

"""Networks as JAX programs give what ONNX Runtime gives, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper

from costmodel.errors import InvalidInputError, UnsupportedOpError
from costmodel.network import Layer, Network
from costmodel.op import Op, conv_op
from costmodel.readers.onnx import load_onnx, read_onnx
from costmodel.runners.xla.program import Program, build_program
from costmodel.runners.xla.view import View, channels_last, simple

PathOf = Callable[[str], Path]
#: Models that XLA computes as they are.
SAME = (
    "bn_left_over", "branches", "chain", "classifier", "computed_weights", "depthwise",
    "elementwise", "odd_channels", "old_classifier", "pools", "rank_3_and_5", "residual", "resize",
    "shuffle", "slices", "split_18", "transformer", "transposed_conv", "resnet20",
)  # fmt: skip


def weights_of(path: Path, network: Network) -> dict[str, list[NDArray[Any]]]:
    """Float constants of each layer, as the file holds them."""
    model = load_onnx(path)
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    nodes = {node.output[0]: node for node in model.graph.node}
    found = {}
    for layer in network.layers:
        op = layer.op
        letters = op.operands or (
            "d" * len(op.inputs) + "w" * len(op.weights) + "c" * len(op.constants)
        )
        names = nodes[layer.outputs[0]].input
        found[layer.name] = [stored[names[i]] for i, c in enumerate(letters) if c == "w"]
    return found


def lowered(program: Program) -> Any:
    return jax.jit(program.function).lower(dict(program.inputs), program.parameter_specs)


def feed_of(network: Network) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(0)
    return {n: rng.standard_normal(s).astype(np.float32) for n, s in network.inputs.items()}


def arranged(
    program: Program, weights: Mapping[str, list[NDArray[Any]]]
) -> dict[str, NDArray[Any]]:
    """The program's arguments from weights as written."""
    return {
        name: np.zeros(item.spec.shape, item.spec.dtype)
        if item.index < 0
        else item.arrange(weights[item.layer][item.index]).astype(item.spec.dtype)
        for name, item in program.parameters.items()
    }


def both(
    path: Path, dtype: str, layout: str
) -> tuple[Mapping[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Results of the program and of ONNX Runtime."""
    network = read_onnx(path)
    program = build_program(network, dtype=dtype, layout=layout)
    feed = feed_of(network)
    arguments = arranged(program, weights_of(path, network))
    stored = {
        name: feed[name].transpose(program.input_orders[name]).astype(spec.dtype)
        for name, spec in program.inputs.items()
    }
    outputs = jax.jit(program.function)(stored, arguments)
    results = {
        name: np.asarray(value).transpose(np.argsort(order))
        for (name, order), value in zip(program.output_orders.items(), outputs, strict=True)
    }
    session = onnxruntime.InferenceSession(load_onnx(path).SerializeToString())
    names = [item.name for item in session.get_outputs()]
    return results, dict(zip(names, session.run(None, feed), strict=True))


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_computes_what_onnx_runtime_computes(model_file: PathOf, name: str, layout: str) -> None:
    found, wanted = both(model_file(name), "float32", layout)
    assert set(found) == set(wanted)
    for tensor, values in wanted.items():
        np.testing.assert_allclose(found[tensor], values, rtol=2e-4, atol=2e-5, err_msg=tensor)


def test_bfloat16_is_close(model_file: PathOf) -> None:
    found, wanted = both(model_file("chain"), "bfloat16", "nhwc")
    for tensor, values in wanted.items():
        assert found[tensor].dtype.name == "bfloat16"
        scale = np.abs(values).max()
        assert np.abs(found[tensor].astype(np.float32) - values).max() < 0.05 * scale


def test_weights_are_arguments_in_their_deployed_form(model_file: PathOf) -> None:
    network = read_onnx(model_file("conv_relu"))
    program = build_program(network)
    (layer, *_) = network.layers
    specs = program.parameter_specs
    assert specs[f"{layer.name}/0"].shape == (3, 3, 16, 32)
    assert specs[f"{layer.name}/1"].shape == (32,)
    assert program.inputs["x"].shape == (1, 12, 12, 16)
    assert "constant(" not in [
        line for line in lowered(program).as_text("hlo").splitlines() if "f32[3,3,16,32]" in line
    ]


def test_instructions_know_their_layer(model_file: PathOf) -> None:
    network = read_onnx(model_file("residual"))
    program = build_program(network)
    text = lowered(program).compile().as_text()
    names = {program.layer_of(part) for part in text.split('op_name="')[1:]}
    assert names - {""} == {layer.name for layer in network.layers}


def test_a_flattened_image_needs_no_transpose(tmp_path: Path, model_file: PathOf) -> None:
    program = build_program(read_onnx(model_file("classifier")))
    assert " transpose(" not in lowered(program).compile().as_text()


def test_names_the_layer_that_cannot_be_built() -> None:
    odd = Op(kind="no_such_kind", inputs=((1, 8),), outputs=((1, 8),))
    network = Network(
        name="n",
        layers=(Layer(name="strange", op=odd, inputs=("x",), outputs=("y",)),),
        inputs={"x": (1, 8)},
        outputs=("y",),
    )
    with pytest.raises(UnsupportedOpError, match=r"'strange'.*no_such_kind"):
        build_program(network)


def test_names_a_layer_whose_sizes_do_not_fit() -> None:
    conv = conv_op(in_channels=4, out_channels=4, size=(6, 6), kernel=(3, 3), padding="valid")
    wrong = Op(kind="relu", inputs=conv.outputs, outputs=((1, 4, 9, 9),))
    network = Network(
        name="n",
        layers=(
            Layer(name="a", op=conv, inputs=("x",), outputs=("y",)),
            Layer(name="b", op=wrong, inputs=("y",), outputs=("z",)),
        ),
        inputs={"x": conv.inputs[0]},
        outputs=("z",),
    )
    with pytest.raises(UnsupportedOpError, match=r"'b'.*\(1, 4, 4, 4\), not \(1, 4, 9, 9\)"):
        build_program(network)


@pytest.mark.parametrize("wrong", [{"dtype": "float16"}, {"layout": "nchw8c"}])
def test_refuses_other_types_and_layouts(model_file: PathOf, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong.values()))):
        build_program(read_onnx(model_file("conv_relu")), **wrong)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_a_view_is_its_tensor_whatever_is_done_to_it(data: st.DataObject) -> None:
    """Transposes and reshapes of a view agree with numpy's, wherever its values are stored."""
    shape = tuple(data.draw(st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)))
    plain = np.arange(int(np.prod(shape))).reshape(shape)
    order = channels_last(len(shape))
    view: View = simple(jax.numpy.asarray(plain.transpose(order)), order)
    for _ in range(data.draw(st.integers(1, 4))):
        if data.draw(st.booleans()):
            perm = data.draw(st.permutations(range(plain.ndim)))
            view, plain = view.transposed(perm), plain.transpose(perm)
        else:
            wanted = _other_shape(data, plain.size)
            view, plain = view.reshaped(wanted), plain.reshape(wanted)
        assert view.shape == plain.shape
        np.testing.assert_array_equal(view.stored(range(view.rank)), plain)
        np.testing.assert_array_equal(
            view.stored(view.order), plain.transpose(view.order), err_msg=str(view.axes)
        )


def _other_shape(data: st.DataObject, size: int) -> tuple[int, ...]:
    shape: list[int] = []
    while size > 1 and len(shape) < 5:
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        shape.append(data.draw(st.sampled_from(divisors)))
        size //= shape[-1]
    return (*shape, size)

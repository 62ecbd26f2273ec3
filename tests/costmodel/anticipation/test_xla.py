"""Rules for what XLA executes, held against the compiler itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rule_versions import follows, is_followed

pytest.importorskip("jax", reason="needs the xla extra")

from costmodel.anticipation import anticipate
from costmodel.errors import InvalidInputError
from costmodel.network import Layer, Network
from costmodel.op import SESSION, Op, conv_op
from costmodel.readers.onnx import read_onnx
from costmodel.runners.xla.optimised import compile_network, lower
from costmodel.runners.xla.runner import XlaRunner

pytestmark = follows("xla")

PathOf = Callable[[str], Path]
SAME = (
    "bn_left_over", "chain", "classifier", "conv_relu", "depthwise", "folded_bn", "odd_channels",
    "residual",
)  # fmt: skip
#: Models of which one kernel or more is anticipated otherwise, and why.
DIFFERENT = {
    "branches": "a small concatenation is one kernel with what it reads, a large one is not",
    "elementwise": "activations such as ELU and Mish have no rule",
    "old_classifier": "local response normalisation has no rule",
    "resize": "resampling has no rule",
    "shuffle": "channels are shuffled in the kernel before",
    "slices": "mirrored borders and splits have no rule",
    "transformer": "products of activations and layer normalisation have no rule",
    "transposed_conv": "transposed convolutions have no rule",
}
#: Share of the kernels of real networks that must be anticipated exactly.
REAL = {"mnist": 0.85, "resnet20": 0.95, "light_squeezenet": 0.85}


def kernels(network: Network) -> Counter[Op]:
    return Counter(op for op in network.ops if op.kind != SESSION)


def both(runner: XlaRunner, path: Path) -> tuple[Counter[Op], Counter[Op]]:
    lowered = kernels(runner.lower(path, {}))
    return kernels(anticipate(read_onnx(path), runner.device)), lowered


@pytest.mark.parametrize("name", SAME)
def test_anticipates_every_kernel(xla_runner: XlaRunner, model_file: PathOf, name: str) -> None:
    anticipated, lowered = both(xla_runner, model_file(name))
    assert anticipated == lowered


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(strict=is_followed("xla"), reason=why))
        for name, why in DIFFERENT.items()
    ],
)
def test_known_differences(xla_runner: XlaRunner, model_file: PathOf, name: str) -> None:
    anticipated, lowered = both(xla_runner, model_file(name))
    assert anticipated == lowered


@pytest.mark.parametrize("name", REAL)
def test_anticipates_most_of_real_networks(
    xla_runner: XlaRunner, model_file: PathOf, name: str
) -> None:
    anticipated, lowered = both(xla_runner, model_file(name))
    assert (anticipated & lowered).total() >= REAL[name] * lowered.total()


def test_a_network_is_sound_and_ends_with_the_session(
    xla_runner: XlaRunner, model_file: PathOf
) -> None:
    network = anticipate(read_onnx(model_file("resnet20")), xla_runner.device)
    network.check()
    assert network.ops[-1].kind == SESSION
    assert network.source == "anticipated"


@pytest.mark.parametrize(
    "change", [{"provider": "gpu"}, {"dtype": "bfloat16"}, {"options": (("fusions", "default"),)}]
)
def test_other_devices_have_no_rules(
    xla_runner: XlaRunner, model_file: PathOf, change: dict[str, object]
) -> None:
    device = replace(xla_runner.device, **change)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match=r"no rules.*asked itself"):
        anticipate(read_onnx(model_file("chain")), device)


@st.composite
def residual_networks(draw: st.DrawFn) -> Network:
    """A stem and residual blocks of random widths, as pruned networks have them.

    Not of one channel: there XLA turns the bias into a single number.
    """
    width, size = draw(st.integers(2, 40)), draw(st.sampled_from([4, 6, 9]))
    layers: list[Layer] = []

    def add(op: Op, *reads: str) -> str:
        name = f"{op.kind}{len(layers)}"
        layers.append(Layer(name=name, op=op, inputs=reads, outputs=(f"{name}_y",)))
        return f"{name}_y"

    def conv(read: str, cin: int, cout: int, kernel: int) -> str:
        op = conv_op(in_channels=cin, out_channels=cout, size=(size, size), kernel=(kernel,) * 2)
        return add(op, read)

    def same(kind: str, *reads: str, channels: int = width) -> str:
        shape = (1, channels, size, size)
        return add(Op(kind=kind, inputs=(shape,) * len(reads), outputs=(shape,)), *reads)

    y = same("relu", conv("x", 3, width, 3))
    for _ in range(draw(st.integers(0, 3))):
        inner = draw(st.integers(2, 40))
        a = same("relu", conv(y, width, inner, draw(st.sampled_from([1, 3]))), channels=inner)
        y = same("relu", same("add", conv(a, inner, width, 3), y))
    return Network(
        name="random", layers=tuple(layers), inputs={"x": (1, 3, size, size)}, outputs=(y,)
    )


@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(network=residual_networks())
def test_anticipates_random_residual_networks(xla_runner: XlaRunner, network: Network) -> None:
    compiled = compile_network(
        network,
        dtype="float32",
        layout="nhwc",
        options=xla_runner._options,
        device=xla_runner._device,
    )
    lowered = kernels(lower(network, compiled, "nhwc"))
    assert kernels(anticipate(network, xla_runner.device)) == lowered

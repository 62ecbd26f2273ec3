"""The runner on XLA: the contract, what it lowers to, what it refuses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rule_versions import follows

from costmodel.errors import InvalidInputError, ModelFormatError, UnsupportedOpError
from costmodel.hlo_model.describe import implementation_of, recipe_text
from costmodel.hlo_model.module import Instruction
from costmodel.hlo_model.recipe import read_recipe
from costmodel.network import Network
from costmodel.op import SESSION, Op
from costmodel.runners.xla.runner import XlaRunner
from costmodel.testing import RunnerContract

PathOf = Callable[[str], Path]


class TestXlaRunner(RunnerContract):
    @pytest.fixture
    def runner(self, xla_runner: XlaRunner) -> XlaRunner:
        return xla_runner

    @pytest.fixture
    def model(self, model_file: PathOf) -> Path:
        return model_file("residual")


def lowered(runner: XlaRunner, path: Path) -> Network:
    return runner.lower(path, {})


def by_kind(network: Network, kind: str) -> list[Op]:
    return [op for op in network.ops if op.kind == kind]


def test_a_convolution_keeps_its_sizes(xla_runner: XlaRunner, model_file: PathOf) -> None:
    network = lowered(xla_runner, model_file("chain"))
    stem = by_kind(network, "conv")[0]
    assert stem.inputs == ((1, 16, 16, 3),)
    assert stem.outputs == ((1, 8, 8, 32),)
    assert stem.weights == ((32, 3, 3, 3),)
    assert (stem.kernel, stem.stride, stem.pads) == ((3, 3), (2, 2), (1, 1, 1, 1))
    assert stem.layout == "nhwc"
    assert stem.macs == 8 * 8 * 32 * 27


def test_depthwise_and_grouped_are_seen(xla_runner: XlaRunner, model_file: PathOf) -> None:
    convs = by_kind(lowered(xla_runner, model_file("depthwise")), "conv")
    assert [op.groups for op in convs if op.groups > 1] == [32, 4]
    assert convs[0].is_depthwise


def test_bias_and_activation_are_one_kernel(xla_runner: XlaRunner, model_file: PathOf) -> None:
    network = lowered(xla_runner, model_file("conv_relu"))
    kernels = [layer for layer in network.layers if layer.op.kind != SESSION]
    assert [layer.op.kind for layer in kernels] == ["conv", "relu"]
    assert kernels[1].op.epilogue == ("bias",)
    assert len(kernels[1].covers) == 2
    assert kernels[1].inputs == kernels[0].outputs


def test_pools_keep_their_window(xla_runner: XlaRunner, model_file: PathOf) -> None:
    network = lowered(xla_runner, model_file("light_squeezenet"))
    pools = by_kind(network, "max_pool")
    assert {(op.kernel, op.stride) for op in pools} == {((3, 3), (2, 2))}


def test_every_op_is_rebuilt_as_it_was(xla_runner: XlaRunner, model_file: PathOf) -> None:
    """Alone, XLA compiles each Op to the kernel it was in the network; else this raises."""
    for name in ("depthwise", "shuffle", "old_classifier"):
        for op in dict.fromkeys(lowered(xla_runner, model_file(name)).ops):
            xla_runner.load_op(op).close()


def test_layers_that_cannot_be_built_are_named(xla_runner: XlaRunner, model_file: PathOf) -> None:
    path = model_file("integers")
    network = lowered(xla_runner, path)
    assert any("top_k" in reason for reason in network.unread.values())
    assert len(network.ops) > 1
    with pytest.raises(ModelFormatError, match="whole network cannot be timed: layer"):
        xla_runner.load_model(path, {})


def test_an_op_of_another_runtime_is_refused(xla_runner: XlaRunner) -> None:
    other = Op(kind="relu", inputs=((1, 8),), outputs=((1, 8),), implementation="Relu")
    with pytest.raises(UnsupportedOpError, match="no HLO recipe"):
        xla_runner.load_op(other)


def test_an_op_that_compiles_to_something_else_is_refused(
    xla_runner: XlaRunner, model_file: PathOf
) -> None:
    op = by_kind(lowered(xla_runner, model_file("conv_relu")), "conv")[0]
    with pytest.raises(UnsupportedOpError, match="alone, XLA compiles 0 of"):
        xla_runner.load_op(replace(op, implementation="some:other"))


@pytest.mark.parametrize(
    "damage", ["", "d[1,8] | nonsense", "d[1,8] | add(0,9) | 1", "d[-1] |  | 0"]
)
def test_a_damaged_recipe_is_refused(xla_runner: XlaRunner, damage: str) -> None:
    op = Op(kind="add", inputs=((1, 8),), outputs=((1, 8),), attributes=(("hlo", damage),))
    with pytest.raises(UnsupportedOpError, match="recipe"):
        xla_runner.load_op(op)


@pytest.mark.parametrize(
    "wrong",
    [{"threads": 0}, {"dtype": "int8"}, {"platform": "npu"}, {"layout": "x"}, {"fusions": "all"}],
)
def test_unknown_options_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(wrong))):
        XlaRunner(**wrong)  # type: ignore[arg-type]


def test_another_number_of_threads_is_refused(xla_runner: XlaRunner) -> None:
    with pytest.raises(InvalidInputError, match="a process of its own"):
        XlaRunner(threads=xla_runner.device.threads + 1, platform="cpu")


def test_a_missing_platform_is_named() -> None:
    with pytest.raises(InvalidInputError, match="no platform 'gpu'"):
        XlaRunner(platform="gpu")


def test_bfloat16_is_another_device(xla_runner: XlaRunner, model_file: PathOf) -> None:
    half = XlaRunner(threads=xla_runner.device.threads, platform="cpu", dtype="bfloat16")
    assert half.device.fingerprint != xla_runner.device.fingerprint
    ops = lowered(half, model_file("conv_relu")).ops
    assert "bfloat16" in {op.dtype for op in ops}
    for op in ops:
        half.load_op(op).close()


@follows("xla")
def test_joined_fusions_are_an_option(xla_runner: XlaRunner, model_file: PathOf) -> None:
    joined = XlaRunner(threads=xla_runner.device.threads, platform="cpu", fusions="default")
    path = model_file("resnet20")
    assert "subgraph" in {op.kind for op in lowered(joined, path).ops}
    assert "subgraph" not in {op.kind for op in lowered(xla_runner, path).ops}


def test_recipes_are_short_enough_to_keep(xla_runner: XlaRunner, model_file: PathOf) -> None:
    for op in lowered(xla_runner, model_file("light_squeezenet")).ops:
        if op.kind != SESSION:
            text = recipe_text(op)
            assert str(read_recipe(text)) == text
            assert len(text) < 2000


def test_a_library_fusion_is_named_after_its_library() -> None:
    item = Instruction(
        name="f",
        opcode="fusion",
        arrays=(),
        operands=(),
        attributes={
            "kind": "kCustom",
            "backend_config": '{"fusion_config":{"kind":"__ynn_fusion"}}',
        },
    )
    assert implementation_of(item) == "ynn:fusion"


ONE_THREAD = """
import psutil
from pathlib import Path
from costmodel.runners.xla.runner import XlaRunner
runner = XlaRunner(threads=1, platform="cpu")
work = runner.load_model(Path({path!r}), {{}})
work.block(20.0)
me = psutil.Process()
before = {{t.id: t.user_time for t in me.threads()}}
work.block(400.0)
used = [t.user_time - before.get(t.id, 0.0) for t in me.threads()]
print(sum(share > 0.1 * sum(used) for share in used))
"""


def test_one_thread_uses_one_processor(model_file: PathOf) -> None:
    """Threads that did a tenth of the work or more."""
    code = ONE_THREAD.format(path=str(model_file("resnet20")))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == 1

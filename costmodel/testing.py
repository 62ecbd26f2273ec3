"""Contract tests for plug-ins, and a hypothesis strategy that draws Ops.

A runner or cost model of your own gets its tests by subclassing a contract and saying what it is::

    class TestMyRunner(RunnerContract):
        @pytest.fixture
        def runner(self):
            return MyRunner(threads=1)

        @pytest.fixture
        def model(self):
            return Path("tests/small.onnx")

    class TestMyCost(CostModelContract):
        @pytest.fixture
        def cost(self):
            return MyCost()

They check what every caller relies on, not how accurate or how fast a plug-in is. For values in the
messages of failed asserts, ``pytest.register_assert_rewrite("costmodel.testing")`` in conftest.py.
"""
# ruff: noqa: D102 - the name of a test says what it checks

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from costmodel.device import Device
from costmodel.errors import ModelFormatError, UnsupportedOpError
from costmodel.model_rows import model_op
from costmodel.op import SESSION, Attribute, Op, Shape, conv_op, decode_op, encode_op
from costmodel.protocols import Block, CostModel, Runner, Unit

#: Shortest block that the runner contract asks for, in ms.
BLOCK_MS = 2.0
#: Factor within which the least of three blocks repeats on any machine, and ms below which not.
REPEATS_WITHIN, FLOOR_MS = 10.0, 0.02
#: A kind that no runtime has.
UNKNOWN_OP = Op(
    kind="no_such_kernel", implementation="NoSuchKernel", inputs=((1, 8),), outputs=((1, 8),)
)

# Fixtures of a contract are values that tests never change, so that one serves all examples; and
# inherited tests run in as many classes as there are plug-ins.
_CONTRACT = settings(
    database=None,
    deadline=None,
    derandomize=True,
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)


class RunnerContract:
    """What every ``Runner`` does; subclasses define the fixtures ``runner`` and ``model``.

    ``model`` is the path of a small model file that the runner can lower and run; ``sizes`` binds
    its named dimensions, none unless overridden; ``unsupported_op`` is one it cannot rebuild.
    """

    @pytest.fixture
    def sizes(self) -> Mapping[str, int]:
        """Values of the model's named dynamic dimensions."""
        return {}

    @pytest.fixture
    def unsupported_op(self) -> Op:
        """An Op that the runner cannot rebuild."""
        return UNKNOWN_OP

    @pytest.fixture
    def some_ops(self, runner: Runner, model: Path, sizes: Mapping[str, int]) -> Sequence[Op]:
        """Up to six different Ops of the model that can be timed."""
        ops = dict.fromkeys(runner.lower(model, sizes).ops)
        return [op for op in ops if op.kind != SESSION][:6]

    def test_device_stays_the_same_and_survives_json(self, runner: Runner) -> None:
        assert isinstance(runner, Runner)
        device = runner.device
        assert device.identity == runner.device.identity
        assert device.threads >= 1
        again = msgspec.json.decode(msgspec.json.encode(device), type=Device)
        assert device.fingerprint == again.fingerprint

    def test_lowering_ends_with_the_session(
        self, runner: Runner, model: Path, sizes: Mapping[str, int]
    ) -> None:
        kinds = [op.kind for op in runner.lower(model, sizes).ops]
        assert kinds[-1] == SESSION
        assert kinds.count(SESSION) == 1
        assert len(kinds) > 1

    def test_lowering_gives_a_sound_network(
        self, runner: Runner, model: Path, sizes: Mapping[str, int]
    ) -> None:
        network = runner.lower(model, sizes)
        network.check()
        assert network.source == "lowered"
        assert network.inputs
        assert all(network.unread.values()), "every unread layer has a reason"

    def test_lowering_twice_gives_the_same_ops(
        self, runner: Runner, model: Path, sizes: Mapping[str, int]
    ) -> None:
        assert runner.lower(model, sizes).ops == runner.lower(model, sizes).ops

    def test_lowered_ops_survive_json(
        self, runner: Runner, model: Path, sizes: Mapping[str, int]
    ) -> None:
        ops = runner.lower(model, sizes).ops
        assert ops == tuple(decode_op(encode_op(op)) for op in ops)

    def test_ops_take_time(self, runner: Runner, some_ops: Sequence[Op]) -> None:
        for op in some_ops:
            with runner.load_op(op) as workload:
                _require_sound(workload.block(BLOCK_MS))

    def test_a_model_takes_time(
        self, runner: Runner, model: Path, sizes: Mapping[str, int]
    ) -> None:
        with runner.load_model(model, sizes) as workload:
            _require_sound(workload.block(BLOCK_MS))

    def test_latencies_repeat(self, runner: Runner, some_ops: Sequence[Op]) -> None:
        for op in some_ops:
            with runner.load_op(op) as workload:
                first, second = (
                    min(workload.block(BLOCK_MS).latency_ms for _ in range(3)) for _ in range(2)
                )
            least, most = sorted((first, second))
            assert most <= REPEATS_WITHIN * max(least, FLOOR_MS), op.label

    def test_workloads_close_more_than_once(self, runner: Runner, some_ops: Sequence[Op]) -> None:
        workload = runner.load_op(some_ops[0])
        workload.block(BLOCK_MS)
        workload.close()
        workload.close()

    def test_refuses_an_op_it_cannot_rebuild(self, runner: Runner, unsupported_op: Op) -> None:
        with pytest.raises(UnsupportedOpError, match=r"\w"):
            runner.load_op(unsupported_op)

    def test_refuses_a_whole_network_as_an_op(self, runner: Runner) -> None:
        with pytest.raises(UnsupportedOpError, match=r"\w"):
            runner.load_op(model_op("network", "0" * 16, (UNKNOWN_OP,)))

    @pytest.mark.parametrize("content", [None, b"", b"\x00\xff not a model"])
    def test_refuses_a_file_that_is_no_model(
        self, runner: Runner, model: Path, tmp_path: Path, content: bytes | None
    ) -> None:
        path = tmp_path / f"damaged{model.suffix}"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelFormatError, match="damaged"):
            runner.lower(path, {})
        with pytest.raises(ModelFormatError, match="damaged"):
            runner.load_model(path, {})


def _require_sound(block: Block) -> None:
    assert 0 < block.latency_ms < inf
    assert block.wall_ms >= BLOCK_MS
    assert block.runs >= 1


class CostModelContract:
    """What every ``CostModel`` does; subclasses define the fixture ``cost``.

    ``known_ops`` are Ops that it must have a price for: ``example_ops()`` unless overridden.
    Fixtures may be of any scope: no test changes them.
    """

    @pytest.fixture
    def known_ops(self) -> Sequence[Op]:
        """Ops that the cost model must price."""
        return example_ops()

    def test_is_a_cost_model(self, cost: CostModel) -> None:
        assert isinstance(cost, CostModel)
        assert cost.unit in get_args(Unit)
        assert cost.name

    def test_prices_what_it_knows(self, cost: CostModel, known_ops: Sequence[Op]) -> None:
        prices = cost.price(known_ops)
        assert not prices.reasons
        assert np.isfinite(prices.values).all()

    def test_prices_nothing_of_nothing(self, cost: CostModel) -> None:
        prices = cost.price([])
        assert prices.values.shape == (0,)
        assert not prices.reasons

    def test_never_charges_zero_for_an_unknown_kind(
        self, cost: CostModel, known_ops: Sequence[Op]
    ) -> None:
        prices = cost.price([*known_ops, UNKNOWN_OP])
        value = prices.values[-1]
        assert value > 0 or prices.reasons[len(known_ops)]

    def test_never_prices_a_whole_network(self, cost: CostModel) -> None:
        prices = cost.price([model_op("network", "0" * 16, (UNKNOWN_OP,))])
        assert np.isnan(prices.values).all()
        assert prices.reasons[0]

    @_CONTRACT
    @given(data=st.data())
    def test_prices_are_sound(
        self, cost: CostModel, known_ops: Sequence[Op], data: st.DataObject
    ) -> None:
        drawn = data.draw(st.lists(_mixed(known_ops), max_size=8))
        prices = cost.price(drawn)
        for array in (prices.values, prices.low, prices.high):
            assert array.shape == (len(drawn),)
            assert array.dtype == np.float64
        unpriced = np.isnan(prices.values)
        assert set(np.flatnonzero(unpriced)) == set(prices.reasons)
        assert all(prices.reasons.values()), "every NaN has a reason in words"
        assert set(prices.extrapolated) <= set(range(len(drawn)))
        assert all(prices.extrapolated.values())
        low, value, high = (a[~unpriced] for a in (prices.low, prices.values, prices.high))
        assert np.isfinite([low, value, high]).all()
        assert (low >= 0).all()
        assert (low <= value).all()
        assert (value <= high).all()
        if prices.exact is not None:
            assert prices.exact.shape == (len(drawn),)
            assert not prices.exact[unpriced].any()

    @_CONTRACT
    @given(data=st.data())
    def test_company_changes_no_price(
        self, cost: CostModel, known_ops: Sequence[Op], data: st.DataObject
    ) -> None:
        drawn = data.draw(st.lists(_mixed(known_ops), min_size=1, max_size=6))
        order = data.draw(st.permutations([*range(len(drawn)), *range(len(drawn))]))
        together = cost.price([drawn[i] for i in order])
        alone = [cost.price([op]) for op in drawn]
        for field in ("values", "low", "high"):
            expected = np.array([getattr(alone[i], field)[0] for i in order])
            np.testing.assert_allclose(getattr(together, field), expected, rtol=1e-9)


def _mixed(known: Sequence[Op]) -> st.SearchStrategy[Op]:
    return st.one_of(st.sampled_from(list(known)), ops(), st.just(UNKNOWN_OP))


def example_ops() -> tuple[Op, ...]:
    """One Op of each sort that convolutional networks are made of, the ``session`` excepted."""
    map_, wide, row = (1, 16, 14, 14), (1, 32, 14, 14), (1, 100)
    window = (("kernel_shape", (3, 3)),)
    convolutions = [
        {"in_channels": 3, "out_channels": 16, "kernel": (7, 7), "stride": 2},
        {"in_channels": 16, "out_channels": 32, "kernel": (3, 3), "epilogue": ("relu",)},
        {"in_channels": 16, "out_channels": 24, "kernel": (1, 1)},
        {"in_channels": 17, "out_channels": 23, "kernel": (3, 3)},
        {"in_channels": 32, "out_channels": 32, "kernel": (3, 3), "groups": 32},
        {"in_channels": 32, "out_channels": 64, "kernel": (3, 3), "groups": 4},
        {"in_channels": 16, "out_channels": 16, "kernel": (3, 3), "dilation": 2},
    ]
    return (
        *(conv_op(size=(14, 14), **sizes) for sizes in convolutions),  # type: ignore[arg-type]
        _conv_transpose_op((1, 16, 14, 14), 8),
        Op(kind="gemm", inputs=((1, 64),), outputs=(row,), weights=((64, 100), (100,))),
        Op(kind="matmul", inputs=((1, 8, 64), (1, 64, 8)), outputs=((1, 8, 8),)),
        Op(kind="add", inputs=(map_, map_), outputs=(map_,)),
        *(Op(kind=kind, inputs=(map_,), outputs=(map_,)) for kind in ("relu", "sigmoid")),
        Op(kind="clip", inputs=(map_,), outputs=(map_,), constants=((0.0,), (6.0,))),
        Op(kind="batch_norm", inputs=(map_,), outputs=(map_,), weights=((16,),) * 4),
        Op(kind="concat", inputs=(map_, map_), outputs=(wide,), attributes=(("axis", 1),)),
        Op(kind="max_pool", inputs=(map_,), outputs=((1, 16, 12, 12),), attributes=window),
        Op(kind="average_pool", inputs=(map_,), outputs=((1, 16, 12, 12),), attributes=window),
        Op(kind="global_average_pool", inputs=(map_,), outputs=((1, 16, 1, 1),)),
        Op(kind="softmax", inputs=(row,), outputs=(row,)),
        Op(kind="lrn", inputs=(map_,), outputs=(map_,), attributes=(("size", 5),)),
        Op(kind="reorder_input", inputs=(map_,), outputs=(map_,), layout="nchw8c"),
        Op(kind="reorder_output", inputs=(map_,), outputs=(map_,), layout="nchw8c"),
        Op(kind="reshape", inputs=(map_,), outputs=((1, 3136),), constants=((1, -1),)),
        Op(kind="transpose", inputs=(map_,), outputs=((1, 14, 14, 16),)),
    )


def ops() -> st.SearchStrategy[Op]:
    """Valid Ops of every sort: convolutions of every path, matrix products and all the others."""
    return st.one_of(convs(), conv_transposes(), matmuls(), maps(), shuffles())


_channels = st.integers(1, 160)
_sizes = st.integers(1, 40)
_batches = st.sampled_from([1, 1, 1, 2, 4])


@st.composite
def convs(draw: st.DrawFn) -> Op:
    """Convolutions: plain, pointwise, depthwise, grouped, dilated, strided, blocked, 1-D to 3-D."""
    path = draw(st.sampled_from(["plain", "depthwise", "grouped", "blocked"]))
    rank = draw(st.sampled_from([2, 2, 2, 1, 3])) if path == "plain" else 2
    block = draw(st.sampled_from([8, 16])) if path == "blocked" else 1
    groups = draw(st.integers(2, 64)) if path in {"depthwise", "grouped"} else 1
    width = 1 if path == "depthwise" else draw(st.integers(1, 8 if path == "grouped" else 20))
    wide = draw(st.integers(1, 8 if groups > 1 else 20))
    op = conv_op(
        in_channels=groups * width * block,
        out_channels=groups * wide * block,
        size=tuple(draw(_sizes) for _ in range(rank)),
        kernel=tuple(draw(st.sampled_from([1, 1, 2, 3, 3, 5, 7])) for _ in range(rank)),
        stride=draw(st.sampled_from([1, 1, 2, 3])),
        dilation=draw(st.sampled_from([1, 1, 2])),
        groups=groups,
        batch=draw(_batches),
        bias=draw(st.booleans()),
        epilogue=draw(st.sampled_from([(), ("relu",), ("sum",), ("sum", "relu")])),
    )
    if "sum" in op.epilogue:
        op = replace(op, inputs=(*op.inputs, *op.outputs))
    return replace(op, layout=f"nchw{block}c") if block > 1 else op


@st.composite
def conv_transposes(draw: st.DrawFn) -> Op:
    """Transposed convolutions that double the sizes."""
    read = (draw(_batches), draw(_channels), draw(_sizes), draw(_sizes))
    return _conv_transpose_op(read, draw(_channels))


def _conv_transpose_op(read: Shape, channels: int) -> Op:
    return Op(
        kind="conv_transpose",
        inputs=(read,),
        outputs=((read[0], channels, 2 * read[2], 2 * read[3]),),
        weights=((read[1], channels, 2, 2),),
        stride=(2, 2),
        pads=(0, 0, 0, 0),
        dilation=(1, 1),
    )


@st.composite
def matmuls(draw: st.DrawFn) -> Op:
    """Matrix products, with a constant right side (``gemm``) or two activations (``matmul``)."""
    rows, inner, columns = draw(_batches), draw(st.integers(1, 512)), draw(st.integers(1, 512))
    written = (rows, columns)
    if draw(st.booleans()):
        weights = ((inner, columns), (columns,))
        return Op(kind="gemm", inputs=((rows, inner),), outputs=(written,), weights=weights)
    return Op(kind="matmul", inputs=((rows, inner), (inner, columns)), outputs=(written,))


@st.composite
def maps(draw: st.DrawFn) -> Op:
    """Kernels that work element by element or by window."""
    shape = (draw(_batches), draw(_channels), draw(_sizes), draw(_sizes))
    same = ["add", "mul", "relu", "sigmoid", "batch_norm", "softmax", "lrn", "max_pool"]
    kind = draw(st.sampled_from(same))
    settings_of: dict[str, tuple[tuple[str, Attribute], ...]] = {
        "lrn": (("size", 5),),
        "max_pool": (("kernel_shape", (3, 3)),),
    }
    return Op(
        kind=kind,
        inputs=(shape, shape) if kind in {"add", "mul"} else (shape,),
        outputs=(shape,),
        weights=((shape[1],),) * 4 if kind == "batch_norm" else (),
        stride=(1, 1) if kind == "max_pool" else (),
        pads=(1, 1, 1, 1) if kind == "max_pool" else (),
        attributes=settings_of.get(kind, ()),
    )


@st.composite
def shuffles(draw: st.DrawFn) -> Op:
    """Kernels that move elements, and the ``session``."""
    batch, channels, height, width = draw(_batches), draw(_channels), draw(_sizes), draw(_sizes)
    shape = (batch, channels, height, width)
    kind = draw(st.sampled_from(["concat", "reshape", "transpose", "reorder", SESSION]))
    if kind == "concat":
        other = (batch, draw(_channels), height, width)
        written = (batch, channels + other[1], height, width)
        axis = (("axis", 1),)
        return Op(kind=kind, inputs=(shape, other), outputs=(written,), attributes=axis)
    if kind == "reshape":
        flat = (batch, channels * height * width)
        return Op(kind=kind, inputs=(shape,), outputs=(flat,), constants=((batch, -1),))
    if kind == "transpose":
        written, order = (batch, height, width, channels), (("perm", (0, 2, 3, 1)),)
        return Op(kind=kind, inputs=(shape,), outputs=(written,), attributes=order)
    if kind == "reorder":
        block = draw(st.sampled_from([8, 16]))
        shape = (batch, channels * block, height, width)
        kind = draw(st.sampled_from(["reorder_input", "reorder_output"]))
        return Op(kind=kind, inputs=(shape,), outputs=(shape,), layout=f"nchw{block}c")
    return Op(kind=kind, inputs=(shape,), outputs=((batch, 10),))

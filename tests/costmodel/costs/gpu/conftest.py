"""Sizes of Ops, as rules of GPU runtimes see them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from costmodel.costs.features import Table
from costmodel.costs.gpu.sizes import Floats, Sizes
from costmodel.op import Op, conv_op


def nhwc(op: Op, name: str = "convolution_2d", epilogue: tuple[str, ...] = ()) -> Op:
    """A convolution as TensorFlow Lite's GPU delegate lays it out, of float16."""

    def moved(shape: tuple[int, ...]) -> tuple[int, ...]:
        return (shape[0], *shape[2:], shape[1])

    return replace(
        op,
        implementation=name,
        layout="nhwc",
        dtype="float16",
        inputs=tuple(map(moved, op.inputs)),
        outputs=tuple(map(moved, op.outputs)),
        epilogue=epilogue,
    )


def pointwise(filters: int, side: int = 14, channels: int = 64) -> Op:
    return conv_op(in_channels=channels, out_channels=filters, size=(side, side), kernel=(1, 1))


@pytest.fixture
def sizes_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sizes]:
    """Sizes of Ops by the very columns that the regression's table reads."""

    def read(*ops: Op) -> Sizes:
        found: list[Sizes] = []

        def keep(sizes: Sizes) -> tuple[dict[str, Floats], dict[str, Floats], list[str]]:
            found.append(sizes)
            return {}, {}, [""] * len(ops)

        monkeypatch.setattr("costmodel.costs.features.rules_of", {None: keep}.get)
        Table(ops)
        monkeypatch.undo()
        return found[0]

    return read


class Tools:
    """What the tests of this folder share."""

    nhwc = staticmethod(nhwc)
    pointwise = staticmethod(pointwise)


@pytest.fixture(scope="session")
def gpu_tools() -> Tools:
    return Tools()

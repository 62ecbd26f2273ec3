"""Networks that a device with a known law was timed on: kernels, times, tables and lists."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from small_models import Draft

from costmodel.costs.work import Thing
from costmodel.op import Op, conv_op


def drawn_networks(count: int, *, seed: int = 0) -> list[list[Op]]:
    """Kernels of small random networks: a stem, blocks of three kinds of convolution, a head."""
    draw = random.Random(seed)
    return [_network(draw) for _ in range(count)]


def _network(draw: random.Random) -> list[Op]:
    side, channels = draw.choice((32, 64)), draw.choice((8, 16, 24))
    found = [_conv(3, channels, side, 3)]
    for _ in range(draw.randint(3, 8)):
        out = draw.choice((16, 24, 32, 48, 64))
        if draw.random() < 0.5:
            found += [_conv(channels, channels, side, 3, channels), _conv(channels, out, side, 1)]
        else:
            found.append(_conv(channels, out, side, 3))
        if draw.random() < 0.4:
            shape = (1, out, side, side)
            found.append(Op(kind="add", inputs=(shape, shape), outputs=(shape,)))
        if draw.random() < 0.3 and side > 8:
            side //= 2
            shape = (1, out, side, side)
            found.append(
                Op(kind="max_pool", inputs=((1, out, 2 * side, 2 * side),), outputs=(shape,))
            )
        channels = out
    pooled = (1, channels, 1, 1)
    found.append(
        Op(kind="global_average_pool", inputs=((1, channels, side, side),), outputs=(pooled,))
    )
    return found


def _conv(channels: int, out: int, side: int, kernel: int, groups: int = 1) -> Op:
    return conv_op(
        in_channels=channels, out_channels=out, size=(side, side), kernel=(kernel,) * 2,
        groups=groups,
    )  # fmt: skip


def law_of(things: Sequence[Thing], speed: float = 1.0, *, seed: int = 0) -> NDArray[np.float64]:
    """How slow a device is at each thing, as a factor on the reference."""
    values = np.random.default_rng(seed).uniform(-0.5, 0.5, size=1000)
    place = {name: i for i, name in enumerate(sorted({(t.loop, t.bound) for t in things}))}
    return np.array([speed * np.exp(values[place[thing.loop, thing.bound]]) for thing in things])


def write_networks(folder: Path, count: int) -> list[Path]:
    """ONNX files of small networks, no two alike."""
    draw, paths = random.Random(count), []
    for number in range(count):
        draft, channels = Draft(1, 3, 32, 32), draw.choice((16, 32))
        at = draft.node("Relu", draft.conv("x", 3, channels))
        for _ in range(draw.randint(2, 6)):
            out = draw.choice((16, 32, 48, 64))
            if draw.random() < 0.5:
                at = draft.node("Relu", draft.conv(at, channels, channels, groups=channels))
                at = draft.conv(at, channels, out, kernel=1)
            else:
                at = draft.node("Relu", draft.conv(at, channels, out))
            channels = out
        model = draft.done(draft.node("GlobalAveragePool", at))
        path = folder / f"net{number}.onnx"
        onnx.save(model, str(path))
        paths.append(path)
    return paths

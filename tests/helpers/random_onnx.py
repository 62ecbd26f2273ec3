"""Random ONNX networks for cutting and padding: what ``RandomNet`` has, and what lies beside it.

Timesteps and masks without channels, norms along every axis, tokens, statistics, recurrent heads,
several inputs and outputs. All weights are positive, so that sums do not cancel.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper
from random_networks import FROM_NHWC, TO_NHWC, RandomNet

from morphnet_core.alignment.source import Source
from morphnet_core.groups import Alive, Grouping


class RandomOnnx(RandomNet):
    """One network in the making.

    Args:
        seed: draws everything.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.extra: list[str] = []
        kinds = [getattr(self, name) for name in dir(self) if name.startswith("draw_")]
        for _ in range(self.random.randint(1, 4)):
            self.random.choice(kinds)(*self.random.choice(self.live[-3:]))
            if self.random.random() < 0.7:
                self.conv(*self.live[-1])

    def save(self, path: Path) -> Path:
        """Write the network, whose last tensor feeds a convolution, and return ``path``."""
        tensor, channels, side = self.live[-1]
        outputs = [self.build.conv(tensor, channels, 3, 1), *self.extra]
        if self.random.random() < 0.5:
            outputs.append(self.recurrent(tensor, channels, side))
        return self.build.save(path, *outputs)

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """One more node."""
        return self.build.op(op_type, *inputs, **attributes)

    def add(self, tensor: str, channels: int, side: int) -> None:
        """One more tensor to go on from."""
        self.live.append((tensor, channels, side))

    def draw_timestep(self, x: str, channels: int, side: int) -> None:
        build = self.build
        waves = self.op("Cos", self.op("Mul", self.build.fed(1), build.weight(4)))
        if self.random.random() < 0.5:
            rows = self.op("Unsqueeze", waves, build.ints(0))
            shift = self.op("Relu", self.op("Gemm", rows, build.weight(4, 6)))
            shift = self.op("Gemm", shift, build.weight(6, channels))
        else:
            shift = self.op("MatMul", waves, build.weight(4, channels))
        shift = self.op("Reshape", shift, build.ints(1, channels, 1, 1))
        self.add(self.op("Add", x, shift), channels, side)

    def draw_mask(self, x: str, channels: int, side: int) -> None:
        mask = self.op("Sigmoid", self.build.fed(side))
        self.add(self.op("Mul", *self.random.sample([x, mask], 2)), channels, side)

    def draw_norm(self, x: str, channels: int, side: int) -> None:
        build, kind = self.build, self.random.choice(["instance", "unit", "layer", "tokens"])
        if kind == "instance":
            y = self.op("InstanceNormalization", x, build.weight(channels), build.weight(channels))
        elif kind == "unit" or build.opset < 17:
            y = self.op("LpNormalization", x, axis=self.random.choice([1, 2, 3]))
        elif kind == "layer":
            axis = self.random.choice([2, 3, -1])
            sizes = (side, side) if axis == 2 else (side,)
            y = self.op("LayerNormalization", x, build.weight(*sizes), axis=axis)
        else:
            y = self.op("Transpose", x, perm=TO_NHWC)
            y = self.op("LayerNormalization", y, build.weight(channels), build.weight(channels))
            y = self.op("Transpose", y, perm=FROM_NHWC)
        self.add(y, channels, side)

    def draw_softmax(self, x: str, channels: int, side: int) -> None:
        self.add(self.op("Softmax", x, axis=self.random.choice([1, 2, 3])), channels, side)

    def draw_where(self, x: str, channels: int, side: int) -> None:
        half = self.build.weight(*self.random.choice([(), (1,), (channels, 1, 1), (side,)]))
        chosen = self.op("Greater", x, half)
        self.add(self.op("Where", chosen, x, self.op("Mul", x, half)), channels, side)

    def draw_statistic(self, x: str, channels: int, side: int) -> None:
        other = self.build.conv(x, channels, channels, 1)
        if self.random.random() < 0.5:  # over the channels
            axes = {"axes": [1]} if self.build.opset < 18 else {}
            reads = (x,) if axes else (x, self.build.ints(1))
            y = self.op("ReduceMax", *reads, keepdims=1, **axes)
        else:
            y = self.op("ReduceMean", x, keepdims=0)
            self.extra.append(self.op("Reshape", y, self.build.ints(-1)))
        self.add(self.op("Mul", other, y), channels, side)

    def draw_tokens(self, x: str, channels: int, side: int) -> None:
        build, width = self.build, self.random.choice([4, 6, 9])
        y = self.op("Reshape", x, build.ints(self.batch, channels, side * side))
        y = self.op("Transpose", y, perm=[0, 2, 1])
        y = self.op("MatMul", y, build.weight(channels, width))
        y = self.op("Add", y, build.weight(width))
        if self.random.random() < 0.3:  # every token against every other
            turned = self.op("Transpose", y, perm=[0, 2, 1])
            y = self.op("MatMul", self.op("Softmax", self.op("MatMul", y, turned), axis=-1), y)
        y = self.op("Transpose", y, perm=[0, 2, 1])
        self.add(self.op("Reshape", y, build.ints(self.batch, width, side, side)), width, side)

    def recurrent(self, x: str, channels: int, side: int) -> str:
        """An LSTM over all positions."""
        build = self.build
        steps = self.op("Reshape", x, build.ints(self.batch, channels, side * side))
        steps = self.op("Transpose", steps, perm=[2, 0, 1])
        cells = (build.weight(1, 12, channels), build.weight(1, 12, 3))
        return self.op("LSTM", steps, *cells, hidden_size=3)


def masked_onnx(source: Source, grouping: Grouping, alive: Alive) -> onnx.ModelProto:
    """The very network, with zeros for dead channels wherever a layer mixes channels."""
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    added: list[tuple[int, onnx.NodeProto]] = []
    for number, layer in enumerate(grouping.mixers):
        index, read = source.nodes[layer.outputs[0]], layer.inputs[0]
        units = grouping.units[read]
        shape = [1] * len(grouping.sizes[read])
        shape[grouping.axes[read]] = len(units)
        flags = ((units < 0) | alive[units]).astype(np.float32).reshape(shape)
        names = f"mask{number}", f"masked{number}"
        model.graph.initializer.append(onnx.numpy_helper.from_array(flags, names[0]))
        node = model.graph.node[index]
        for place, name in enumerate(node.input):
            if name == read:
                node.input[place] = names[1]
        added.append((index, helper.make_node("Mul", [read, names[0]], [names[1]])))
    for index, node in sorted(added, key=lambda pair: -pair[0]):
        model.graph.node.insert(index, node)
    return model

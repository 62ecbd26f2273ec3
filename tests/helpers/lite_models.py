"""TensorFlow Lite models built step by step, with the multiply-adds that they must have."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.lite_model.graph import LiteBuilder, LiteModel, LiteTensor, Scale


class Net:
    """A model under construction."""

    def __init__(self, shape: tuple[int, ...], dtype: str = "float32") -> None:
        self.builder = LiteBuilder()
        self.last = self.builder.tensor(LiteTensor(name="x", shape=shape))
        self.first, self.dtype, self.macs = self.last, dtype, 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.builder.tensors[self.last].shape

    def weight(self, shape: tuple[int, ...]) -> int:
        """Weights of the net's type; in 16 bits they are widened when the model is loaded."""
        values = np.random.default_rng(0).normal(0, 0.1, shape)
        if self.dtype == "float16":
            stored = self.builder.constant(values.astype(np.float16), "float16")
            wide = self.builder.tensor(LiteTensor(name=f"wide{stored}", shape=shape))
            self.builder.operator("DEQUANTIZE", [stored], [wide])
            return wide
        if self.dtype == "int8" and len(shape) > 1:
            scale = Scale(scales=(0.01,) * shape[0], zeros=(0,) * shape[0])
            return self.builder.constant((values * 100).round(), "int8", scale=scale)
        return self.builder.constant(values, "float32")

    def put(self, code: str, reads: list[int], shape: tuple[int, ...], **options: Any) -> None:
        made = self.builder.tensor(LiteTensor(name=f"{code}{self.last}", shape=shape))
        self.builder.operator(code, [self.last, *reads], [made], **options)
        self.last = made

    def conv(self, width: int, kernel: int, stride: int) -> None:
        n, h, w, c = self.shape
        out = (n, -(-h // stride), -(-w // stride), width)
        reads = [self.weight((width, kernel, kernel, c)), self.weight((width,))]
        self.put("CONV_2D", reads, out, stride_h=stride, stride_w=stride, dilation_h_factor=1,
                 dilation_w_factor=1, fused_activation_function=1)  # fmt: skip
        self.macs += prod(out) * kernel * kernel * c

    def depthwise(self, kernel: int, multiple: int) -> None:
        n, h, w, c = self.shape
        reads = [self.weight((1, kernel, kernel, c * multiple)), self.weight((c * multiple,))]
        out = (n, h, w, c * multiple)
        self.put("DEPTHWISE_CONV_2D", reads, out, stride_h=1, stride_w=1, depth_multiplier=multiple,
                 dilation_h_factor=1, dilation_w_factor=1)  # fmt: skip
        self.macs += prod(out) * kernel * kernel

    def dense(self, width: int) -> None:
        """Reads maps, too: as one row of numbers for each of the batch."""
        n, length = self.shape[0], prod(self.shape[1:])
        self.put("FULLY_CONNECTED", [self.weight((width, length)), -1], (n, width))
        self.macs += n * width * length

    def product(self, width: int, *, turned: bool) -> None:
        n, h, w, c = self.shape
        second = (1, 1, width, c) if turned else (1, 1, c, width)
        self.put("BATCH_MATMUL", [self.builder.constant(np.ones(second), "float32")],
                 (n, h, w, width), adj_y=turned)  # fmt: skip
        self.macs += n * h * w * c * width

    def pool(self) -> None:
        n, h, w, c = self.shape
        self.put("MAX_POOL_2D", [], (n, -(-h // 2), -(-w // 2), c), filter_height=2,
                 filter_width=2, stride_h=2, stride_w=2)  # fmt: skip

    def done(self) -> LiteModel:
        return self.builder.model("net", [self.first], [self.last])


def save(model: LiteModel, path: Path) -> Path:
    """Write the model as a file."""
    from costmodel.lite_model.write import write_model

    path.write_bytes(write_model(model))
    return path


def leave_open(path: Path, dims: list[int]) -> None:
    """Say in a file which sizes of its input are open, by -1; they are stored as 1."""
    import flatbuffers

    from costmodel.lite_model.package import schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    fed = model.subgraphs[0].tensors[0]
    fed.shapeSignature = np.array(dims, dtype=np.int32)
    fed.shape = np.array([max(1, n) for n in dims], dtype=np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))

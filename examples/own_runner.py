"""A runner of one's own: an accelerator of which there is a formula and no board yet."""

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path

import onnx

import costmodel as cm
from costmodel.device import Device
from costmodel.errors import UnsupportedOpError
from costmodel.network import Layer, Network
from costmodel.op import Op
from costmodel.protocols import Block
from costmodel.readers.onnx import read_onnx
from costmodel.registry import KeepsOptions
from costmodel.runners.workload import BaseWorkload

NET = """<ir_version: 8, opset_import: ["": 17]>
    tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { a = Relu(x) y = Add(a, x) }"""


class Npu(KeepsOptions):
    def __init__(self, *, gmacs: float = 100.0) -> None:
        self.gmacs, self.device = gmacs, Device(name=f"npu {gmacs:g}", runtime="npu")

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        net = read_onnx(model, sizes)  # a real runtime would be asked what it executes
        session = Layer(name="session", op=Op(kind="session"))
        return replace(net, layers=(*net.layers, session), source="lowered")

    def load_op(self, op: Op) -> "Computed":
        if op.kind == "model":
            raise UnsupportedOpError(op.label)
        return Computed(0.001 + op.macs / self.gmacs / 1e6 + op.num_output_elements / 1e7)

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> "Computed":
        return Computed(sum(self.load_op(op).ms for op in self.lower(model, sizes).ops))


class Computed(BaseWorkload):
    def __init__(self, ms: float) -> None:
        self.ms = ms

    def _block(self, min_ms: float) -> Block:
        runs = max(1, ceil(min_ms / self.ms))
        return Block(latency_ms=self.ms, wall_ms=runs * self.ms, runs=runs)


if __name__ == "__main__":
    # The process that measures imports this file by its name, as it would an installed plug-in.
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    from own_runner import Npu as Runner

    net = onnx.parser.parse_model(NET)
    cm.profile("npu.jsonl", runner=Runner(), models=net, samples=0, thinned=0, rounds=2)
    print(cm.predict(net, "npu.jsonl", runner=Runner()))

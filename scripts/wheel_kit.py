"""Makes the files that documented examples name: small networks, data, a structure.

Run by the environment that is tested, in the folder that gets the files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

#: Height and width of an image, unless an example binds them.
SIZE = 32
DATA = """\
import numpy as np


def load():
    random = np.random.default_rng(0)
    x = random.normal(size=(160, 32, 32, 3)).astype("float32")
    y = random.integers(10, size=160)
    return x[:128], y[:128], x[128:], y[128:]
"""


def keras_network(widths: tuple[int, ...]) -> Any:
    """Convolutions of these widths, each but the first of which halves the image."""
    import keras

    layers = keras.layers
    x = inputs = keras.Input((SIZE, SIZE, 3), name="image")
    for index, width in enumerate(widths):
        stride = 2 if index else 1
        x = layers.Conv2D(width, 3, stride, padding="same", name=f"conv{index}")(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm{index}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10, name="logits")(x))


def onnx_network(path: Path, widths: tuple[int, ...], open_sizes: frozenset[str]) -> None:
    """The same as a file in ONNX.

    Args:
        path: the file.
        widths: of the convolutions.
        open_sizes: which of batch, height and width have a name instead of a number.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    random = np.random.default_rng(0)
    nodes, weights, channels, last = [], [], 3, "image"
    for index, width in enumerate(widths):
        shape = (width, channels, 3, 3)
        weight = random.normal(0, 0.1, shape).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        names = [last, f"w{index}"]
        strides = [2, 2] if index else [1, 1]
        nodes.append(helper.make_node("Conv", names, [f"c{index}"], pads=[1] * 4, strides=strides))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        channels, last = width, f"r{index}"
    dense = random.normal(0, 0.1, (channels, 10)).astype(np.float32)
    weights.append(numpy_helper.from_array(dense, "dense"))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "dense"], ["logits"]))
    sizes = {"batch": 1, "channels": 3, "height": SIZE, "width": SIZE}
    image = [name if name in open_sizes else size for name, size in sizes.items()]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("image", image), ("logits", [image[0], 10]))
    ]
    graph = helper.make_graph(nodes, path.stem, ends[:1], ends[1:], weights)
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)


def make_onnx(folder: Path, open_sizes: frozenset[str] = frozenset()) -> None:
    """Every network in ONNX; ``net.onnx`` may have open sizes."""
    onnx_network(folder / "net.onnx", (16, 32, 48), open_sizes)
    onnx_network(folder / "other.onnx", (24, 32), frozenset())
    onnx_network(folder / "a.onnx", (16, 24), frozenset())
    onnx_network(folder / "b.onnx", (32, 32), frozenset())
    onnx_network(folder / "pruned.onnx", (17, 33, 45), frozenset())


#: A colleague's spreadsheet of one phone, and a list of two devices with columns of its own.
PHONE = """\
op,size,cin,cout,kernel,stride,padding,time_us
conv2d,56,16,32,3,1,same,310
conv2d,28,32,64,3,2,same,190
depthwise_conv2d,28,64,64,3,1,same,60
"""
LIST = """\
gadget,lib,what,side,depth,made,window,pad,t
Pixel 4 GPU,tflite-gpu,conv2d,56,16,32,3,1,310
Pixel 4 GPU,tflite-gpu,conv2d,28,32,64,3,1,190
Galaxy GPU,tflite-gpu,conv2d,56,16,32,3,1,920
"""
MAPPING = """\
source = "a colleague"

[columns]
device = "gadget"
runtime = "lib"
op = "what"
height = "side"
in_channels = "depth"
out_channels = "made"
kernel = "window"
latency_us = "t"
"""


#: Networks of the kit that somebody timed whole.
TIMINGS = """\
model,latency_ms
net.onnx,0.9
other.onnx,0.8
a.onnx,0.5
b.onnx,0.4
pruned.onnx,0.7
"""


#: Two simulated boards, and a search that takes seconds.
FLEET = """\
samples = 16
thinned = 0
rounds = 2
[[devices]]
name = "a"
runner = "fake://a"
[[devices]]
name = "b"
runner = "fake://b"
"""
SWEEP = """\
model = "net.keras"
data = "cifar.py"
budgets = ["60%"]
[search]
search_epochs = 1
finish = "none"
[[devices]]
name = "anything"
cost = "flops"
"""


def make_lists(folder: Path) -> None:
    """Measurements of others, for the verb that imports them."""
    (folder / "phone.csv").write_text(PHONE, encoding="utf-8")
    (folder / "list.csv").write_text(LIST, encoding="utf-8")
    (folder / "list.toml").write_text(MAPPING, encoding="utf-8")
    (folder / "timings.csv").write_text(TIMINGS, encoding="utf-8")
    untimed = re.sub(r",[0-9.]+", ",", TIMINGS)
    (folder / "models.csv").write_text(untimed, encoding="utf-8")
    (folder / "fleet.toml").write_text(FLEET, encoding="utf-8")
    (folder / "sweep.toml").write_text(SWEEP, encoding="utf-8")


def make_profile(folder: Path) -> None:
    """A profile that ONNX Runtime writes of two runs of ``net.onnx``."""
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(
        str(folder / "net.onnx"), options, providers=["CPUExecutionProvider"]
    )
    feed = {item.name: np.zeros(item.shape, np.float32) for item in session.get_inputs()}
    for _ in range(2):
        session.run(None, feed)
    Path(session.end_profiling()).rename(folder / "onnxruntime_profile.json")


def make_keras(folder: Path) -> None:
    """Networks, data and a structure for the verbs that train."""
    import morphnet_core as mc

    (folder / "cifar.py").write_text(DATA, encoding="utf-8")
    model = keras_network((16, 32, 48))
    model.save(folder / "net.keras")
    model.export(folder / "net.tflite", format="litert", verbose=False)
    model.export(folder / "exported", verbose=False)
    keras_network((12, 24, 32)).save(folder / "small.keras")
    gamma = model.get_layer("norm1").gamma
    gamma.assign([1.0] * 20 + [0.0] * 12)  # as if training had driven them out
    mc.CostRegularizer(model, "flops").structure().save(folder / "structure.json")


def make_laptop(folder: Path) -> None:
    """The table of another device: this one's rows under another name."""
    from costmodel.table import LatencyTable

    table = LatencyTable.load(folder / "cpu.jsonl")
    other = replace(table.device, name="laptop")
    LatencyTable(other, table.rows.values()).save(folder / "laptop.jsonl")


def main(arguments: Sequence[str]) -> None:
    """Make what is named; in examples, names such as ``height=`` after ``--size`` stay open.

    All sizes do for an example with ``--shape``.
    """
    folder = Path.cwd()
    if "laptop" in arguments:
        make_laptop(folder)
        return
    told = " ".join(arguments)
    whole = ("batch", "height", "width") if "--shape " in told else ()
    make_lists(folder)
    open_sizes = frozenset({*re.findall(r"--size (\w+)=", told), *whole})
    make_onnx(folder, open_sizes)
    if not open_sizes:
        make_profile(folder)
    if "keras" in arguments:
        make_keras(folder)


if __name__ == "__main__":
    main(sys.argv[1:])

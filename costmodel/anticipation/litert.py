"""What LiteRT executes for a network as written: TensorFlow's conversion, then XNNPACK's folding.

The conversion is the one that the runner deploys ONNX files with (``costmodel.lite_model``), so
that the two cannot differ; which operators the delegate takes over is a rule here and a question
to the installed runtime there.
"""

from __future__ import annotations

from pathlib import Path

from costmodel.device import Device
from costmodel.lite_model.delegate import delegated
from costmodel.lite_model.execute import execute, executed_network
from costmodel.lite_model.rules import convert_network
from costmodel.network import Layer, Network
from costmodel.sizes import Sizes


def execute_litert(network: Network, device: Device) -> tuple[Layer, ...]:
    """The kernels that LiteRT with XNNPACK executes for a network as written.

    Args:
        network: from a reader.
        device: its ``dtype`` decides whether the network is quantised.

    Raises:
        ModelFormatError: naming a layer that TensorFlow Lite has no counterpart for.
    """
    model = convert_network(network, device.dtype)
    return execute(model, delegated(model))


def anticipate_lite(path: Path, sizes: Sizes, device: Device) -> Network:
    """The kernels that LiteRT with XNNPACK executes for a ``.tflite`` file as it is.

    Args:
        path: of the file.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``.
        device: its ``dtype`` must be what the file multiplies.

    Raises:
        MissingDependencyError: without the ``litert`` extra, which knows what such a file looks
            like.
        ModelFormatError: if the file cannot be read.
    """
    from costmodel.lite_model.read import plain_lite

    model = plain_lite(path, sizes, device.dtype)
    return executed_network(model, path.stem, delegated(model), "anticipated")

"""What LiteRT executes for a network as written: TensorFlow's conversion, then XNNPACK's folding.

The conversion is the one that the runner deploys ONNX files with (``costmodel.lite_model``), so
that the two cannot differ; which operators the delegate takes over is a rule here and a question
to the installed runtime there.
"""

from __future__ import annotations

from costmodel.device import Device
from costmodel.lite_model.delegate import delegated
from costmodel.lite_model.execute import execute
from costmodel.lite_model.rules import convert_network
from costmodel.network import Layer, Network


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

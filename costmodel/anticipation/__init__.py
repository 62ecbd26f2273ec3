"""Predicts by rule which Ops a runtime executes, for networks that no runtime has seen yet.

``Runner.lower`` asks the installed runtime and is always right; ``anticipate`` answers for channel
counts that exist only during training, and for runtimes that are not installed. A test holds the
one against the other on real and random networks. A runtime's rules are one function in
``RULES``; to add a runtime, write that function in a file of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from costmodel.anticipation.convolutions import execute_cudnn, execute_miopen
from costmodel.anticipation.formulas import write_out
from costmodel.anticipation.litert import anticipate_lite, execute_litert
from costmodel.anticipation.openvino import execute_openvino
from costmodel.anticipation.ort import execute_ort
from costmodel.anticipation.pytorch_vulkan import execute_pytorch_vulkan
from costmodel.anticipation.tflite_gpu import execute_tflite_gpu
from costmodel.anticipation.tflite_gpu_kernels import SLICE
from costmodel.anticipation.xla import execute_xla
from costmodel.device import Device
from costmodel.errors import (
    MISFORMED,
    CostModelError,
    InvalidInputError,
    ModelFormatError,
    first_line,
)
from costmodel.lite_model.detect import is_lite
from costmodel.network import Layer, Network, session_op
from costmodel.op import SESSION, Attribute, Op
from costmodel.readers.written import read_written
from costmodel.sizes import Sizes

#: Rules by ``Device.runtime``: layers as written and the device in, executed layers out.
RULES: Mapping[str, Callable[[Network, Device], tuple[Layer, ...]]] = {
    "cudnn": execute_cudnn,
    "litert": execute_litert,
    "miopen": execute_miopen,
    "onnxruntime": execute_ort,
    "openvino": execute_openvino,
    "pytorch-vulkan": execute_pytorch_vulkan,
    "tflite-gpu": execute_tflite_gpu,
    "xla": execute_xla,
}
#: Channels that lie together in a texture, so that one more costs as much as the next multiple.
CHANNEL_SLICES: Mapping[str, int] = {"pytorch-vulkan": SLICE, "tflite-gpu": SLICE}
#: Runtimes of which other people's tables hold kernels alone. What a run costs beside them is
#: learned from whole networks there (``costmodel.calibration``), so nothing stands for it here.
KERNELS_ALONE = frozenset({"cudnn", "miopen", "pytorch-vulkan", "tflite-gpu"})
#: What a reader notes beside the work, for ONNX Runtime's rules alone.
_MARKS = frozenset({"number", "operator"})


def anticipate(network: Network, device: Device) -> Network:
    """The Ops that ``device``'s runtime would execute for a network as written.

    Args:
        network: layers as written, from a reader.
        device: its ``runtime`` chooses the rules, its ``isa`` the channel block.

    Returns:
        A network with ``source == "anticipated"`` whose last layer is the ``session`` Op, except
        for the runtimes in ``KERNELS_ALONE``. Layers that the reader could not read stay in
        ``unread``.

    Raises:
        InvalidInputError: if there are no rules for this runtime.
        ModelFormatError: if the layers contradict each other, as those of a damaged file do.
    """
    rules = RULES.get(device.runtime)
    if rules is None:
        message = (
            f"There are no rules for what {device.runtime!r} executes. Known runtimes: "
            f"{', '.join(sorted(RULES))}. Predict where it is installed: then it is asked itself."
        )
        raise InvalidInputError(message)
    session = session_op(len(network.inputs), len(network.outputs))
    if device.runtime != "onnxruntime":
        network = _unmarked(network)
    with _understood(network.name, device):
        layers = rules(write_out(network), device)
    if device.runtime not in KERNELS_ALONE:
        layers = (*layers, Layer(name=SESSION, op=session))
    return replace(network, layers=layers, source="anticipated")


def anticipate_file(path: Path, sizes: Sizes, device: Device) -> Network:
    """The same for a file that the runtime reads, as it is.

    Args:
        path: an ONNX file, or for LiteRT one of TensorFlow Lite.
        sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes``.
        device: as for ``anticipate``.

    Raises:
        InvalidInputError: as ``anticipate``.
        ModelFormatError: if the file cannot be read, or has no counterpart for the runtime.
    """
    if is_lite(path):
        with _understood(path, device):
            return anticipate_lite(path, sizes, device)
    return anticipate(read_written(path, sizes), device)


@contextmanager
def _understood(name: object, device: Device) -> Iterator[None]:
    """Rules meet every kind of damage: what they cannot follow is the model's fault, until told."""
    try:
        yield
    except CostModelError:
        raise
    except MISFORMED as error:
        what = f"{type(error).__name__}: {first_line(error)}"
        message = (
            f"{name}: its layers do not fit each other, so that nothing can be said of what "
            f"{device.runtime} executes ({what}). If {device.runtime} runs this model, please "
            "report it."
        )
        raise ModelFormatError(message) from error


def _unmarked(network: Network) -> Network:
    """``network`` without the marks that only ONNX Runtime's rules ask for."""
    layers = tuple(
        replace(layer, op=replace(layer.op, attributes=_plain(layer.op)))
        if any(name in _MARKS for name, _ in layer.op.attributes)
        else layer
        for layer in network.layers
    )
    return replace(network, layers=layers)


def _plain(op: Op) -> tuple[tuple[str, Attribute], ...]:
    return tuple(pair for pair in op.attributes if pair[0] not in _MARKS)

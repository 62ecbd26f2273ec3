"""``predict``: what a network will take on a table's device."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Unpack

from costmodel.costs.roofline import DATASHEET
from costmodel.device import Device
from costmodel.network import Network
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.prediction import Prediction, price_network
from costmodel.readers.written import read_written, require_runtime
from costmodel.uses.matching import Choice, lowering_runner
from costmodel.uses.models import Model
from costmodel.uses.pricing import Pricing, Terms, spelled_out
from costmodel.uses.tables import Table

_LOG = logging.getLogger("costmodel")


@spelled_out
def predict(model: Model, table: Table | None = None, **terms: Unpack[Terms]) -> Prediction:
    """Predict a network's latency: total, interval, every layer, and what has no price.

    Where the table's runtime is installed and this is its device, the runtime itself is asked which
    kernels it executes; elsewhere they are foreseen by rule. ``source`` of the result says which.

    Args:
        model: path of an ONNX, Keras, TensorFlow Lite or PyTorch (.pt2) file or of a SavedModel's
            folder; or such a model in memory: an ``onnx.ModelProto``, a Keras model, a PyTorch
            module or exported program, a loaded SavedModel, the bytes of a file.
        table: a ``LatencyTable``, its file, or the name of a shipped profile.
        cost: ``regression`` or ``lookup`` of the table; ``flops``, ``params``, ``activations``,
            ``bytes`` or ``roofline:DATASHEET`` without one; or a cost model.
        donors: tables of other devices that help a table of few rows; see ``fit``.
        runner: to ask for kernels instead of the one that made the table: its name, or a Runner.
        options: of ``runner``.
        threads: the same as ``options={"threads": ...}``.
        sizes: values of open dimensions, by name, by ``<input>:<axis>``, or as the shape of an
            input: ``{"height": 320, "ids:1": 128, "image": (1, 3, 320, 320)}``; the batch, also
            called ``batch``, is 1 by default.
        calibrated: correct the sum of kernels by networks timed in the table, where it has any.
        example: what a PyTorch module is called with: a tensor, a tuple, or a dictionary by name.
        signature: which entry of a SavedModel or TensorFlow Lite file that has several.

    Returns:
        The prediction, in milliseconds or the unit of a count.

    Raises:
        InvalidInputError: for files, tables or options that cannot be used; says how to mend it.
        ModelFormatError: if the model cannot be read.
        TableFormatError: if the table cannot be read.
        MissingDependencyError: without the extra that the model's format needs.

    >>> import onnx
    >>> relu = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["": 17]>
    ...     tiny (float[1, 8, 16, 16] x) => (float[1, 8, 16, 16] y) { y = Relu(x) }''')
    >>> found = predict(relu, cost="flops")
    >>> found.model, found.total
    ('tiny', 2048.0)
    """
    pricing = Pricing.of(table, terms)
    pricing.require_threads()
    device = pricing.device
    with pricing.files([model]) as ((path,), bound):
        (own,) = sizes_of_each([path], bound)
        network = kernel_reader(pricing.choice, device)(path, own)
    cost = (
        pricing.cost_model()
    )  # a fit takes seconds, so what is wrong with the model is said first
    return price_network(
        network,
        cost,
        pricing.law(cost),
        device=(cost.device or device) if cost.unit == "ms" else None,
    )


def kernel_reader(
    choice: Choice, device: Device | None
) -> Callable[[Path, Mapping[str, int]], Network]:
    """How a file's Ops are found: asked from the runtime, else by rule, else as written.

    Args:
        choice: of a runner.
        device: of the table, or of the cost model; None without either.

    Returns:
        A function of a file and its open sizes.
    """
    runner, reason = lowering_runner(choice, device)

    def read(path: Path, sizes: Mapping[str, int]) -> Network:
        if runner is not None:
            require_runtime(path, runner.device.runtime)
            return runner.lower(path, sizes)
        if device is None or device.runtime == DATASHEET:
            return read_written(path, sizes)
        require_runtime(path, device.runtime)
        from costmodel.anticipation import anticipate_file

        return anticipate_file(path, sizes, device)

    if runner is None and device is not None and device.runtime != DATASHEET:
        from costmodel.anticipation.versions import doubt_of

        doubt = doubt_of(device)
        said = f"Kernels are anticipated by rule, not asked from the runtime: {reason}."
        _LOG.info("%s", f"{said} {doubt}" if doubt else said)
    return read

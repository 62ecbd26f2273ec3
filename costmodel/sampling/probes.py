"""Many probes in one model, so that lowering hundreds of them costs one session."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from costmodel.errors import InvalidInputError
from costmodel.sampling.graph import GraphWriter
from costmodel.sampling.layers import BUILDERS
from costmodel.sampling.probe import Probe

__all__ = ["Probe", "probe_model"]


def probe_model(probes: Sequence[Probe]) -> onnx.ModelProto:
    """One model that holds every probe, each with inputs and outputs of its own.

    Lowering hundreds of probes then costs one session.

    Args:
        probes: with unique names.

    Raises:
        InvalidInputError: if a kind is unknown, a name is used twice, or there is no probe.
    """
    names = [probe.name for probe in probes]
    if len(set(names)) != len(names) or not names:
        message = f"Probes need unique names, and at least one. Received: {names[:8]}."
        raise InvalidInputError(message)
    writer = GraphWriter()
    for probe in probes:
        if probe.kind not in BUILDERS:
            message = f"No probe is of kind {probe.kind!r}. Expected one of {sorted(BUILDERS)}."
            raise InvalidInputError(message)
        for output in BUILDERS[probe.kind](writer, probe):
            writer.result(output)
    return writer.model()

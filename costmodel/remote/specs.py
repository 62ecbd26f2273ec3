"""Specs: what the agent has to know about a file to time it, and the files by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.errors import ModelFormatError
from costmodel.network import session_op
from costmodel.onnx_model.inputs import bound_model
from costmodel.onnx_model.nodes import SMALL
from costmodel.onnx_model.tensors import MAX_BYTES
from costmodel.op import SESSION, Op
from costmodel.runners.ort import session
from costmodel.runners.ort.rebuild import RELABEL, Rebuilt, readers_graph, rebuild

Json = dict[str, Any]
#: Readers in the graph that tells what a reader costs.
_READERS = 128
#: Numbers that weights are cut from on the device, and their spread: as many as here.
_POOL_SIZE, _WEIGHT_SCALE = 24 << 20, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A file and how to run it.

    Attributes:
        fields: for the agent.
        digest: SHA-256 of the file.
        content: makes the file's bytes.
    """

    fields: Json
    digest: str
    content: Callable[[], bytes]


def op_spec(op: Op, replicas: int) -> Spec:
    """One Op, so many times in one graph, as the runner for this machine builds it.

    Raises:
        UnsupportedOpError: if the Op cannot be rebuilt.
    """
    kernels = 2 * replicas - 1 if op.kind in RELABEL else replicas
    built = rebuild(op, replicas)
    fields = _fields(built) | {"kernels": kernels, "net": op.kind != SESSION}
    return _spec(fields, built.model, lambda: rebuild(op, replicas).model)


def model_spec(path: Path, sizes: Mapping[str, int]) -> Spec:
    """A whole network.

    Raises:
        ModelFormatError: if the file cannot be read, or is too large for one file.
    """

    def content() -> bytes:
        model = bound_model(path, sizes)
        if (size := model.ByteSize()) > MAX_BYTES:
            message = (
                f"{path}: with its weights the model has {size:,} bytes, and it is sent as one "
                f"file of at most {MAX_BYTES:,}. Give a part of the network, or one whose weights "
                "take fewer bytes."
            )
            raise ModelFormatError(message)
        return bytes(model.SerializeToString())

    return _spec({"whole": True}, content(), content)


def overhead_specs() -> tuple[Spec, Spec, Spec]:
    """Graphs that tell what one run costs, what 32 further inputs cost, and what readers cost."""
    graphs = (
        rebuild(session_op(1, 1), 1),
        rebuild(session_op(33, 1), 1),
        readers_graph(_READERS),
    )
    run, fed, read = map(_overhead, graphs)
    return run, fed, read


def _overhead(built: Rebuilt) -> Spec:
    fields = _fields(built) | {"kernels": 1, "net": False}
    return _spec(fields, built.model, lambda: built.model)


def _spec(fields: Json, data: bytes, content: Callable[[], bytes]) -> Spec:
    digest = hashlib.sha256(data).hexdigest()
    return Spec(fields=fields | {"file": digest}, digest=digest, content=content)


def _fields(built: Rebuilt) -> Json:
    """How inputs and weights are made; inputs of slot 0 lie in the numbers that all share."""
    shared = session._values()
    feed = [
        [
            name,
            list(value.shape),
            str(value.dtype),
            0 if np.may_share_memory(value, shared) else number,
        ]
        for number, (name, value) in enumerate(built.feed.items(), 1)
    ]
    weights = [[name, list(v.shape), str(v.dtype)] for name, v in built.weights.items()]
    return {
        "feed": feed,
        "weights": weights,
        "inline": built.inline,
        "readers": built.readers,
        "ordered": built.ordered,
    }


def runtime_setup(threads: int) -> Json:
    """What depends on this host: the rest is in the files that both have."""
    return {
        "threads": threads,
        "pool": {"size": _POOL_SIZE, "scale": _WEIGHT_SCALE},
        "inline_bytes": 8 * SMALL + 1,
    }

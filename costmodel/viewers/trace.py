"""A trace in the form of ONNX Runtime's own profile, which every viewer of traces opens.

Each network is a process with two threads, ``predicted`` and ``measured``; each kernel an event
that lasts as long as it takes, one behind the other. Measured kernels take that share of the
measured network that the runtime itself spent on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, isfinite, prod
from typing import Any

from costmodel.kinds import op_type_of
from costmodel.op import DTYPE_BYTES, Op, Shape
from costmodel.prediction import Prediction
from costmodel.viewers.kernels import (
    Kernel,
    Result,
    kernels_of,
    measured_of,
    prediction_of,
    session_price,
)

#: Threads of every process.
PREDICTED, MEASURED = 1, 2
_US = 1e3
#: What the runtime calls element types that numpy calls otherwise.
_TYPES = {"float32": "float", "float64": "double"}


def trace_events(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Events of networks, a process each, in the order of their beginning per thread.

    Args:
        found: what was predicted, or predicted and measured, in milliseconds.
    """
    return [event for number, item in enumerate(found) for event in _process(item, number)]


def _process(found: Result, process: int) -> Iterator[dict[str, Any]]:
    prediction = prediction_of(found)
    kernels = kernels_of(found)
    yield _named("process_name", process, 0, prediction.model)
    spent = [(kernel, kernel.predicted) for kernel in kernels]
    events = list(_kernels(spent, prediction, process, PREDICTED))
    at = _end(events)
    for name, cost in (
        ("session", session_price(prediction)),
        ("beyond_kernels", prediction.total - prediction.uncalibrated),
    ):
        if cost > 0:  # a sum that is too long is told of in the run's own event
            events.append(_session(name, process, PREDICTED, at, cost * _US, {}))
            at = _end(events)
    told = {
        "predicted_ms": prediction.predicted_ms,
        "interval_ms": prediction.interval_ms,
        "sum_of_kernels_ms": prediction.uncalibrated_ms,
    }
    yield from _track("predicted", process, PREDICTED, events, at, told)
    measured_ms = measured_of(found)
    if isfinite(measured_ms):
        spent = [(kernel, kernel.measured_ms) for kernel in kernels]
        events = list(_kernels(spent, prediction, process, MEASURED))
        whole = max(measured_ms * _US, _end(events))
        told = {"measured_ms": measured_ms}
        yield from _track("measured", process, MEASURED, events, whole, told)


def _track(
    title: str,
    process: int,
    thread: int,
    events: Sequence[dict[str, Any]],
    end: float,
    told: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """A thread: its name, the run, and what happens in it."""
    yield _named("thread_name", process, thread, title)
    yield _session("model_run", process, thread, 0.0, end, told)
    yield from events


def _kernels(
    spent: Sequence[tuple[Kernel, float]], prediction: Prediction, process: int, thread: int
) -> Iterator[dict[str, Any]]:
    """Kernels whose time is known, one behind the other."""
    at = 0.0
    runtime = prediction.device.runtime if prediction.device else ""
    provider = "CPUExecutionProvider" if runtime == "onnxruntime" else runtime
    for index, (kernel, ms) in enumerate(spent):
        if not isfinite(ms):
            continue
        start, end = round(at, 3), round(at + ms * _US, 3)
        yield {
            "cat": "Node",
            "pid": process,
            "tid": thread,
            "ts": start,
            "dur": round(end - start, 3),
            "ph": "X",
            "name": f"{kernel.name}_kernel_time",
            "args": {"node_index": str(index), "provider": provider} | _arguments(kernel),
        }
        at += ms * _US


def _arguments(kernel: Kernel) -> dict[str, Any]:
    """What the runtime tells of a kernel, and what we do."""
    told: dict[str, Any] = {"price": kernel.basis}
    if kernel.covers:
        told["covers"] = ", ".join(kernel.covers)
    if kernel.note:
        told["note"] = kernel.note
    times = {"predicted_ms": kernel.predicted, "measured_ms": kernel.measured_ms}
    told |= {key: value for key, value in times.items() if isfinite(value)}
    if kernel.op is None:
        return told | {"op_name": "unknown"}
    op = kernel.op
    own = op.attribute("provider", "")
    return (
        told
        | {
            "op_name": op_type_of(op.kind),
            "work": op.label,
            "input_type_shape": [*_shapes(op.inputs, op.input_types), *_weights(op)],
            "output_type_shape": _shapes(op.outputs, (op.dtype,) * len(op.outputs)),
            "activation_size": str(_bytes(op.inputs, op.input_types)),
            "parameter_size": str(_bytes(op.weights, (op.dtype,) * len(op.weights))),
            "output_size": str(_bytes(op.outputs, (op.dtype,) * len(op.outputs))),
        }
        | ({"provider": own} if own else {})
    )


def _weights(op: Op) -> list[dict[str, list[int]]]:
    return _shapes(op.weights, (op.dtype,) * len(op.weights))


def _shapes(shapes: Sequence[Shape], types: Sequence[str]) -> list[dict[str, list[int]]]:
    return [
        {_TYPES.get(dtype, dtype): list(shape)} for shape, dtype in zip(shapes, types, strict=True)
    ]


def _bytes(shapes: Sequence[Shape], types: Sequence[str]) -> int:
    sizes = (DTYPE_BYTES.get(dtype, 4) for dtype in types)
    return ceil(sum(prod(shape) * size for shape, size in zip(shapes, sizes, strict=True)))


def _end(events: Sequence[dict[str, Any]]) -> float:
    """When the last event ends, in microseconds."""
    return float(events[-1]["ts"] + events[-1]["dur"]) if events else 0.0


def _session(
    name: str, process: int, thread: int, start: float, length: float, told: dict[str, Any]
) -> dict[str, Any]:
    """Something that is no kernel."""
    return {
        "cat": "Session",
        "pid": process,
        "tid": thread,
        "ts": round(start, 3),
        "dur": round(length, 3),
        "ph": "X",
        "name": name,
        "args": told,
    }


def _named(what: str, process: int, thread: int, name: str) -> dict[str, Any]:
    """What a process or a thread is called."""
    return {
        "cat": "__metadata",
        "pid": process,
        "tid": thread,
        "ts": 0,
        "ph": "M",
        "name": what,
        "args": {"name": name},
    }

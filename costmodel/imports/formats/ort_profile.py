"""The JSON that ONNX Runtime writes with ``enable_profiling``: the time of every node of every run.

It has the shapes of a node's operands and results, and how many bytes are constants; not its
attributes. Steps and zeros of windows are those that make the one size of the other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from costmodel.imports.formats.form import Form, Row, whole_json
from costmodel.kinds import CONV_KINDS, MATMUL_KINDS, POOL_KINDS, kind_of
from costmodel.op import Op, Shape, as_operands, encode_op

_ENDING = "_kernel_time"
_DTYPES = {"float": "float32", "float16": "float16", "double": "float64", "bfloat16": "bfloat16"}
_BYTES = {
    "float": 4, "double": 8, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int8": 1,
    "uint8": 1, "bool": 1,
}  # fmt: skip


def _fits(head: str) -> bool:
    return head.lstrip().startswith("[") and '"cat"' in head and '"Session"' in head


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    nodes: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for event in whole_json(lines):
        name = str(event.get("name", ""))
        if event.get("cat") == "Node" and name.endswith(_ENDING) and event.get("args"):
            nodes[name.removesuffix(_ENDING)].append(event)
    for events in nodes.values():
        # A session's first run allocates memory; its times are no kernel's.
        times = sorted(float(event.get("dur", 0)) / 1e3 for event in events[1:] or events)
        # Whole microseconds: the mean of the faster half tells more than one of them.
        faster = times[: (len(times) + 1) // 2]
        yield _row(events[0]["args"], fmean(faster))


def _row(arguments: Mapping[str, Any], latency_ms: float) -> Row:
    row: Row = {
        "runtime": "onnxruntime",
        "provider": arguments.get("provider"),
        "latency_ms": latency_ms,
    }
    inputs, outputs = (_tensors(arguments.get(f"{way}_type_shape")) for way in ("input", "output"))
    kind = kind_of(str(arguments.get("op_name", "")))
    if not inputs or not outputs:
        return row | {"kind": kind, "reason": "args do not tell the shapes of the node"}
    dtype = _DTYPES.get(outputs[0][0])
    if dtype is None:
        return row | {"kind": kind, "reason": "args name an element type that is no float"}
    op = _op(kind, dtype, inputs, [shape for _, shape in outputs], arguments)
    if op is None:
        return row | {"kind": kind, "reason": "args do not tell the sizes of the kernel"}
    return row | {"dtype": dtype, "op_json": encode_op(op).decode()}


def _tensors(found: object) -> list[tuple[str, Shape]]:
    """Element type and shape of each operand that is there."""
    if not isinstance(found, list):
        return []
    return [
        (str(name), tuple(map(int, shape)))
        for item in found
        for name, shape in (item.items() if isinstance(item, dict) else ())
    ]


def _op(
    kind: str,
    dtype: str,
    inputs: Sequence[tuple[str, Shape]],
    outputs: Sequence[Shape],
    arguments: Mapping[str, Any],
) -> Op | None:
    constants = _constants(inputs, int(arguments.get("parameter_size") or 0))
    data = [shape for at, (_, shape) in enumerate(inputs) if at not in constants]
    weights = [
        shape for at, (name, shape) in enumerate(inputs) if at in constants and name in _DTYPES
    ]
    letters = "".join(
        "w" if at in constants else "d"
        for at, (name, _) in enumerate(inputs)
        if at not in constants or name in _DTYPES
    )
    op = Op(
        kind=kind,
        implementation=str(arguments.get("op_name", "")),
        inputs=tuple(data),
        outputs=tuple(outputs),
        weights=tuple(weights),
        dtype=dtype,
        operands=as_operands(letters),
    )
    if kind in CONV_KINDS:
        return _conv(op)
    if kind in POOL_KINDS:
        return op if "global" in kind else None
    if kind in MATMUL_KINDS and not op.weights and len(op.inputs) == 1:
        # Its weights were packed when the session was made, and are no operand any more.
        return replace(op, weights=((op.inputs[0][-1], op.outputs[0][-1]),))
    return op if op.inputs else None


def _constants(inputs: Sequence[tuple[str, Shape]], size: int) -> set[int]:
    """Which operands are constants, by how many bytes those are together; the last come first."""
    chosen: set[int] = set()
    for at in range(len(inputs) - 1, -1, -1):
        name, shape = inputs[at]
        count = _BYTES.get(name, 0)
        for dim in shape:
            count *= dim
        if 0 < count <= size:
            chosen.add(at)
            size -= count
    return chosen


def _conv(op: Op) -> Op | None:
    filters = op.filters
    if not op.inputs or len(filters) < 3 or len(op.inputs[0]) != len(filters):
        return None
    read, written = op.inputs[0], op.outputs[0]
    if len(written) != len(read) or op.kind != "conv" or 0 in filters or read[1] % filters[1]:
        return None
    stride = tuple(max(1, round(i / o)) for i, o in zip(read[2:], written[2:], strict=True))
    total = [
        (o - 1) * s + k - i
        for i, o, s, k in zip(read[2:], written[2:], stride, filters[2:], strict=True)
    ]
    if any(t >= 2 * k for t, k in zip(total, filters[2:], strict=True)):
        return None
    zeros = [max(0, t) for t in total]
    return replace(
        op,
        stride=stride,
        pads=(*(z // 2 for z in zeros), *(z - z // 2 for z in zeros)),
        dilation=(1,) * len(stride),
        groups=read[1] // filters[1],
    )


FORM = Form(
    name="ort_profile",
    fits=_fits,
    rows=_rows,
    notes=(
        "Steps and zeros of windows are worked out from the sizes. A node's time is the mean of "
        "the faster half of its runs, the first run apart.",
    ),
)

"""Logs of TVM's AutoTVM, such as TopHub's: a JSON list of a task, its arguments and its times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from costmodel.errors import MISFORMED, InvalidInputError
from costmodel.imports.formats.form import Form, Row
from costmodel.plain_json import plain_json

_CONV, _DEPTHWISE, _DENSE = "conv2d", "depthwise_conv2d", "dense"


def _fits(head: str) -> bool:
    first = head.lstrip("\ufeff \n").partition("\n")[0]
    return first.startswith("{") and "TENSOR" in first and ('"input"' in first or '"i"' in first)


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            found = plain_json(line)
        except ValueError:
            message = f"line {number} is no whole JSON: the log was cut short there."
            raise InvalidInputError(message) from None
        try:
            yield _row(found)
        except MISFORMED:
            yield {"kind": None, "reason": "input is no task that is known here", "latency_ms": 0.0}


def _row(found: dict[str, object]) -> Row:
    task = found["input"] if "input" in found else found["i"]
    result = found["result"] if "result" in found else found["r"]
    assert isinstance(task, list)
    assert isinstance(result, list)
    target, name, arguments = task[0], str(task[1]), task[2]
    costs, failed = result[0], result[1]
    row: Row = {
        "runtime": "tvm",
        "provider": str(target).split()[0],
        "latency_ms": median(map(float, costs)) * 1e3,
    }
    if failed:
        return row | {"kind": name, "reason": "result says that the kernel failed"}
    data, filters = arguments[0], arguments[1]
    row["dtype"] = data[2]
    if name.startswith(_DENSE):
        return row | _dense(data[1], filters[1])
    if _CONV in name and "transpose" not in name and "NCHWc" not in name and "nhwc" not in name:
        return row | _conv(name, data[1], filters[1], arguments[2:])
    return row | {"kind": name, "reason": "input is no task that is known here"}


def _conv(name: str, data: Sequence[int], filters: Sequence[int], rest: Sequence[object]) -> Row:
    batch, channels, height, width = data
    stride, pads, dilation = (_pair(value) for value in rest[:3])
    depthwise = _DEPTHWISE in name
    sizes: Row = {
        "kind": _DEPTHWISE if depthwise else _CONV,
        "batch": batch,
        "in_channels": channels,
        "height": height,
        "width": width,
        "out_channels": channels * filters[1] if depthwise else filters[0],
        "groups": channels if depthwise else channels // filters[1],
        "kernel": filters[2],
        "kernel_w": filters[3],
        "stride": stride[0],
        "stride_w": stride[-1],
        "dilation": dilation[0],
        "dilation_w": dilation[-1],
    }
    if len(pads) == 4 and pads[:2] != pads[2:]:
        sizes["out_height"] = (height + pads[0] + pads[2] - filters[2]) // stride[0] + 1
        sizes["out_width"] = (width + pads[1] + pads[3] - filters[3]) // stride[-1] + 1
        return sizes
    return sizes | {"pad": pads[0], "pad_w": pads[1] if len(pads) > 1 else pads[0]}


def _pair(value: object) -> list[int]:
    return [int(item) for item in value] if isinstance(value, list) else [int(str(value))]


def _dense(data: Sequence[int], filters: Sequence[int]) -> Row:
    return {
        "kind": _DENSE,
        "batch": data[0],
        "in_channels": data[1],
        "out_channels": filters[0],
    }


FORM = Form(
    name="tophub",
    fits=_fits,
    rows=_rows,
    notes=("Each record is of one schedule; several of one kernel are merged as repeats.",),
)

"""``perf.yaml`` of Qualcomm AI Hub's models: milliseconds of each network by device and runtime.

Only what these files use of YAML is read: nested names by indentation, texts and numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from costmodel.errors import InvalidInputError
from costmodel.imports.formats.form import Form, Row

_TIME = "inference_time_milliseconds"
_LINE = re.compile(r"^(?P<indent> *)(?P<dash>- )?(?P<key>[^:#]+?):(?: +(?P<value>.*?))?\s*$")
_DTYPES = {"float": "float16", "fp16": "float16", "w8a8": "int8", "w8a16": "int8"}


def _fits(head: str) -> bool:
    return "performance_metrics:" in head and not head.lstrip().startswith(("{", "["))


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    for number, keys, value in _leaves(lines):
        if keys[-1] != _TIME or value in {"", "null", "~"}:
            continue
        try:
            at = len(keys) - 1 - keys[::-1].index("performance_metrics")
            device, runtime = keys[at + 1 : at + 3]
            time = float(value)
        except ValueError:
            message = f"line {number}: {_TIME} does not stand below a device and a runtime."
            raise InvalidInputError(message) from None
        component = keys[at - 1] if at and keys[at - 1] != "components" else "network"
        precision = next((key for key in keys[:at] if key in _DTYPES), "float")
        yield {
            "device": device,
            "runtime": f"{runtime} (AI Hub)",
            "dtype": _DTYPES[precision],
            "kind": "model",
            "name": component,
            "latency_ms": time,
        }


def _leaves(lines: Iterable[str]) -> Iterator[tuple[int, tuple[str, ...], str]]:
    """Line number, names from the outermost, and value of every line that has a value."""
    stack: list[tuple[int, str]] = []
    for number, line in enumerate(lines, 1):
        found = _LINE.match(line.rstrip("\r\n"))
        if found is None:
            continue
        indent = len(found["indent"]) + (2 if found["dash"] else 0)
        while stack and stack[-1][0] >= indent:
            stack.pop()
        stack.append((indent, found["key"].strip().strip("'\"")))
        value = (found["value"] or "").strip().strip("'\"")
        if value:
            yield number, tuple(name for _, name in stack), value


FORM = Form(
    name="ai_hub",
    fits=_fits,
    rows=_rows,
    notes=("float on these devices is float16 where a network runs on the NPU or GPU.",),
)

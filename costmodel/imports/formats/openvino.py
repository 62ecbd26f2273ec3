"""The report that OpenVINO's ``benchmark_app`` writes with ``-report_type``: CSV, or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from costmodel.errors import InvalidInputError
from costmodel.imports.formats.form import Form, Row, network_name, whole_json

_MODEL = ("m", "model", "path_to_model")
_DEVICE = ("d", "target_device", "device")
_THREADS = ("nthreads", "number_threads")
#: From the best to the last resort.
_TIMES = ("latency (ms)", "Median latency (ms)", "avg latency", "Average latency (ms)")


def _fits(head: str) -> bool:
    printed = head.startswith("Command line parameters") and ";" in head
    return printed or ('"execution_results"' in head and '"cmd_options"' in head)


def _rows(lines: Iterable[str]) -> Iterator[Row]:
    lines = list(lines)
    if "".join(lines[:1]).lstrip("\ufeff \t\n").startswith("{"):
        found = whole_json(lines)
        options, results = found.get("cmd_options", {}), found.get("execution_results", {})
    else:
        options, results = _sections(lines)
    options = {str(name).strip("-"): str(value) for name, value in options.items()}
    time = next((results[name] for name in _TIMES if name in results), None)
    if time is None:
        message = (
            "it holds no latency. Run benchmark_app to its end; with several streams it reports "
            "throughput alone, so use -hint latency."
        )
        raise InvalidInputError(message)
    name = _first(options, _MODEL)
    yield {
        "kind": "model",
        "runtime": "openvino",
        "provider": _first(options, _DEVICE) or "CPU",
        "threads": int(_first(options, _THREADS) or 1),
        "name": network_name(name) if name else None,
        "latency_ms": float(str(time).replace(",", ".")),
    }


def _sections(lines: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Options of the command line, and results, of the CSV form."""
    options: dict[str, str] = {}
    results: dict[str, str] = {}
    into = options
    for line in lines:
        if line.startswith("Execution results"):
            into = results
        name, separator, value = line.strip().partition(";")
        if separator:
            into[name] = value.strip("; ")
    return options, results


def _first(options: Mapping[str, str], names: Iterable[str]) -> str:
    return next((options[name] for name in names if options.get(name)), "")


FORM = Form(name="openvino", fits=_fits, rows=_rows)

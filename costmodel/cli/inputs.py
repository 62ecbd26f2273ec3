"""Makes what a verb works with from its options: table, cost model, runner, network."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.cli.options import Option
from costmodel.cli.output import note
from costmodel.device import Device
from costmodel.errors import DeviceMismatchError, InvalidInputError, MissingDependencyError
from costmodel.registry import load_runner, runner_names

if TYPE_CHECKING:
    from costmodel.calibration import Calibration
    from costmodel.network import Network
    from costmodel.protocols import CostModel, Runner
    from costmodel.table import LatencyTable

#: Runner of each runtime, where their names differ.
RUNNERS = {"onnxruntime": "ort"}
#: Runner of each runtime whose compiler's estimates are in a table.
ESTIMATORS = {"xla": "tpu-aot"}
#: Option that names the back end, for runtimes that have several.
_BACKENDS = {"onnxruntime": "provider", "xla": "platform"}
#: Model files of Keras, which are exported to ONNX on the fly.
KERAS = (".keras", ".h5", ".hdf5")
#: Identity fields in which a device may differ from a table's and still run the same kernels.
_TOLERATED = frozenset({"runtime_version", "caches", "provenance"})

_COUNTS = {"flops": "Flops", "params": "Params", "activations": "Activations", "bytes": "Bytes"}
_COSTS = "regression, lookup, flops, params, activations, bytes, roofline:DATASHEET"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What networks are priced by.

    Attributes:
        cost: the cost model of ``--cost``.
        calibration: what the table's whole networks say about sums; None without any.
        device: of the table; None without one.
    """

    cost: CostModel
    calibration: Calibration | None
    device: Device | None


def load_prices(table: str | None, cost: str, *, calibrated: bool) -> Prices:
    """What ``--table``, ``--cost`` and ``--no-calibration`` ask for.

    Raises:
        InvalidInputError: as ``make_cost``.
        TableFormatError: if the table cannot be read.
    """
    rows = load_table(table) if table else None
    priced_by = make_cost(cost, rows)
    return Prices(
        cost=priced_by,
        calibration=make_calibration(rows, priced_by, wanted=calibrated),
        device=rows.device if rows else None,
    )


def load_table(source: str) -> LatencyTable:
    """Read a table and pass its warnings on."""
    from costmodel.table import LatencyTable

    table = LatencyTable.load(source)
    for warning in table.warnings:
        note(f"Warning: {warning}")
    return table


def make_cost(name: str, table: LatencyTable | None) -> CostModel:
    """The cost model of ``--cost``.

    Raises:
        InvalidInputError: for an unknown name, or a table that is missing or holds too little.
    """
    if name in _COUNTS:
        from costmodel.costs import counts

        found: CostModel = getattr(counts, _COUNTS[name])()
        return found
    kind, _, sheet = name.partition(":")
    if kind == "roofline":
        return _roofline(sheet)
    if name not in {"regression", "lookup"}:
        message = f"There is no cost model {name!r}. Known: {_COSTS}."
        raise InvalidInputError(message)
    if table is None:
        message = f"The cost model {name!r} needs a table. Give one with --table."
        raise InvalidInputError(message)
    if not table.kernels():
        where = table.path or table.device.label
        message = (
            f"The table {where} holds no measured kernel ({len(table)} rows), so nothing has a "
            "price. Run 'costmodel profile' into it first."
        )
        raise InvalidInputError(message)
    if name == "lookup":
        from costmodel.costs.lookup import Lookup

        return Lookup(table)
    from costmodel.costs.regression import fit_regression

    return fit_regression(table)


def _roofline(sheet: str) -> CostModel:
    from costmodel.costs.roofline import DATASHEETS, Roofline

    if sheet not in DATASHEETS:
        message = f"There is no datasheet {sheet!r}. Known: {', '.join(sorted(DATASHEETS))}."
        raise InvalidInputError(message)
    return Roofline(DATASHEETS[sheet])


def make_calibration(
    table: LatencyTable | None, cost: CostModel, *, wanted: bool
) -> Calibration | None:
    """What the table's whole networks say about sums; None without any, or for other units."""
    from_table = cost.unit == "ms" and not cost.name.startswith("roofline")
    if not wanted or table is None or not from_table or not table.models():
        return None
    from costmodel.calibration import fit_calibration

    return fit_calibration(table, cost)


def runner_of(device: Device) -> str | None:
    """Name of the runner that made a device's numbers; None when it is not registered here."""
    name = RUNNERS.get(device.runtime, device.runtime)
    if device.provenance == "estimated":
        name = ESTIMATORS.get(device.runtime, name)
    return name if name in runner_names() else None


def with_threads(options: Mapping[str, Option], device: Device | None) -> dict[str, Option]:
    """The options with the table's threads, element type and back end, unless they say else."""
    if device is None:
        return dict(options)
    found: dict[str, Option] = {"threads": device.threads}
    if device.provenance == "estimated" and device.runtime in ESTIMATORS:
        found = {"generation": device.isa}
    if device.dtype != "float32":
        found["dtype"] = device.dtype
    name = _BACKENDS.get(device.runtime)
    provider = device.provider.removesuffix("ExecutionProvider").lower()
    if name is not None and provider not in {"", "cpu"} and "generation" not in found:
        found[name] = provider
    return found | dict(options)


def difference(ours: Device, theirs: Device) -> str:
    """First identity field in which two devices may run different kernels; empty if none."""
    other = theirs.identity
    for name, value in ours.identity.items():
        if name not in _TOLERATED and value != other[name]:
            return f"{name} is {value!r} here, {other[name]!r} in the table"
    return ""


def require_same_device(ours: Device, theirs: Device, *, other_device: bool) -> None:
    """Refuse to hold a table against another device's clock, unless asked to.

    Raises:
        DeviceMismatchError: naming the field that differs and the option that allows it.
    """
    try:
        theirs.require_same(ours, "Comparing")
    except DeviceMismatchError as error:
        message = f"Predicted for {theirs.label}, measured on {ours.label}."
        if not other_device:
            hint = "Pass --other-device to compare all the same."
            text = f"{message} {error} {hint}"
            raise DeviceMismatchError(text) from error
        note(f"Warning: {message} Their difference is part of every error.")


@contextmanager
def as_onnx(models: Sequence[Path], sizes: Mapping[str, int]) -> Iterator[list[Path]]:
    """The models' files, those of Keras exported to ONNX for as long as the body runs.

    Raises:
        InvalidInputError: for a file that is not there, or is a folder.
        MissingDependencyError: for a Keras file without the ``keras`` extra.
    """
    for path in models:
        if path.is_dir():
            message = f"{path} is a folder. Give the model file in it."
            raise InvalidInputError(message)
        if not path.exists():
            message = f"There is no file {path}. Give the path of an ONNX or Keras model."
            raise InvalidInputError(message)
    with tempfile.TemporaryDirectory(prefix="costmodel-") as folder:
        yield [
            _exported(path, Path(folder) / str(number), sizes)
            if path.suffix.lower() in KERAS
            else path
            for number, path in enumerate(models)
        ]


def _exported(path: Path, folder: Path, sizes: Mapping[str, int]) -> Path:
    from costmodel.readers.keras import export_onnx

    note(f"Exporting {path} to ONNX.")
    folder.mkdir()
    return export_onnx(path, folder / f"{path.stem}.onnx", sizes)


def lowering_runner(
    name: str | None, options: Mapping[str, Option], device: Device | None
) -> tuple[Runner | None, str]:
    """The runner to ask for a network's Ops, or None and why not.

    Args:
        name: of ``--runner``; None for the one that made the table.
        options: of the runner.
        device: of the table.
    """
    chosen = name or (runner_of(device) if device else None)
    if chosen is None:
        runtime = device.runtime if device else "no runtime"
        return None, f"there is no runner for {runtime} here"
    try:
        runner = load_runner(chosen, with_threads(options, device))
    except MissingDependencyError as error:
        if name:
            raise
        return None, str(error)
    if device is not None and name is None:
        differs = difference(runner.device, device)
        if differs:
            return None, f"this is another device ({differs})"
    return runner, ""


def read_network(
    path: Path,
    sizes: Mapping[str, int],
    *,
    runner: Runner | None,
    reason: str,
    device: Device | None,
) -> Network:
    """A model's Ops: asked from the runtime, else by rule for the device, else as written."""
    if runner is not None:
        return runner.lower(path, sizes)
    from costmodel.readers.onnx import read_onnx

    written = read_onnx(path, sizes)
    if device is None:
        return written
    from costmodel.anticipation import anticipate

    note(f"Kernels are anticipated by rule, not asked from the runtime: {reason}.")
    return anticipate(written, device)

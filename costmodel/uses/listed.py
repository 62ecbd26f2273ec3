"""The networks of a list of timings: which model or imported network each line means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from costmodel.anticipation import anticipate_file
from costmodel.device import Device
from costmodel.model_rows import model_op, model_op_counts
from costmodel.network import Layer, Network, model_digest
from costmodel.onnx_model.inputs import sizes_of_each
from costmodel.op import Op
from costmodel.readers.timings import Timing
from costmodel.sizes import Sizes
from costmodel.table import LatencyTable
from costmodel.uses.models import model_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One line of a list, and the network that it means.

    Attributes:
        timing: the line.
        network: its kernels on the device.
        row: the key under which a table keeps its time.
    """

    timing: Timing
    network: Network
    row: Op


def find_networks(
    timings: Sequence[Timing],
    folder: Path,
    device: Device,
    tables: Sequence[LatencyTable] = (),
    sizes: Sizes | None = None,
) -> tuple[list[Listed], list[Timing]]:
    """The networks that the lines of a list mean, and the lines that mean none.

    Args:
        timings: the lines; each names a model file, or a network of one of ``tables``.
        folder: where the list lies; its files are named from there.
        device: whose kernels are foreseen.
        tables: whose networks may be named.
        sizes: values of open dimensions of the files.

    Raises:
        InvalidInputError: for a device without rules, or a size that does not fit.
        ModelFormatError: if a file cannot be read.
    """
    named = _named(tables)
    files = {timing.model: folder / timing.model for timing in timings}
    files = {name: path for name, path in files.items() if path.exists()}
    read = dict(zip(files, _read(list(files.values()), device, sizes or {}), strict=True))
    found, unknown = [], []
    for timing in timings:
        network, row = read.get(timing.model) or named.get(timing.model) or (None, None)
        if network is None or row is None:
            unknown.append(timing)
        else:
            found.append(Listed(timing=timing, network=network, row=row))
    return found, unknown


def _read(paths: Sequence[Path], device: Device, sizes: Sizes) -> Iterable[tuple[Network, Op]]:
    if not paths:
        return
    with model_files(list(paths), sizes) as (files, bound):
        for path, own in zip(files, sizes_of_each(files, bound), strict=True):
            network = anticipate_file(path, own, device)
            yield network, model_op(network.name, model_digest(path, own), network.ops)


def _named(tables: Sequence[LatencyTable]) -> Mapping[str, tuple[Network, Op]]:
    """Whole networks of tables whose kernels are all known, by name; the first of a name."""
    found: dict[str, tuple[Network, Op]] = {}
    for table in tables:
        known = {op.digest: op for op in table.rows}
        for row in table.models():
            name = row.op.attribute("name", "")
            counts = model_op_counts(row.op)
            if name and name not in found and all(digest in known for digest in counts):
                ops = [known[digest] for digest, count in counts.items() for _ in range(count)]
                found[name] = _network(name, ops), row.op
    return found


def _network(name: str, ops: Iterable[Op]) -> Network:
    """A network of which only the kernels are known."""
    layers = tuple(Layer(name=f"{op.kind}_{number}", op=op) for number, op in enumerate(ops))
    return Network(name=name, layers=layers, source="anticipated")

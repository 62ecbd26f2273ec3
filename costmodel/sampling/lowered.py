"""Lowers probes in batches and tells which executed Op belongs to which probe, and in what role."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from costmodel.errors import CostModelError
from costmodel.network import Layer, Network
from costmodel.op import CONV_KINDS, MODEL, SESSION, Op
from costmodel.protocols import Runner
from costmodel.sampling.layers import SCAFFOLD
from costmodel.sampling.probe import SEPARATOR, Probe
from costmodel.sampling.probes import probe_model

#: Probes lowered at once.
BATCH = 64
#: Bytes of weights and activations lowered at once; a runtime holds several copies of weights.
BATCH_BYTES = 200e6

#: ``target``: what the probe is there for. ``layout``: a conversion around it. ``side``: any other
#: kernel it brought, such as an activation that was not folded in. ``scaffold``: only there to put
#: the probe into its usual surroundings, so never worth a measurement of its own.
Role = Literal["target", "layout", "side", "scaffold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One executed Op of a probe.

    Attributes:
        op: what the runtime executes.
        probe: whose it is.
        role: what it is to the probe.
    """

    op: Op
    probe: Probe
    role: Role


def lower_probes(
    runner: Runner, probes: Sequence[Probe], skipped: dict[str, str]
) -> Iterator[Found]:
    """Lower probes, a batch at a time.

    Args:
        runner: the runtime.
        probes: with unique names.
        skipped: filled with the reason of every probe, by name, that the runtime does not take.

    Yields:
        The executed Ops, probe order kept between batches.
    """
    for batch in _batches(probes):
        yield from _lower(runner, batch, skipped)


def _batches(probes: Sequence[Probe]) -> Iterator[list[Probe]]:
    batch: list[Probe] = []
    held = 0
    for probe in probes:
        size = probe.weight_bytes + probe.activation_bytes
        if batch and (len(batch) == BATCH or held + size > BATCH_BYTES):
            yield batch
            batch, held = [], 0
        batch.append(probe)
        held += size
    if batch:
        yield batch


def _lower(runner: Runner, batch: Sequence[Probe], skipped: dict[str, str]) -> list[Found]:
    try:
        network = lower_together(runner, batch)
    except CostModelError as error:
        if len(batch) == 1:
            skipped[batch[0].name] = str(error)
            return []
        # One probe that the runtime does not know must not cost the others.
        middle = len(batch) // 2
        halves = batch[:middle], batch[middle:]
        return [found for half in halves for found in _lower(runner, half, skipped)]
    return list(_assign(network, batch))


def lower_together(runner: Runner, probes: Sequence[Probe]) -> Network:
    """The executed network of one model that holds all ``probes``."""
    with TemporaryDirectory(prefix="costmodel-") as folder:
        path = Path(folder) / "probes.onnx"
        path.write_bytes(probe_model(probes).SerializeToString())
        return runner.lower(path, {})


def _assign(network: Network, probes: Sequence[Probe]) -> Iterator[Found]:
    """Follow each probe's inputs through the executed network, whatever the runtime renamed."""
    known = {probe.name: probe for probe in probes}
    sources: dict[str, frozenset[str]] = {name: frozenset({name}) for name in network.inputs}
    order = {probe.name: index for index, probe in enumerate(probes)}
    found: list[tuple[int, Found]] = []
    for layer in network.layers:
        read = _sources(layer, sources)
        sources.update(dict.fromkeys(layer.outputs, read))
        owners = {name.split(SEPARATOR)[0] for name in read}
        if layer.op.kind in {SESSION, MODEL} or len(owners) != 1:
            continue
        probe = known.get(owners.pop())
        if probe is not None:
            item = Found(op=layer.op, probe=probe, role=_role(layer.op, probe, read))
            found.append((order[probe.name], item))
    yield from (item for _, item in sorted(found, key=lambda pair: pair[0]))


def _sources(layer: Layer, sources: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return frozenset[str]().union(*(sources.get(name, frozenset()) for name in layer.inputs))


def _role(op: Op, probe: Probe, read: frozenset[str]) -> Role:
    if all(name.endswith(SEPARATOR + SCAFFOLD) for name in read):
        return "scaffold"
    if op.kind.startswith("reorder"):
        return "layout"
    if op.kind in CONV_KINDS:
        # A normalisation in a blocked layout runs as a convolution of each channel alone.
        is_norm = probe.kind == "batch_norm" and op.is_depthwise
        return "target" if probe.kind in CONV_KINDS or is_norm else "scaffold"
    return "side" if probe.kind in CONV_KINDS else "target"

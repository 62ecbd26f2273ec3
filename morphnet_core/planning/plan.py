"""Widths that a budget pays for, of an ONNX network as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from typing import Any

import onnx

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.figures import quantity
from costmodel.prediction import price_network
from costmodel.protocols import CostModel, NetworkLaw
from costmodel.sizes import Sizes
from morphnet_core.alignment import GroupWidth, Source, cut, paddable, read_source
from morphnet_core.alignment.source import write_model
from morphnet_core.groups import Grouping, Units, resize
from morphnet_core.groups.convert import structure_of
from morphnet_core.groups.tracer import OUTPUT
from morphnet_core.planning.importance import weight_importance
from morphnet_core.planning.naming import layer_names
from morphnet_core.pricing import Count, Pricer
from morphnet_core.pricing.executed import executed
from morphnet_core.pricing.targets import device_of
from morphnet_core.projection import Projection, project
from morphnet_core.projection.device import LoopResult, by_clock, corrected_rounds
from morphnet_core.structure import Structure

#: Share of its channels that each group keeps at least: norms of weights are no reason to leave a
#: layer with next to nothing.
LEAST = 0.25
#: Share by which a predicted cost may be above the target: what rounding of numbers adds.
_NOISELESS = 1e-9
#: Frozen groups that an error names.
_MOST_NAMED = 4
_NO_SIZES: Sizes = {}
#: Times models side by side: milliseconds of each.
ModelClock = Callable[[Sequence[onnx.ModelProto]], Sequence[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WidthPlan:
    """Channels that every layer of a network keeps within a budget.

    Attributes:
        name: the network's.
        structure: what each layer keeps, by the names of a PyTorch module's layers where the file
            tells them.
        model: the network without the others; its weights are those that are left.
        groups: every group of channels, in the network's order.
        unit: of the costs.
        target: greatest cost: by the clock where there was one.
        predicted_before: cost of the network as it is, as ``costmodel predict`` has it.
        predicted_after: cost of ``model``.
        measured_before_ms: time of the network as it is; None where it was not timed.
        measured_after_ms: time of ``model``.
        hit: whether the clock is within 2 % of the target; None where nothing was timed.
        measured_on: the device that was timed.
        note: why nothing was timed; empty if it was.
    """

    name: str
    structure: Structure
    model: onnx.ModelProto
    groups: tuple[GroupWidth, ...]
    unit: str
    target: float
    predicted_before: float
    predicted_after: float
    measured_before_ms: float | None = None
    measured_after_ms: float | None = None
    hit: bool | None = None
    measured_on: str = ""
    note: str = field(default="predicted only")

    @property
    def predicted_share(self) -> float:
        """What is left of the cost, by the prices."""
        return self.predicted_after / self.predicted_before

    @property
    def measured_share(self) -> float | None:
        """What is left of the time, by the clock; None where it was not asked."""
        if self.measured_before_ms is None or self.measured_after_ms is None:
            return None
        return self.measured_after_ms / self.measured_before_ms

    def save(self, path: str | Path) -> Path:
        """Write the structure's file; an older one is replaced.

        Raises:
            InvalidInputError: if it cannot be written.
        """
        return self.structure.save(path)

    def save_model(self, path: str | Path) -> Path:
        """Write the network without the channels that go; an older file is replaced.

        Raises:
            InvalidInputError: if it cannot be written.
        """
        write_model(self.model, Path(path))
        return Path(path)

    def to_json(self) -> dict[str, object]:
        """Everything but the network, as plain values."""
        return {
            "model": self.name,
            "unit": self.unit,
            "target": self.target,
            "predicted_before": self.predicted_before,
            "predicted_after": self.predicted_after,
            "predicted_share": self.predicted_share,
            "measured_before_ms": self.measured_before_ms,
            "measured_after_ms": self.measured_after_ms,
            "measured_share": self.measured_share,
            "hit": self.hit,
            "measured_on": self.measured_on or None,
            "note": self.note or None,
            "layers": {
                name: [width.of, width.count] for name, width in self.structure.layers.items()
            },
            "groups": [group.to_json() for group in self.groups],
        }


def plan_widths(  # noqa: PLR0913 - each has a sensible default
    model: str | Path | onnx.ModelProto,
    cost: Count | CostModel,
    target: float | str,
    device: Device | None = None,
    *,
    calibration: NetworkLaw | None = None,
    sizes: Sizes = _NO_SIZES,
    fix_weights: bool = False,
    least: float = LEAST,
    clock: ModelClock | None = None,
    tell: Callable[[str], None] | None = None,
) -> WidthPlan:
    """Choose the widths of most importance that a budget pays for.

    Channels are rated by the norms of their weights (see ``importance``). With a clock, the network
    is cut and timed, and prices are corrected until it takes what was asked for; without one, what
    a calibration knows of whole networks takes its place.

    Args:
        model: an ONNX file, or a model in memory; not changed.
        cost: prices kernels.
        target: greatest cost, in the cost's unit, or a share of the network's such as ``"60%"``.
        device: whose runtime decides what is executed; by default the cost model's own.
        calibration: from the sum of kernels to networks.
        sizes: of open dimensions.
        fix_weights: take weights off the list of inputs, where old exporters put them; weights
            that may be fed cannot be cut.
        least: share of its channels that each group keeps at least.
        clock: times ONNX models; for milliseconds.
        tell: who is told of each round.

    Raises:
        ModelFormatError: if the file is damaged or quantised, or cannot be cut; names the layer.
        InvalidInputError: if too little of the network's work has a price, or no widths are cheap
            enough; names the layers that cannot be cut.
    """
    chosen = device if device is not None else device_of(cost)
    source = read_source(model, sizes, fix_weights=fix_weights)
    grouping = _keeping(paddable(source), least)
    names = layer_names(source, grouping.mixers)
    _require_choice(source, grouping, names)
    pricer = Pricer(grouping, cost, chosen)
    importance = weight_importance(source, grouping)

    def predicted(counts: Units) -> float:
        if cost.unit != "ms" or isinstance(cost, Count):
            return pricer.at_counts(counts)
        network = executed(resize(grouping, counts), chosen)
        return price_network(network, cost, calibration, device=chosen).total

    def projected(wanted: float, scale: float) -> Projection:
        if wanted >= scale * pricer.seed:
            whole, asked = (quantity(x, pricer.unit) for x in (scale * pricer.seed, wanted))
            message = (
                f"{source.path} costs {whole} as it is, and the target is {asked}: nothing is to "
                "be cut. Give a lower target."
            )
            raise InvalidInputError(message)
        try:
            return project(pricer, importance, wanted, scale=scale)
        except InvalidInputError as error:
            kept = f" Every group of layers keeps {least:.0%} of its channels at least."
            message = f"{error}{kept}{_frozen_named(grouping, names)}"
            raise InvalidInputError(message) from error

    def made(found: Projection) -> onnx.ModelProto:
        return cut(source, grouping, found.alive)

    now = grouping.full_counts
    if clock is None:
        loop = by_clock(
            corrected_rounds(
                now, lambda found: found.counts, pricer, target, projected, above=_NOISELESS
            ),
            lambda many: [predicted(counts) for counts in many],
        )
    else:
        rounds = corrected_rounds(source.model, made, pricer, target, projected, tell=tell)
        loop = by_clock(rounds, clock)
    found = loop.best.projection
    known = _known(loop, pricer, predicted(found.counts), timed=clock is not None)
    structure = structure_of(grouping, found.alive, **known)
    return WidthPlan(
        name=source.path.stem,
        structure=replace(
            structure,
            layers={names.get(name, name): width for name, width in structure.layers.items()},
            groups={names.get(name, name): count for name, count in structure.groups.items()},
        ),
        model=made(found),
        groups=tuple(
            GroupWidth(
                name=names.get(group.name, group.name),
                before=group.size,
                after=int(count),
                frozen=group.frozen,
            )
            for group, count in zip(grouping.groups, found.counts, strict=True)
        ),
        unit=pricer.unit,
        target=loop.target_ms,
        predicted_before=predicted(now),
        predicted_after=predicted(found.counts),
        measured_before_ms=None if clock is None else loop.seed_ms,
        measured_after_ms=None if clock is None else loop.best.measured_ms,
        hit=None if clock is None else loop.hit,
    )


def _keeping(grouping: Grouping, least: float) -> Grouping:
    """The grouping whose groups keep some share of their channels."""
    groups = (
        replace(group, minimum=min(group.size, max(group.minimum, ceil(least * group.size))))
        for group in grouping.groups
    )
    return replace(grouping, groups=tuple(groups))


def _known(loop: LoopResult, pricer: Pricer, predicted: float, *, timed: bool) -> Mapping[str, Any]:
    """What the structure says of costs."""
    known: dict[str, Any] = {"costs": {pricer.unit: predicted}}
    if pricer.unit == "ms":
        measured = loop.best.measured_ms if timed else None
        known |= {"predicted_ms": predicted, "measured_ms": measured}
        known["device"] = pricer.device.label if pricer.device is not None else ""
    return known


def _require_choice(source: Source, grouping: Grouping, names: Mapping[str, str]) -> None:
    """Refuse a network of which nothing can be cut.

    Raises:
        InvalidInputError: with reasons.
    """
    if all(group.frozen or group.minimum >= group.size for group in grouping.groups):
        message = (
            f"{source.path}: no layer of it can be cut, so no target can be met."
            f"{_frozen_named(grouping, names)}"
        )
        raise InvalidInputError(message)


def _frozen_named(grouping: Grouping, names: Mapping[str, str]) -> str:
    """Layers that keep all channels, with the reasons; empty where there are none."""
    frozen = [
        group
        for group in grouping.groups
        if group.producers and group.frozen not in {"", OUTPUT}  # every network has outputs
    ]
    if not frozen:
        return ""
    shown = [f"{names.get(g.name, g.name)} ({g.frozen})" for g in frozen[:_MOST_NAMED]]
    more = len(frozen) - len(shown)
    rest = f"; and {more} more" if more else ""
    return (
        f" These layers keep all channels: {'; '.join(shown)}{rest}. Export the model without what "
        "the reasons name."
    )

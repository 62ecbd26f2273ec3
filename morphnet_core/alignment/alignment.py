"""align: the same function, faster, from padding channels to widths that a device likes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import onnx

from costmodel.calibration import Calibration
from costmodel.device import Device
from costmodel.errors import ModelFormatError
from costmodel.prediction import Prediction, price_network
from costmodel.protocols import CostModel, NetworkLaw
from costmodel.sizes import Sizes
from morphnet_core.alignment.edit import pad
from morphnet_core.alignment.evaluate import Evaluator, check_unit
from morphnet_core.alignment.freeze import paddable
from morphnet_core.alignment.search import Limits, best_counts
from morphnet_core.alignment.source import Source, read_source, write_model
from morphnet_core.alignment.verify import TOLERANCE, Agreement, agreement, allowed_difference
from morphnet_core.groups import Units
from morphnet_core.pricing import Pricer

_NO_SIZES: Sizes = {}
_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWidth:
    """A group of channels before and after.

    Attributes:
        name: origin of the first layer that writes them.
        before: channels now.
        after: channels in the aligned network.
        frozen: why it could not change; empty if it could.
    """

    name: str
    before: int
    after: int
    frozen: str = ""

    def to_json(self) -> dict[str, object]:
        """As plain values; ``frozen`` only where it is so."""
        found = {"name": self.name, "before": self.before, "after": self.after}
        return found | ({"frozen": self.frozen} if self.frozen else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """A network and the same function with channels padded.

    Attributes:
        name: the network's.
        original: the network as it was given.
        model: the aligned network; ``original`` where nothing is worth changing.
        sizes: of open dimensions, for which it was aligned.
        groups: every group of channels, in the network's order.
        before: prediction for the original.
        after: prediction for ``model``.
        difference: largest difference of their results, relative to the largest value.
        telling: whether the results depend on the inputs enough for ``difference`` to say much.
        measured_before_ms: time of the original; None where it was not measured.
        measured_after_ms: time of ``model``.
        repeatability: how well two halves of the measuring rounds agree, the worse of both.
        measured_on: the device that was timed.
        note: why nothing was measured; empty if it was.
    """

    name: str
    original: onnx.ModelProto
    model: onnx.ModelProto
    sizes: Sizes
    groups: tuple[GroupWidth, ...]
    before: Prediction
    after: Prediction
    difference: float = 0.0
    telling: bool = True
    measured_before_ms: float | None = None
    measured_after_ms: float | None = None
    repeatability: float | None = None
    measured_on: str = ""
    note: str = field(default="predicted only")

    @property
    def changed(self) -> bool:
        """Whether any group is padded."""
        return any(group.after != group.before for group in self.groups)

    @property
    def predicted_before_ms(self) -> float:
        """Predicted latency of the original."""
        return self.before.total

    @property
    def predicted_after_ms(self) -> float:
        """Predicted latency of the aligned network."""
        return self.after.total

    @property
    def predicted_speed_up(self) -> float:
        """How many times faster it is predicted to be."""
        return self.before.total / self.after.total

    @property
    def measured_speed_up(self) -> float | None:
        """How many times faster it is when timed; None where it was not."""
        if self.measured_before_ms is None or self.measured_after_ms is None:
            return None
        return self.measured_before_ms / self.measured_after_ms

    @property
    def worthwhile(self) -> bool:
        """Whether something changed, and the clock, where it was asked, agrees that it pays."""
        speed_up = self.measured_speed_up
        return self.changed and (speed_up is None or speed_up > 1.0)

    def save(self, path: str | Path) -> Path:
        """Write the aligned network whole; an older file is replaced.

        Raises:
            InvalidInputError: if it cannot be written.
        """
        write_model(self.model, Path(path))
        return Path(path)

    def to_json(self) -> dict[str, object]:
        """Everything but the models, as plain values."""
        return {
            "model": self.name,
            "changed": self.changed,
            "worthwhile": self.worthwhile,
            "predicted_before_ms": self.predicted_before_ms,
            "predicted_after_ms": self.predicted_after_ms,
            "predicted_speed_up": self.predicted_speed_up,
            "measured_before_ms": self.measured_before_ms,
            "measured_after_ms": self.measured_after_ms,
            "measured_speed_up": self.measured_speed_up,
            "repeatability": self.repeatability,
            "measured_on": self.measured_on or None,
            "note": self.note or None,
            "difference": self.difference,
            "telling": self.telling,
            "extrapolated_before": self.before.num_extrapolated,
            "extrapolated_after": self.after.num_extrapolated,
            "groups": [group.to_json() for group in self.groups],
        }


def pad_to_fast_widths(
    model: str | Path | onnx.ModelProto,
    cost: CostModel,
    device: Device | None = None,
    *,
    calibration: NetworkLaw | None = None,
    sizes: Sizes = _NO_SIZES,
    limits: Limits = _LIMITS,
    fix_weights: bool = False,
) -> Alignment:
    """Pad a network's channels with zeros to the widths that it is predicted to be fastest with.

    The function stays the same: new channels are written with zero weights and read with zero
    weights. Both networks are run by ONNX Runtime on random inputs and compared before this
    returns. Inputs and outputs keep their sizes. Groups that cannot change, because channels cannot
    be followed or a constant of the graph does not follow them, are listed with the reason.

    Args:
        model: an ONNX file, or a model in memory; not changed.
        cost: prices kernels in milliseconds, e.g. ``fit_regression(table)``.
        device: whose runtime decides what is executed; by default the cost model's own.
        calibration: from the sum of kernels to networks. Widths are chosen by what it says of
            kernels, if anything; both totals are what it says of networks.
        sizes: of open dimensions; the padded file keeps them open.
        limits: how far to pad, and for what gain.
        fix_weights: take weights off the list of inputs, where old exporters put them; weights
            that may be fed cannot be padded.

    Raises:
        ModelFormatError: if the file is damaged or quantised, or results differ after padding.
        InvalidInputError: if the cost model does not price in milliseconds, or too little of the
            network's work has a price.
    """
    check_unit(cost)
    chosen = device if device is not None else cost.device
    source = read_source(model, sizes, fix_weights=fix_weights)
    grouping = paddable(source)
    Pricer(grouping, cost, chosen)  # refuses what it cannot price
    # A law of whole networks alone says nothing of what a channel more costs.
    by_kernel = calibration if isinstance(calibration, Calibration) else None
    evaluator = Evaluator(grouping, cost, chosen, by_kernel)
    counts, now = best_counts(evaluator, limits), grouping.full_counts

    def predicted(widths: Units) -> Prediction:
        return price_network(evaluator.network(widths), cost, calibration, device=chosen)

    before = predicted(now)
    after = predicted(counts)
    if after.total >= before.total:  # what a calibration knows of whole networks only
        counts, after = now, before
    same = bool((counts == now).all())
    padded = source.model if same else pad(source, grouping, counts)
    checked = (
        Agreement(difference=0.0, variation=1.0)
        if same
        else checked_agreement(source, padded, sizes)
    )
    return Alignment(
        name=source.path.stem,
        original=source.model,
        model=padded,
        sizes=dict(sizes),
        groups=tuple(
            GroupWidth(name=group.name, before=group.size, after=int(count), frozen=group.frozen)
            for group, count in zip(grouping.groups, counts, strict=True)
        ),
        before=before,
        after=after,
        difference=checked.difference,
        telling=checked.telling,
        note="nothing is worth changing" if same else "predicted only",
    )


def checked_agreement(source: Source, padded: onnx.ModelProto, sizes: Sizes) -> Agreement:
    """How far the results of a padded network are from those of the network as it is.

    Args:
        source: the network as it is.
        padded: the same with channels added.
        sizes: of open dimensions.

    Raises:
        ModelFormatError: if they are further apart than rounding explains.
    """
    found = agreement(source.path, source.model, padded, sizes)
    if found.difference <= TOLERANCE:
        return found
    allowed = allowed_difference(source.path, source.model, sizes)
    if found.difference > allowed:
        message = (
            f"{source.path}: after padding its results differ by {found.difference:.2g} of the "
            f"largest value, more than the {allowed:.2g} that rounding explains. Nothing was "
            "changed; please report this network."
        )
        raise ModelFormatError(message)
    return found

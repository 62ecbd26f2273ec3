"""From a model, its groups and a chosen signal to one number per unit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.groups import NOBODY, Grouping
from morphnet_core.signals.choose import Gamma, Gates, Signal
from morphnet_core.signals.decorate import decorated
from morphnet_core.signals.gated import GatedModel, gate_model
from morphnet_core.signals.rules import UnitSignal
from morphnet_core.signals.source import Source, as_numpy
from morphnet_core.signals.ways import judging


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A signal at one moment.

    Attributes:
        scores: ``(units,)`` how strongly each unit is used; infinite where nothing tells.
        above: ``(units,)`` which units are above the threshold; those without a signal are.
    """

    scores: NDArray[np.float64]
    above: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model ready to be pressed on.

    Attributes:
        model: the model to train: the user's own, or with gates a functional one that shares its
            layers.
        penal: the signal that a penalty is on.
        plain: the signal that decides what is alive; the same where nothing decorates it.
        threshold: above which a unit is alive.
        gated: the gates, where the signal is gates.
        by_probability: whether gates are judged by their probability.
        silent: groups that could shrink if they had a signal, each with the reason.
    """

    model: Any
    penal: UnitSignal
    plain: UnitSignal
    threshold: float
    gated: GatedModel | None
    by_probability: bool
    silent: Mapping[str, str]

    def read(self) -> Reading:
        """How strongly each unit is used now, and which are above the threshold."""
        scores = self.plain.numbers()
        judged = scores
        if self.gated is not None and not self.by_probability:
            judged = self.gated.open_share(len(scores))
        silent = ~self.plain.signalled
        above = (judged > self.threshold) | silent
        scores[silent] = np.inf
        return Reading(scores=scores, above=above)

    def offsets(self) -> dict[str, str]:
        """Constants that channels without a signal left still carry.

        A normalisation whose gamma is zero returns its beta; whoever reads it has learned with
        that, and gets it into its bias when the channel is cut.
        """
        found = {}
        for source in self.plain.sources:
            own = source.units != NOBODY
            if source.offset is None or not own.any():
                continue
            dead = own & (as_numpy(source.values()) <= self.threshold)
            sizes = np.abs(as_numpy(source.offset).astype(np.float32))[dead]
            if sizes.max(initial=0.0) > self.threshold:
                found[source.name] = (
                    f"{int((sizes > self.threshold).sum())} dead channels still carry a constant "
                    f"of up to {sizes.max():.3g}, which goes into the biases of their readers"
                )
        return found


def prepare(
    grouping: Grouping,
    model: Any,
    signal: Signal,
    *,
    rule: str = "max",
    seed: int | None = None,
    decorator: Callable[..., Any] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Prepared:
    """Find the sources of a signal in a model.

    Args:
        grouping: of the model.
        model: a functional or sequential Keras model.
        signal: what to press on.
        rule: how several members of a unit become one number.
        seed: of the gates' noise.
        decorator: changes the values of each source; see ``decorated``.
        parameters: of the decorator.

    Raises:
        InvalidInputError: if no unit that may go has a signal; says why each group has none.
    """
    gated = None
    if isinstance(signal, Gates):
        gated = gate_model(grouping, model, signal, seed)
        sources: tuple[Source, ...] = (gated.source(),)
    else:
        sources = signal.sources(grouping, model)
    carried = {unit for item in sources for unit in item.units.tolist()}
    sources, around = judging(grouping, sources)
    around = {unit: reader for unit, reader in around.items() if unit in carried}
    reasons = _reasons(grouping, signal, around)
    if not sources:
        raise InvalidInputError(_nothing(grouping, signal, reasons))
    plain = UnitSignal(sources, grouping.num_units, rule)
    penal = plain
    if decorator is not None:
        changed = [decorated(item, decorator, parameters, signal.threshold) for item in sources]
        penal = UnitSignal(changed, grouping.num_units, rule)
    silent = {
        group.name: reasons[group.name]
        for group in grouping.groups
        if not group.frozen and not plain.signalled[group.units].any()
    }
    return Prepared(
        model=model if gated is None else gated.model,
        penal=penal,
        plain=plain,
        threshold=signal.threshold,
        gated=gated,
        by_probability=isinstance(signal, Gates) and signal.by_probability,
        silent=silent,
    )


def _reasons(grouping: Grouping, signal: Signal, around: Mapping[int, str]) -> dict[str, str]:
    """By group, why it has no signal where it has none."""
    reasons = {}
    for group in grouping.groups:
        past = next(
            (unit for unit in range(group.start, group.start + group.size) if unit in around), None
        )
        reasons[group.name] = signal.lacking
        if past is not None:
            what = getattr(signal, "around", "meets no source of the signal")
            reasons[group.name] = f"a way to {around[past]!r} {what}"
    return reasons


def _nothing(grouping: Grouping, signal: Signal, silent: Mapping[str, str]) -> str:
    reasons = {group.name: group.frozen or silent[group.name] for group in grouping.groups}
    listing = "; ".join(f"{name}: {reason}" for name, reason in list(reasons.items())[:5])
    fix = " GroupLasso needs no normalisation." if isinstance(signal, Gamma) else ""
    return (
        f"Nothing in model {grouping.network.name!r} can shrink under "
        f"{type(signal).__name__}: {listing}.{fix}"
    )

"""Gates as a signal: a model with a gate per unit in front of everything that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.gates import (
    HardConcreteGating,
    LogisticSigmoidGating,
    SharedGates,
    fold_gates,
    insert_gates,
)
from morphnet_core.gates.fold import layers_by_path
from morphnet_core.gates.insert import READERS
from morphnet_core.groups import NOBODY, Grouping
from morphnet_core.signals.choose import Gates
from morphnet_core.signals.source import Source, Units, as_numpy

_KINDS = {"logistic_sigmoid": LogisticSigmoidGating, "hard_concrete": HardConcreteGating}


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedModel:
    """A model with gates.

    Attributes:
        model: the functional model that is to be trained; it shares its other layers with the
            user's.
        gates: the layer that draws them.
        units: the unit of each gate.
        positions: by path of each gated layer, which gate each channel it reads has; the number of
            gates where it has none.
    """

    model: Any
    gates: SharedGates
    units: Units
    positions: dict[str, Units]

    def source(self) -> Source:
        """The probabilities of the gates as a signal."""
        gate = self.gates.gate
        return Source(name="gates", units=self.units, values=gate.probability, variable=gate.logits)

    def fold_into(self, model: Any) -> None:
        """Multiply the gates at inference into a model of the same layers without gates."""
        mask = np.append(as_numpy(self.gates.gate.mask(training=False)), 1.0)
        fold_gates(model, {path: mask[places] for path, places in self.positions.items()})

    def open_share(self, num_units: int) -> NDArray[np.float64]:
        """``(num_units,)`` the gate of each unit at inference; 1 for units without a gate."""
        found = np.ones(num_units)
        found[self.units] = as_numpy(self.gates.gate.mask(training=False))
        return found


def gate_model(grouping: Grouping, model: Any, signal: Gates, seed: int | None) -> GatedModel:
    """Put a gate per unit that may go in front of every layer that reads it.

    Args:
        grouping: of the model.
        model: a functional or sequential model; not changed.
        signal: kind and settings of the gates.
        seed: of their draws.

    Raises:
        InvalidInputError: for an unknown kind, or when nothing may go.
    """
    if signal.kind not in _KINDS:
        message = f"There is no gate {signal.kind!r}. Use one of {', '.join(_KINDS)}."
        raise InvalidInputError(message)
    reads = _reads(grouping, model)
    units = np.unique(np.concatenate([*reads.values(), np.zeros(0, dtype=np.intp)]))
    units = units[units >= 0].astype(np.intp)
    if not len(units):
        message = f"No channel of model {model.name!r} may go, so there is nothing to gate."
        raise InvalidInputError(message)
    gate_of = np.full(grouping.num_units + 1, len(units), dtype=np.intp)
    gate_of[units] = np.arange(len(units))
    settings = dict(signal.settings)
    if signal.kind == "logistic_sigmoid":
        settings["keep_first_channel_alive"] = False
    if signal.keep_first_channel_alive:
        firsts = [group.start for group in grouping.groups]
        settings["keep_alive"] = [int(gate_of[unit]) for unit in firsts if unit in units]
    gate = _KINDS[signal.kind](seed=seed, name="gate", **settings)
    gates = SharedGates(gate, len(units), name="gates")
    positions = {path: gate_of[read] for path, read in reads.items()}
    gated = insert_gates(model, gates, {path: p.tolist() for path, p in positions.items()})
    return GatedModel(model=gated, gates=gates, units=units, positions=positions)


def _reads(grouping: Grouping, model: Any) -> dict[str, Units]:
    """Units that each reading layer reads, by path; -1 where they stay anyway.

    Units that some other layer mixes too have no gate anywhere: there it could not stand.
    """
    layers = layers_by_path(model)
    mixing = {layer.origin or layer.name for layer in grouping.mixers}
    ungated = np.zeros(grouping.num_units + 1, dtype=np.bool_)
    for layer in grouping.mixers:
        if not isinstance(layers.get(layer.origin or layer.name), READERS):
            ungated[grouping.units[layer.inputs[0]]] = True
    found: dict[str, Units] = {}
    seen: set[str] = set()
    for layer in grouping.network.layers:
        path = layer.origin or layer.name
        if path in seen or path not in mixing or not isinstance(layers.get(path), READERS):
            continue
        seen.add(path)  # its later steps read what it writes itself
        units = grouping.free_units(layer.inputs[0])
        units = np.where(ungated[units], NOBODY, units)
        if (units != NOBODY).any():
            found[path] = units
    return found

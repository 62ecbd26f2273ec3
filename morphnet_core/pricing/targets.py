"""Targets: what a network can be made cheaper in, by the names that users type.

Counts: ``flops``, ``params``, ``activations`` are counted as the original MorphNet counts them, in
convolutions, transposed and depthwise ones, and products by weights:

* FLOPs are two per multiply-add; a transposed convolution's are taken at its input's size.
* The size is that of kernels; biases and normalisations are left out.
* Activations are output channels of those layers, whatever their spatial size.

We differ where the original fails: grouped convolutions and one- and three-dimensional ones are
counted. ``bytes`` is every activation and weight of the executed kernels read or written once;
normalisations, activations and sums are folded as every inference runtime does (the original
counts the unfused training graph), and a depthwise convolution has ``k * k * a`` weights (the
original counts ``k * k * a * a``). ``costmodel.costs.counts.Flops()``, ``Params()`` and
``Activations()`` count all layers and all weights instead.

Latencies: the name of a datasheet (see ``costmodel.costs.roofline.DATASHEETS``), in capitals as
the original has it for the original's own numbers (``ORIGINAL_DEVICES``), any CostModel, or a
latency table by its file or shipped name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from costmodel.costs.counts import Bytes
from costmodel.costs.roofline import DATASHEETS, ORIGINAL_DEVICES, Roofline
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.op import Op
from costmodel.protocols import CostModel, Unit, require_cost_model
from costmodel.table import LatencyTable
from morphnet_core.pricing.terms import (
    Amounts,
    morphnet_activations,
    morphnet_flops,
    morphnet_params,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """A count in MorphNet's own terms, with a closed form.

    Attributes:
        name: what users type.
        unit: unit of the count.
        amounts: what one layer counts.
    """

    name: str
    unit: Unit
    amounts: Callable[[Op], Amounts]


COUNTS: Mapping[str, Count] = {
    "flops": Count(name="flops", unit="flops", amounts=morphnet_flops),
    "params": Count(name="params", unit="params", amounts=morphnet_params),
    "activations": Count(name="activations", unit="activations", amounts=morphnet_activations),
}


#: What a cost may be given as: a name, a cost model, a latency table, its file, or the name of a
#: shipped profile.
Cost = str | Path | Count | CostModel | LatencyTable


def target(cost: Cost) -> Count | CostModel:
    """What a user means by ``cost``.

    Args:
        cost: a name (see this module); a cost model, which is returned as it is; or a latency
            table, its file, or the name of a shipped profile, which are fitted.

    Raises:
        InvalidInputError: for an unknown name, a thing that prices nothing, or a table that holds
            too little.
        TableFormatError: if a file is not a table.

    >>> target("flops").unit, target("P100").unit
    ('flops', 'ms')
    """
    if isinstance(cost, Count):
        return cost
    if callable(getattr(cost, "price", None)):
        return require_cost_model(cost)
    if isinstance(cost, LatencyTable | Path) or (isinstance(cost, str) and _names_a_table(cost)):
        from costmodel.uses.tables import fit  # brings what a regression needs

        return fit(cost)
    if not isinstance(cost, str):
        message = (
            f"{cost!r} is no cost model: it has no price(). Give one, a latency table, or a name: "
            f"{_names()}."
        )
        raise InvalidInputError(message)
    if cost in ORIGINAL_DEVICES:
        return Roofline(ORIGINAL_DEVICES[cost])
    name = cost.lower()
    if name in COUNTS:
        return COUNTS[name]
    if name == "bytes":
        return Bytes()
    sheet = DATASHEETS.get(name)
    if sheet is None:
        message = f"There is no target named {cost!r}. Known names: {_names()}."
        raise InvalidInputError(message)
    # A device without a float32 peak calculates float32 networks in the widest type that it has.
    dtype = "float32" if "float32" in sheet.peak_flops else next(iter(sheet.peak_flops))
    return Roofline(sheet, dtype)


def device_of(cost: Count | CostModel) -> Device | None:
    """The device that prices are of; None where they hold anywhere."""
    return None if isinstance(cost, Count) else cost.device


def _names_a_table(name: str) -> bool:
    """Whether a name is that of a file or of a shipped profile rather than of a target."""
    return name.endswith(".jsonl") or "/" in name or Path(name).is_file()


def _names() -> str:
    return ", ".join([*COUNTS, "bytes", *ORIGINAL_DEVICES, *DATASHEETS])

"""Pricer: what one channel of each group costs at the present structure, under any cost model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial

import numpy as np

from costmodel._moved import warn_moved
from costmodel.costs.counts import Bytes
from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.network import Layer, Network
from costmodel.op import SESSION, Op
from costmodel.protocols import CostModel, Unit
from morphnet_core.groups import Alive, Grouping, Units, resize
from morphnet_core.pricing.batched import at_batch
from morphnet_core.pricing.closed import ClosedForm
from morphnet_core.pricing.clusters import work_share
from morphnet_core.pricing.executed import executed
from morphnet_core.pricing.grid import grid_widths
from morphnet_core.pricing.secant import Secants
from morphnet_core.pricing.tables import CostTables
from morphnet_core.pricing.targets import Cost, Count, device_of, target
from morphnet_core.pricing.terms import is_count, whole
from morphnet_core.pricing.wiring import Floats, Kernels, Widths, Wiring

#: Least saving that is worth a step, as a share of a group's cost; above what timing can tell.
TOLERANCE = 0.02
#: Most work, by a rough estimate, that may be without a price.
MAX_UNPRICED = 0.05
#: Ops whose prices are remembered between refreshes.
_MOST_KNOWN = 20_000
#: Widths of a group to choose from where cost has a closed form.
_MOST_COUNTED = 32
#: About how many widths are priced per axis.
MOST_WIDTHS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelPrices:
    """What a structure costs, and what a channel of each group is worth.

    Attributes:
        total: cost of the whole network as it is, resized to its alive channels.
        values: ``(groups,)`` price of one unit of each group, at least 0; those of frozen groups
            too.
        unit: unit of ``total``; prices are in it per unit of channels.
        unpriced: layers (or kinds of kernels) that are in no number, each with the reason.
        snapped: cost by the tables, so with every width rounded up to where that is free; equal to
            ``total`` where there are no steps.
    """

    total: float
    values: Floats
    unit: Unit
    unpriced: Mapping[str, str] = field(default_factory=dict)
    snapped: float


class Pricer:
    """Prices a network's groups by a target.

    FLOPs, size, activations and bytes have a closed form, MorphNet's own. Any other cost model is
    asked once for tables over widths (see ``tables``), from which prices are secants (see
    ``secant``); the first call of ``prices`` or ``candidate_widths`` builds them.

    Args:
        grouping: channel identity of the network.
        cost: a name that ``targets.target`` knows, or a cost model.
        device: whose runtime decides what is executed; by default the cost model's own.
        tolerance: least saving worth a step of the secant, as a share.
        most_widths: about how many widths are priced per axis.
        block: channels up to whose next multiple a kernel works anyway; by default what the rules
            of the device's runtime know.
        batch: images at once; the network is one that was read at a batch of one.

    Attributes:
        grouping: at that batch.
        cost: what ``cost`` means.
        device: whose runtime decides what is executed.
        wiring: width of every tensor by group.

    Raises:
        InvalidInputError: if too much of the network's work cannot be priced; names the layers.
    """

    def __init__(
        self,
        grouping: Grouping,
        cost: Cost,
        device: Device | None = None,
        *,
        tolerance: float = TOLERANCE,
        most_widths: int = MOST_WIDTHS,
        block: int | None = None,
        batch: int = 1,
    ) -> None:
        self.grouping = at_batch(grouping, batch)
        self.cost = target(cost)
        self.device = device if device is not None else device_of(self.cost)
        self._options = tolerance, most_widths, block
        self.wiring = Wiring(self.grouping)
        self._known: dict[Op, float] = {}
        self._reasons: dict[Op, str] = {}
        self._form = self._closed_form()
        self._unpriced = dict(self.grouping.network.unread)
        self._unpriced |= self._form.unpriced if self._form else self._check_seed()

    @property
    def unit(self) -> Unit:
        """Unit of all numbers."""
        return self.cost.unit

    @cached_property
    def seed(self) -> float:
        """Cost of the network with every channel alive."""
        return self.total(self.grouping.full())

    @cached_property
    def tables(self) -> CostTables:
        """Cost of every kernel over its widths, built at first use.

        Raises:
            InvalidInputError: if the target has a closed form and so no tables.
        """
        tables = CostTables(
            self.wiring,
            self.grouping.network,
            self._model,
            self.device,
            block=self._options[2],
            most=self._options[1],
        )
        self._unpriced |= {
            f"every {kind} at some widths": reason
            for kind, reason in tables.unpriced.items()
            if reason not in self._unpriced.values()
        }
        return tables

    @cached_property
    def _secants(self) -> Secants:
        return Secants(self.tables, self._options[0])

    @cached_property
    def _session(self) -> float:
        """Fixed cost of one run, which no group can save."""
        lowered = executed(self.grouping.network, self.device)
        return self._sum([layer.op for layer in lowered.layers if layer.op.kind == SESSION])

    def prices(self, alive: Alive | Units) -> ChannelPrices:
        """Old name of ``channel_prices``."""
        warn_moved("Pricer.prices", "Pricer.channel_prices")
        return self.channel_prices(alive)

    def channel_prices(self, alive: Alive | Units) -> ChannelPrices:
        """Total cost and price per group of a structure.

        Args:
            alive: one truth value per unit, or the number of units per group.

        Raises:
            InvalidInputError: if the number of values is wrong, or nothing would be left between
                the network's inputs and an output.
        """
        widths = self._widths(alive)
        if self._form is not None:
            total = snapped = self._form.total(widths)
            values = self._form.prices(widths)
        else:
            now = self._secants.now(widths)
            total, snapped = self.total(alive), self._session + float(now.sum())
            values = self._secants.prices(widths, now)
        return ChannelPrices(
            total=total,
            values=values,
            unit=self.unit,
            unpriced=dict(self._unpriced),
            snapped=snapped,
        )

    def total(self, alive: Alive | Units) -> float:
        """Cost of the network resized to its alive channels, as it would be executed.

        Args:
            alive: as for ``prices``; counts may be more than the seed has.
        """
        if self._form is not None:
            return self._form.total(self._widths(alive))
        network = resize(self.grouping, alive)
        return self._sum([layer.op for layer in executed(network, self.device).layers])

    def snapped(self, alive: Alive | Units | Floats) -> float:
        """Cost by the tables: every width rounded up to where that costs nothing.

        Args:
            alive: as for ``prices``; counts may be more than the seed has, where the last priced
                widths are drawn out in a straight line, and need not be whole.
        """
        widths = self._widths(alive)
        if self._form is not None:
            return self._form.total(widths)
        return self._session + float(self._secants.now(widths).sum())

    def at_counts(self, counts: Sequence[int] | Units) -> float:
        """``total`` for a number of units per group, more than the seed has included.

        Raises:
            InvalidInputError: if there is not one count per group.
        """
        found = np.asarray(counts, dtype=np.intp)
        groups = self.grouping.groups
        if found.shape != (len(groups),):
            message = (
                f"Give a count for each of the {len(groups)} groups of "
                f"{self.grouping.network.name!r}. Received an array of shape {found.shape}."
            )
            raise InvalidInputError(message)
        return self.total(found)

    def layers(self, counts: Units) -> list[tuple[Layer, float]]:
        """The kernels that would be executed with a number of units per group, each with its cost.

        Args:
            counts: ``(groups,)``.

        Raises:
            InvalidInputError: for a target in closed form, which does not go by kernels.
        """
        _ = self._model
        found = executed(resize(self.grouping, counts), self.device).layers
        return [(layer, self._sum([layer.op])) for layer in found]

    def candidate_widths(self, group: int) -> list[int]:
        """Widths of a group that are worth having, all others whole: the widest of each plateau.

        Ascending. Not among them: 0, even where the group may die.

        Args:
            group: its index.
        """
        own = self.grouping.groups[group]
        if own.frozen:
            return [own.size]
        if self._form is not None:
            step = own.multiple
            found = (*range(step, own.size, step), own.size)
        else:
            found = self._secants.edges(group, self.wiring.full)
        return [width for width in found if width >= own.minimum or width == own.size]

    def priced_widths(self, group: int) -> list[int]:
        """Widths of a group up to its size at which costs are known, ascending."""
        own = self.grouping.groups[group]
        if self._form is not None:
            most = max(self._options[1], _MOST_COUNTED)
            return list(grid_widths(own.size, block=1, multiple=own.multiple, most=most))
        return list(self.tables.grids[group])

    @cached_property
    def kernels(self) -> Kernels:
        """What the network's parts cost at any widths, exactly as the cost model has it."""
        if self._form is not None:
            return self._form.kernels
        return Kernels(
            rows=self.tables.rows,
            look_up=partial(self.tables.look_up, raw=True),
            constant=self._session,
        )

    def _widths(self, alive: Alive | Units | Floats) -> Widths:
        counted = alive.dtype != np.bool_ and alive.shape == self.wiring.full.counts.shape
        return self.wiring.at(alive) if counted else self.wiring.widths(alive)

    @property
    def _model(self) -> CostModel:
        if isinstance(self.cost, Count) or self._form is not None:
            message = f"{self.cost.name!r} has a closed form: there are no tables of it."
            raise InvalidInputError(message)
        return self.cost

    def _closed_form(self) -> ClosedForm | None:
        cost, network = self.cost, self.grouping.network
        if isinstance(cost, Count):
            return ClosedForm(self.wiring, network.layers, cost.amounts)
        if not is_count(cost):
            return None
        layers = network.layers
        if isinstance(cost, Bytes):
            layers = tuple(
                layer for layer in executed(network, None).layers if layer.op.kind != SESSION
            )
        return ClosedForm(self.wiring, layers, lambda op: whole(cost, op))

    def _sum(self, ops: list[Op]) -> float:
        """Cost of Ops, each kind of which the cost model is asked for once."""
        known = self._known
        if len(known) > _MOST_KNOWN:
            known.clear()
        new = list(dict.fromkeys(op for op in ops if op not in known))
        if new:
            prices = self._model.price(new)
            known.update(zip(new, np.nan_to_num(prices.values, nan=0.0).tolist(), strict=True))
            self._reasons |= {new[place]: why for place, why in prices.reasons.items()}
        return sum(known[op] for op in ops)

    def _check_seed(self) -> dict[str, str]:
        """Layers of the seed without a price; refuses a cost model that lacks too many."""
        lowered: Network = executed(self.grouping.network, self.device)
        self._sum([layer.op for layer in lowered.layers])
        missing = {
            layer.name: self._reasons[layer.op]
            for layer in lowered.layers
            if layer.op in self._reasons
        }
        work = {layer.name: work_share(layer.op) for layer in lowered.layers}
        share = sum(work[name] for name in missing) / max(sum(work.values()), 1e-300)
        if share > MAX_UNPRICED:
            worst = sorted(missing, key=lambda name: -work[name])[:5]
            listing = "; ".join(f"{name}: {missing[name]}" for name in worst)
            message = (
                f"The cost model {self.cost.name!r} cannot price about {share:.0%} of the work of "
                f"{self.grouping.network.name!r}, more than {MAX_UNPRICED:.0%}: {listing}. "
                f"{self._advice()}"
            )
            raise InvalidInputError(message)
        return missing

    def _advice(self) -> str:
        """What can be done about kernels without a price."""
        device = None if isinstance(self.cost, Count) else self.cost.device
        if device is None or device.provenance == "estimated":
            return "Choose another cost model: a table of a device, or a count such as 'flops'."
        return f"Measure these kernels on {device.name}, or choose another cost model."

"""Cost tables: what every kernel of a network costs over its input and output widths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from costmodel.device import Device
from costmodel.network import Network
from costmodel.protocols import CostModel
from morphnet_core.pricing.clusters import Cluster, clusters_of
from morphnet_core.pricing.executed import block_of, executed
from morphnet_core.pricing.fragments import Point, costs_of
from morphnet_core.pricing.grid import axis_widths, envelope, grid_widths, rounding_of
from morphnet_core.pricing.wiring import Floats, Rows, Wiring


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One width that a kernel's cost depends on.

    Attributes:
        row: row of the tensor whose width it is, in ``Wiring.shares``.
        widths: priced widths, ascending.
        rounding: any width costs what its next multiple of this does.
    """

    row: int
    widths: tuple[int, ...]
    rounding: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CostTable:
    """What one kernel costs over its widths.

    Attributes:
        cluster: layers that the kernel carries out.
        input: its input axis; an axis of the one width 1 where cost follows the output alone.
        output: its output axis.
        costs: ``(input widths + 1, output widths + 1)``, the monotone envelope; width 0 first,
            which costs nothing.
        raw: the same as the cost model has it.
    """

    cluster: Cluster
    input: Axis
    output: Axis
    costs: Floats
    raw: Floats


class CostTables:
    """Tables of all kernels of a network, and what any widths cost by them.

    Kernels that are alike and have the same axes share one table's prices, and all that is to be
    priced goes to the cost model in one call.

    Args:
        wiring: of the network.
        network: as written.
        cost: prices kernels.
        device: whose runtime decides what is executed.
        block: channels up to whose next multiple a kernel works anyway.
        most: about how many widths are priced per axis.
    """

    def __init__(
        self,
        wiring: Wiring,
        network: Network,
        cost: CostModel,
        device: Device | None,
        *,
        block: int | None,
        most: int,
    ) -> None:
        self.wiring = wiring
        self._block = block_of(device) if block is None else block
        self._most = most
        groups = wiring.grouping.groups
        self.grids = tuple(
            grid_widths(group.size, block=self._block, multiple=group.multiple, most=most)
            for group in groups
        )
        clusters = clusters_of(network, executed(network, device), wiring.grouping.axes)
        self.tables, self.unpriced = self._price(clusters, cost, device)
        self._stack()

    def _price(
        self, clusters: Sequence[Cluster], cost: CostModel, device: Device | None
    ) -> tuple[tuple[CostTable, ...], dict[str, str]]:
        axes = [self._axes(cluster) for cluster in clusters]
        keys = [
            (cluster.key, *(axis.widths for axis in pair))
            for cluster, pair in zip(clusters, axes, strict=True)
        ]
        spans: dict[object, tuple[int, int]] = {}
        points: list[Point] = []
        for cluster, pair, key in zip(clusters, axes, keys, strict=True):
            if key in spans:
                continue
            grid = list(product(pair[0].widths, pair[1].widths))
            spans[key] = len(points), len(points) + len(grid)
            points += [Point(cluster=cluster, input=i, output=o) for i, o in grid]
        costs, unpriced = costs_of(points, cost, device)
        surfaces = {
            key: costs[start:end].reshape(len(pair[0].widths), len(pair[1].widths))
            for pair, key in zip(axes, keys, strict=True)
            for start, end in [spans[key]]
        }
        tables = tuple(
            CostTable(
                cluster=cluster,
                input=pair[0],
                output=pair[1],
                costs=_from_zero(envelope(surfaces[key])),
                raw=_from_zero(surfaces[key]),
            )
            for cluster, pair, key in zip(clusters, axes, keys, strict=True)
        )
        return tables, unpriced

    def _axes(self, cluster: Cluster) -> tuple[Axis, Axis]:
        nothing = Axis(row=self.wiring.nothing, widths=(1,), rounding=1)
        first = self._axis(cluster.input) if cluster.mixers else nothing
        return first, self._axis(cluster.output)

    def _axis(self, tensor: str) -> Axis:
        row = self.wiring.row(tensor)
        full = round(self.wiring.full.tensors[row])
        members = np.flatnonzero(self.wiring.shares[row])
        if len(members) == 0:
            return Axis(row=row, widths=(full,), rounding=1)
        share = round(min(self.wiring.shares[row, members]))
        group = self.wiring.grouping.groups[members[0]]
        if len(members) == 1 and share * group.size == full:
            grid = self.grids[members[0]]
            rounding = share * rounding_of(grid, self._block)
            return Axis(row=row, widths=tuple(share * width for width in grid), rounding=rounding)
        widths = axis_widths(full, share, block=self._block, most=self._most)
        return Axis(row=row, widths=widths, rounding=rounding_of(widths, self._block))

    def _stack(self) -> None:
        """All tables as one array, padded, so that any number of look-ups is one calculation."""
        axes = [(table.input, table.output) for table in self.tables]
        shape = [max((len(pair[n].widths) for pair in axes), default=0) + 1 for n in (0, 1)]
        self._costs, self._raw = (np.zeros((len(self.tables), *shape)) for _ in range(2))
        for number, table in enumerate(self.tables):
            rows, columns = table.costs.shape
            self._costs[number, :rows, :columns] = table.costs
            self._raw[number, :rows, :columns] = table.raw
        self._grids = tuple(
            _padded([pair[n].widths for pair in axes], length) for n, length in enumerate(shape)
        )
        self._lengths = tuple(np.array([len(p[n].widths) for p in axes], dtype=int) for n in (0, 1))
        self._rounding = tuple(np.array([p[n].rounding for p in axes]) for n in (0, 1))
        #: ``(tables,)`` rows of the tensors of both axes.
        self.rows: tuple[Rows, Rows] = (
            np.array([pair[0].row for pair in axes], dtype=np.intp),
            np.array([pair[1].row for pair in axes], dtype=np.intp),
        )

    def look_up(
        self, tables: Rows, inputs: Floats, outputs: Floats, *, raw: bool = False
    ) -> Floats:
        """What kernels cost at widths: straight lines between priced ones, whole blocks up.

        Beyond the widths of the seed cost grows as width does: the last step of a staircase says
        nothing of the next.

        Args:
            tables: ``(n, ...)`` which kernel.
            inputs: the same shape, width of its input axis; unused where it has none.
            outputs: the same shape, width of its output axis.
            raw: as the cost model has it, not the envelope.
        """
        costs = self._raw if raw else self._costs
        row, down, longer = self._place(0, tables, inputs)
        column, across, wider = self._place(1, tables, outputs)
        near = costs[tables, row, column] * (1 - across) + costs[tables, row, column + 1] * across
        row = row + 1
        far = costs[tables, row, column] * (1 - across) + costs[tables, row, column + 1] * across
        return np.asarray((near * (1 - down) + far * down) * longer * wider)

    def _place(self, axis: int, tables: Rows, widths: Floats) -> tuple[Rows, Floats, Floats]:
        """Position of the priced width below, how far to the next, and times beyond the last."""
        rounding = self._rounding[axis][tables]
        length = self._lengths[axis][tables]
        grid = self._grids[axis][tables]
        full = np.take_along_axis(grid, length[..., None], axis=-1)[..., 0]
        up = np.ceil(widths / rounding) * rounding
        beyond = np.where(widths > full, up / full, 1.0)
        up = np.minimum(up, full)
        low = (grid < up[..., None]).sum(axis=-1) - 1
        low = np.clip(low, 0, length - 1)
        below = np.take_along_axis(grid, low[..., None], axis=-1)[..., 0]
        above = np.take_along_axis(grid, low[..., None] + 1, axis=-1)[..., 0]
        return low, (up - below) / (above - below), beyond


def _from_zero(costs: Floats) -> Floats:
    """``costs`` with a width 0 before each axis."""
    return np.pad(costs, ((1, 0), (1, 0)))


def _padded(rows: Sequence[tuple[int, ...]], length: int) -> Floats:
    """``(rows, length)`` widths with 0 before and infinity after them."""
    result = np.full((len(rows), length), np.inf)
    for number, row in enumerate(rows):
        result[number, 0] = 0.0
        result[number, 1 : len(row) + 1] = row
    return result

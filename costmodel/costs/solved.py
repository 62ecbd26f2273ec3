"""Solved tables: how far a network's sum of solved kernels may be off.

Kernels solved from whole networks are each known badly and in sum well: where one is too dear,
another is too cheap. So what a table's own networks leave open is asked again for each network.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.costs.beliefs import HELPED_BY, NOBODY, near, unknown
from costmodel.costs.solver import (
    NOISE,
    USUAL,
    Belief,
    Leeway,
    covariance_between,
    kinship,
    parts_of,
    solve,
)
from costmodel.costs.work import Thing, Work, asked, work_of
from costmodel.errors import TableFormatError
from costmodel.op import Op
from costmodel.protocols import CostModel
from costmodel.table import LatencyTable

Floats = NDArray[np.float64]

#: Normal deviations that cover nine of ten.
NINE_OF_TEN = 1.645
#: Timed networks that the usual width counts for beside the errors of those that are there.
_USUAL = 5.0
#: Where a device's state tells of its leeway: its width, offset and noise.
_TOLD = ("unlike_what_was_believed", "kernels_off", "times_unexplained")
#: Kernels that are enough to tell how the time of each splits up.
_ENOUGH = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvedNetworks:
    """A ``NetworkLaw`` for a table whose kernels were solved: the sum is right, its width is known.

    Attributes:
        timed: the networks of the table.
        belief: how devices differ, around the table's own speeds.
        leeway: how far the table's device was found to be from what was believed of it.
        helped: whether donors said what to believe.
        parts: kernels' and things' shares of the timed networks.
        inverse: ``(networks, networks)`` inverse covariance of the logarithms of their times.
        wider: by how much left-out networks are further off than was to be expected.
    """

    timed: Work
    belief: Belief
    leeway: Leeway
    helped: bool
    parts: tuple[Floats, Floats]
    inverse: Floats
    wider: float

    @property
    def covers_unseen(self) -> bool:
        """Whether its width holds for kernels that are no rows as well."""
        return True

    def apply(
        self, prices_ms: Sequence[float], ops: Sequence[Op] = (), *, unseen: float = 0.0
    ) -> float:
        """Latency in ms of a network of kernels of these prices: their sum."""
        del ops, unseen
        return float(sum(prices_ms))

    def half_width(self, unseen: float, ops: Sequence[Op] = ()) -> float:
        """Relative half width that covers nine of ten networks of these kernels."""
        del unseen
        asking = work_of([ops], self.belief.things)
        # Things that no row of the table asks for are as open as any.
        belief = Belief(
            things=asking.things,
            mean=np.pad(self.belief.mean, (0, len(asking.things) - len(self.belief.mean))),
            covariance=_around(asking.things, helped=self.helped),
        ).widened(self.leeway.width)
        own = parts_of(asking, belief)
        missing = len(asking.things) - len(self.belief.things)
        parts = self.parts[0], np.pad(self.parts[1], ((0, 0), (0, missing)))
        offset = self.leeway.offset
        common = covariance_between(belief, (asking, own), (self.timed, parts), offset)
        left = covariance_between(belief, (asking, own), (asking, own), offset) - (
            common @ self.inverse @ common.T
        )
        deviation = float(np.sqrt(max(left[0, 0], 0.0) + self.leeway.noise**2))
        return float(np.expm1(NINE_OF_TEN * self.wider * deviation))

    def describe(self) -> str:
        """One line for reports."""
        return f"sum of kernels that were solved from {len(self.inverse)} whole networks"


def solved_networks(table: LatencyTable, cost: CostModel) -> SolvedNetworks | None:
    """What the networks of a solved table leave open; None where it holds none.

    Args:
        table: with ``model`` rows and the rows of their kernels.
        cost: prices the kernels, in ms.

    Raises:
        TableFormatError: as ``leeway_of``.
    """
    timed_whole = table.known_networks()
    networks = [ops for _, ops in timed_whole]
    times = [row.latency_ms for row, _ in timed_whole]
    rows = [row for row in table.kernels() if asked(row.op)]
    if not networks or not rows:
        return None
    rows = random.Random(0).sample(rows, min(len(rows), _ENOUGH))
    work = work_of([[row.op] for row in rows])
    latency_ms = np.array([row.latency_ms for row in rows])
    scales = solve(work, latency_ms, unknown(work.things), np.full(len(rows), NOISE))
    timed = work_of(networks, work.things)
    mean = np.pad(scales.scales, (0, len(timed.things) - len(work.things)))
    leeway = leeway_of(table)
    helped = table.device.state.get(HELPED_BY) != NOBODY
    around = _around(timed.things, helped=helped)
    belief = Belief(things=timed.things, mean=mean, covariance=around).widened(leeway.width)
    parts = parts_of(timed, belief)
    covariance = covariance_between(belief, (timed, parts), (timed, parts), leeway.offset)
    spread = [np.nan_to_num(row.spread) / 2.0 for row, _ in timed_whole]
    noise = np.maximum(spread, leeway.noise) ** 2
    inverse = np.asarray(np.linalg.inv(covariance + np.diag(noise)), dtype=np.float64)
    sums = timed.counts @ cost.price(timed.kernels).values
    return SolvedNetworks(
        timed=timed,
        belief=belief,
        leeway=leeway,
        helped=helped,
        parts=parts,
        inverse=inverse,
        wider=_wider(np.log(np.array(times) / sums) / noise, inverse),
    )


def told_of(leeway: Leeway) -> dict[str, str]:
    """What a solved device's state says of its leeway."""
    return {key: f"{value:.3g}" for key, value in zip(_TOLD, astuple(leeway), strict=True)}


def leeway_of(table: LatencyTable) -> Leeway:
    """The leeway that a solved table's state tells; the usual one where it does not.

    Raises:
        TableFormatError: if what it tells is no number above 0; names file and field.
    """
    state = table.device.state
    return Leeway(
        *(
            _positive(state[key], key, table) if key in state else usual
            for key, usual in zip(_TOLD, astuple(USUAL), strict=True)
        )
    )


def _positive(text: str, key: str, table: LatencyTable) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0.0 < value < math.inf:
        where = f"{table.path}, line 1" if table.path else f"The table of {table.device.label}"
        message = (
            f"{where}: `device.state.{key}` is {text!r}, which is no number above 0. "
            "Mend it, or delete the field: then what is usual counts."
        )
        raise TableFormatError(message)
    return value


def _around(things: Sequence[Thing], *, helped: bool) -> Floats:
    """``(things, things)`` covariance of devices' speeds, around donors' or around nothing."""
    return near(things) if helped else kinship(things)


def _wider(pulls: Floats, inverse: Floats) -> float:
    """Deviations of left-out networks over what was expected, the usual one included.

    Args:
        pulls: errors of the networks by the law that they themselves made, over their noise's
            variance: from them follows what leaving each out would show (Rasmussen and Williams
            2006, 5.4.2).
        inverse: of their covariance.
    """
    left_out = pulls / np.sqrt(np.diag(inverse))
    # One network far out of line must not make all of them doubtful.
    squares = np.minimum(left_out**2, 9.0)
    return float(np.sqrt((_USUAL + squares.sum()) / (_USUAL + len(squares))))

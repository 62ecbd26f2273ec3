"""The two plug points, Runner and CostModel, and the values that pass through them.

Both are deliberately narrow: a new method must be impossible as a helper function before it is
added here, because every plug-in has to write it. ``costmodel.testing`` holds the contract tests
that each implementation passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.network import Network
from costmodel.op import Op

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Unit = Literal["ms", "flops", "params", "activations", "bytes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One timed stretch of a Workload.

    Attributes:
        latency_ms: time per execution, the runtime's per-call overhead removed.
        wall_ms: how long the block took in all.
        runs: executions in it.
    """

    latency_ms: float
    wall_ms: float
    runs: int


class Workload(Protocol):
    """An Op or a model made ready to run again and again; holds memory until closed."""

    def block(self, min_ms: float) -> Block:
        """Time one stretch of at least ``min_ms`` and return its time per execution."""
        ...

    def close(self) -> None:
        """Release memory and threads."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


@runtime_checkable
class Runner(Protocol):
    """Plug point: one runtime on one device.

    ``load_op`` raises ``UnsupportedOpError`` for an Op it cannot rebuild.
    """

    @property
    def device(self) -> Device:
        """The device that every number of this runner belongs to."""
        ...

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        """Ask the runtime which Ops it really executes for an ONNX file.

        Args:
            model: ONNX file.
            sizes: values of open dimensions, as for ``costmodel.sizes.bind_shapes`` but without
                whole shapes; a name that the model lacks is an error.

        Returns:
            A network with ``source == "lowered"``, whose last layer is the ``session`` Op.
        """
        ...

    def load_op(self, op: Op) -> Workload:
        """Rebuild one Op alone, in its real layout, ready to be timed."""
        ...

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> Workload:
        """Load a whole ONNX file, ready to be timed."""
        ...


@runtime_checkable
class Estimator(Protocol):
    """What a ``Runner`` may be besides: one that computes its numbers and can do many at once.

    Its device is ``estimated`` and says ``numbers: computed`` in its state: each Op is then visited
    once.
    """

    def estimate_all(
        self, ops: Sequence[Op], done: Callable[[int, Op], object]
    ) -> Mapping[Op, object]:
        """Compute and keep what ``load_op`` of each Op would, so that visits need not wait.

        Args:
            ops: what will be visited.
            done: told how many are finished, and which was the last; from any thread.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What a cost model charges for each of a list of Ops.

    Attributes:
        values: one per Op in the cost model's unit; NaN where it has no answer.
        low: lower ends of the interval (equal to ``values`` where the price is exact).
        high: upper ends.
        reasons: for every NaN, by position: why there is no price.
        extrapolated: by position: why the price lies outside what the model has seen.
        exact: by position, whether the price is a stored row rather than a prediction.
    """

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    reasons: Mapping[int, str] = field(default_factory=dict)
    extrapolated: Mapping[int, str] = field(default_factory=dict)
    exact: NDArray[np.bool_] | None = None


@runtime_checkable
class CostModel(Protocol):
    """Plug point: prices Ops in one unit, and says what it cannot price."""

    @property
    def unit(self) -> Unit:
        """Unit of every price."""
        ...

    @property
    def name(self) -> str:
        """Short name for reports."""
        ...

    @property
    def device(self) -> Device | None:
        """The device whose numbers these are; None for counts, which hold anywhere."""
        ...

    def price(self, ops: Sequence[Op]) -> Prices:
        """Price each Op; never raises for an Op it does not know, and never answers zero for it."""
        ...


@runtime_checkable
class HoldsOut(Protocol):
    """What a ``CostModel`` may be besides: one that learns, and tells how well it does unseen."""

    def held_out(self) -> Mapping[Op, float]:
        """What each of its rows would be priced at if it were not one."""
        ...


@runtime_checkable
class PricesSmoothly(Protocol):
    """What a ``CostModel`` may be besides: one that prices rows as it does their neighbours.

    A row's own time and a neighbour's price err in different ways, so that their difference tells
    little of what a channel more or less costs; of two prices made alike, it does.
    """

    def price_smoothly(self, ops: Sequence[Op]) -> Prices:
        """As ``price``, with none answered by its own row alone."""
        ...


@runtime_checkable
class NetworkLaw(Protocol):
    """From the sum of a network's kernels to the network, learned from networks timed whole."""

    @property
    def covers_unseen(self) -> bool:
        """Whether its widths hold for kernels that are no rows as well."""
        ...

    def apply(
        self, prices_ms: Sequence[float], ops: Sequence[Op] = (), *, unseen: float = 0.0
    ) -> float:
        """Latency in ms of a network.

        Args:
            prices_ms: of its kernels.
            ops: its kernels in the same order.
            unseen: part of the sum that is of kernels that are no rows, 0 to 1.
        """
        ...

    def half_width(self, unseen: float, ops: Sequence[Op] = ()) -> float:
        """Relative half width that covers nine of ten networks."""
        ...

    def describe(self) -> str:
        """One line for reports."""
        ...


def require_cost_model(cost: object) -> CostModel:
    """The thing itself, if it is a cost model.

    Raises:
        InvalidInputError: naming what it lacks.
    """
    if isinstance(cost, CostModel):
        return cost
    lacks = [name for name in ("price", "unit", "name", "device") if not hasattr(cost, name)]
    message = (
        f"{cost!r} is no cost model: it has no {', '.join(lacks)}. See "
        "costmodel.protocols.CostModel."
    )
    raise InvalidInputError(message)

"""What the workloads of all runtimes share: they can be closed, and refuse blocks from then on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Self

from costmodel.errors import InvalidInputError, UnsupportedOpError
from costmodel.op import Op
from costmodel.protocols import Block
from costmodel.timing.stretch import Stretches, kernel_time


class BaseWorkload(ABC):
    """A ``Workload`` that holds something until it is closed."""

    _is_open = True

    def block(self, min_ms: float) -> Block:
        """Time one stretch of at least ``min_ms``.

        Raises:
            InvalidInputError: if the workload is closed.
        """
        if not self._is_open:
            message = "This workload is closed. Load the Op or model again to time it."
            raise InvalidInputError(message)
        return self._block(min_ms)

    def close(self) -> None:
        """Drop what is held; closing again does nothing."""
        if self._is_open:
            self._is_open = False
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @abstractmethod
    def _block(self, min_ms: float) -> Block:
        """Time one stretch; the workload is open."""

    def _release(self) -> None:  # noqa: B027 - what holds nothing need not write it
        """Drop what is held; called once."""


def require_outputs(op: Op, shapes: Iterable[Iterable[int]]) -> None:
    """Refuse to time other work than the Op says: blocked kernels check no sizes.

    Raises:
        UnsupportedOpError: if other sizes were written.
    """
    written = tuple(map(tuple, shapes))
    if written != op.outputs:
        message = f"{op.label} ({op.implementation}) writes {written}, not {op.outputs} as it says."
        raise UnsupportedOpError(message)


class RunsWorkload(BaseWorkload):
    """Runs of one program: blocks by a count set before, so that no clock is read inside.

    Args:
        kernels: executions of the Op in one run.
        overhead_ms: fixed cost of one run, subtracted before dividing by ``kernels``.
    """

    def __init__(self, *, kernels: float = 1, overhead_ms: float = 0.0) -> None:
        self._kernels = kernels
        self._overhead_ms = overhead_ms
        self._stretches = Stretches(self._time)

    @abstractmethod
    def _time(self, count: int) -> float:
        """Wall milliseconds of ``count`` runs."""

    def _block(self, min_ms: float) -> Block:
        count, wall_ms = self._stretches.run(min_ms)
        latency_ms, runs = kernel_time(count, wall_ms, self._overhead_ms, self._kernels)
        return Block(latency_ms=latency_ms, wall_ms=wall_ms, runs=runs)

from __future__ import annotations

import pytest

from costmodel.errors import InvalidInputError
from costmodel.runners.workload import RunsWorkload


class Steady(RunsWorkload):
    """Runs of 2 ms, of which 0.5 ms are overhead."""

    def __init__(self, kernels: float) -> None:
        super().__init__(kernels=kernels, overhead_ms=0.5)
        self.released = 0

    def _time(self, count: int) -> float:
        return 2.0 * count

    def _release(self) -> None:
        self.released += 1


def test_a_block_is_the_time_of_a_kernel_without_the_overhead() -> None:
    block = Steady(kernels=3).block(9.0)
    assert (block.latency_ms, block.wall_ms, block.runs) == (0.5, 10.0, 15)


def test_a_small_part_of_a_run_is_always_the_kernels() -> None:
    workload = Steady(kernels=1)
    workload._overhead_ms = 5.0
    assert workload.block(1.0).latency_ms == pytest.approx(0.04)


def test_a_closed_workload_is_refused_and_released_once() -> None:
    with Steady(kernels=1) as workload:
        workload.block(0.0)
    workload.close()
    assert workload.released == 1
    with pytest.raises(InvalidInputError, match="This workload is closed"):
        workload.block(1.0)

"""From the sum of kernels timed alone to the time of their network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from costmodel.calibration import MIN_NETWORKS, Calibration, fit_calibration, weight_mib
from costmodel.device import Device
from costmodel.measurement import Measurement
from costmodel.model_rows import model_op
from costmodel.network import session_op
from costmodel.op import DTYPE_BYTES, Op, conv_op
from costmodel.protocols import Prices, Unit
from costmodel.runners.fake import law_ms
from costmodel.table import LatencyTable

CONVS = [
    conv_op(in_channels=16, out_channels=width, size=(28, 28), kernel=(3, 3))
    for width in range(16, 176, 16)
]


class LawCost:
    """The fake device's own law."""

    unit: Unit = "ms"
    name = "law"
    device = None

    def price(self, ops: Sequence[Op]) -> Prices:
        values = np.array([law_ms(op) for op in ops])
        return Prices(values=values, low=values, high=values)


def row(op: Op, latency_ms: float) -> Measurement:
    return Measurement(op=op, latency_ms=latency_ms, median_ms=latency_ms, spread=0.0)


def table_of(networks: Mapping[str, tuple[float, Sequence[Op]]]) -> LatencyTable:
    """Kernels by their law, and networks that take a factor times the sum of their Ops."""
    rows = [row(op, law_ms(op)) for op in CONVS]
    for name, (factor, ops) in networks.items():
        whole = factor * sum(law_ms(op) for op in ops)
        rows.append(row(model_op(name, "0" * 16, tuple(ops)), whole))
    return LatencyTable(Device(name="board", runtime="fake"), rows)


def fit(*factors: float) -> Calibration | None:
    """From one network of two kernels, one of them twice, per factor."""
    networks = {
        f"net{i}": (factor, (CONVS[i], CONVS[i + 1], CONVS[i])) for i, factor in enumerate(factors)
    }
    return fit_calibration(table_of(networks), LawCost())


def test_a_common_factor_is_found() -> None:
    found = fit(1.1, 1.1, 1.1)
    assert found is not None
    assert found.slope == pytest.approx(1.1)
    assert found.networks == pytest.approx({"net0": 1.1, "net1": 1.1, "net2": 1.1})
    assert found.interval_share == pytest.approx(0.0, abs=1e-12)
    assert found.apply([12.0, 8.0]) == pytest.approx(22.0)


def test_one_network_out_of_line_does_not_bend_the_rest() -> None:
    found = fit(1.0, 1.02, 1.01, 3.0)
    assert found is not None
    assert found.slope == pytest.approx(1.015)
    # Left out, the odd one is missed by as much as it differs from the others' median; four
    # networks are too few to tell nine of ten apart, so that the odd one widens the interval.
    assert found.interval_share == pytest.approx(2.132 * (1.0 - 1.01 / 3.0) / 2.0, rel=1e-2)


@pytest.mark.parametrize("count", [4, 7])
def test_of_few_networks_nine_of_ten_further_ones_are_covered(count: int) -> None:
    rng = np.random.default_rng(count)
    covered = []
    for _ in range(100):
        found = fit(*np.exp(rng.normal(0.0, 0.05, count)))
        assert found is not None
        further = np.exp(rng.normal(0.0, 0.05, 50))
        covered.append(np.mean(np.abs(found.slope / further - 1.0) <= found.interval_share))
    assert 0.86 <= np.mean(covered) <= 0.95


@pytest.mark.parametrize("count", range(MIN_NETWORKS))
def test_too_few_networks_tell_nothing(count: int) -> None:
    assert fit(*[1.1] * count) is None


@pytest.mark.parametrize("factor", [0.3, 0.69, 1.41, 5.0])
def test_a_slope_that_cannot_be_leaves_the_sum_alone(factor: float) -> None:
    assert fit(factor, factor, factor) is None


def test_networks_with_kernels_that_the_table_lacks_do_not_count() -> None:
    other = conv_op(in_channels=48, out_channels=48, size=(28, 28), kernel=(3, 3))
    networks = {f"net{i}": (1.1, CONVS[i : i + 2]) for i in range(2)}
    half_known = networks | {"odd": (1.3, [CONVS[0], other])}
    assert fit_calibration(table_of(half_known), LawCost()) is None
    nearly_known = networks | {"long": (1.1, [CONVS[0]] * 99 + [other])}
    found = fit_calibration(table_of(nearly_known), LawCost())
    assert found is not None
    assert set(found.networks) == {"net0", "net1", "long"}


def test_kernels_that_there_was_no_time_for_count_as_the_cost_model_prices_them() -> None:
    other = conv_op(in_channels=48, out_channels=48, size=(28, 28), kernel=(3, 3))
    table = table_of({f"net{i}": (1.1, [CONVS[i], other]) for i in range(3)})
    assert fit_calibration(table, LawCost()) is None
    nan = math.nan
    table.append(Measurement(op=other, latency_ms=nan, median_ms=nan, status="unmeasured"))
    found = fit_calibration(table, LawCost())
    assert found is not None
    assert found.slope == pytest.approx(1.1)


def test_networks_that_failed_do_not_count() -> None:
    table = table_of({f"net{i}": (1.1, CONVS[i : i + 2]) for i in range(2)})
    failed = model_op("failed", "0" * 16, tuple(CONVS[:2]))
    table.append(Measurement(op=failed, latency_ms=math.nan, median_ms=math.nan, status="crashed"))
    assert fit_calibration(table, LawCost()) is None


def test_networks_of_kernels_without_a_price_do_not_count() -> None:
    class NoCost(LawCost):
        def price(self, ops: Sequence[Op]) -> Prices:
            values = np.full(len(ops), math.nan)
            return Prices(values=values, low=values, high=values)

    table = table_of({f"net{i}": (1.1, CONVS[i : i + 2]) for i in range(4)})
    assert fit_calibration(table, NoCost()) is None


def test_the_calibration_is_described_with_its_networks_and_doubt() -> None:
    found = Calibration(slope=1.042, networks={"a": 1.0, "b": 1.1}, interval_share=0.03)
    assert found.describe() == (
        "sum of kernels x 1.042, from 2 networks timed on this device (nine of ten within 3.0 %)"
    )


def wide(mib: float, dtype: str) -> Op:
    """A convolution of one pixel with about so many MiB of weights."""
    width = max(1, round((mib * 2**20 / (9 * DTYPE_BYTES[dtype])) ** 0.5))
    op = conv_op(in_channels=width, out_channels=width, size=(1, 1), kernel=(3, 3))
    return replace(op, dtype=dtype)


def held_mib(op: Op) -> float:
    """MiB of a kernel's weights."""
    return op.num_weights * DTYPE_BYTES[op.dtype] / 2**20


def reading(op: Op, turns_mib: float, cache_mib: float, read_ms: float) -> float:
    """Time of a kernel that reads its weights among so many MiB that are read in turns."""
    missed = max(0.0, 1.0 - cache_mib / turns_mib)
    read = read_ms * held_mib(op) * (0.2 + 0.8 * missed)
    return float((law_ms(op) ** 3 + read**3) ** (1 / 3))


def placed_table(
    cache_mib: float, read_ms: float, rows_mib: float, dtype: str = "float32"
) -> tuple[LatencyTable, dict[str, Sequence[Op]]]:
    """Networks of 1 to 100 MiB of weights, which take longer where no cache holds them.

    Args:
        cache_mib: of weights that a cache holds.
        read_ms: for a MiB from memory.
        rows_mib: of weights that a kernel alone was timed with, at least its own, as float32.
        dtype: of the weights.
    """
    copies_mib = rows_mib * DTYPE_BYTES[dtype] / 4
    networks: dict[str, Sequence[Op]] = {}
    rows: dict[Op, Measurement] = {}
    for index, total in enumerate(np.geomspace(1.0, 100.0, 14)):
        ops = [wide(total * share, dtype) for share in (0.1, 0.2, 0.3, 0.4)]
        weights = [held_mib(op) for op in ops]
        whole = 0.0
        for op, mib in zip(ops, weights, strict=True):
            rows[op] = row(op, reading(op, max(mib, copies_mib), cache_mib, read_ms))
            whole += reading(op, sum(weights), cache_mib, read_ms)
        networks[f"net{index}"] = ops
        key = model_op(f"net{index}", "0" * 16, tuple(ops))
        rows[key] = row(key, whole)
    return LatencyTable(Device(name="board", runtime="fake"), list(rows.values())), networks


class Stored(LawCost):
    """Prices rows of a table only."""

    def __init__(self, table: LatencyTable) -> None:
        self.table = table

    def price(self, ops: Sequence[Op]) -> Prices:
        values = np.array([self.table[op].latency_ms for op in ops])
        return Prices(values=values, low=values, high=values)


@pytest.mark.parametrize("rows_mib", [0.0, 32.0, math.inf])
@pytest.mark.parametrize("cache_mib", [8.0, 24.0])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_where_weights_lie_is_learned(cache_mib: float, rows_mib: float, dtype: str) -> None:
    table, networks = placed_table(cache_mib, 0.06, rows_mib, dtype)
    cost = Stored(table)
    found = fit_calibration(table, cost)
    assert found is not None
    # Copies that a cache holds are as good as none.
    in_memory = rows_mib * DTYPE_BYTES[dtype] / 4 > cache_mib
    assert found.rows_mib == (rows_mib if in_memory else 0.0)
    assert found.cache_mib == pytest.approx(cache_mib, rel=0.5)
    assert found.interval_share < 0.1
    for item in table.models():
        ops = networks[item.op.attribute("name", "")]
        prices = cost.price(ops).values.tolist()
        assert found.apply(prices, ops) == pytest.approx(item.latency_ms, rel=0.06)
    assert "us per MiB" in found.describe()


def test_where_it_makes_no_difference_where_weights_lie_nothing_is_moved() -> None:
    table, _ = placed_table(16.0, 0.0, math.inf)
    found = fit_calibration(table, Stored(table))
    assert found is not None
    assert (found.read_ms_per_mib, found.cache_mib) == (0.0, 0.0)


class Biased(LawCost):
    """A law that would be too quick by a share for kernels that are no rows."""

    def __init__(self, share: float) -> None:
        self.share = share

    def held_out(self) -> Mapping[Op, float]:
        return {op: law_ms(op) * (1.0 - self.share) for op in CONVS}


def test_what_unseen_kernels_are_priced_too_low_by_is_learned() -> None:
    networks = {f"net{i}": (1.1, (CONVS[i], CONVS[-1 - i])) for i in range(9)}
    found = fit_calibration(table_of(networks), Biased(0.05))
    assert found is not None
    assert found.unseen_factor == pytest.approx(1 / 0.95, rel=1e-3)
    for _, ops in networks.values():
        prices = [law_ms(op) for op in ops]
        whole = pytest.approx(1.1 * sum(prices), rel=0.02)
        assert found.apply(prices, ops) == whole
        assert found.apply([0.95 * price for price in prices], ops, unseen=1.0) == whole
    assert found.unseen_share is not None
    assert found.half_width(0.5) == pytest.approx(
        (found.interval_share + found.unseen_share) / 2, abs=1e-9
    )
    # Own networks are told to a thousandth, what others draw is not.
    assert found.interval_share < 0.01
    assert found.unseen_share == 0.06


def test_a_bias_within_its_own_error_is_left_alone() -> None:
    class Scattered(LawCost):
        def held_out(self) -> Mapping[Op, float]:
            return {op: law_ms(op) * (0.7, 1.4)[i % 2] for i, op in enumerate(CONVS)}

    networks = {f"net{i}": (1.0, (CONVS[i],)) for i in range(10)}
    found = fit_calibration(table_of(networks), Scattered())
    assert found is not None
    assert found.unseen_factor == pytest.approx(1.0, abs=0.02)
    assert found.unseen_share is not None
    assert found.unseen_share > 0.25 > found.interval_share


def test_longer_networks_find_no_quiet_moment() -> None:
    networks = {}
    for index, repeats in enumerate((1, 2, 3, 5, 8, 20, 50, 120, 300, 800)):
        ops = CONVS[index % 3 :: 3] * repeats
        summed = sum(law_ms(op) for op in ops)
        networks[f"net{index}"] = (0.95 + 0.04 * max(math.log(summed), 0.0), ops)
    assert sum(law_ms(op) for op in networks["net9"][1]) > 10.0
    found = fit_calibration(table_of(networks), LawCost())
    assert found is not None
    for factor, ops in networks.values():
        prices = [law_ms(op) for op in ops]
        assert found.apply(prices, ops) == pytest.approx(factor * sum(prices), rel=0.04)
    assert "ln ms" in found.describe()
    # Each kernel adds its part of the whole.
    factor, ops = networks["net7"]
    prices = [law_ms(op) for op in ops]
    whole = found.factor(sum(prices))
    parts = sum(found.of_kernel(op, law_ms(op), whole, weight_mib(ops)) for op in ops)
    assert parts == pytest.approx(found.apply(prices, ops), rel=1e-6)
    # What is longer than anything behind the law counts as long as that.
    assert found.factor(10 * found.longest_ms) == found.factor(found.longest_ms)


@pytest.mark.parametrize("session", [False, True])
def test_what_a_run_and_its_kernels_cost_is_learned_where_no_row_says_it(*, session: bool) -> None:
    """Other people's tables hold kernels alone, and their networks take longer by much more."""
    fixed_ms, kernel_ms = 0.8, 0.02
    rows = [row(op, law_ms(op)) for op in CONVS]
    for index in range(12):
        ops = tuple(CONVS[i % len(CONVS)] for i in range(index, index + 3 + 5 * (index % 4)))
        whole = 1.05 * sum(map(law_ms, ops)) + fixed_ms + kernel_ms * len(ops)
        rows.append(row(model_op(f"net{index}", "0" * 16, ops), whole))
    if session:
        rows.append(row(session_op(1, 1), 0.1))
    device = Device(name="phone", runtime="tflite-gpu", provenance="imported")
    found = fit_calibration(LatencyTable(device, rows), LawCost())
    if session:
        assert found is None or (found.fixed_ms, found.kernel_ms) == (0.0, 0.0)
        return
    assert found is not None
    assert found.fixed_ms == pytest.approx(fixed_ms, rel=0.2)
    ops = tuple(CONVS[:7])
    whole = 1.05 * sum(map(law_ms, ops)) + fixed_ms + kernel_ms * len(ops)
    assert found.apply([law_ms(op) for op in ops], ops) == pytest.approx(whole, rel=0.03)
    assert "us per run" in found.describe()
    assert found.of_kernel(ops[0], 1.0, 1.0, weight_mib(ops)) >= 1.0 + found.kernel_ms

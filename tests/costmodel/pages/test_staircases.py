"""Staircases to choose from: prices as the cost model has them, rows where they belong."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from rows import row
from shown import BOARD, conv, small_table

from costmodel.op import Op, conv_op
from costmodel.pages.staircases import SAME, Choice, staircases
from costmodel.protocols import Prices, Unit
from costmodel.runners.fake import law_ms
from costmodel.table import LatencyTable


class LawCost:
    """The fake device's law, which knows no kernel of 5x5."""

    name = "law"
    device = None
    unit: Unit = "ms"

    def price(self, ops: Sequence[Op]) -> Prices:
        values = np.array([np.nan if op.kernel == (5, 5) else law_ms(op) for op in ops])
        return Prices(values=values, low=values * 0.9, high=values * 1.1)


def test_every_choice_is_priced_and_has_its_rows() -> None:
    table = small_table()
    found = staircases(table, LawCost())
    choices = [("1x1", "3x3"), ("1", "2"), ("14x14", "28x28"), ("16", "32")]
    for place, known in enumerate(choices):
        names = ("kernel", "stride", "size", "inputs")
        assert {getattr(choice, names[place]) for choice in found} == set(known)
    steps = found[Choice(kernel="3x3", stride="2", size="28x28", inputs="32")]
    ops = [conv(32, int(width), 28, 3, 2) for width in steps.widths]
    assert steps.price_ms == pytest.approx([law_ms(op) for op in ops])
    assert [width for width, _, _ in steps.measured] == [16, 40, 64, 88]
    times = [law_ms(conv(32, width, 28, 3, 2)) for width in (16, 40, 64, 88)]
    assert [time for _, time, _ in steps.measured] == pytest.approx(times)


def test_the_envelope_is_the_least_of_what_is_not_narrower() -> None:
    steps = next(iter(staircases(small_table(), LawCost()).values()))
    envelope = steps.envelope_ms
    assert (np.diff(envelope) >= 0).all()
    assert (envelope <= steps.price_ms).all()
    assert envelope[0] == steps.price_ms.min()


def test_a_depthwise_kernel_has_as_many_inputs_as_outputs() -> None:
    ops = [
        conv_op(in_channels=n, out_channels=n, groups=n, size=(14, 14), kernel=(3, 3))
        for n in (16, 24, 32)
    ]
    table = LatencyTable(BOARD, [row(op, law_ms(op)) for op in ops])
    ((choice, steps),) = staircases(table, LawCost()).items()
    assert choice.inputs == SAME
    assert [width for width, _, _ in steps.measured] == [16, 24, 32]
    at = list(steps.widths).index(24)
    assert steps.price_ms[at] == pytest.approx(law_ms(ops[1]))


@pytest.mark.parametrize("kernel", [5, 7])
def test_kernels_without_a_price_or_with_few_rows_are_not_offered(kernel: int) -> None:
    ops = [conv(16, n, 14, kernel) for n in (8, 16, 24)][: 3 if kernel == 5 else 2]
    table = LatencyTable(BOARD, [row(op, law_ms(op)) for op in ops])
    assert staircases(table, LawCost()) == {}

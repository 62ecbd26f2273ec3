"""Pictures: what is drawn, and clear refusals. Skipped without matplotlib."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from math import nan
from pathlib import Path

import numpy as np
import pytest

from costmodel.comparison import Comparison
from costmodel.device import Device
from costmodel.errors import InvalidInputError, MissingDependencyError
from costmodel.measurement import Measurement, Round
from costmodel.model_rows import model_op
from costmodel.network import Layer, Network
from costmodel.op import Op, conv_op
from costmodel.plots import (
    Staircase,
    plot_comparison,
    plot_staircase,
    staircase_of_cost,
    staircase_of_table,
)
from costmodel.prediction import price_network
from costmodel.protocols import Prices, Unit
from costmodel.runners.fake import FakeRunner, law_ms
from costmodel.table import LatencyTable

pytest.importorskip("matplotlib", reason="needs the report extra")


class LawCost:
    """The fake device's law."""

    name = "law"
    device = None
    unit: Unit = "ms"

    def price(self, ops: Sequence[Op]) -> Prices:
        values = np.array([law_ms(op) for op in ops])
        return Prices(values=values, low=values, high=values)


class NoCost(LawCost):
    """Knows no price."""

    def price(self, ops: Sequence[Op]) -> Prices:
        values = np.full(len(ops), nan)
        return Prices(values=values, low=values, high=values)


def conv(width: int, into: int = 64) -> Op:
    return conv_op(in_channels=into, out_channels=width, size=(14, 14), kernel=(3, 3))


def row(op: Op, *times_ms: float) -> Measurement:
    rounds = [Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times_ms)]
    return Measurement.from_rounds(op, rounds)


def table(*ops: Op) -> LatencyTable:
    return LatencyTable(FakeRunner().device, [row(op, law_ms(op)) for op in ops])


def comparison(name: str, measured_ms: float) -> Comparison:
    network = Network(name=name, layers=(Layer(name="l", op=conv(64)),))
    return Comparison(
        prediction=price_network(network, LawCost()),
        measurement=row(model_op(name, "0", ()), measured_ms, measured_ms),
        device=Device(name="board", runtime="fake"),
    )


def test_comparison_names_networks_device_and_provenance(tmp_path: Path) -> None:
    path = plot_comparison([comparison("net one", 1.0), comparison("two", 0.7)], tmp_path / "c.svg")
    text = path.read_text(encoding="utf-8")
    for words in ("net one", "two", "board, fake, float32, 1 thread (measured)", "measured in ms"):
        assert f"<!-- {words}" in text


def test_png_is_a_png(tmp_path: Path) -> None:
    path = plot_comparison([comparison("net", 1.0)], tmp_path / "c.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize("name", ["c.jpgg", "c", "c.txt"])
def test_another_suffix_is_refused_with_those_that_work(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"\.png, \.svg or \.pdf"):
        plot_comparison([comparison("net", 1.0)], tmp_path / name)
    with pytest.raises(InvalidInputError, match=r"\.png, \.svg or \.pdf"):
        plot_staircase(
            Staircase(title="t", axis="a", device="d", measured=((1, 1.0),)), tmp_path / name
        )
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="absent"):
        plot_comparison([comparison("net", 1.0)], tmp_path / "absent" / "c.png")


def test_nothing_measured_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="nothing to draw"):
        plot_comparison([comparison("net", nan)], tmp_path / "c.png")


def test_without_matplotlib_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"morphnet-latency\[report\]"):
        plot_comparison([comparison("net", 1.0)], tmp_path / "c.png")


def test_staircase_is_the_family_with_the_most_widths(tmp_path: Path) -> None:
    other = [conv(16, into=8), conv(32, into=8)]
    found = staircase_of_table(table(*other, *(conv(width) for width in (48, 16, 33, 32))))
    assert found is not None
    assert (found.axis, found.title) == ("output channels", "conv 3x3, 64 input channels, @14x14")
    assert [width for width, _ in found.measured] == [16, 32, 33, 48]
    assert found.predicted == {}
    text = plot_staircase(found, tmp_path / "s.svg").read_text(encoding="utf-8")
    assert "<!-- latency in ms" in text
    assert "<!-- fake, fake, float32, 1 thread (measured)" in text


def test_staircase_over_input_channels() -> None:
    found = staircase_of_table(table(*(conv(64, into=width) for width in (16, 32, 64))))
    assert found is not None
    assert (found.axis, found.title) == ("input channels", "conv 3x3, 64 output channels, @14x14")


def test_depthwise_staircase_varies_all_channels() -> None:
    ops = [
        conv_op(in_channels=n, out_channels=n, groups=n, size=(14, 14), kernel=(3, 3))
        for n in (8, 16, 32)
    ]
    found = staircase_of_table(table(*ops), LawCost())
    assert found is not None
    assert found.axis == "channels, in and out"
    assert dict(found.predicted[""])[16] == pytest.approx(law_ms(ops[1]))


@pytest.mark.parametrize("ops", [[], [conv(8), conv(16)], [Op(kind="add", inputs=((1, 8),))]])
def test_too_few_rows_make_no_staircase(ops: list[Op]) -> None:
    assert staircase_of_table(table(*ops)) is None


def test_prediction_meets_the_law_at_every_stored_width(tmp_path: Path) -> None:
    found = staircase_of_table(table(*(conv(width) for width in (16, 17, 40))), LawCost())
    assert found is not None
    predicted = dict(found.predicted[""])
    assert {width: predicted[width] for width, _ in found.measured} == pytest.approx(
        dict(found.measured)
    )
    assert plot_staircase(found, tmp_path / "s.png").stat().st_size > 0


def test_kernels_with_channels_last_are_widened_there() -> None:
    def last(width: int) -> Op:
        op = conv(width)
        inputs, outputs = ((1, 14, 14, 64),), ((1, 14, 14, width),)
        return replace(op, layout="nhwc", inputs=inputs, outputs=outputs)

    found = staircase_of_table(table(*(last(width) for width in (16, 33, 40))), LawCost())
    assert found is not None
    (line,) = found.predicted.values()
    for width, stored_ms in found.measured:
        assert dict(line)[width] == pytest.approx(stored_ms)
        assert stored_ms == pytest.approx(law_ms(last(width)))


def test_staircase_of_a_cost_model_has_the_devices_steps() -> None:
    found = staircase_of_cost(LawCost(), conv(64), "board", most=48)
    times = dict(found.predicted[""])
    assert sorted(times) == list(range(1, 49))
    rises = {width for width in range(2, 49) if times[width] > 1.1 * times[width - 1]}
    assert rises == {17, 33}


def test_blocked_kernels_work_on_whole_blocks() -> None:
    base = Op(
        kind="conv",
        inputs=((1, 64, 14, 14),),
        outputs=((1, 32, 14, 14),),
        weights=((32, 64, 1, 1), (32,)),
        layout="nchw8c",
        stride=(1, 1),
        pads=(0, 0, 0, 0),
        dilation=(1, 1),
    )
    found = staircase_of_cost(LawCost(), base, "board", most=20)
    assert {kernel: [w for w, _ in line] for kernel, line in found.predicted.items()} == {
        "nchw8c": [8, 16, 24]
    }


def test_staircase_needs_a_convolution_with_a_price() -> None:
    with pytest.raises(InvalidInputError, match="needs a convolution"):
        staircase_of_cost(LawCost(), Op(kind="add"), "board")
    with pytest.raises(InvalidInputError, match="no price"):
        staircase_of_cost(NoCost(), conv(8), "board")

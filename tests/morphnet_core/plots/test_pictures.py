"""Pictures are written, show what they say, and refuse what they cannot draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.op import Op
from costmodel.protocols import Prices, Unit
from morphnet_core.groups import find_groups
from morphnet_core.plots import (
    Trained,
    breakdown,
    plot_breakdown,
    plot_tradeoff,
    plot_widths,
)
from morphnet_core.pricing import Pricer

pytest.importorskip("matplotlib", reason="needs the report extra")
pytestmark = pytest.mark.keras


class Staircase:
    """A cost model of plateaus of 16 channels."""

    name = "staircase"
    unit: Unit = "ms"
    device = Device(name="any", runtime="onnxruntime")

    def price(self, ops: Any) -> Prices:
        values = np.array([self._one(op) for op in ops])
        return Prices(values=values, low=values, high=values)

    @staticmethod
    def _one(op: Op) -> float:
        if not op.weights:
            return 0.01
        out, inside = op.weights[0][:2]
        return 0.1 * -(-out // 16) * -(-inside // 16)


@pytest.fixture
def pricer() -> Pricer:
    import keras

    from costmodel.readers.keras import read_keras

    layers = keras.layers
    x = inputs = keras.Input((8, 8, 3))
    for name, width in (("first", 48), ("second", 64)):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"{name}_norm")(x))
    outputs = layers.Dense(5, name="head")(layers.GlobalAveragePooling2D()(x))
    return Pricer(find_groups(read_keras(keras.Model(inputs, outputs, name="net"))), Staircase())


def at(pricer: Pricer, first: int, second: int) -> Any:
    """Counts with these widths of the two convolutions."""
    counts = pricer.grouping.counts(pricer.grouping.full())
    for place, group in enumerate(pricer.grouping.groups):
        counts[place] = {48: first, 64: second}.get(group.size, group.size)
    return counts


def picture(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_widths_show_seed_now_and_edges(pricer: Pricer, tmp_path: Path) -> None:
    path = plot_widths(pricer, at(pricer, 16, 30), tmp_path / "widths.svg")
    assert "<svg" in picture(path)
    assert plot_widths(pricer, at(pricer, 48, 64), tmp_path / "same.png").stat().st_size > 5_000


def test_the_breakdown_adds_up_to_the_cost(pricer: Pricer, tmp_path: Path) -> None:
    for widths in ((48, 64), (16, 30), (1, 1)):
        counts = at(pricer, *widths)
        found = breakdown(pricer, counts)
        assert sum(found.values()) == pytest.approx(pricer.at_counts(counts))
        assert {"first", "second", "head"} <= set(found)
    assert "<svg" in picture(plot_breakdown(pricer, at(pricer, 16, 30), tmp_path / "layers.svg"))


def test_a_closed_form_has_no_kernels_to_draw(pricer: Pricer, tmp_path: Path) -> None:
    counted = Pricer(pricer.grouping, "flops")
    with pytest.raises(InvalidInputError, match="closed form"):
        plot_breakdown(counted, at(counted, 16, 30), tmp_path / "layers.svg")
    assert plot_widths(counted, at(counted, 16, 30), tmp_path / "widths.svg").exists()


def test_the_tradeoff_joins_networks_of_a_method(tmp_path: Path) -> None:
    networks = [
        Trained(method="uniform", ms=2.0, accuracy=80.0, error=1.0),
        Trained(method="budget", ms=1.0, accuracy=79.0),
        Trained(method="uniform", ms=1.0, accuracy=70.0),
    ]
    assert "<svg" in picture(plot_tradeoff(networks, tmp_path / "tradeoff.svg", title="net"))
    with pytest.raises(InvalidInputError, match="no network"):
        plot_tradeoff([], tmp_path / "none.svg")
    with pytest.raises(InvalidInputError, match="must end in"):
        plot_tradeoff(networks, tmp_path / "tradeoff.txt")

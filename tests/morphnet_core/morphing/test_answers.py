"""A clock is asked nothing twice, and a device that is held is waited for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from costmodel.clocking import DEFAULT_PLAN
from costmodel.clocking import measure as real_measure
from costmodel.errors import LockedError
from morphnet_core.morphing import DeviceClock, clock
from morphnet_core.morphing.answers import KeptClock
from morphnet_core.morphing.unfinished import Section

pytestmark = pytest.mark.keras


def network(width: int) -> Any:
    return keras.Sequential([keras.Input((3,)), layers.Dense(width)])


class Widths:
    """A clock that says how wide networks are, and how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, models: Sequence[Any]) -> list[float]:
        self.asked += 1
        return [float(model.output_shape[-1]) for model in models]


def kept(path: Path, timer: Widths) -> KeptClock:
    return KeptClock(timer, Section(name="device", path=path, belongs={}))


def test_answers_are_given_again_in_their_order(tmp_path: Path) -> None:
    path, timer = tmp_path / "device.npz", Widths()
    first = kept(path, timer)
    first.try_out(network(4))
    assert first([network(4)]) == [4.0]
    assert first([network(4), network(2)]) == [4.0, 2.0]
    assert timer.asked == 2
    second = kept(path, timer)
    assert second([network(4)]) == [4.0]
    assert second([network(4), network(2)]) == [4.0, 2.0]
    assert timer.asked == 2
    assert second([network(3)]) == [3.0]
    assert timer.asked == 3


def test_from_another_network_on_they_are_forgotten(tmp_path: Path) -> None:
    path, timer = tmp_path / "device.npz", Widths()
    first = kept(path, timer)
    for width in (4, 3, 2):
        first([network(width)])
    second = kept(path, timer)
    assert [second([network(width)]) for width in (4, 5, 2)] == [[4.0], [5.0], [2.0]]
    assert timer.asked == 5


@pytest.fixture
def held_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The device is held when it is first asked for, and free then."""
    calls = iter([True])

    def measure(paths: Sequence[Path], **options: Any) -> Any:
        if next(calls, False):
            message = "Another profiler holds the device: process 7. Wait for it."
            raise LockedError(message, lock=tmp_path / "lock", short="Process 7 holds it.")
        return real_measure(paths, **options)

    monkeypatch.setattr(clock, "measure", measure)


QUICK = DEFAULT_PLAN.with_rounds(1)


@pytest.mark.usefixtures("held_once")
def test_a_held_device_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="costmodel"):
        found = DeviceClock(runner="fake", plan=QUICK)([network(4)])
    assert found[0] > 0.05
    assert "Process 7 holds it. Waiting for it, 0 s so far." in caplog.text


@pytest.mark.usefixtures("held_once")
def test_a_held_device_is_refused_at_once_where_nobody_waits() -> None:
    with pytest.raises(LockedError, match="Another profiler holds the device"):
        DeviceClock(runner="fake", plan=QUICK, wait=False)([network(4)])

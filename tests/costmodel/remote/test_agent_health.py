"""Clocks and temperatures of a device, read from files that stand in for its sensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sensors import Sensors

from costmodel.remote.agent.health import Clock, Health
from costmodel.remote.agent.order import Order


@pytest.fixture
def sensors(tmp_path: Path) -> Sensors:
    return Sensors(tmp_path, {0: 1_800_000, 1: 1_800_000})


def test_sensors_are_read(sensors: Sensors) -> None:
    health = sensors.health()
    state = health.state()
    assert {k: state[k] for k in ("governor", "mhz", "max_mhz", "temperature_c")} == {
        "governor": "schedutil", "mhz": "1800.0", "max_mhz": "1800.0", "temperature_c": "40.0",
    }  # fmt: skip
    sensors.heat(81_000)
    assert health.too_hot()
    sensors.heat(78_000)
    assert not health.too_hot()
    assert health.too_hot(cooling=True)


def test_a_device_without_sensors_is_never_hot_nor_slow(tmp_path: Path) -> None:
    health = Health(tmp_path, [0], 80.0)
    clock = Clock(health)
    clock.begin()
    assert not clock.changed()
    assert not clock.throttled()
    assert not health.too_hot()
    assert set(health.state()) <= {"load"}


def test_a_clock_that_changes_is_noticed(sensors: Sensors) -> None:
    clock = Clock(sensors.health())
    clock.begin()
    assert not clock.changed()
    sensors.clock(1_780_000)
    assert not clock.changed()
    sensors.clock(1_200_000)
    assert clock.changed()
    assert not clock.changed()


def test_a_clock_below_where_it_started_is_throttled(sensors: Sensors) -> None:
    clock = Clock(sensors.health())
    for khz, expected in ((1_500_000, False), (1_500_000, False), (1_000_000, True)):
        sensors.clock(khz)
        clock.begin()
        clock.changed()
        assert clock.throttled() is expected


def test_a_cap_on_the_clock_is_throttling_too(
    sensors: Sensors,
) -> None:
    clock = Clock(sensors.health())
    clock.begin()
    assert not clock.throttled()
    sensors.clock(1_000_000, "scaling_max_freq")
    assert clock.throttled()


class Told:
    def __init__(self, sensors: Sensors, steps: int = 2, cool_s: float = 100.0) -> None:
        self.events: list[dict[str, Any]] = []
        order = {"order": 1, "steps": [{"step": str(n), "do": "visit"} for n in range(steps)]}
        health = sensors.health()
        self.order = Order(order, health, self.events.append, limit_s=1.0, cool_s=cool_s)

    @property
    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events]


VISIT = {"quiet_ms": 1.0, "throttled": False}


def test_a_hot_device_cools_down_between_visits(
    sensors: Sensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("costmodel.remote.agent.order.time.monotonic", lambda: now[0])
    told = Told(sensors)
    assert told.order.next() is not None
    told.order.ended(dict(VISIT))
    sensors.heat(90_000)
    assert told.order.next() is None
    assert told.order.cooling
    now[0] = 50.0
    assert told.order.next() is None
    sensors.heat(60_000)
    assert told.order.next() is not None
    told.order.ended(dict(VISIT))
    assert told.kinds == ["started", "visited", "cooling", "cooled", "started", "visited"]
    assert told.events[3]["waited_s"] == 50.0
    assert told.order.finished


def test_a_device_that_stays_hot_is_not_waited_for_without_end(
    sensors: Sensors, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("costmodel.remote.agent.order.time.monotonic", lambda: now[0])
    sensors.heat(90_000)
    told = Told(sensors, steps=1)
    assert told.order.next() is None
    now[0] = 101.0
    assert told.order.next() is not None


def test_a_throttled_visit_is_made_again(sensors: Sensors, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("costmodel.remote.agent.order.time.monotonic", lambda: now[0])
    told = Told(sensors, steps=1)
    for _ in range(3):
        while told.order.next() is None:
            now[0] += 1.0
        told.order.ended({"quiet_ms": 1.0, "throttled": True})
    assert told.kinds.count("cooling") == told.kinds.count("cooled") == 2
    assert [event for event in told.events if event["event"] == "visited"] == [
        {"event": "visited", "step": "0", "quiet_ms": 1.0, "repeats": 2}
    ]
    assert told.kinds.count("started") == 1


def test_a_stopped_order_ends_while_it_cools(sensors: Sensors) -> None:
    sensors.heat(90_000)
    told = Told(sensors)
    assert told.order.next() is None
    told.order.stop()
    assert told.order.finished

"""Health: clocks, temperatures and governor, and whether the device is throttling."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

from costmodel.remote.agent.facts import read, read_number

#: A clock is another one when it differs by more than this share: less is how it is counted.
CLOCK_SHARE = 0.05
#: After being too hot, a device goes on when it is this much below its limit, in degrees.
COOL_MARGIN = 5.0
#: Sensors that say nothing about the processor's own heat.
_OTHER_ZONES = ("battery", "charger", "pmic", "skin", "wifi", "modem", "xo", "usb")


class Health:
    """Reads the sensors of some processors.

    Args:
        root: where ``sys`` lies.
        cores: processors whose clocks concern us.
        limit: highest temperature in degrees Celsius that is not too hot.
    """

    def __init__(self, root: Path, cores: list[int], limit: float) -> None:
        self._limit = limit
        cpus = root / "sys/devices/system/cpu"
        self._folders = [cpus / ("cpu%d/cpufreq" % core) for core in cores]
        self._zones = [
            zone
            for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*"))
            if not any(word in (read(zone / "type") or "").lower() for word in _OTHER_ZONES)
        ]

    def mhz(self) -> float | None:
        """Clock of our processors now, the least of them; None where nothing tells."""
        clocks = [read_number(folder / "scaling_cur_freq") for folder in self._folders]
        known = [clock for clock in clocks if clock]
        return min(known) / 1000.0 if known else None

    def ceiling(self) -> float | None:
        """Highest clock that the system allows now, in MHz: a cap for heat lowers it."""
        caps = [read_number(folder / "scaling_max_freq") for folder in self._folders]
        known = [cap for cap in caps if cap]
        return min(known) / 1000.0 if known else None

    def temperature(self) -> float | None:
        """Hottest sensor in degrees Celsius; None where there is none that works."""
        values = [read_number(zone / "temp") for zone in self._zones]
        # Sensors report thousandths, a few whole degrees; absent ones report nonsense.
        degrees = [v / 1000.0 if abs(v) >= 1000 else float(v) for v in values if v is not None]
        real = [value for value in degrees if 0.0 < value < 150.0]
        return max(real) if real else None

    def too_hot(self, *, cooling: bool = False) -> bool:
        """Whether a sensor is over the limit; while cooling, over the limit less a margin."""
        value = self.temperature()
        limit = self._limit - (COOL_MARGIN if cooling else 0.0)
        return value is not None and value > limit

    def state(self) -> dict[str, str]:
        """Governor, clocks, temperature and load, as texts."""
        found: dict[str, str] = {}
        governors = {read(folder / "scaling_governor") for folder in self._folders} - {None}
        if governors:
            found["governor"] = ",".join(sorted(str(item) for item in governors))
        for name, value in (
            ("mhz", self.mhz()),
            ("max_mhz", self.ceiling()),
            ("temperature_c", self.temperature()),
        ):
            if value is not None:
                found[name] = "%.1f" % value
        if hasattr(os, "getloadavg"):
            found["load"] = "%.2f" % os.getloadavg()[0]
        return found


class Clock:
    """Notices when the clock under load changes or falls below where it started.

    Args:
        health: the sensors.
    """

    def __init__(self, health: Health) -> None:
        self._health = health
        self._last: float | None = None
        self._seen: list[float] = []
        self._start_ceiling = health.ceiling()
        self.best = 0.0

    def begin(self) -> None:
        """Start a visit; the processor is warm and busy."""
        self._last = self._health.mhz()
        self._seen = [self._last] if self._last else []

    def changed(self) -> bool:
        """Whether the clock is another one than at the last look."""
        now, last = self._health.mhz(), self._last
        self._last = now
        if not now:
            return False
        self._seen.append(now)
        return last is not None and abs(now - last) > CLOCK_SHARE * max(now, last)

    def throttled(self) -> bool:
        """End a visit: whether its clock was below the best one, or the system lowered its cap."""
        cap, start = self._health.ceiling(), self._start_ceiling
        capped = cap is not None and start is not None and cap < start * (1 - CLOCK_SHARE)
        if not self._seen:
            return capped
        usual = median(self._seen)
        self.best = max(self.best, usual)
        return capped or usual < self.best * (1 - CLOCK_SHARE)

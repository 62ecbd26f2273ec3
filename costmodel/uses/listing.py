"""``devices``: what can be profiled here, and which profiles come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from costmodel.device import Device
from costmodel.errors import CostModelError, InvalidInputError
from costmodel.registry import Option, load_runner, runner_names
from costmodel.shipped import shipped_profiles
from costmodel.table import LatencyTable


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A runner or a profile, and its device or why there is none.

    Attributes:
        name: for ``runner=`` or ``table=``.
        device: whose numbers it makes or holds; None where it cannot be used here.
        reason: why not; else empty.
        rows: of a profile; 0 for a runner.
    """

    name: str
    device: Device | None = None
    reason: str = ""
    rows: int = 0

    def to_json(self) -> dict[str, object]:
        """It as plain values."""
        found = {
            "name": self.name,
            "device": self.device.label if self.device else None,
            "provenance": self.device.provenance if self.device else None,
            "reason": self.reason or None,
        }
        return found | ({"rows": self.rows} if self.rows else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What there is to measure with and to predict from.

    Attributes:
        runners: every registered one, usable here or not.
        profiles: those that come with the package.
    """

    runners: tuple[Listed, ...]
    profiles: tuple[Listed, ...]

    def __str__(self) -> str:
        """One line each."""
        lines = [
            f"{item.name}: {item.device.label if item.device else item.reason}"
            for item in (*self.runners, *self.profiles)
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """The lists as plain values."""
        return {
            "runners": [{**r.to_json(), "usable": r.device is not None} for r in self.runners],
            "profiles": [p.to_json() for p in self.profiles],
        }


def devices(runner: str | None = None, options: Mapping[str, Option] | None = None) -> Devices:
    """List the runners that work here, why others do not, and the shipped profiles.

    Args:
        runner: only this one; may be an address such as ``ssh://board``.
        options: of ``runner``.

    Raises:
        InvalidInputError: for options of no runner.

    >>> "fake" in [item.name for item in devices().runners]
    True
    """
    if options and runner is None:
        message = "Options are for one runner. Name it with --runner."
        raise InvalidInputError(message)
    return Devices(
        runners=tuple(_runner(name, options) for name in ([runner] if runner else runner_names())),
        profiles=tuple(_profile(name, path) for name, path in shipped_profiles().items()),
    )


def _runner(name: str, options: Mapping[str, Option] | None) -> Listed:
    try:
        return Listed(name=name, device=load_runner(name, options).device)
    except Exception as error:  # somebody else's plug-in may fail in any way
        return Listed(name=name, reason=str(error) or type(error).__name__)


def _profile(name: str, path: Path) -> Listed:
    try:
        table = LatencyTable.load(path)
    except CostModelError as error:
        return Listed(name=name, reason=str(error))
    return Listed(name=name, device=table.device, rows=len(table))

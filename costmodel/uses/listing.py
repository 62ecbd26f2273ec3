"""``devices``: what can be profiled here, and which profiles come with the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from costmodel.device import Device
from costmodel.errors import CostModelError, InvalidInputError
from costmodel.experimental import label_of
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
        experimental: that nobody has run it on what it is for; empty where somebody has.
    """

    name: str
    device: Device | None = None
    reason: str = ""
    rows: int = 0
    experimental: str = ""

    def to_json(self) -> dict[str, object]:
        """It as plain values."""
        found = {
            "name": self.name,
            "device": self.device.label if self.device else None,
            "provenance": self.device.provenance if self.device else None,
            "reason": self.reason or None,
            "experimental": self.experimental or None,
        }
        return found | ({"rows": self.rows} if self.rows else {})

    @property
    def remark(self) -> str:
        """Its device, or why there is none, and whether anybody has tried it."""
        words = self.device.label if self.device else self.reason
        return f"{words} ({self.experimental})" if self.experimental else words


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """What there is to measure with and to predict from.

    Attributes:
        runners: every registered one, usable here or not.
        profiles: those that come with the package.
        providers: execution providers of ONNX Runtime, for its runner's option ``provider``;
            empty where one other runner was asked about.
    """

    runners: tuple[Listed, ...]
    profiles: tuple[Listed, ...]
    providers: tuple[Listed, ...] = ()

    def __str__(self) -> str:
        """One line each."""
        listed = (*self.runners, *self.providers, *self.profiles)
        return "\n".join(f"{item.name}: {item.remark}" for item in listed)

    def to_json(self) -> dict[str, object]:
        """The lists as plain values."""
        return {
            "runners": [{**r.to_json(), "usable": r.device is not None} for r in self.runners],
            "providers": [{**p.to_json(), "usable": p.device is not None} for p in self.providers],
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
    names = [runner] if runner else runner_names()
    return Devices(
        runners=tuple(list_runner(name, options) for name in names),
        profiles=tuple(_profile(name, path) for name, path in shipped_profiles().items()),
        providers=list_providers() if runner in {None, "ort"} else (),
    )


def list_runner(name: str, options: Mapping[str, Option] | None = None) -> Listed:
    """One runner: its device, or why it is not usable here."""
    try:
        device = load_runner(name, options).device
    except Exception as error:  # somebody else's plug-in may fail in any way
        reason = str(error) or type(error).__name__
        return Listed(name=name, reason=reason, experimental=label_of(name, "", options or ()))
    label = label_of(name, device.provider, options or ())
    return Listed(name=name, device=device, experimental=label)


def list_providers() -> tuple[Listed, ...]:
    """ONNX Runtime's execution providers: the device of each, or why it is not usable here."""
    from costmodel.runners.ort.providers import PROVIDERS

    return tuple(
        replace(
            list_runner("ort", {"provider": short}),
            name=short,
            experimental=label_of(provider=known.name),
        )
        for short, known in PROVIDERS.items()
    )


def _profile(name: str, path: Path) -> Listed:
    try:
        table = LatencyTable.load(path)
    except CostModelError as error:
        return Listed(name=name, reason=str(error))
    return Listed(name=name, device=table.device, rows=len(table))

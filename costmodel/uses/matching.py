"""Which runner stands for a table: the one that made it, with its settings, on the same device."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from costmodel.device import Device
from costmodel.errors import DeviceMismatchError, InvalidInputError, MissingDependencyError
from costmodel.protocols import Runner
from costmodel.registry import Option, load_runner, name_of, runner_names

_LOG = logging.getLogger("costmodel")
#: Runner of each runtime, where their names differ.
_RUNNERS = {"onnxruntime": "ort"}
#: Runner of each runtime whose compiler's estimates are in a table.
_ESTIMATORS = {"xla": "tpu-aot"}
#: Option that names the back end, for runtimes that have several.
_BACKENDS = {"onnxruntime": "provider", "xla": "platform"}
#: Identity fields in which a device may differ from a table's and still run the same kernels.
_TOLERATED = frozenset({"runtime_version", "caches", "provenance"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A runner as people name it, completed from a table where they leave something out.

    Attributes:
        runner: its name, or the runner itself; None for the one that made the table.
        options: of a name, such as ``{"threads": 2}``; the table's where they say nothing.
    """

    runner: str | Runner | None = None
    options: Mapping[str, Option] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        runner: str | Runner | None,
        options: Mapping[str, Option] | None,
        threads: int | None = None,
    ) -> Choice:
        """The choice with ``threads`` among the options."""
        more = {} if threads is None else {"threads": threads}
        return cls(runner=runner, options={**(options or {}), **more})

    def named(self, device: Device | None) -> tuple[str, dict[str, Option]] | None:
        """Name and options of the runner to load; None when the table's is not registered here.

        Args:
            device: of the table; None without one, which chooses ``ort``.

        Raises:
            InvalidInputError: if a runner given as an object cannot be made again.
        """
        if self.runner is not None and not isinstance(self.runner, str):
            return name_of(self.runner, self.options)
        name = self.runner or (runner_of(device) if device else "ort")
        return None if name is None else (name, with_settings(self.options, device))


def runner_of(device: Device) -> str | None:
    """Name of the runner that made a device's numbers; None when it is not registered here."""
    name = _RUNNERS.get(device.runtime, device.runtime)
    if device.provenance == "estimated":
        name = _ESTIMATORS.get(device.runtime, name)
    return name if name in runner_names() else None


def with_settings(options: Mapping[str, Option], device: Device | None) -> dict[str, Option]:
    """The options with the table's threads, element type and back end, unless they say else."""
    if device is None:
        return dict(options)
    found: dict[str, Option] = {"threads": device.threads}
    if device.provenance == "estimated" and device.runtime in _ESTIMATORS:
        found = {"generation": device.isa}
    if device.dtype != "float32":
        found["dtype"] = device.dtype
    name = _BACKENDS.get(device.runtime)
    provider = device.provider.removesuffix("ExecutionProvider").lower()
    if name is not None and provider not in {"", "cpu"} and "generation" not in found:
        found[name] = provider
    return found | dict(options)


def difference(ours: Device, theirs: Device) -> str:
    """First identity field in which two devices may run different kernels; empty if none."""
    other = theirs.identity
    for name, value in ours.identity.items():
        if name not in _TOLERATED and value != other[name]:
            return f"{name} is {value!r} here, {other[name]!r} in the table"
    return ""


def lowering_runner(choice: Choice, device: Device | None) -> tuple[Runner | None, str]:
    """The runner to ask for a network's Ops, or None and why not.

    Args:
        choice: what was asked for.
        device: of the table, or of the cost model.

    Raises:
        MissingDependencyError: if the runner that was asked for is not installed.
        InvalidInputError: if it is not known, or does not take the options.
    """
    named = choice.named(device) if choice.runner is not None or device is not None else None
    if named is None:
        return None, f"there is no runner for {device.runtime if device else 'no runtime'} here"
    try:
        runner = load_runner(*named)
    except MissingDependencyError as error:
        if choice.runner is not None:
            raise
        return None, str(error)
    if device is not None and choice.runner is None:
        differs = difference(runner.device, device)
        if differs:
            return None, f"this is another device ({differs})"
    return runner, ""


def timing_runner(
    choice: Choice, device: Device | None, *, other_device: bool
) -> tuple[str, dict[str, Option]]:
    """Name and options of the runner that times networks beside a table's predictions.

    Args:
        choice: what was asked for.
        device: of the table; None without one.
        other_device: whether they may differ.

    Raises:
        DeviceMismatchError: naming the field that differs and the option that allows it.
        InvalidInputError: if the table's runner is not registered here.
    """
    named = choice.named(device)
    if named is None:
        assert device is not None
        message = (
            f"The table is of {device.label}, and no runner for {device.runtime!r} is registered "
            "here. Choose one with --runner (and --other-device)."
        )
        raise InvalidInputError(message)
    if device is not None:
        _require_same(load_runner(*named).device, device, other_device=other_device)
    return named


def _require_same(ours: Device, theirs: Device, *, other_device: bool) -> None:
    try:
        theirs.require_same(ours, "Comparing")
    except DeviceMismatchError as error:
        message = f"Predicted for {theirs.label}, measured on {ours.label}."
        if not other_device:
            text = f"{message} {error} Pass --other-device to compare all the same."
            raise DeviceMismatchError(text) from error
        _LOG.warning("%s Their difference is part of every error.", message)


def clock_of(
    choice: Choice, device: Device | None
) -> tuple[tuple[str, dict[str, Option]] | None, str]:
    """The runner to time networks with where the table's device is at hand, or None and why not.

    Args:
        choice: what was asked for.
        device: of the table, or of the cost model; None without one.

    Raises:
        DeviceMismatchError: if the runner that was asked for is another device than the table's.
        InvalidInputError: if it is not known.
    """
    if device is None:
        if choice.runner is None:
            return None, "without a table there is no device to time"
        return choice.named(None), ""
    named = choice.named(device)
    if named is None:
        return None, f"there is no runner for {device.runtime} here"
    try:
        differs = difference(load_runner(*named).device, device)
    except MissingDependencyError as error:
        if choice.runner is not None:
            raise
        return None, str(error)
    if differs and choice.runner is not None:
        message = (
            f"The runner {named[0]!r} is another device than the table's: {differs}. Leave "
            "--runner out to predict only, or give a table of this device."
        )
        raise DeviceMismatchError(message)
    return (None, f"this is another device ({differs})") if differs else (named, "")

"""Where a run's numbers go: Keras logs, a JSON-lines file, a scalar writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, MutableMapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from costmodel.errors import InvalidInputError
from morphnet_core.regularizer.report import Report


@runtime_checkable
class ScalarWriter(Protocol):
    """Anything that takes scalars by name and step, for example around TensorBoard's writer."""

    def scalar(self, name: str, value: float, step: int) -> None:
        """Take one number."""
        ...


class RunLog:
    """Writes reports to a JSON-lines file and a scalar writer."""

    def __init__(self, history: str | Path | None, writer: ScalarWriter | None) -> None:
        """Write to either, both or none.

        Args:
            history: file to append to, a line per refresh and per epoch.
            writer: takes scalars.

        Raises:
            InvalidInputError: if ``writer`` has no ``scalar`` method.
        """
        if writer is not None and not isinstance(writer, ScalarWriter):
            message = f"{writer!r} is no writer: it has no scalar(name, value, step)."
            raise InvalidInputError(message)
        self._history = None if history is None else Path(history)
        self._writer = writer

    @property
    def wanted(self) -> bool:
        """Whether anybody reads what is written."""
        return self._history is not None or self._writer is not None

    def write(self, report: Report, **more: Any) -> None:
        """Write one report.

        Raises:
            InvalidInputError: if the file cannot be written.
        """
        if self._history is not None:
            line = json.dumps({**more, **report.record()})
            try:
                with self._history.open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
            except OSError as error:
                message = (
                    f"{self._history} cannot be written ({error.strerror}). Give history a path in "
                    "a folder that exists and is writable."
                )
                raise InvalidInputError(message) from error
        if self._writer is not None:
            for name in ("cost", "cost_share", "penalty", "strength"):
                self._writer.scalar(f"morphnet/{name}", getattr(report, name), report.step)
            for name, (now, _) in report.alive.items():
                self._writer.scalar(f"morphnet/alive/{name}", now, report.step)


def add_to_logs(
    logs: MutableMapping[str, Any] | None, report: Report, groups: Iterable[str] = ()
) -> None:
    """Put a report into the logs of an epoch, from where every logger of Keras takes them.

    Args:
        logs: of the epoch; None for nobody who reads them.
        report: of its end.
        groups: names of those whose channels are told, each as ``alive/NAME``.
    """
    if logs is None:
        return
    loss = float(logs.get("loss") or 0.0)
    logs["cost"] = report.cost
    if report.unit == "ms":
        logs["latency_ms"] = report.cost
    logs["cost_share"] = report.cost_share
    logs["strength"] = report.strength
    logs["penalty"] = report.penalty
    logs["penalty_share"] = report.penalty / loss if loss > 0.0 else 0.0
    logs["alive_channels"] = report.alive_channels
    for name in groups:
        logs[f"alive/{name}"] = report.alive[name][0]

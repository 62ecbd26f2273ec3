"""``costmodel devices``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from costmodel.cli.app import app, examples
from costmodel.cli.options import (
    Json,
    Markdown,
    Option,
    RunnerOptions,
    Threads,
    parse_runner_options,
)
from costmodel.cli.output import emit
from costmodel.device import Device
from costmodel.errors import CostModelError, InvalidInputError
from costmodel.registry import load_runner, runner_names


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A runner or a profile, and its device or why there is none."""

    name: str
    device: Device | None = None
    reason: str = ""
    rows: int = 0

    def to_json(self) -> dict[str, object]:
        found = {
            "name": self.name,
            "device": self.device.label if self.device else None,
            "provenance": self.device.provenance if self.device else None,
            "reason": self.reason or None,
        }
        return found | ({"rows": self.rows} if self.rows else {})


def _runner(name: str, options: Mapping[str, Option] | None = None) -> _Found:
    try:
        return _Found(name=name, device=load_runner(name, options).device)
    except Exception as error:  # somebody else's plug-in may fail in any way
        return _Found(name=name, reason=str(error) or type(error).__name__)


def _profile(name: str) -> _Found:
    from costmodel.shipped import find_profile
    from costmodel.table import LatencyTable

    try:
        table = LatencyTable.load(find_profile(name))
    except CostModelError as error:
        return _Found(name=name, reason=str(error))
    return _Found(name=name, device=table.device, rows=len(table))


@app.command(
    short_help="List usable runners and shipped profiles.",
    epilog=examples(
        "costmodel devices",
        "costmodel devices --json",
        "costmodel devices --runner ssh://board --runner-option cores=big",
    ),
)
def devices(
    runner: Annotated[
        str | None, typer.Option("--runner", metavar="R", help="Only this one; may be an address.")
    ] = None,
    threads: Threads = None,
    runner_option: RunnerOptions = None,
    json: Json = False,
    markdown: Markdown = False,
) -> None:
    """List the runners that work here, why others do not, and the shipped profiles."""
    from costmodel.report import Sheet
    from costmodel.shipped import shipped_profiles

    options = parse_runner_options(runner_option, threads)
    if options and runner is None:
        message = "Options are for one runner. Name it with --runner."
        raise InvalidInputError(message)
    runners = [_runner(name, options) for name in ([runner] if runner else runner_names())]
    profiles = [_profile(name) for name in shipped_profiles()]

    def sheets() -> tuple[Sheet, ...]:
        return (
            Sheet(
                title="Runners",
                columns=("runner", "usable", "device, or why not"),
                rows=tuple(
                    (r.name, "yes" if r.device else "no", r.device.label if r.device else r.reason)
                    for r in runners
                ),
            ),
            Sheet(
                title="Shipped profiles",
                columns=("name", "rows", "device", "provenance"),
                rows=tuple(
                    (
                        p.name,
                        str(p.rows),
                        p.device.label if p.device else p.reason,
                        p.device.provenance if p.device else "",
                    )
                    for p in profiles
                ),
                align="lrll",
                notes=() if profiles else ("None.",),
            ),
        )

    def data() -> dict[str, object]:
        return {
            "runners": [{**r.to_json(), "usable": r.device is not None} for r in runners],
            "profiles": [p.to_json() for p in profiles],
        }

    emit(data, sheets, as_json=json, markdown=markdown)

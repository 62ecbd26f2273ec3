"""``costmodel devices``."""

from __future__ import annotations

from typing import Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import app, examples
from costmodel.cli.output import emit


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
    threads: options.Threads = None,
    runner_option: options.RunnerOptions = None,
    json: options.Json = False,
    markdown: options.Markdown = False,
) -> None:
    """List the runners that work here, why others do not, and the shipped profiles."""
    from costmodel.report import Sheet
    from costmodel.uses.listing import devices as list_devices

    found = list_devices(runner, options.parse_runner_options(runner_option, threads))

    def sheets() -> tuple[Sheet, ...]:
        return (
            Sheet(
                title="Runners",
                columns=("runner", "usable", "device, or why not"),
                rows=tuple(
                    (r.name, "yes" if r.device else "no", r.device.label if r.device else r.reason)
                    for r in found.runners
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
                    for p in found.profiles
                ),
                align="lrll",
                notes=() if found.profiles else ("None.",),
            ),
        )

    emit(found.to_json, sheets, as_json=json, markdown=markdown)

"""``costmodel devices``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from costmodel.cli import options
from costmodel.cli.app import app, examples
from costmodel.cli.output import emit

if TYPE_CHECKING:
    from costmodel.report import Sheet
    from costmodel.uses.listing import Listed


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
            *usable_sheets(found.runners, found.providers),
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


def usable_sheets(runners: Sequence[Listed], providers: Sequence[Listed]) -> tuple[Sheet, ...]:
    """What can measure here, and why the rest cannot; no sheet for an empty list."""
    from costmodel.report import Sheet

    titles = {
        "Runners": runners,
        "Execution providers of ONNX Runtime (--runner-option provider=NAME)": providers,
    }
    return tuple(
        Sheet(
            title=title,
            columns=("name", "usable", "device, or why not"),
            rows=tuple((item.name, "yes" if item.device else "no", item.remark) for item in listed),
        )
        for title, listed in titles.items()
        if listed
    )

"""``costmodel doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from costmodel.cli import options
from costmodel.cli.app import app, examples
from costmodel.cli.devices import usable_sheets
from costmodel.cli.output import emit

if TYPE_CHECKING:
    from costmodel.report import Sheet


@app.command(
    short_help="Say what is installed and usable here, for a report of a fault.",
    epilog=examples("costmodel doctor", "costmodel doctor --markdown", "costmodel doctor --json"),
)
def doctor(json: options.Json = False, markdown: options.Markdown = False) -> None:
    """Say what is installed and usable here, to paste into a report of a fault.

    Versions, processor, runners, locks and profiles; no user, host or home folder is named.
    """
    from costmodel.report.sheet import facts
    from costmodel.uses.checking_up import doctor as check_up

    found = check_up()

    def sheets() -> tuple[Sheet, ...]:
        profiles = {
            "of this processor": ", ".join(found.matching) or "none",
            "of its instruction set": ", ".join(found.alike) or "none",
        }
        return (
            facts("Versions", found.versions),
            facts("Processor", found.processor),
            *usable_sheets(found.runners, found.providers),
            facts("Places", {**found.places, **{f"lock: {k}": v for k, v in found.locks.items()}}),
            facts("Shipped profiles", profiles),
        )

    emit(found.to_json, sheets, as_json=json, markdown=markdown)

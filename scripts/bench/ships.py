"""Figure a of the house: what is published lists every profile and does all that is documented."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ledger

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import try_wheel


def main() -> int:

    found = try_wheel.attempt(fast=False)
    print(found)
    ran = [outcome for outcome in found.outcomes if not outcome.left_out]
    failed = [outcome for outcome in ran if outcome.problem]
    commands = sum(outcome.example.kind == "command" for outcome in ran)
    figures = [
        ledger.figure(
            id="a-profiles",
            what=f"profiles that costmodel devices lists from the wheel, of {len(found.there)}",
            target="all of the checkout's",
            reached=len(found.listed & found.there),
            unit="profiles",
            passed=found.listed == found.there,
        ),
        ledger.figure(
            id="a-run",
            what=f"documented examples run from the wheel: {commands} commands, "
            f"{len(ran) - commands} snippets of Python",
            target="all but those listed below with a reason",
            reached=len(ran),
            unit="examples",
            passed=not found.unused,
        ),
        ledger.figure(
            id="a-failed",
            what="of these failed",
            reached=len(failed),
            unit="examples",
            exactly=0,
        ),
    ]
    rows = (
        f"`{outcome.example}` | {outcome.example.source} | {outcome.left_out}"
        for outcome in found.outcomes
        if outcome.left_out
    )
    detail = {
        "examples": [
            {
                "shown_by": outcome.example.source,
                "example": str(outcome.example),
                "ran": outcome.ran,
                "seconds": round(outcome.seconds, 1),
                "problem": outcome.problem.replace(tempfile.gettempdir(), "$TMPDIR"),
                "left_out": outcome.left_out,
            }
            for outcome in found.outcomes
        ]
    }
    note = ledger.table("left out | shown by | because it", rows)
    ledger.write("ships", topic="house", figures=figures, detail=detail, notes=[note])
    return 0 if found.passed else 1


if __name__ == "__main__":
    sys.exit(main())

"""Reports a fleet: how far each device is, how boards of a kind agree, networks on all of them."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from costmodel.figures import duration
from costmodel.report.sheet import NOTHING, Sheet, digits, ms, percent, signed_percent

Json = Mapping[str, Any]


def fleet_sheets(found: Json) -> tuple[Sheet, ...]:
    """How far each device is, and how boards of one kind agree.

    Args:
        found: ``FleetStatus.to_json``.
    """
    rows = tuple(
        (
            item["name"],
            item["runner"],
            item["host"] or NOTHING,
            item["state"],
            _of(item["rows"], item["rows_wanted"]),
            _of(item["visits"], item["visits_wanted"]),
            duration(item["seconds_left"]) if item["seconds_left"] is not None else NOTHING,
            item["reason"] or "",
        )
        for item in found["devices"]
    )
    done = sum(item["state"] == "done" for item in found["devices"])
    running = f"driven by {found['running']}" if found["running"] else "nobody drives it"
    devices = Sheet(
        title=f"{found['fleet']}: {done} of {len(rows)} devices are done; {running}",
        columns=("device", "runner", "host", "state", "rows", "visits", "left", ""),
        rows=rows,
        align="llllrrrl",
    )
    return (devices, *(_kind_sheet(kind) for kind in found["kinds"] if len(kind["boards"]) > 1))


def _of(done: int, total: int | None) -> str:
    return f"{done} of {total}" if total else str(done)


def _kind_sheet(kind: Json) -> Sheet:
    boards = kind["boards"]
    notes = []
    if apart := [board for board in boards if board["apart"]]:
        names = ", ".join(f"{board['name']} ({_factor(board['factor'])})" for board in apart)
        notes.append(
            f"Kept apart, for they differ by more than {percent(kind['limit'])}, which is what "
            f"rows repeat within: {names}."
        )
    if kind["single_rows"]:
        notes.append(f"{kind['single_rows']} of {kind['rows']} rows are of one board only.")
    if kind["table"]:
        notes.append(f"Those that agree make {kind['table']}.")
    return Sheet(
        title=f"{len(boards)} boards of {kind['device']}",
        columns=("board", "rows", "shared", "takes", ""),
        rows=tuple(
            (
                board["name"],
                str(board["rows"]),
                str(board["shared_rows"]),
                _factor(board["factor"]),
                "kept apart" if board["apart"] else "",
            )
            for board in boards
        ),
        align="lrrrl",
        notes=tuple(notes),
    )


def _factor(factor: float | None) -> str:
    return NOTHING if factor is None else f"{digits(factor)} times"


def fleet_comparison_sheets(found: Json) -> tuple[Sheet, ...]:
    """Networks on every board: predicted and measured.

    Args:
        found: ``FleetComparison.to_json``.
    """
    rows, errors, notes = [], [], []
    for board in found["boards"]:
        if board["reason"]:
            notes.append(f"{board['name']}: {board['reason']}.")
        if board["factor"] not in {None, 1.0}:
            notes.append(f"{board['name']} is taken to need {_factor(board['factor'])} its kind's.")
        for item in board["compared"]:
            if item["error"] is not None:
                errors.append(abs(item["error"]))
            rows.append(
                (
                    board["name"],
                    item["model"],
                    ms(item["predicted_ms"]),
                    ms(item["measured_ms"], item["repeatability"]),
                    signed_percent(item["error"]),
                    percent(item["repeatability"]),
                )
            )
    if errors:
        notes.insert(0, f"Median |error| {percent(median(errors))} of {len(errors)}.")
    return (
        Sheet(
            title="Predicted and measured, ms",
            columns=("board", "network", "predicted", "measured", "error", "repeats"),
            rows=tuple(rows),
            align="llrrrr",
            notes=tuple(notes),
        ),
    )

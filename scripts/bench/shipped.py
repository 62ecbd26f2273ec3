"""Every shipped profile: what it is, whose, how well it repeats, and how well it predicts.

Held-out accuracy is of a quarter of its convolutions, priced by a regression on the rest.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import ledger

from costmodel.audit import audit, repeatability
from costmodel.errors import InvalidInputError
from costmodel.measurement import Repeatability
from costmodel.scoring import Score, score_table
from costmodel.shipped import shipped_profiles
from costmodel.table import LatencyTable

MOST_BYTES = 5_000_000
_LICENCE = re.compile(r"\b(Apache-2\.0|MIT|BSD-3-Clause)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One shipped profile.

    Attributes:
        name: its name.
        table: its rows.
        licence: from its card; empty where that names none.
        faults: what ``check`` finds.
        bytes: of its file.
        score: held-out accuracy; None with too few convolutions.
    """

    name: str
    table: LatencyTable
    licence: str
    faults: int
    bytes: int
    score: Score | None

    @property
    def sound(self) -> bool:
        """Whether it may be shipped."""
        small = self.bytes < MOST_BYTES
        return small and bool(self.licence) and not self.faults and not self.table.warnings

    def line(self) -> str:
        """Its row of the report."""
        device, found = self.table.device, repeatability(self.table)
        accuracy = "-"
        if self.score is not None:
            of = self.score.accuracy
            accuracy = f"{of.mape:.1%} | {of.within_5:.0%} / {of.within_10:.0%}"
        else:
            accuracy = "- | too few convolutions"
        threads = f", {device.threads} threads" if device.threads > 1 else ""
        return (
            f"{self.name} | {len(self.table)} | {device.provenance}{threads} | {self.licence} | "
            f"{repeats(found, device.provenance)} | {accuracy}"
        )


def repeats(found: Repeatability, provenance: str) -> str:
    """How well it repeats, in a few words."""
    if provenance == "estimated":
        return "exact"
    if math.isnan(found.within_5):
        return "not known"
    return f"{found.within_5:.0%} / {found.within_10:.0%}"


def profile(name: str, path: Path) -> Profile:
    """Load, check and score one."""
    table = LatencyTable.load(path)
    card = path.with_suffix(".md")
    text = card.read_text(encoding="utf-8") if card.exists() else ""
    said = next((line for line in text.splitlines() if "licence" in line.lower()), "")
    licence = _LICENCE.search(said)
    try:
        score = score_table(table)
    except InvalidInputError:
        score = None
    return Profile(
        name=name,
        table=table,
        licence=licence[0] if licence else "",
        faults=sum(not item.is_information for item in audit(table)),
        bytes=path.stat().st_size,
        score=score,
    )


def main() -> None:
    ledger.require_clean_tree()
    found = []
    for name, path in shipped_profiles().items():
        found.append(profile(name, path))
        print(
            found[-1].line(),
            found[-1].bytes,
            "sound" if found[-1].sound else "NOT SOUND",
            flush=True,
        )
    imported = [item for item in found if item.table.device.provenance == "imported"]
    unsound = [item.name for item in found if not item.sound]
    columns = "profile | rows | provenance | licence | repeats 5 / 10 % | MAPE | within 5 / 10 %"
    ledger.write(
        "shipped",
        topic="other-devices",
        figures=[
            ledger.figure(
                "g",
                "shipped profiles that load, pass check, have a card with a licence and are "
                "under 5 MB",
                len(found) - len(unsound),
                "profiles",
                exactly=len(found),
                sound=bool(found),
                reason=", ".join(unsound),
            ),
            ledger.figure("g-imported", "of them imported: phones' and others' GPUs",
                          len(imported), "profiles"),
        ],
        detail={
            "profiles": {
                item.name: item.score.to_json() if item.score is not None else None
                for item in found
            }
        },
        notes=[ledger.table(columns, [item.line() for item in found])],
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""Figure f of the devices: every shipped profile loads, passes `check`, and is under 5 MB."""

from __future__ import annotations

import math

import ledger

from costmodel.audit import audit, repeatability
from costmodel.shipped import shipped_profiles
from costmodel.table import LatencyTable

MOST_BYTES = 5_000_000


def main() -> None:
    columns = "profile | device | runtime | dtype | threads | rows | provenance | repeats 5 / 10 %"
    lines = []
    sound = 0
    profiles = shipped_profiles()
    for name, path in profiles.items():
        table = LatencyTable.load(path)
        faults = [item for item in audit(table) if not item.is_information]
        card = path.with_suffix(".md").exists()
        good = not faults and not table.warnings and card and path.stat().st_size < MOST_BYTES
        sound += good
        found, device = repeatability(table), table.device
        repeats = (
            "exact" if device.provenance == "estimated"
            else "-" if math.isnan(found.within_5)
            else f"{found.within_5:.0%} / {found.within_10:.0%}"
        )  # fmt: skip
        lines.append(
            f"{name} | {device.name} | {device.runtime} {device.runtime_version} | "
            f"{device.dtype} | {device.threads} | {len(table)} | {device.provenance} | {repeats}"
        )
        print(name, len(table), path.stat().st_size, "sound" if good else faults[:3], flush=True)
    ledger.write(
        "shipped",
        figures=[
            ledger.figure(
                "f",
                "shipped profiles that load, pass check, have a card and are under 5 MB",
                sound,
                "profiles",
                exactly=len(profiles),
                sound=bool(profiles),
            )
        ],
        notes=[ledger.table(columns, lines)],
        topic="devices",
    )


if __name__ == "__main__":
    main()

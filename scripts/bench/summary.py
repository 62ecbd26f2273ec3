"""One table of every figure in docs/results, written to docs/results/README.md."""

from __future__ import annotations

import json

import ledger


def main() -> None:
    columns = "topic | figure | what | target | reached | passed | from | commit"
    rows = []
    for path in sorted(ledger.RESULTS.glob("*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        for item in record["figures"]:
            passed = {True: "yes", False: "**no**", None: "-"}[item["passed"]]
            source = f"[{path.stem}]({path.stem}.md) | {record['commit']}"
            rows.append(
                f"{record['topic']} | {item['id']} | {item['what']} | {item['target']} | "
                f"{ledger.reached_of(item)} | {passed} | {source}"
            )
    lines = [
        "# Figures",
        "",
        "Written by `scripts/bench/summary.py` from the JSON files beside it.",
        "",
        ledger.table(columns, sorted(rows)),
    ]
    (ledger.RESULTS / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()

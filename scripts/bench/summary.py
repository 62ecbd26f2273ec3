"""One page of every figure in docs/results, by what it is about: docs/results/README.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ledger

Record = Mapping[str, Any]

OPENING = """# All figures

What was promised, what was reached, and how: every figure with its target, the script that took it
and the processor that it ran on. Figures that missed their target stand beside those that met it,
and figures without one are only shown. Each page holds the details, the machine's load and the
commit. Times of a shared virtual machine scatter; how much is said where it matters.

Written by `scripts/bench/summary.py` from the JSON files beside it."""


def main() -> None:
    paths = sorted(ledger.RESULTS.glob("*.json"))
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}
    page = "\n\n".join(page_of(found)) + "\n"
    (ledger.RESULTS / "README.md").write_text(page, encoding="utf-8")
    print(page)


def page_of(records: Mapping[str, Record]) -> Iterator[str]:
    """The parts of the page, which blank lines keep apart.

    Args:
        records: what scripts wrote, by the name of their page.
    """
    yield OPENING
    topics = [topic for topic in ledger.TOPICS if any(_of(records, topic))]
    yield ledger.table(
        "about | figures with a target | met | missed or not taken",
        (_counted(topic, list(_of(records, topic))) for topic in topics),
    )
    for topic in topics:
        yield f"## {ledger.TOPICS[topic]}"
        for name, record in _of(records, topic):
            made = record.get("script", "")
            script = f", by [{made}](../../{made})" if made else ""
            host = record["machine"]
            where = ", ".join(filter(None, (host["processor"], host.get("isa"))))
            yield f"[{name}]({name}.md){script}, on {where}:"
            yield ledger.table(ledger.COLUMNS, map(ledger.cells, record["figures"]))


def _of(records: Mapping[str, Record], topic: str) -> Iterator[tuple[str, Record]]:
    return ((name, record) for name, record in records.items() if record["topic"] == topic)


def _counted(topic: str, records: Sequence[tuple[str, Record]]) -> str:
    figures = [item for _, record in records for item in record["figures"]]
    met = sum(item["passed"] is True for item in figures)
    untaken = sum(item["reached"] is None and item["target"] != ledger.SHOWN for item in figures)
    missed = sum(item["passed"] is False for item in figures) + untaken
    return f"{ledger.TOPICS[topic]} | {met + missed} | {met} | {missed}"


if __name__ == "__main__":
    main()

"""Figure c: 500 fresh random convolutions, measured apart, predicted from <= 1,000 and 300 rows."""

from __future__ import annotations

import json

import ledger
import place

from costmodel.measurement import Measurement
from costmodel.op import CONV_KINDS
from costmodel.registry import load_runner
from costmodel.sampling.select import sample_ops
from costmodel.scoring import Score, score_rows
from costmodel.table import LatencyTable


def small_sample(rows: list[Measurement], count: int) -> list[Measurement]:
    """The rows that a profile of ``count`` samples would have measured, topped up in order."""
    wanted = set(sample_ops(load_runner("ort", {"threads": 1}), count).ops)
    chosen = [row for row in rows if row.op in wanted]
    spare = [row for row in rows if row.op not in wanted]
    return (chosen + spare)[:count]


def lines_of(label: str, result: Score) -> list[str]:
    """Rows of the page."""
    entries = {"ours": result.accuracy, **result.baselines}
    if result.repeatability is not None:
        entries["repeatability (half against half)"] = result.repeatability
    return [
        f"{label} | {name} | {a.mape:.1%} | {a.median:.1%} | {a.within_5:.1%} | {a.within_10:.1%}"
        for name, a in entries.items()
    ]


def main() -> None:
    parser = ledger.parser(__doc__)
    parser.add_argument("--table", default="plain", help="name of the table to learn from")
    options = parser.parse_args()
    table = LatencyTable.load(place.table_path(options.table, 1))
    fresh = LatencyTable.load(place.table_path("fresh", 1))
    report = json.loads(place.table_path(options.table, 1).with_suffix(".report.json").read_text())
    test = [row for row in fresh.kernels() if row.op.kind in CONV_KINDS]
    rows = [row for row in table.kernels() if row.op not in fresh]
    results = {"1000": score_rows(rows, test), "300": score_rows(small_sample(rows, 300), test)}
    figures = []
    for key, target in (("1000", 0.88), ("300", 0.78)):
        result = results[key]
        reached = result.accuracy.within_10
        repeat = result.repeatability
        figures.append(
            ledger.figure(
                f"c-{key}" if options.table == "plain" else f"c-{options.table}-{key}",
                f"fresh convolutions within ±10 % of {result.held_out}, {result.rows} rows",
                reached,
                "share",
                at_least=target,
                seed=0,
                repeatability=repeat.within_10 if repeat else None,
            )
        )
    figures.append(
        ledger.figure(
            "c-minutes" if options.table == "plain" else f"c-{options.table}-minutes",
            "minutes of profiling behind the larger table, sampling included",
            report["seconds_all_runs"] / 60.0,
            "min",
            at_most=20,
        )
    )
    body = [line for key, result in results.items() for line in lines_of(key, result)]
    ledger.write(
        "score" if options.table == "plain" else f"score-{options.table}",
        topic="main-job",
        figures=figures,
        detail={key: result.to_json() for key, result in results.items()} | {"profile": report},
        notes=[ledger.table("rows | model | MAPE | median | within 5 % | within 10 %", body)],
    )


if __name__ == "__main__":
    main()

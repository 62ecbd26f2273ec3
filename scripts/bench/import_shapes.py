"""People's file shapes made from public rows, and what importing each must come to."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from costmodel.table import LatencyTable

#: Columns of the rows that shapes are made of, all of them convolutions of one device.
COLUMNS = (
    "op", "batch", "height", "width", "in_channels", "out_channels", "kernel", "kernel_w", "stride",
    "stride_w", "out_size", "groups", "dtype", "layout", "latency_us",
)  # fmt: skip
SAID = {"device": "Pixel 4 GPU (Adreno 640)", "runtime": "tflite-gpu"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One file, and how it is imported.

    Attributes:
        path: the file.
        options: of ``import_file``.
        message: what the one message must say; empty where the file can be used.
        left_out: columns and counts of rows that must be left out; others may not be.
        expected: microseconds by the row's place; None where they are those of the data.
    """

    path: Path
    options: Mapping[str, object] = field(default_factory=dict)
    message: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    dropped: tuple[int, ...] = ()


Shape = Callable[[pd.DataFrame, Path, np.random.Generator], Case]


def plain(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """The columns as they are, as CSV."""
    return _csv(rows, folder)


def european(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """A spreadsheet with ';' between cells, decimal commas and milliseconds."""
    changed = rows.assign(latency_us=rows["latency_us"] / 1e3).rename(
        columns={"latency_us": "Latency (ms)", "op": "Type", "height": "Input Size"}
    )
    path = folder / "list.csv"
    changed.drop(columns="width").to_csv(path, sep=";", decimal=",", index=False)
    return Case(path=path, options={"constants": SAID})


def abbreviated(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Short names, columns in another order, nanoseconds, tabs."""
    names = {
        "batch": "N", "height": "ih", "width": "iw", "in_channels": "IC", "out_channels": "OC",
        "kernel": "KH", "kernel_w": "KW", "stride": "SH", "stride_w": "SW", "out_size": "OH",
        "groups": "G", "latency_us": "time_ns",
    }  # fmt: skip
    changed = rows.assign(latency_us=(rows["latency_us"] * 1e3)).rename(columns=names)
    order = list(random.permutation(list(changed.columns)))
    path = folder / "list.tsv"
    changed[order].to_csv(path, sep="\t", index=False)
    return Case(path=path, options={"constants": SAID})


def records(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """JSON, seconds, numbers as texts."""
    changed = rows.assign(latency_us=rows["latency_us"] / 1e6).rename(
        columns={"latency_us": "inference_time_seconds"}
    )
    path = folder / "list.json"
    path.write_text(json.dumps(changed.astype(str).to_dict("records")), encoding="utf-8")
    return Case(path=path, options={"constants": SAID})


def shapes_in_cells(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """One object a line, tensors as lists, windows as 3x3."""
    path = folder / "list.jsonl"
    lines = [
        json.dumps(
            {
                "op_type": row["op"],
                "input_shape": [row["batch"], row["height"], row["width"], row["in_channels"]],
                "filters": row["out_channels"],
                "kernel_size": f"{row['kernel']}x{row['kernel_w']}",
                "strides": [row["stride"], row["stride_w"]],
                "output_size": row["out_size"],
                "group": row["groups"],
                "precision": "fp16",
                "mean_us": row["latency_us"],
                "p99_us": row["latency_us"] * 1.5,
            }
        )
        for row in rows.to_dict("records")
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return Case(path=path, options={"constants": {**SAID, "layout": "nhwc"}})


def repeats(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Five runs of each kernel, shuffled, their middle the true one."""
    several = pd.concat([rows.assign(latency_us=rows["latency_us"] * f) for f in
                         (0.96, 0.99, 1.0, 1.02, 1.05)])  # fmt: skip
    return _csv(several.iloc[random.permutation(len(several))], folder)


def mixed(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Two devices in one list, of which one is asked for."""
    other = rows.assign(device="Galaxy GPU", latency_us=rows["latency_us"] * 3)
    both = pd.concat([rows.assign(device=SAID["device"]), other])
    case = _csv(both.iloc[random.permutation(len(both))], folder)
    options = {"constants": {"runtime": SAID["runtime"]}, "device": "Pixel"}
    return Case(path=case.path, options=options)


def mapped(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Names that tell nothing, and a mapping file."""
    letters = [f"field{at}" for at in random.permutation(len(rows.columns))]
    path, mapping = folder / "list.csv", folder / "list.toml"
    rows.set_axis(letters, axis=1).to_csv(path, index=False)
    lines = [f'{name} = "{letter}"' for name, letter in zip(rows.columns, letters, strict=True)]
    constants = [f'{name} = "{value}"' for name, value in SAID.items()]
    text = "\n".join(["[columns]", *lines, "[constants]", *constants])
    mapping.write_text(text, encoding="utf-8")
    return Case(path=path, options={"mapping": mapping})


def parquet(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Parquet with an index and columns that nobody needs."""
    path = folder / "list.parquet"
    rows.assign(note="x", when=pd.Timestamp("2026-01-01")).to_parquet(path, index=True)
    return Case(path=path, options={"constants": SAID})


def foreign_letters(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Another code page, a micro sign, quoted cells, blank lines."""
    path = folder / "list.csv"
    changed = rows.rename(columns={"latency_us": "Latenz time [\N{MICRO SIGN}s]"})
    changed.columns = changed.columns.str.replace("Latenz ", "")
    text = changed.assign(note="gemäß Bob, 3. Lauf").to_csv(index=False, quoting=csv.QUOTE_ALL)
    path.write_bytes(text.replace("\n", "\r\n\r\n").encode("cp1252"))
    return Case(path=path, options={"constants": SAID})


def cut_short(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Half a file: its last line ends before the time."""
    case = _csv(rows, folder)
    text = case.path.read_text(encoding="utf-8").rstrip("\n")
    case.path.write_text(text[: text.rindex(",") - 3], encoding="utf-8")
    return Case(path=case.path, options=case.options, left_out={"latency": 1}, dropped=(-1,))


def half_parquet(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Half a Parquet file."""
    path = folder / "list.parquet"
    rows.to_parquet(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return Case(path=path, options={"constants": SAID}, message="no whole Parquet file")


def half_json(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Half a JSON list."""
    path = folder / "list.json"
    text = json.dumps(rows.astype(str).to_dict("records"))
    path.write_text(text[: len(text) // 2], encoding="utf-8")
    return Case(path=path, options={"constants": SAID}, message="is no whole JSON")


def too_fast(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Milliseconds under the name of microseconds."""
    case = _csv(rows.assign(latency_us=rows["latency_us"] / 1e3), folder)
    return Case(path=case.path, options=case.options, message="times are in another unit")


def too_slow(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Microseconds under the name of milliseconds."""
    case = _csv(rows.rename(columns={"latency_us": "latency_ms"}), folder)
    return Case(path=case.path, options=case.options, message="times are in another unit")


def doubled(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """A column twice."""
    path = folder / "list.csv"
    pd.concat([rows, rows["kernel"]], axis=1).to_csv(path, index=False)
    return Case(path=path, options={"constants": SAID}, message="column 'kernel' is there twice")


def missing(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """A column forgotten."""
    case = _csv(rows.drop(columns="in_channels"), folder)
    return Case(path=case.path, options=case.options, message="in_channels is missing")


def no_unit(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Times whose unit nobody says."""
    case = _csv(rows.rename(columns={"latency_us": "time"}), folder)
    return Case(path=case.path, options=case.options, message="does not say its unit")


def doubtful_commas(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Commas before three digits each: decimal, or thousands?"""
    texts = (rows["latency_us"].round() / 1e3).map("{:.3f}".format).str.replace(".", ",")
    case = _csv(rows.drop(columns="latency_us").assign(latency_ms=texts), folder)
    return Case(path=case.path, options=case.options, message="Write numbers with a point")


def formulas(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Formulas where numbers belong."""
    places = tuple(int(at) for at in random.choice(len(rows), 5, replace=False))
    texts = rows["latency_us"].map(str).astype(object)
    texts.iloc[list(places)] = "=AVERAGE(B2:B9)"
    case = _csv(rows.assign(latency_us=texts), folder)
    left = {"latency_us": len(places)}
    return Case(path=case.path, options=case.options, left_out=left, dropped=places)


def nothing_measured(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Thousands of rows without a time."""
    empty = rows.iloc[random.integers(0, len(rows), 3000)].assign(latency_us=np.nan)
    case = _csv(pd.concat([rows, empty]), folder)
    return Case(path=case.path, options=case.options, left_out={"latency": 3000})


def unknown_kinds(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Kernels of training, and of no known kind."""
    places = tuple(int(at) for at in random.choice(len(rows), 6, replace=False))
    kinds = rows["op"].astype(object)
    kinds.iloc[list(places)] = ["conv2d_bwd_input", "hologram"] * 3
    case = _csv(rows.assign(op=kinds), folder)
    return Case(path=case.path, options=case.options, left_out={"op": 6}, dropped=places)


def impossible(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """The five largest kernels in no time."""
    work = rows["out_size"] ** 2 * rows["kernel"] ** 2 * rows["in_channels"] * rows["out_channels"]
    places = tuple(int(at) for at in np.argsort((work / rows["groups"]).to_numpy())[-5:])
    times = rows["latency_us"].copy()
    times.iloc[list(places)] = 0.5
    case = _csv(rows.assign(latency_us=times), folder)
    return Case(path=case.path, options=case.options, left_out={"latency": 5}, dropped=places)


def disagreeing(rows: pd.DataFrame, folder: Path, random: np.random.Generator) -> Case:
    """Kernels that took half as long again the second time."""
    places = tuple(int(at) for at in random.choice(len(rows), 4, replace=False))
    again = rows.iloc[list(places)]
    case = _csv(pd.concat([rows, again.assign(latency_us=again["latency_us"] * 1.5)]), folder)
    return Case(path=case.path, options=case.options, left_out={"latency": 8}, dropped=places)


def two_devices_one_table(rows: pd.DataFrame, folder: Path, _: np.random.Generator) -> Case:
    """Two devices, and one file to write."""
    both = pd.concat([rows.assign(device=name) for name in ("Pixel 4 GPU", "Galaxy GPU")])
    options = {"constants": {"runtime": "tflite-gpu"}, "out": folder / "t.jsonl"}
    return Case(path=_csv(both, folder).path, options=options, message="a table holds one")


#: As people have them.
RIGHT: tuple[Shape, ...] = (
    plain, european, abbreviated, records, shapes_in_cells, repeats, mixed, mapped, parquet,
    foreign_letters,
)  # fmt: skip
#: The same, broken.
BROKEN: tuple[Shape, ...] = (
    cut_short, half_parquet, half_json, too_fast, too_slow, doubled, missing, no_unit,
    doubtful_commas, formulas, nothing_measured, unknown_kinds, impossible, disagreeing,
    two_devices_one_table,
)  # fmt: skip


def agrees(table: LatencyTable, truth: LatencyTable, dropped: set[object]) -> bool:
    """Whether a table has the Ops and times of another, apart from those that are left out."""
    expected = {op: row.latency_ms for op, row in truth.items() if op not in dropped}
    got = {op: row.latency_ms for op, row in table.items()}
    return got.keys() == expected.keys() and all(
        abs(got[op] - expected[op]) <= 1e-6 * expected[op] for op in expected
    )


def one_clear_message(error: Exception, case: Case) -> bool:
    """Whether an error is one line that names the file, and says what is wrong with it."""
    text = str(error)
    named = str(case.path) in text or "holds 2 devices" in text
    return named and "\n" not in text and re.search(case.message, text) is not None


def _csv(rows: pd.DataFrame, folder: Path) -> Case:
    path = folder / "list.csv"
    rows.to_csv(path, index=False)
    return Case(path=path, options={"constants": SAID})

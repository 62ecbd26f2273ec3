"""``import``: files of other people's measurements become tables, one for each device."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from costmodel.device import Device
from costmodel.errors import InvalidInputError, TableFormatError
from costmodel.imports import formats
from costmodel.imports.files import Opened, Progress, open_rows, text_head, text_lines
from costmodel.imports.formats.form import Form, frames
from costmodel.imports.imported import Imported
from costmodel.imports.mapping import read_mapping
from costmodel.imports.plausible import doubts
from costmodel.imports.presets import PRESETS, recognise
from costmodel.imports.presets.preset import Preset
from costmodel.table import LatencyTable
from costmodel.tidy.cells import Commas
from costmodel.tidy.columns import TIMES_MS, Asked, match_columns
from costmodel.tidy.kernel import UnusableRow
from costmodel.tidy.read import require_device, tidy_name, tidy_rows
from costmodel.tidy.rows import Rows


def import_file(  # noqa: PLR0913 - each is a word of the command line
    file: Path | str,
    out: Path | str | None = None,
    *,
    preset: str | None = None,
    mapping: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, str] | None = None,
    device: str | None = None,
    source: str = "",
    licence: str = "",
    progress: Progress | None = None,
) -> Imported:
    r"""Read a file of measurements that somebody else made.

    Repeats of a kernel become one row: their median, with the disagreement of their halves. Rows
    that cannot be used, or that no such device can do, are left out and counted with their reason.
    Provenance is ``imported``.

    Args:
        file: CSV, Parquet, JSON, or what a known tool wrote.
        out: the table to write; a folder for one table of each device. Nothing is written unless
            all of the file could be read, and a table that was measured is never replaced.
        preset: how the file is read, by name; found by its columns where they leave no doubt.
        mapping: a TOML file that says which column is which (docs/importing.md).
        columns: the same as a dictionary: ``{"latency_us": "time"}``; goes before ``mapping``.
        constants: what all rows share: ``{"device": "Pixel 4 GPU", "runtime": "tflite-gpu"}``.
        device: the one to keep of several, by name, runtime or slug, or a part of it.
        source: who measured it.
        licence: under which the numbers may be passed on.
        progress: is told the share of the file that is read.

    Raises:
        InvalidInputError: if the file, a column or the unit of its times cannot be used, or it
            holds several devices and ``out`` is one file; names file, row and column.
        MissingDependencyError: for Parquet without pyarrow.

    >>> import tempfile
    >>> lines = ["op,batch,height,width,in_channels,out_channels,kernel,stride,padding,latency_us"]
    >>> lines += ["conv2d,1,56,56,64,64,3,1,same,410", "conv2d,1,28,28,64,128,3,2,same,230"]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(f"{folder}/phone.csv").write_text("\n".join(lines))
    ...     known = {"device": "my phone", "runtime": "tflite-gpu", "layout": "nhwc"}
    ...     found = import_file(f"{folder}/phone.csv", constants=known)
    >>> [round(row.latency_ms, 3) for row in found.tables[0].values()]
    [0.41, 0.23]
    """
    path = Path(file)
    asked = _asked(mapping, columns, constants, source, licence)
    rows = Rows()
    form, column, notes, known = _read(path, preset, asked, rows, progress)
    if known is not None:
        asked = replace(
            asked, source=asked.source or known.source, licence=asked.licence or known.licence
        )
    kept = _chosen(path, rows.devices, device)
    state = {"source": asked.source or path.name, "licence": asked.licence or "not stated"}
    tables, merged = [], 0
    for one in kept:
        table = _table(path, rows, replace(one, state=state), column)
        if len(table):
            tables.append(table)
            merged += rows.repeats(one)
    left_out = tuple(rows.left_out.values())
    if not tables:
        why = f" {left_out[0]}." if left_out else ""
        message = f"{path}: none of its {rows.count} rows can be used.{why}"
        raise InvalidInputError(message)
    return Imported(
        source=str(path),
        form=form,
        rows=rows.count,
        merged=merged,
        tables=tuple(tables),
        left_out=left_out,
        notes=notes,
        written=() if out is None else _write(tables, Path(out)),
    )


def _asked(
    mapping: Path | str | None,
    columns: Mapping[str, str] | None,
    constants: Mapping[str, str] | None,
    source: str,
    licence: str,
) -> Asked:
    said = read_mapping(Path(mapping)) if mapping is not None else Asked()
    columns, constants = columns or {}, constants or {}
    here = {*columns, *constants, *(TIMES_MS if set(TIMES_MS) & {*columns, *constants} else ())}
    return Asked(
        columns={k: v for k, v in said.columns.items() if k not in here} | dict(columns),
        constants={k: v for k, v in said.constants.items() if k not in here} | dict(constants),
        source=source or said.source,
        licence=licence or said.licence,
    )


def _read(
    path: Path, preset: str | None, asked: Asked, rows: Rows, progress: Progress | None
) -> tuple[str, str, tuple[str, ...], Preset | None]:
    """Read all rows; how, from which column the times came, notes, and the preset if any."""
    if preset is not None and preset not in PRESETS and preset not in formats.FORMS:
        message = f"There is no preset {preset!r}. Known: {', '.join((*PRESETS, *formats.FORMS))}."
        raise InvalidInputError(message)
    form = formats.FORMS.get(preset or "")
    if form is None and preset is None and not asked.columns:
        form = formats.recognise(text_head(path))
    if form is not None:
        with _about(path):
            _by_form(path, form, asked, rows)
        return form.name, "latency", form.notes, None
    opened = open_rows(path, progress)
    known = PRESETS[preset] if preset else None if asked.columns else recognise(opened.header)
    with _about(path):
        if known is None:
            return "columns", _by_columns(opened, asked, rows), (), None
        missing = sorted(known.signature - set(opened.header))
        if missing:
            message = (
                f"column {missing[0]!r} is missing, which the preset {known.name} needs "
                f"({len(missing)} missing in all). Leave --preset out and name columns with --map."
            )
            raise InvalidInputError(message)
        commas = Commas(decimal=opened.decimal_commas)
        for piece in opened.pieces():
            rows.add(known.rows(piece, commas, rows.count + 1))
    return known.name, "latency", known.notes, known


@contextmanager
def _about(path: Path) -> Iterator[None]:
    """What is wrong inside is wrong with this file."""
    try:
        yield
    except InvalidInputError as error:
        if str(error).startswith(str(path)):
            raise
        message = f"{path}: {error}"
        raise InvalidInputError(message) from error


def _by_form(path: Path, form: Form, asked: Asked, rows: Rows) -> None:
    said = {tidy_name(name): value for name, value in asked.constants.items()}
    for piece in frames(form, text_lines(path), said):
        if "device" not in piece:
            message = "it does not say which device was timed. Say it: --set device='Pixel 4'."
            raise InvalidInputError(message)
        rows.add(piece)
    if not rows.count:
        message = f"it holds no times, which a report of {form.name} has."
        raise InvalidInputError(message)


def _by_columns(opened: Opened, asked: Asked, rows: Rows) -> str:
    matched = match_columns(opened.header, asked)
    require_device(matched)
    commas = Commas(decimal=opened.decimal_commas)
    for piece in opened.pieces():
        rows.add(tidy_rows(piece, matched, commas, rows.count + 1))
    return matched.latency[0]


def _chosen(path: Path, devices: Sequence[Device], wanted: str | None) -> list[Device]:
    if wanted is None:
        return list(devices)
    text = wanted.lower()
    found = [
        one
        for one in devices
        if text in f"{one.name} {one.provider} {one.slug} {one.label} {_rest(one)}".lower()
    ]
    exact = [one for one in found if text in {one.name.lower(), one.slug, one.label.lower()}]
    if not found:
        names = ", ".join(one.label for one in devices[:20])
        message = f"{path}: no device is called {wanted!r}. There are: {names}."
        raise InvalidInputError(message)
    return exact or found


def _table(path: Path, rows: Rows, device: Device, column: str) -> LatencyTable:
    """One device's table; what no such device can do is left out."""
    found = list(rows.measurements(device))
    with _about(path):
        wrong = {doubt.place: doubt for doubt in doubts(device, [row for _, row in found], column)}
    for place, doubt in wrong.items():
        rows.leave_out(UnusableRow("latency", doubt.problem, doubt.values), [found[place][0]])
    return LatencyTable(device, (row for place, (_, row) in enumerate(found) if place not in wrong))


def _write(tables: Sequence[LatencyTable], out: Path) -> tuple[str, ...]:
    """Write the tables, all or none as far as that can be known beforehand."""
    folder = out.is_dir() or not out.suffix
    if len(tables) > 1 and not folder:
        first = "; ".join(table.device.label for table in tables[:12])
        more = f" and {len(tables) - 12} more" if len(tables) > 12 else ""
        message = (
            f"The file holds {len(tables)} devices, a table holds one: {first}{more}. Choose one "
            f"with --device, or give a folder: --out {out.with_suffix('')}/."
        )
        raise InvalidInputError(message)
    stems = _names([table.device for table in tables])
    paths = [out / f"{stem}.jsonl" for stem in stems] if folder else [out]
    for path in paths:
        _require_replaceable(path)
    for path, table in zip(paths, tables, strict=True):
        table.save(path)
    return tuple(map(str, paths))


def _names(devices: Sequence[Device]) -> list[str]:
    """A file name for each device: its slug, and what else tells it from others of that slug."""
    slugs = Counter(device.slug for device in devices)
    return [
        "-".join(filter(None, (device.slug, _rest(device) if slugs[device.slug] > 1 else "")))
        for device in devices
    ]


def _rest(device: Device) -> str:
    """What a slug does not say of a device."""
    said = (device.provider, device.runtime_version, *(value for _, value in device.options))
    plain = ("".join(c if c.isalnum() else "-" for c in text.lower()) for text in said)
    return "-".join(filter(None, plain))


def _require_replaceable(path: Path) -> None:
    if not path.exists():
        return
    try:
        there = LatencyTable.load(path)
    except TableFormatError:
        message = f"{path} exists and is no latency table. Choose another name."
        raise InvalidInputError(message) from None
    if there.device.provenance != "imported":
        message = (
            f"{path} holds numbers that were {there.device.provenance}, which are not replaced by "
            "imported ones. Choose another name."
        )
        raise InvalidInputError(message)

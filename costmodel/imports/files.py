"""CSV, Parquet and JSON files as data frames, piece by piece: a large file needs little memory."""

from __future__ import annotations

import csv
import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

import numpy as np

from costmodel.errors import MISFORMED, InvalidInputError, MissingDependencyError, first_line
from costmodel.limits import limits
from costmodel.plain_json import plain_json
from costmodel.tidy.distinct import cells_of

if TYPE_CHECKING:
    import pandas as pd

#: Rows in memory at a time.
PIECE = 50_000
#: Letters of a CSV file in memory at a time, where it is read in blocks.
BLOCK = 1 << 22
#: A JSON file is read at once unless it has a value a line.
MOST_JSON_BYTES = 500_000_000
#: Letters of one line.
LONGEST_LINE = 1 << 26
#: What a file that was cut short or damaged makes its unpacking raise.
_BROKEN = (OSError, EOFError, zlib.error)
_HEAD, _TAIL = 1 << 16, 1 << 16
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
#: First bytes of files that people take for one of these.
_OTHERS = {
    b"PK\x03\x04": "a ZIP archive, such as an Excel workbook. Save the sheet as CSV, or unpack it",
    b"\xd0\xcf\x11\xe0": "an Excel workbook. Save the sheet as CSV",
    b"\x89HDF": "an HDF5 file. Write its frame with to_csv or to_parquet",
    b"SQLite": "an SQLite database. Write the query's result as CSV",
    b"%PDF": "a PDF document",
    b"BZh": "compressed with bzip2. Unpack it first",
    b"\xfd7zXZ": "compressed with xz. Unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd. Unpack it first",
    b"\x80\x04": "a pickle, which is never loaded: it could run anything. Write it with to_parquet",
    b"\x80\x05": "a pickle, which is never loaded: it could run anything. Write it with to_parquet",
    b"\x80\x03": "a pickle, which is never loaded: it could run anything. Write it with to_parquet",
    b"\x80\x02": "a pickle, which is never loaded: it could run anything. Write it with to_parquet",
}
_PARQUET, _GZIP = b"PAR1", b"\x1f\x8b"

#: Told the share of the file that has been read.
Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A file of rows, not read yet.

    Attributes:
        header: names of its columns in order, doubled ones included.
        pieces: gives its rows; each piece has a plain index from 0.
        decimal_commas: whether its form says that commas are decimal.
    """

    header: tuple[str, ...]
    pieces: Callable[[], Iterator[pd.DataFrame]]
    decimal_commas: bool = False


def read_head(path: Path) -> bytes:
    """The start of a file, unpacked where it is gzipped.

    Raises:
        InvalidInputError: if it cannot be read, is empty, or is of another sort.
    """
    try:
        if not path.is_file():
            message = f"{path}: there is no such file."
            raise InvalidInputError(message)
        with path.open("rb") as handle:
            head = handle.read(_HEAD)
        if head.startswith(_GZIP):
            with gzip.open(path) as handle:
                head = handle.read(_HEAD)
    except _BROKEN as error:
        message = f"{path} cannot be read: {first_line(error)}."
        raise InvalidInputError(message) from error
    if not head.strip():
        message = f"{path}: the file is empty."
        raise InvalidInputError(message)
    for mark, what in _OTHERS.items():
        if head.startswith(mark):
            message = f"{path} is {what}."
            raise InvalidInputError(message)
    return head


def text_head(path: Path) -> str:
    """The start of a file as text; empty where it is no text.

    Raises:
        InvalidInputError: as ``read_head``.
    """
    head = read_head(path)
    if head.startswith(_PARQUET):
        return ""
    return head.decode(_encoding(head), errors="ignore").lstrip("\ufeff")


def text_lines(path: Path) -> Iterator[str]:
    """Lines of a text file, unpacked where it is gzipped.

    Raises:
        InvalidInputError: if it cannot be read to its end.
    """
    try:
        with _text(path, _encoding(read_head(path))) as (stream, _):
            yield from _lines(path, stream)
    except _BROKEN as error:
        message = f"{path} cannot be read: {first_line(error)}."
        raise InvalidInputError(message) from error


def open_rows(path: Path, told: Progress | None = None) -> Opened:
    """Open a CSV, Parquet or JSON file by what it holds, whatever its name.

    Args:
        path: the file; CSV and JSON may be gzipped.
        told: is told the share that has been read, now and then.

    Raises:
        InvalidInputError: if it is none of them, or broken; names the file and the place.
        MissingDependencyError: for Parquet without pyarrow.
    """
    head = read_head(path)
    if head.startswith(_PARQUET):
        return _parquet(path, told)
    encoding = _encoding(head)
    text = head.decode(encoding, errors="ignore").lstrip("\ufeff")
    if not text.strip():
        message = f"{path}: the file is empty."
        raise InvalidInputError(message)
    if text.lstrip()[:1] in {"{", "["}:
        return _json(path, text.lstrip(), encoding, told)
    if "\0" in text:
        message = f"{path} is binary, and no Parquet file. Expected CSV, Parquet or JSON."
        raise InvalidInputError(message)
    return _csv(path, text, encoding, told)


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS.items():
        if head.startswith(mark):
            return name
    try:
        head[: len(head) - 4].decode("utf-8")  # the last character may be cut
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


@contextmanager
def _text(path: Path, encoding: str) -> Iterator[tuple[io.TextIOWrapper, Any]]:
    """The file as text, and the raw stream whose position says how far it is read."""
    raw: Any
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        stream = raw
        if packed:
            stream = io.BufferedReader(
                _Unpacked(path, cast("IO[bytes]", gzip.GzipFile(fileobj=raw))), BLOCK
            )
        with io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="") as text:
            yield text, raw


class _Unpacked(io.RawIOBase):
    """A packed stream that ends with an error where it holds more than is read.

    Args:
        path: the file, for messages.
        stream: what it unpacks to.
    """

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        super().__init__()
        self._path, self._stream, self._size = path, stream, 0

    def readable(self) -> bool:
        """It can be read, and nothing else."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Unpack as much as fits.

        Raises:
            LimitError: where that is more in all than ``costmodel.limits`` lets a file unpack to.
        """
        data = self._stream.read(len(buffer))
        self._size += len(data)
        limits().require("unpacked", self._size, self._path)
        buffer[: len(data)] = data
        return len(data)


def _lines(path: Path, stream: io.TextIOWrapper) -> Iterator[str]:
    """Lines of a text, none of which may fill the memory."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            message = (
                f"{path} has a line of more than {LONGEST_LINE >> 20} MiB, so it is no list of "
                "measurements, or its line ends were lost."
            )
            raise InvalidInputError(message)
        yield line


def _csv(path: Path, text: str, encoding: str, told: Progress | None) -> Opened:
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        separator = _separator(lines[0])
        header = tuple(name.strip() for name in next(csv.reader([lines[0]], delimiter=separator)))
    except csv.Error as error:
        message = f"{path}, line 1: {first_line(error)}."
        raise InvalidInputError(message) from error
    if len(header) < 2:
        message = (
            f"{path}, line 1: expected the names of columns with ',', ';', tabs or '|' between. "
            f"Received: {lines[0][:60]!r}."
        )
        raise InvalidInputError(message)
    if any(_is_number(name) for name in header):
        message = f"{path}, line 1: numbers where the names of columns belong. Add a header."
        raise InvalidInputError(message)

    def pieces() -> Iterator[pd.DataFrame]:
        size = max(1, path.stat().st_size)
        with _text(path, encoding) as (stream, raw):
            for piece in _csv_pieces(path, stream, separator, header):
                yield piece
                if told is not None:
                    told(raw.tell() / size)

    return Opened(header=header, pieces=pieces, decimal_commas=separator == ";")


def _csv_pieces(
    path: Path, stream: io.TextIOWrapper, separator: str, header: Sequence[str]
) -> Iterator[pd.DataFrame]:
    """Rows behind the header, all cells as text.

    Pandas reads blocks of lines without quotes, which is all of most files, ten times as fast. It
    would mend a row of another width silently, and quotes may go beyond a block: from the first
    of those on, rows are looked at one by one.
    """
    import pandas as pd

    line = next(number for number, text in enumerate(stream, 1) if text.strip())
    while block := _block(path, stream, line):
        odd = '"' in block or "\0" in block
        piece = None if odd else _plain_rows(block, separator, header)
        if piece is None:
            break
        line += block.count("\n") or block.count("\r")
        if len(piece):
            yield piece
    rows = _csv_rows(
        path,
        chain(io.StringIO(block, newline=""), _lines(path, stream)),
        separator,
        len(header),
        line,
    )
    while some := list(islice(rows, PIECE)):
        yield pd.DataFrame(some, columns=pd.Index(header), dtype=object)


def _block(path: Path, stream: io.TextIOWrapper, line: int) -> str:
    """The next lines of a file; none at its end."""
    try:
        return stream.read(BLOCK) + next(_lines(path, stream), "")
    except _BROKEN as error:
        message = f"{path}, line {line}: {first_line(error)}."
        raise InvalidInputError(message) from error


def _plain_rows(block: str, separator: str, header: Sequence[str]) -> pd.DataFrame | None:
    """Rows of lines without quotes; None where one has more cells than the header."""
    import pandas as pd

    places = [str(at) for at in range(len(header) + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            rows = pd.read_csv(
                io.StringIO(f"{separator.join(places)}\n{block}", newline=""),
                sep=separator,
                dtype=object,
                na_filter=False,
                skipinitialspace=True,
                quoting=csv.QUOTE_NONE,
                index_col=False,
            )
        except (pd.errors.ParserError, pd.errors.ParserWarning):
            return None
    if any(cell.strip() for cell in rows.pop(places[-1]).unique()):
        return None
    filled = np.zeros(len(rows), dtype=bool)
    for name in rows.columns:
        if not filled.all():
            cells, which = cells_of(rows[name])
            filled |= np.array([bool(cell.strip()) for cell in cells], dtype=bool)[which]
    return rows[filled].reset_index(drop=True).set_axis(pd.Index(header), axis=1)


def _csv_rows(
    path: Path, lines: Iterable[str], separator: str, width: int, before: int
) -> Iterator[list[str]]:
    """Rows with as many cells as the header has; blank lines are none."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True, strict=True)
    try:
        for cells in reader:
            if len(cells) > width and any(cell.strip() for cell in cells[width:]):
                message = (
                    f"{path}, line {before + reader.line_num}: {len(cells)} cells, the header has "
                    f"{width}. A cell with {separator!r} in it must be quoted."
                )
                raise InvalidInputError(message)
            if any(cell.strip() for cell in cells):
                yield cells[:width] + [""] * (width - len(cells))
    except (csv.Error, *_BROKEN) as error:
        cut = "unexpected end" in str(error)
        why = "it ends inside a quoted cell, so it was cut short" if cut else first_line(error)
        message = f"{path}, line {before + reader.line_num}: {why}."
        raise InvalidInputError(message) from error


def _separator(line: str) -> str:
    """What stands between cells: the one that makes most columns of the header."""
    return max(",;\t|", key=lambda mark: len(next(csv.reader([line], delimiter=mark))))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))
    except ValueError:
        return False
    return True


def _parquet(path: Path, told: Progress | None) -> Opened:
    try:
        import pyarrow
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependencyError(
            package="pyarrow", extra="frames", what=f"Reading {path}"
        ) from error

    def failing(error: Exception) -> InvalidInputError:
        message = (
            f"{path} is no whole Parquet file ({first_line(error)}). It was cut short or damaged; "
            "copy it again."
        )
        return InvalidInputError(message)

    try:
        file = pq.ParquetFile(path)
        names = tuple(file.schema_arrow.names)
    except (pyarrow.ArrowException, OSError, *MISFORMED) as error:
        raise failing(error) from error

    def pieces() -> Iterator[pd.DataFrame]:
        rows, done = max(1, file.metadata.num_rows), 0
        try:
            for batch in file.iter_batches(batch_size=PIECE):
                done += batch.num_rows
                yield batch.to_pandas()
                if told is not None:
                    told(done / rows)
        except (pyarrow.ArrowException, OSError, *MISFORMED) as error:
            raise failing(error) from error

    return Opened(header=names, pieces=pieces)


def _json(path: Path, text: str, encoding: str, told: Progress | None) -> Opened:
    first, _, rest = text.partition("\n")
    lines = first.startswith("{") and bool(rest.strip()) and _is_object(first)
    pieces = _json_lines(path, encoding, told) if lines else _json_whole(path, encoding)
    start = next(pieces(), None)
    if start is None or start.empty:
        message = f"{path}: it holds no rows. Expected a list of objects, one for each row."
        raise InvalidInputError(message)
    header = tuple(map(str, start.columns))

    def alike() -> Iterator[pd.DataFrame]:
        # Objects of one list need not have the same names; those of the first piece are looked at.
        for piece in pieces():
            yield piece.rename(columns=str).reindex(columns=list(header))

    return Opened(header=header, pieces=alike)


def _is_object(line: str) -> bool:
    try:
        return isinstance(plain_json(line), dict)
    except ValueError:
        return False


def _json_lines(
    path: Path, encoding: str, told: Progress | None
) -> Callable[[], Iterator[pd.DataFrame]]:
    def pieces() -> Iterator[pd.DataFrame]:
        size = max(1, path.stat().st_size)
        with _text(path, encoding) as (stream, raw):
            rows: list[object] = []
            for number, line in enumerate(_lines(path, stream), 1):
                if line.strip():
                    rows.append(_loaded(path, line, f", line {number}"))
                if len(rows) >= PIECE:
                    yield _frame(path, rows)
                    rows = []
                    if told is not None:
                        told(raw.tell() / size)
            if rows:
                yield _frame(path, rows)

    return pieces


def _json_whole(path: Path, encoding: str) -> Callable[[], Iterator[pd.DataFrame]]:
    def pieces() -> Iterator[pd.DataFrame]:
        with _text(path, encoding) as (stream, _):
            text = stream.read(MOST_JSON_BYTES + 1)  # the size of a packed file says nothing
        if len(text) > MOST_JSON_BYTES:
            message = (
                f"{path}: JSON of more than {MOST_JSON_BYTES // 10**6} MB is not read at once. "
                "Write one object a line, or Parquet."
            )
            raise InvalidInputError(message)
        yield _frame(path, _loaded(path, text.lstrip("\ufeff"), ""))

    return pieces


def _loaded(path: Path, text: str, where: str) -> object:
    try:
        return plain_json(text)
    except ValueError as error:
        problem = first_line(error)
        message = f"{path}{where} is no whole JSON ({problem}). It was cut short or is damaged."
        raise InvalidInputError(message) from error


def _frame(path: Path, rows: object) -> pd.DataFrame:
    """Rows of any of the usual forms: a list of objects, or columns by name."""
    import pandas as pd

    if isinstance(rows, dict):
        lists = [name for name, value in rows.items() if isinstance(value, list)]
        if len(lists) == 1 and all(isinstance(item, dict) for item in rows[lists[0]]):
            rows = rows[lists[0]]  # such as {"results": [...]}
    try:
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):
            return _plain_cells(pd.DataFrame(rows))
        if isinstance(rows, dict) and all(isinstance(c, list | dict) for c in rows.values()):
            return _plain_cells(pd.DataFrame(rows).reset_index(drop=True))
    except (ValueError, TypeError) as error:
        message = f"{path}: its columns do not fit each other ({first_line(error)})."
        raise InvalidInputError(message) from error
    message = f"{path}: expected a list of objects, one for each row, or an object of columns."
    raise InvalidInputError(message)


def _plain_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Objects inside cells as text: nothing that is read is one."""
    for name, column in frame.items():
        if column.dtype == object and any(isinstance(cell, dict) for cell in column):
            frame[name] = column.map(lambda cell: str(cell) if isinstance(cell, dict) else cell)
    return frame

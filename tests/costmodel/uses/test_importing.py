"""People's files as tables: what is right, what is left out, what is refused."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement, Round
from costmodel.op import conv_op
from costmodel.table import LatencyTable
from costmodel.uses.importing import import_file

SAID = {"device": "Pixel 4 GPU", "runtime": "tflite-gpu"}
HEAD = "op,hw,cin,cout,kernel,stride,padding,time_us"
#: Kernels of a phone, by their line and time in microseconds: about 50 GMAC/s.
LINES = [
    (f"conv2d,{size},{channels},{2 * channels},{kernel},1,same", round(work / 50e3 + 10, 2))
    for size in (14, 28)
    for channels in (16, 24, 32)
    for kernel in (1, 3)
    for work in [size**2 * channels**2 * 2 * kernel**2]
]
RIGHT = "\n".join([HEAD, *(f"{line},{time}" for line, time in LINES)]) + "\n"


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str, name: str = "list.csv") -> Path:
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def right(file: Callable[[str], Path]) -> LatencyTable:
    return import_file(file(RIGHT), constants=SAID).table


def test_a_list_becomes_a_table_that_is_called_imported(
    file: Callable[[str], Path], tmp_path: Path
) -> None:
    out = tmp_path / "t.jsonl"
    found = import_file(file(RIGHT), out, constants=SAID, source="a colleague", licence="MIT")
    table = LatencyTable.load(out)
    assert table == found.table
    assert len(table) == len(LINES)
    assert (found.rows, found.merged, found.left_out) == (len(LINES), 0, ())
    assert (table.device.provenance, table.device.name) == ("imported", "Pixel 4 GPU")
    assert dict(table.device.state) == {"source": "a colleague", "licence": "MIT"}
    first = next(iter(table.values()))
    assert (first.op.label, first.latency_ms) == ("conv 1x1 16->32 @14x14", LINES[0][1] / 1e3)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(",", ";").replace(".", ","),  # a spreadsheet's, in Europe
        lambda text: text.replace(",", "\t"),
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: text.replace("time_us", "Latency (\N{MICRO SIGN}s)"),
        lambda text: text.replace("op,hw,cin", "Op-Type,input size,In Channels"),
        lambda text: text.rstrip("\n"),
        lambda text: "\n".join(",".join(reversed(line.split(","))) for line in text.split()),
        lambda text: text.replace("conv2d", "Conv2D").replace("same", "SAME"),
        lambda text: text.replace("\n", ",a note\n").replace("time_us,a note", "time_us,note"),
    ],
)
def test_the_same_list_in_other_shapes_is_the_same_table(
    change: Callable[[str], str], file: Callable[[str], Path], right: LatencyTable
) -> None:
    assert import_file(file(change(RIGHT)), constants=SAID).table == right


def test_other_units_are_the_same_times(file: Callable[[str], Path], right: LatencyTable) -> None:
    lines = [f"{line},{time / 1e3:.9f}" for line, time in LINES]
    text = "\n".join([HEAD.replace("time_us", "time_ms"), *lines]) + "\n"
    table = import_file(file(text), constants=SAID).table
    assert list(table) == list(right)
    assert [row.latency_ms for row in table.values()] == pytest.approx(
        [row.latency_ms for row in right.values()]
    )


def test_json_in_all_its_forms_and_packed_files(tmp_path: Path, right: LatencyTable) -> None:
    names = HEAD.split(",")
    rows = [dict(zip(names, [*line.split(","), time], strict=True)) for line, time in LINES]
    texts = {
        "list.json": json.dumps(rows),
        "named.json": json.dumps({"results": rows}),
        "columns.json": json.dumps({name: [row[name] for row in rows] for name in names}),
        "lines.jsonl": "\n".join(map(json.dumps, rows)),
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert import_file(tmp_path / name, constants=SAID).table == right
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(RIGHT.encode()))
    assert import_file(tmp_path / "list.csv.gz", constants=SAID).table == right


def test_parquet_is_read_and_half_of_one_is_refused(tmp_path: Path, right: LatencyTable) -> None:
    pytest.importorskip("pyarrow", reason="needs the frames extra")
    import pandas as pd

    names = HEAD.split(",")
    frame = pd.DataFrame(
        [dict(zip(names, [*line.split(","), time], strict=True)) for line, time in LINES]
    ).astype({"hw": int, "cin": "Int64", "cout": int, "kernel": int, "stride": int})
    frame.to_parquet(tmp_path / "list.parquet")
    assert import_file(tmp_path / "list.parquet", constants=SAID).table == right
    frame["kernel"] = [[size, size] for size in frame["kernel"]]  # arrays, once it is read
    frame["hw"] = frame["hw"].astype(object)
    frame.loc[0, "hw"] = None
    frame.to_parquet(tmp_path / "lists.parquet")
    found = import_file(tmp_path / "lists.parquet", constants=SAID)
    assert list(found.table) == list(right)[1:]
    half = tmp_path / "half.parquet"
    half.write_bytes((tmp_path / "list.parquet").read_bytes()[:1500])
    with pytest.raises(InvalidInputError, match=r"half\.parquet is no whole Parquet file"):
        import_file(half, constants=SAID)


def test_columns_and_constants_of_a_mapping_file(tmp_path: Path, right: LatencyTable) -> None:
    text = RIGHT.replace(HEAD, "what,side,a,b,window,step,zeros,t")
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    mapping = tmp_path / "m.toml"
    mapping.write_text(
        'source = "me"\n[columns]\nop = "what"\nheight = "side"\nin_channels = "a"\n'
        'out_channels = "b"\nkernel = "window"\nstride = "step"\npadding = "zeros"\n'
        'latency_ms = "t"\n[constants]\ndevice = "Pixel 4 GPU"\nruntime = "other"\n',
        encoding="utf-8",
    )
    # What is said beside the file goes first.
    found = import_file(
        tmp_path / "list.csv",
        mapping=mapping,
        columns={"latency_us": "t"},
        constants={"runtime": "tflite-gpu"},
    )
    assert found.table == right
    assert found.table.device.state["source"] == "me"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[column]\n", "there is no key 'column'. Known: columns, constants, source, licence"),
        ("source = 3\n", "source must be a text"),
        ("columns = 3\n", r"[columns] must be a table"),
        ("[columns]\nheigth = 'h'\n", "no field 'heigth' to map or set. Did you mean height"),
        ("[columns\n", "cannot be read"),
    ],
)
def test_a_mapping_that_says_nonsense(
    text: str, told: str, file: Callable[..., Path], tmp_path: Path
) -> None:
    mapping = tmp_path / "m.toml"
    mapping.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidInputError, match=re.escape(told)) as error:
        import_file(file(RIGHT), mapping=mapping)
    assert str(mapping) in str(error.value)


def _with(column: str, value: str, row: int = 3) -> str:
    """The list with another value in a column of a row, counted from 1."""
    lines = RIGHT.splitlines()
    cells = lines[row].split(",")
    cells[HEAD.split(",").index(column)] = value
    lines[row] = ",".join(cells)
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        (
            "time_us",
            "=1+2",
            "time_us is a formula, which is not evaluated: save its value ('=1+2')",
        ),
        ("time_us", "fast", "time_us is no number ('fast')"),
        ("time_us", "", "latency is missing"),
        ("time_us", "-5", "latency is no time (-0.005 ms)"),
        ("time_us", "0.000001", "latency is less than anything takes"),
        ("time_us", "0.01", "latency is less than a phone's GPU can take"),
        ("op", "teleport", "op cannot be used ('teleport' is no kind of kernel"),
        ("cin", "16.5", "in_channels is no whole number (16.5)"),
        ("hw", "0", "height must be at least 1 (0)"),
        ("padding", "circular", "pad is missing, and so are padding (same, valid) and out_size"),
        ("kernel", "", "kernel is missing, which a conv needs"),
    ],
)
def test_a_row_that_cannot_be_used_is_left_out_and_named(
    column: str, value: str, told: str, file: Callable[[str], Path]
) -> None:
    found = import_file(file(_with(column, value)), constants=SAID)
    (item,) = found.left_out
    assert str(item).startswith(f"1 row left out: {told}")
    assert item.rows == [3]
    assert len(found.table) == len(LINES) - 1
    assert str(item) in str(found)


def test_thousands_of_missing_times_are_one_line(file: Callable[[str], Path]) -> None:
    lines = RIGHT + "conv2d,28,8,8,3,1,same,NaN\n" * 3000
    found = import_file(file(lines), constants=SAID)
    (item,) = found.left_out
    assert (item.count, item.rows) == (3000, [13, 14, 15, 16, 17])
    assert len(found.table) == len(LINES)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "the file is empty"),
        ("\0\1\2\3", "is binary"),
        ("PK\3\4", "a ZIP archive, such as an Excel workbook. Save the sheet as CSV"),
        (HEAD + "\n", "none of its 0 rows can be used"),
        ("just a text\n", "line 1: expected the names of columns"),
        ("\n".join(RIGHT.splitlines()[1:]), "numbers where the names of columns belong"),
        (RIGHT.replace("op,hw", "hw,hw"), "column 'hw' is there twice"),
        (RIGHT.replace("time_us", "time"), "column 'time' does not say its unit"),
        (RIGHT.replace("time_us", "score"), "no column's name says that it holds times"),
        (
            RIGHT.replace("\n", ",1,234\n").replace("us,1,234", "us"),
            "line 2: 10 cells, the header has 8",
        ),
        (RIGHT.replace("time_us", "time_ms"), "so the times are in another unit"),
        (RIGHT.replace("time_us", "time_ns"), "so the times are in another unit"),
        (RIGHT[:400] + '\n"conv2d,1', "ends inside a quoted cell"),
        ('[{"op": "conv2d", "hw"', "is no whole JSON"),
        ('{"op": "conv2d", "time_us": 1}\n{"op": "co', "line 2 is no whole JSON"),
        ("[1, 2]", "expected a list of objects"),
        ("[]", "it holds no rows"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_message_and_writes_nothing(
    text: str, told: str, file: Callable[[str], Path], tmp_path: Path
) -> None:
    path, out = file(text), tmp_path / "t.jsonl"
    with pytest.raises(InvalidInputError, match=re.escape(told)) as error:
        import_file(path, out, constants=SAID)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["list.csv"]


def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "frame.pkl"
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(InvalidInputError, match="a pickle, which is never loaded"):
        import_file(path)


def test_what_no_column_says_must_be_set(file: Callable[[str], Path]) -> None:
    with pytest.raises(
        InvalidInputError, match=r"no column says the device of a row\. Say it: --set"
    ):
        import_file(file(RIGHT))
    with pytest.raises(InvalidInputError, match="no column says the runtime"):
        import_file(file(RIGHT), constants={"device": "x"})


def _mixed() -> str:
    rows = [f"{line},{time},{name}" for line, time in LINES for name in ("Pixel 4", "Galaxy A5")]
    return "\n".join([HEAD + ",device", *rows]) + "\n"


def test_a_file_of_several_devices(file: Callable[[str], Path], tmp_path: Path) -> None:
    said = {"runtime": "tflite"}
    out = tmp_path / "t.jsonl"
    with pytest.raises(InvalidInputError, match="holds 2 devices, a table holds one") as error:
        import_file(file(_mixed()), out, constants=said)
    assert ("Pixel 4, tflite" in str(error.value), out.exists()) == (True, False)
    one = import_file(file(_mixed()), out, constants=said, device="pixel")
    assert [table.device.name for table in one.tables] == ["Pixel 4"]
    all_of_them = import_file(file(_mixed()), tmp_path / "tables", constants=said)
    assert [Path(name).relative_to(tmp_path).as_posix() for name in all_of_them.written] == [
        "tables/pixel-4/tflite-float32.jsonl",
        "tables/galaxy-a5/tflite-float32.jsonl",
    ]
    with pytest.raises(
        InvalidInputError, match=r"no device is called 'nexus'\. There are: Pixel 4"
    ):
        import_file(file(_mixed()), constants=said, device="nexus")


def test_devices_that_differ_beyond_their_slug_have_files_of_their_own(
    file: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = [f"{line},{time},{name}" for line, time in LINES for name in ("HIP", "OpenCL")]
    text = "\n".join([HEAD + ",provider", *rows]) + "\n"
    found = import_file(file(text), tmp_path / "tables", constants=SAID)
    names = [Path(name).name for name in found.written]
    assert names == ["tflite-gpu-float32-hip.jsonl", "tflite-gpu-float32-opencl.jsonl"]
    one = import_file(file(text), constants=SAID, device="opencl")
    assert [table.device.provider for table in one.tables] == ["OpenCL"]


def test_what_was_measured_is_never_replaced(file: Callable[[str], Path], tmp_path: Path) -> None:
    out = tmp_path / "mine.jsonl"
    op = conv_op(in_channels=8, out_channels=8, size=(8, 8), kernel=(3, 3))
    row = Measurement.from_rounds(op, [Round(number=0, quiet_ms=1.0, median_ms=1.0)])
    LatencyTable(Device(name="here", runtime="lib"), [row]).save(out)
    before = out.read_bytes()
    with pytest.raises(InvalidInputError, match="holds numbers that were measured"):
        import_file(file(RIGHT), out, constants=SAID)
    assert out.read_bytes() == before
    out.write_text("my notes", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="exists and is no latency table"):
        import_file(file(RIGHT), out, constants=SAID)
    again = tmp_path / "again.jsonl"
    import_file(file(RIGHT), again, constants=SAID)
    import_file(file(RIGHT), again, constants=SAID)  # an imported one is replaced


def test_a_large_file_is_read_in_pieces(
    file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, right: LatencyTable
) -> None:
    monkeypatch.setattr("costmodel.imports.files.BLOCK", 150)
    shares: list[float] = []
    assert import_file(file(RIGHT), constants=SAID, progress=shares.append).table == right
    assert len(shares) == 3
    assert sorted(shares) == shares
    found = import_file(file(_with("time_us", "fast", row=11)), constants=SAID)
    assert found.left_out[0].rows == [11]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        # Quotes may go beyond a block: from there on rows are read one by one.
        ('"conv2d",14,16,32,1,1,same,20,1\n', "line 18: 9 cells, the header has 8"),
        ('"conv2d",14,16,32,1,1,same,"20\n', "line 18: it ends inside a quoted cell"),
        ("conv2d,14,16,32,1,1,same,20,1\n" + RIGHT, "line 18: 9 cells, the header has 8"),
        ("conv2d,14,16,32,1,1,same,20,,,,1\n", "line 18: 12 cells, the header has 8"),
        ('"conv2d",14,16,32,1,1,same,fast\n', ""),
        ("conv2d,14,16,32,1,1,same,fast,,,\n", ""),
    ],
)
def test_what_is_odd_late_in_a_file_is_found_by_its_line(
    lines: str, told: str, file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("costmodel.imports.files.BLOCK", 150)
    text = RIGHT + "\n , ,\n\n" + RIGHT.splitlines()[1] + "\n" + lines
    if told:
        with pytest.raises(InvalidInputError, match=told):
            import_file(file(text), constants=SAID)
        return
    found = import_file(file(text), constants=SAID)
    assert (len(found.table), found.merged) == (len(LINES), 1)
    assert [(item.column, item.rows) for item in found.left_out] == [("time_us", [len(LINES) + 2])]


def test_an_unknown_preset_lists_those_that_there_are(file: Callable[[str], Path]) -> None:
    with pytest.raises(InvalidInputError, match=r"no preset 'x'\. Known: mobile_gpu_ops, .*tophub"):
        import_file(file(RIGHT), preset="x")
    with pytest.raises(InvalidInputError, match="missing, which the preset mobile_networks needs"):
        import_file(file(RIGHT), preset="mobile_networks")


@pytest.mark.parametrize(
    ("pads", "found"),
    [
        ([1, 1], (1, 1, 1, 1)),
        ([1, 2, 1, 2], (1, 2, 1, 2)),
        ("1x2", (1, 2, 1, 2)),
        (1, (1, 1, 1, 1)),
        ([0, 0, 1, 1], None),  # of which nobody says the size written
    ],
)
def test_zeros_as_lists(tmp_path: Path, pads: object, found: tuple[int, ...] | None) -> None:
    row = {"op": "conv", "input_shape": [1, 16, 56, 56], "cout": 32, "kernel_shape": [3, 5]}
    path = tmp_path / "list.json"
    path.write_text(json.dumps([{**row, "padding": pads, "ms": 1.0}] * 2), encoding="utf-8")
    if found is None:
        with pytest.raises(InvalidInputError, match="pad is missing"):
            import_file(path, constants=SAID, columns={"latency_ms": "ms"})
        return
    (op,) = import_file(path, constants=SAID, columns={"latency_ms": "ms"}).table
    assert (op.pads, op.kernel, op.inputs) == (found, (3, 5), ((1, 16, 56, 56),))


def test_lists_may_stand_in_some_rows_of_json_only(tmp_path: Path) -> None:
    kernels = [3, [3, 3], "3x3", {"size": [7]}, [[3, 3]], [3, {"b": 1}], float("inf"), 10**400]
    rows = [
        {"op": "conv2d", "hw": 14, "cin": 8 * n, "cout": 16, "kernel": k, "time_us": 50 + n}
        for n, k in enumerate(kernels, 1)
    ]
    (tmp_path / "list.json").write_text(json.dumps(rows).replace("Infinity", "1e999"))
    found = import_file(tmp_path / "list.json", constants={**SAID, "padding": "same"})
    assert [row.op.label for row in found.table.values()] == [
        f"conv 3x3 {channels}->16 @14x14" for channels in (8, 16, 24)
    ]
    assert [(item.column, item.count) for item in found.left_out] == [("kernel", 5)]

"""``morphnet align``: what is written, what is said, how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from functools import cache

import onnx
import pytest
from command_line import runs
from lite_models import Net, save
from onnx_graphs import DEVICE, Blocks, bottleneck
from timed_networks import write_networks

from costmodel import predict, solve
from costmodel.device import Device
from costmodel.measurement import Measurement, Round
from costmodel.registry import load_runner
from costmodel.table import LatencyTable
from morphnet_core.alignment import pad_to_fast_widths
from morphnet_core.cli import main
from morphnet_core.uses.aligning import align


@pytest.fixture
def run(capsys):
    return runs(main, capsys)


@pytest.fixture(autouse=True)
def own_device_lock(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


def net(folder):
    path = folder / "net.onnx"
    onnx.save(bottleneck(), path)
    return path


class Noting(Blocks):
    """The law, and every kernel that it was asked for."""

    def __init__(self, device):
        super().__init__()
        self.device = device
        self.asked = {}

    def price(self, ops):
        prices = super().price(ops)
        self.asked.update(zip(ops, prices.values.tolist(), strict=True))
        return prices


@cache
def rows(device):
    """Every kernel that aligning the network asks for."""
    cost = Noting(device)
    pad_to_fast_widths(bottleneck(), cost)
    return [
        Measurement.from_rounds(
            op, [Round(number=n, quiet_ms=value, median_ms=value) for n in range(2)]
        )
        for op, value in cost.asked.items()
    ]


def table(folder, device: Device = DEVICE):
    path = folder / "table.jsonl"
    LatencyTable(device, rows(device)).save(path)
    return path


def test_a_faster_network_is_written(run, tmp_path):
    out = tmp_path / "fast.onnx"
    prices = table(tmp_path)
    found = run("align", net(tmp_path), "--table", prices, "--cost", "lookup", "--out", out)
    assert (found.code, found.err) == (0, f"Wrote {out}.\n")
    assert "13" in found.out
    assert "16" in found.out
    assert "predicted only: this is another device (name is" in found.out
    assert "it is the network's input" in found.out
    again = run("align", out, "--table", prices, "--cost", "lookup", "--json")
    assert (again.code, json.loads(again.out)["changed"]) == (1, False)
    assert again.err == "Nothing was written: no padding is worth it.\n"


@pytest.fixture
def few(tmp_path):
    """A table of another device, a third as fast, with a sixth of the rows."""
    path = tmp_path / "few.jsonl"
    slow = [
        replace(row, latency_ms=3 * row.latency_ms, median_ms=3 * row.median_ms, rounds=())
        for row in rows(DEVICE)[::6]
    ]
    LatencyTable(replace(DEVICE, name="slow"), slow).save(path)
    return path


def test_a_donor_tells_a_table_of_few_rows_which_widths_are_fast(run, tmp_path, few):
    helped = run(
        *("align", net(tmp_path), "--table", few, "--donor", table(tmp_path)),
        *("--predict-only", "--json"),
    )
    assert helped.code == 0
    assert "its own law" in helped.err
    groups = json.loads(helped.out)["groups"]
    assert {group["after"] for group in groups if group["before"] == 13} == {16}


def test_a_table_solved_from_networks_needs_a_donor_that_knows_widths(run, tmp_path):
    lines = [f"{path.name},{1.0 + 0.2 * n}" for n, path in enumerate(write_networks(tmp_path, 6))]
    timings = tmp_path / "timings.csv"
    timings.write_text("\n".join(["model,latency_ms", *lines]), encoding="utf-8")
    alone, helped = tmp_path / "alone.jsonl", tmp_path / "helped.jsonl"
    donor = table(tmp_path)
    solve(timings, name="phone", out=alone, runtime=DEVICE.runtime)
    found = run("align", net(tmp_path), "--table", alone, "--predict-only")
    assert found.code == 2
    assert f"The table {alone} was solved from whole networks without a donor" in found.err
    assert "Give --donor, or solve it with one: a table of kernels on onnxruntime." in found.err
    solve(timings, donor, name="phone", out=helped)
    found = align(net(tmp_path), helped, predict_only=True)
    # Totals, and how far they may be off, are what predict says of such a network.
    said = predict(net(tmp_path), helped)
    assert (found.before.low, found.before.total) == (said.low, said.total)


def test_json_and_markdown(run, tmp_path):
    common = ["align", net(tmp_path), "--table", table(tmp_path), "--cost", "lookup"]
    found = run(*common, "--predict-only", "--json")
    data = json.loads(found.out)
    assert (found.code, data["note"], data["worthwhile"]) == (0, "predicted only", True)
    assert "| predicted |" in run(*common, "--markdown").out


def test_growth_can_be_forbidden(run, tmp_path):
    found = run(
        *("align", net(tmp_path), "--table", table(tmp_path), "--cost", "lookup"),
        *("--max-growth", 1, "--json"),
    )
    assert (found.code, json.loads(found.out)["changed"]) == (1, False)


@pytest.fixture
def here(monkeypatch):
    """The device of this machine, with a clock that says what it is told."""
    times: dict[str, float] = {}

    def measured(found, **options):
        assert options["runner"] == "ort"
        assert options["options"] == {"threads": 1}
        return replace(
            found,
            measured_before_ms=1.0,
            measured_after_ms=times["after"],
            measured_on="x",
            note="",
        )

    monkeypatch.setattr("morphnet_core.uses.aligning.measured", measured)
    return load_runner("ort", {"threads": 1}).device, times


@pytest.mark.parametrize(
    ("after", "force", "code", "written"),
    [(0.8, False, 0, True), (1.2, False, 1, False), (1.0, False, 1, False), (1.2, True, 0, True)],
)
def test_the_clock_has_the_last_word(run, tmp_path, here, after, force, code, written):
    device, times = here
    times["after"] = after
    out = tmp_path / "fast.onnx"
    found = run(
        *("align", net(tmp_path), "--table", table(tmp_path, device), "--cost", "lookup"),
        *("--out", out, *(["--force"] if force else [])),
    )
    assert (found.code, out.exists()) == (code, written)
    assert "measured" in found.out
    assert ("not faster: keep the one you have" in found.out) is (after >= 1)
    assert ("it is not faster when timed" in found.err) is not written


def test_both_networks_are_timed_in_turns(run, tmp_path):
    device = load_runner("ort", {"threads": 1}).device
    found = run(
        *("align", net(tmp_path), "--table", table(tmp_path, device), "--cost", "lookup"),
        *("--rounds", 2, "--json"),
    )
    data = json.loads(found.out)
    assert found.code in {0, 1}  # no timing is judged here
    assert min(data["measured_before_ms"], data["measured_after_ms"]) > 0
    assert data["note"] is None
    assert "onnxruntime" in data["measured_on"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx", "--cost", "roofline:t4"], "There is no file none.onnx"),
        (["NET"], "needs a table"),
        (["NET", "--cost", "flops"], "prices in flops"),
        (["NET", "--cost", "roofline:t4", "--size", "x=2"], "no open dimension 'x'"),
        (["NET", "--cost", "roofline:t4", "--out", "FOLDER"], "is a folder"),
        (["NET", "--table", "TABLE", "--cost", "lookup", "--runner", "ort"], "another device"),
        (["NET", "--max-growth", "0.5", "--cost", "roofline:t4"], "max-growth"),
        (["NET", "--table", "TABLE", "--donor", "TABLE"], "is of the table's own device"),
        (["NET", "--cost", "roofline:t4", "--donor", "TABLE"], "Donors help a table's regression"),
    ],
)
def test_mistakes(run, tmp_path, arguments, message):
    places = {"NET": net(tmp_path), "FOLDER": tmp_path}
    if "TABLE" in arguments:
        places["TABLE"] = table(tmp_path)
    found = run("align", *(places.get(item, item) for item in arguments))
    assert found.code == 2
    assert message in found.err


def test_without_a_table_a_datasheet_prices(run, tmp_path):
    found = run("align", net(tmp_path), "--cost", "roofline:t4", "--json")
    assert (found.code, json.loads(found.out)["changed"]) == (1, False)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["align", "--help"]])
def test_help_is_light(arguments):
    heavy = ("onnx", "onnxruntime", "sklearn", "tensorflow", "keras", "numpy", "scipy")
    code = (
        "import sys\n"
        "from morphnet_core.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as ended:\n"
        "    assert not ended.code\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.endswith("\n[]\n")


def test_a_lite_file_is_read_but_not_changed(run, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the litert extra")
    lite = Net((1, 12, 12, 4))
    lite.conv(8, 3, 1)
    path = save(lite.done(), tmp_path / "net.tflite")
    found = run("align", path, "--cost", "roofline:t4", "--predict-only")
    assert found.code == 2
    assert "net.tflite is a TensorFlow Lite file: aligning works on ONNX models" in found.err

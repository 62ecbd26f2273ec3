"""``morphnet plan``: what is written, what is said, how it ends."""

from __future__ import annotations

import json
import tempfile

import onnx
import pytest
from command_line import runs
from lite_models import Net, save
from onnx_graphs import bottleneck

from costmodel.clocking import DEFAULT_PLAN
from costmodel.registry import load_runner
from morphnet_core.alignment import timed
from morphnet_core.cli import main
from morphnet_core.structure import Structure
from morphnet_core.uses import planning
from morphnet_core.uses.planning import plan

PROFILE = "amd-epyc-family-25-model-17/onnxruntime-float32-t2"


@pytest.fixture
def run(capsys):
    return runs(main, capsys)


@pytest.fixture(autouse=True)
def own_device_lock(tmp_path_factory, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(bottleneck(32, 96), path)
    return path


def test_a_plan_and_the_network_cut_to_it_are_written(run, net, tmp_path):
    files = tmp_path / "plan.json", tmp_path / "planned.onnx"
    code, out, err = run(
        *("plan", net, "--cost", "flops", "--target", "60%"),
        *("--out", files[0], "--onnx", files[1]),
    )
    assert (code, err) == (0, f"Wrote {files[0]}.\nWrote {files[1]}.\n")
    assert "predicted" in out
    assert "it is the network's input" in out
    assert "Channels of 3 of 6 layers" in out
    kept = Structure.load(files[0])
    assert kept.layers["conv0"].count < 32
    cut = onnx.load(files[1]).graph
    weights = {item.name: tuple(item.dims) for item in cut.initializer}
    assert weights[cut.node[0].input[1]] == (kept.layers["conv0"].count, 3, 3, 3)
    _, out, _ = run("plan", net, "--cost", "flops", "--target", "60%", "--json")
    assert json.loads(out)["layers"]["conv0"] == [32, kept.layers["conv0"].count]


def test_milliseconds_of_a_profile(run, net):
    code, out, _ = run(
        "plan", net, "--table", PROFILE, "--target", "70%", "--predict-only", "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert (found["unit"], found["note"], found["hit"]) == ("ms", "predicted only", None)
    assert found["predicted_share"] == pytest.approx(0.7, abs=0.1)
    wanted = 0.7 * found["predicted_before"]
    code, out, _ = run(
        *("plan", net, "--table", PROFILE, "--target-ms", wanted, "--predict-only", "--markdown")
    )
    assert "| predicted |" in out
    assert "predicted only." in out


@pytest.fixture
def here(monkeypatch):
    """The device of this machine, on which the second network takes what the test says."""
    runner = load_runner("ort", {"threads": 1})
    shares: list[float] = []

    def timed(models, **options):
        assert options["runner"] == "ort"
        return [1.0, shares.pop(0)][: len(models)] if len(models) > 1 else [1.0]

    monkeypatch.setattr(planning, "timed", timed)
    monkeypatch.setattr(planning, "clock_of", lambda *_: (("ort", {"threads": 1}), ""))
    return runner.device.label, shares


def test_the_clock_has_the_last_word(run, net, here):
    label, shares = here
    shares[:] = [0.88, 0.801]
    code, out, err = run("plan", net, "--table", PROFILE, "--target", "80%", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["measured_share"], found["hit"]) == (pytest.approx(0.801), True)
    assert (found["measured_on"], found["note"]) == (label, None)
    assert err.count("measured") == 2
    shares[:] = [0.9, 0.9, 0.9]
    code, out, _ = run("plan", net, "--table", PROFILE, "--target", "80%")
    assert "these are the nearest" in out
    assert f"Measured on {label}" in out


def test_networks_are_timed_in_turns(net):
    few = DEFAULT_PLAN.with_rounds(2)
    found = timed([onnx.load(net)] * 2, runner="fake", plan=few)
    assert min(found) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx", "--cost", "flops", "--target", "60%"], "There is no file none.onnx"),
        (["NET", "--target", "60%"], "needs a table"),
        (["NET", "--cost", "flops"], "Give either --target-ms MS or --target T"),
        (["NET", "--cost", "flops", "--target", "x"], "neither a number above 0 nor a share"),
        (["NET", "--cost", "flops", "--target-ms", "5"], "needs prices in ms, and flops counts"),
        (["NET", "--cost", "flops", "--target", "100%"], "Give a lower target"),
        (["NET", "--cost", "flops", "--target", "0.1%"], "Even at the least widths"),
        (["NET", "--cost", "flops", "--target", "60%", "--out", "a.txt"], "ends in .json"),
        (["NET", "--cost", "flops", "--target", "60%", "--onnx", "a.txt"], "ends in .onnx"),
        (["NET", "--cost", "flops", "--target", "60%", "--onnx", "FOLDER"], "is a folder"),
        (["NET", "--cost", "flops", "--target", "60%", "--keep-least", "x"], "--keep-least 'x'"),
        (["NET", "--cost", "flops", "--target", "60%", "--size", "x=2"], "no open dimension 'x'"),
    ],
)
def test_mistakes(run, net, tmp_path, arguments, message):
    places = {"NET": net, "FOLDER": tmp_path}
    code, _, err = run("plan", *(places.get(item, item) for item in arguments))
    assert code == 2
    assert message in err


def test_a_lite_file_is_read_but_not_planned(run, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the litert extra")
    lite = Net((1, 12, 12, 4))
    lite.conv(8, 3, 1)
    path = save(lite.done(), tmp_path / "net.tflite")
    code, _, err = run("plan", path, "--cost", "flops", "--target", "60%")
    assert code == 2
    assert "planning works on ONNX models" in err


def test_one_target():
    with pytest.raises(ValueError, match="Give one target"):
        plan("net.onnx", target="60%", target_ms=3.0)

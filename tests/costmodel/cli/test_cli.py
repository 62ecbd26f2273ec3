"""The command line: help, exit codes, pure JSON on stdout; profiles and their tables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rows import ADD, conv

from costmodel import __version__
from costmodel.runners.fake import law_ms, write_model
from costmodel.table import LatencyTable

VERBS = (
    *("devices", "profile", "import", "solve", "show", "check", "score", "predict", "compare"),
    *("explain", "report", "doctor"),
)
QUICK = ("--samples", "0", "--thinned", "0", "--rounds", "2")
Run = Callable[..., Any]  # the fixture's


def test_version(run: Run) -> None:
    assert run("--version").out == f"costmodel {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb_has_examples(run: Run, verb: str) -> None:
    found = run(verb, "--help")
    assert found.code == 0
    assert f"Examples:\n    costmodel {verb}" in found.out
    assert "--json" in found.out


def test_help_lists_the_verbs_in_the_order_of_use(run: Run) -> None:
    text = run("--help").out
    places = [text.index(f"\n  {verb} ") for verb in VERBS]
    assert places == sorted(places)


def test_help_and_import_stay_light() -> None:
    heavy = ["numpy", "onnx", "onnxruntime", "pandas", "sklearn", "scipy", "matplotlib", "keras"]
    heavy.append("bokeh")
    code = (
        "import sys, contextlib, io\n"
        "from costmodel.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['predict', '--help'])\n"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_module_runs_like_the_script() -> None:
    command = [sys.executable, "-m", "costmodel", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"costmodel {__version__}\n"


def test_devices_lists_the_fake_runner(run: Run) -> None:
    found = run("devices", "--json")
    runners = {item["name"]: item for item in found.json["runners"]}
    assert runners["fake"]["usable"] is True
    assert runners["fake"]["device"] == "fake, fake, float32, 1 thread"
    assert set(found.json) == {"schema_version", "runners", "profiles", "providers"}
    assert "fake" in run("devices").out


def test_devices_says_why_a_runner_is_not_usable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str, options: object = None) -> None:
        reason = "no such library: libfoo"
        raise RuntimeError(reason)

    monkeypatch.setattr("costmodel.uses.listing.load_runner", fail)
    (first, *_) = run("devices", "--json").json["runners"]
    assert (first["usable"], first["reason"]) == (False, "no such library: libfoo")


def test_profile_then_predict_then_compare(run: Run, tmp_path: Path, net: Path) -> None:
    out = tmp_path / "new.jsonl"
    made = run("profile", "--runner", "fake", "--models", net, *QUICK, "-o", out, "--json")
    assert made.code == 0
    assert (made.json["rows"], made.json["ok"], made.json["failed"]) == (5, 5, 0)
    assert "Measuring 5 rows" in made.err

    predicted = run("predict", net, "--table", out, "--cost", "lookup", "--json")
    truth = sum(law_ms(op) for op in (conv(), conv(128, 64), ADD)) + 0.05
    assert predicted.json["predicted_ms"] == pytest.approx(truth)
    assert predicted.json["source"] == "lowered"
    assert predicted.json["unpriced"] == []

    compared = run("compare", net, net, "-t", out, "--cost", "lookup", "--rounds", 2, "--json")
    assert compared.code == 0
    assert [item["model"] for item in compared.json] == ["net", "net"]
    assert compared.json[0]["error"] == pytest.approx(0.0, abs=1e-9)
    assert compared.json[0]["predicted_for"] == compared.json[0]["measured_on"]


def test_profile_of_several_networks_after_one_option(run: Run, tmp_path: Path, net: Path) -> None:
    other = write_model(tmp_path / "other.json", [conv(8)])
    arguments = ("--runner", "fake", "--models", net, other, *QUICK, "-o", tmp_path / "o.jsonl")
    found = run("profile", *arguments, "--json")
    assert found.json["rows"] == 7  # 4 kernels, a session and 2 networks
    stray = run("profile", net, "--runner", "fake", "-o", tmp_path / "x.jsonl")
    assert (stray.code, "--models" in stray.err) == (2, True)


def test_profile_resumes_and_says_so(run: Run, tmp_path: Path, net: Path) -> None:
    arguments = ("profile", "--runner", "fake", "--models", net, *QUICK, "-o", tmp_path / "o.jsonl")
    first = run(*arguments, "--json")
    rows = LatencyTable.load(tmp_path / "o.jsonl").rows
    second = run(*arguments, "--json")
    assert "Resuming" in second.err
    assert (first.json["visits"] > 0, second.json["visits"]) == (True, 0)
    assert LatencyTable.load(tmp_path / "o.jsonl").rows == rows


def test_profile_with_nothing_but_failures_is_a_finding(run: Run, tmp_path: Path) -> None:
    net = write_model(tmp_path / "net.json", [conv()])
    option = "misbehave=exit:conv,unsupported:session"
    out = tmp_path / "o.jsonl"
    found = run(
        *("profile", "--runner", "fake", "--runner-option", option, "--models", net, *QUICK),
        *("-o", out, "--json"),
    )
    assert (found.code, found.json["ok"], found.json["failed"]) == (1, 0, 3)
    assert "No row has a number" in found.err


def test_profile_interrupted_says_how_to_go_on(tmp_path: Path, net: Path) -> None:
    command = [sys.executable, "-m", "costmodel", "profile", "--runner", "fake"]
    command += ["--runner-option", "realtime=true", "--models", str(net), "--samples", "0"]
    command += ["--thinned", "0", "--rounds", "900", "-o", str(tmp_path / "o.jsonl")]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    # An endless profile: its rows never settle because their times are noise.
    command += ["--runner-option", "noise=50"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        while "visits to make" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(2)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command to resume" in err
    assert "Traceback" not in err

"""The command line: exit codes, pure JSON on stdout, one message and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel import __version__
from costmodel.cli import main
from costmodel.cli.options import parse_budget, parse_runner_options, parse_sizes
from costmodel.errors import InvalidInputError
from costmodel.measurement import Measurement, Round
from costmodel.op import Op, conv_op
from costmodel.runners.fake import FakeRunner, law_ms, write_model
from costmodel.table import LatencyTable

MODELS = Path(__file__).parents[3] / "shared" / "models"
VERBS = ("devices", "profile", "show", "check", "score", "predict", "compare")
QUICK = ("--samples", "0", "--thinned", "0", "--rounds", "2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What a command wrote, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line in this process."""

    def call(*arguments: object) -> Result:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(item) for item in arguments])
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Result(code=int(ended.value.code or 0), out=written.out, err=written.err)

    return call


@pytest.fixture(autouse=True)
def own_device_lock(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake device's lock is one per machine: tests that run at once need one each."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("locks")))


def conv(width: int = 64, into: int = 32) -> Op:
    return conv_op(in_channels=into, out_channels=width, size=(14, 14), kernel=(3, 3))


ADD = Op(kind="add", inputs=((1, 64, 14, 14),) * 2, outputs=((1, 64, 14, 14),))


def row(op: Op, *times_ms: float) -> Measurement:
    rounds = [Round(number=i, quiet_ms=t, median_ms=t) for i, t in enumerate(times_ms)]
    return Measurement.from_rounds(op, rounds)


def law_table(path: Path, ops: Sequence[Op], **device: object) -> Path:
    """A table of the fake device without a flaw."""
    identity = replace(FakeRunner().device, **device)  # type: ignore[arg-type]
    LatencyTable(identity, [row(op, law_ms(op), law_ms(op)) for op in ops]).save(path)
    return path


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.json", [conv(), conv(128, 64), ADD])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Rows of every Op of ``net``, and enough convolutions to hold some out."""
    session = FakeRunner().lower(write_model(tmp_path / "n.json", [conv(), ADD]), {}).layers[-1].op
    widths = [conv(width, into) for into in (32, 64) for width in range(8, 136, 8)]
    return law_table(tmp_path / "t.jsonl", [*widths, ADD, session])


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
    assert set(found.json) == {"runners", "profiles"}
    assert "fake" in run("devices").out


def test_devices_says_why_a_runner_is_not_usable(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        reason = "no such library: libfoo"
        raise RuntimeError(reason)

    monkeypatch.setattr("costmodel.cli.devices.load_runner", fail)
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
    assert found.json["rows"] == 8  # 4 kernels, 2 sessions and 2 networks
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


def test_show(run: Run, table: Path) -> None:
    found = run("show", table, "--json")
    assert (found.code, found.json["rows"]) == (0, 34)
    assert found.json["device"]["provenance"] == "measured"
    assert "Rows by kind and path" in run("show", table).out
    assert "| kind |" in run("show", table, "--markdown").out


def test_show_draws_the_staircase(run: Run, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = run("show", table, "--plot", tmp_path / "s.svg", "--json")
    assert found.code == 0
    assert found.json["rows"] == 34
    assert "latency in ms" in (tmp_path / "s.svg").read_text(encoding="utf-8")


def test_show_of_a_table_without_convolutions(run: Run, tmp_path: Path) -> None:
    path = law_table(tmp_path / "adds.jsonl", [ADD])
    assert run("show", path).code == 0
    drawn = run("show", path, "--plot", tmp_path / "s.png", "--json")
    assert (drawn.code, "has no convolution" in drawn.err) == (2, True)
    assert not (tmp_path / "s.png").exists()


def test_check_of_a_good_and_a_bad_table(run: Run, table: Path, tmp_path: Path) -> None:
    good = run("check", table, "--json")
    assert (good.code, good.json["faults"]) == (0, 0)
    noisy = tmp_path / "noisy.jsonl"
    LatencyTable(FakeRunner().device, [row(conv(), 1.0, 1.5)]).save(noisy)
    bad = run("check", noisy, "--json")
    assert (bad.code, [item["problem"] for item in bad.json["findings"]]) == (1, ["noisy"])
    assert "Noisy rows" in run("check", noisy).out


def test_score(run: Run, table: Path) -> None:
    found = run("score", table, "--held-out", 10, "--json")
    assert found.code == 0
    expected = {"rows", "held_out", "mape", "within_5", "within_10", "repeatability", "baselines"}
    assert expected <= set(found.json)
    assert found.json["held_out"] == 10
    assert "the table's regression" in run("score", table, "--held-out", 10).out


def test_predict_by_regression_names_every_layer(run: Run, net: Path, table: Path) -> None:
    found = run("predict", net, "--table", table, "--json")
    assert found.code == 0
    assert [item["name"] for item in found.json["ops"]] == ["conv0", "conv1", "add2", "session"]
    assert "Slowest layers" in run("predict", net, "--table", table).out


def test_predict_warns_of_what_has_no_price(run: Run, net: Path, tmp_path: Path) -> None:
    path = law_table(tmp_path / "part.jsonl", [conv()])
    found = run("predict", net, "--table", path, "--cost", "lookup", "--json")
    assert (found.code, len(found.json["unpriced"])) == (0, 3)
    assert "3 layers have no price" in found.err
    strict = run("predict", net, "--table", path, "--cost", "lookup", "--strict")
    assert strict.code == 1


def test_predict_counts_need_no_table(run: Run, net: Path) -> None:
    found = run("predict", net, "--cost", "flops", "--runner", "fake", "--json")
    assert (found.json["unit"], found.json["predicted_ms"]) == ("flops", None)
    assert found.json["total"] > 2 * (conv().macs + conv(128, 64).macs)


def test_predict_from_a_datasheet_is_an_estimate(run: Run, net: Path) -> None:
    found = run("predict", net, "--cost", "roofline:t4", "--runner", "fake", "--json")
    assert found.json["provenance"] == "estimated"
    assert found.json["predicted_ms"] > 0


def test_predict_for_another_device_anticipates_instead_of_asking(run: Run, tmp_path: Path) -> None:
    if not (MODELS / "mnist-8.onnx").exists():
        pytest.skip("the shared models are not beside this checkout")
    path = law_table(
        tmp_path / "board.jsonl", [conv(), ADD], name="board", runtime="onnxruntime", isa="avx2"
    )
    found = run("predict", MODELS / "mnist-8.onnx", "--table", path, "--cost", "lookup", "--json")
    assert (found.code, found.json["source"]) == (0, "anticipated")
    assert "anticipated by rule" in found.err
    assert "this is another device" in found.err


def test_compare_above_the_limit_is_a_finding(run: Run, net: Path, tmp_path: Path) -> None:
    slow = FakeRunner().device
    rows = [row(op, 2 * law_ms(op), 2 * law_ms(op)) for op in FakeRunner().lower(net, {}).ops]
    path = tmp_path / "slow.jsonl"
    LatencyTable(slow, rows).save(path)
    arguments = ("compare", net, "-t", path, "--cost", "lookup", "--rounds", 2)
    above = run(*arguments, "--max-error", "0.1")
    assert (above.code, "Error above 10 %: net." in above.err) == (1, True)
    assert run(*arguments, "--max-error", "1.5").code == 0
    assert run(*arguments).code == 0


def test_compare_with_another_device_must_be_asked_for(run: Run, net: Path, tmp_path: Path) -> None:
    path = law_table(tmp_path / "b.jsonl", FakeRunner().lower(net, {}).ops, name="board")
    arguments = ("compare", net, "-t", path, "--cost", "lookup", "--rounds", 2, "--json")
    refused = run(*arguments)
    assert (refused.code, refused.out) == (2, "")
    assert "--other-device" in refused.err
    allowed = run(*arguments, "--other-device")
    assert allowed.code == 0
    assert "Predicted for board" in allowed.err
    assert allowed.json[0]["predicted_for"] != allowed.json[0]["measured_on"]


def test_compare_draws(run: Run, net: Path, table: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    found = run("compare", net, "-t", table, "--rounds", 2, "--plot", tmp_path / "c.png", "--json")
    assert (found.code, len(found.json)) == (0, 1)
    assert (tmp_path / "c.png").stat().st_size > 1000


def bad_commands(folder: Path) -> dict[str, tuple[tuple[object, ...], str]]:
    """Mistakes, and a word that the message must have."""
    net = write_model(folder / "net.json", [conv()])
    table = law_table(folder / "t.jsonl", [conv(width) for width in (8, 16)])
    empty = law_table(folder / "empty.jsonl", [])
    zero = folder / "zero.jsonl"
    zero.write_bytes(b"")
    text = folder / "text.jsonl"
    text.write_text("hello\n", encoding="utf-8")
    image = folder / "image.png"
    image.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    fake = ("--runner", "fake")
    return {
        "no table": (("show", folder / "absent.jsonl"), "absent.jsonl"),
        "a folder as table": (("show", folder), str(folder)),
        "an empty file as table": (("show", zero), "zero.jsonl"),
        "text as table": (("check", text), "text.jsonl"),
        "an image as table": (("check", image), "image.png"),
        "no rows to price by": (("predict", net, "-t", empty), "no measured kernel"),
        "no rows to score": (("score", empty), "convolutions"),
        "no model": (("predict", folder / "absent.onnx", "-t", table), "absent.onnx"),
        "a folder as model": (("predict", folder, "-t", table), "is a folder"),
        "an image as model": (
            ("predict", image, "--cost", "flops", "--runner", "ort"),
            "image.png",
        ),
        "text as model": (("predict", text, "-t", table), "text.jsonl"),
        "one of two models": (("compare", net, folder / "x.json", "-t", table), "x.json"),
        "unknown runner": (("predict", net, "-t", table, "--runner", "tpu"), "'tpu'"),
        "unknown cost": (("predict", net, "-t", table, "--cost", "magic"), "'magic'"),
        "unknown datasheet": (("predict", net, "--cost", "roofline:abacus"), "'abacus'"),
        "cost without table": (("predict", net, *fake), "--table"),
        "counts against a clock": (("compare", net, "--cost", "flops", *fake), "flops"),
        "other threads": (("predict", net, "-t", table, "--threads", "2"), "threads"),
        "plot suffix": (("show", table, "--plot", folder / "p.gif"), ".png"),
        "plot folder": (("show", table, "--plot", folder / "no" / "p.png"), "p.png"),
        "budget": (("profile", *fake, "--budget", "soon", "-o", folder / "o.jsonl"), "'soon'"),
        "size": (("predict", net, "-t", table, "--size", "batch=0"), "batch=0"),
        "runner option": (
            ("profile", *fake, "--runner-option", "noise", "-o", folder / "o.jsonl"),
            "NAME=VALUE",
        ),
        "option the runner lacks": (
            ("profile", *fake, "--runner-option", "colour=red", "-o", folder / "o.jsonl"),
            "colour",
        ),
        "out is a folder": (("profile", *fake, "-o", folder), "folder"),
        "out below a file": (
            ("profile", *fake, "--models", net, *QUICK, "-o", net / "o.jsonl"),
            "o.jsonl",
        ),
        "out is not a table": (
            ("profile", *fake, "--models", net, *QUICK, "-o", text),
            "text.jsonl",
        ),
        "threads": (("profile", "--threads", "0", "-o", folder / "o.jsonl"), "--threads"),
        "nothing to profile": (("profile", *fake, "--samples", "0", "-o", folder / "o.jsonl"), "0"),
        "unknown option": (("show", table, "--loud"), "--loud"),
        "unknown verb": (("paint",), "paint"),
    }


with tempfile.TemporaryDirectory() as somewhere:
    MISTAKES = tuple(bad_commands(Path(somewhere)))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_bad_input_is_one_message_and_exit_2(run: Run, tmp_path: Path, mistake: str) -> None:
    arguments, word = bad_commands(tmp_path)[mistake]
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    found = run(*arguments)
    assert (found.code, found.out) == (2, "")
    assert word in found.err
    assert "fault of costmodel" not in found.err
    after = {path: path.read_bytes() for path in before}
    assert after == before


def test_a_fault_of_ours_is_told_without_a_traceback(
    run: Run, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(source: str) -> None:
        reason = "of all things"
        raise ZeroDivisionError(reason)

    monkeypatch.setattr("costmodel.cli.tables.load_table", fail)
    found = run("show", table)
    assert found.code == 2
    assert "fault of costmodel" in found.err
    assert "ZeroDivisionError: of all things" in found.err


def test_an_interrupt_ends_quietly(run: Run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(source: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("costmodel.cli.tables.load_table", interrupt)
    found = run("show", table)
    assert (found.code, found.err) == (130, "Interrupted.\n")


def test_a_reader_that_leaves_is_no_error(table: Path) -> None:
    show = subprocess.Popen(
        [sys.executable, "-m", "costmodel", "show", str(table), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert show.stdout is not None
    assert show.stderr is not None
    show.stdout.close()
    err = show.stderr.read()
    show.stderr.close()
    assert (show.wait(timeout=60), err) == (141, b"")


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("90s", 90e3), ("10m", 600e3), ("1h", 3600e3), ("1h30m", 5400e3), ("0.5m", 30e3), ("7", 7e3)],
)
def test_budgets(text: str, milliseconds: float) -> None:
    assert parse_budget(text) == milliseconds


@pytest.mark.parametrize("text", ["", "0s", "-5m", "10 parsecs", "m", "1e3s", "8d", "999h", "1m5"])
def test_budgets_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInputError, match="90s, 10m, 1h"):
        parse_budget(text)


@given(st.text(max_size=12))
def test_any_text_is_a_budget_or_a_clear_error(text: str) -> None:
    said = told(lambda: [parse_budget(text)])
    assert said is None or repr(text) in said


@given(st.lists(st.text(max_size=12), max_size=3))
def test_any_texts_are_sizes_or_a_clear_error(items: list[str]) -> None:
    said = told(lambda: parse_sizes(items).values())
    assert said is None or "--size" in said


def told(parse: Callable[[], Iterable[float]]) -> str | None:
    """The error's text; None when all numbers are above 0."""
    try:
        numbers = list(parse())
    except InvalidInputError as error:
        return str(error)
    return None if all(number > 0 for number in numbers) else ""


def test_sizes_and_options() -> None:
    assert parse_sizes(["a=1", "b:2=3", "a=1"]) == {"a": 1, "b:2": 3}
    with pytest.raises(InvalidInputError, match="twice"):
        parse_sizes(["a=1", "a=2"])
    found = parse_runner_options(["seed=3", "speed=1.5", "realtime=False", "mode=a=b"], None)
    assert found == {"seed": 3, "speed": 1.5, "realtime": False, "mode": "a=b"}


@pytest.mark.keras
def test_a_keras_file_is_exported_on_the_fly(tmp_path: Path) -> None:
    model = MODELS / "resnet8_cifar10.h5"
    if not model.exists():
        pytest.skip("the shared models are not beside this checkout")
    pytest.importorskip("tf2onnx")
    command = [
        sys.executable,
        "-m",
        "costmodel",
        "predict",
        str(model),
        "--cost",
        "params",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    data = json.loads(done.stdout)
    assert (data["model"], data["source"]) == ("resnet8_cifar10", "written")
    assert data["total"] == pytest.approx(78_666, rel=0.02)
    assert "Exporting" in done.stderr

"""``morphnet sweep``: a grid of searches that goes on, and what is best of it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer.main
from command_line import Run, runs

import morphnet_core as mc
from costmodel.profiler.lock import hold
from morphnet_core.cli import app, main
from morphnet_core.cli.train import ExportName, FinishName, ImportanceName
from morphnet_core.signals import SIGNALS
from morphnet_core.uses import sweeping

#: Stands for ``morphnet train``: says its arguments, and answers by budget and seed.
TRAIN = """
import json, os, sys, time
from pathlib import Path
given = sys.argv[1:]
option = "--target" if "--target" in given else "--target-ms"
budget, seed = given[given.index(option) + 1], int(given[given.index("--seed") + 1])
out = Path(given[given.index("--out") + 1])
with Path("calls").open("a") as calls:
    calls.write(json.dumps(given) + "\\n")
print("epoch 1", file=sys.stderr, flush=True)
if Path("slow").exists():
    time.sleep(60)
if Path("broken").exists() and seed == 1:
    sys.exit("Error: no luck with seed 1")
share = float(budget.strip("%"))
out.mkdir(parents=True, exist_ok=True)
print(json.dumps({
    "predicted": share / 10, "measured_ms": share / 10 if "--table" in given else None,
    "metrics": {"accuracy": share / 100 - 0.1 * seed, "loss": 1.0},
}))
"""
SWEEP = """
cpus = 1
model = "net.keras"
data = "data.py"
budgets = ["80%", "60%"]
seeds = [0, 1]
[search]
search_epochs = 2
finish = "finetune"
augment = true
export = ["onnx"]
[[devices]]
name = "cpu"
table = "amd-epyc-family-25-model-17/onnxruntime-float32"
predict_only = true
threads = 1
"""
COUNTED = """
[[devices]]
name = "counted"
cost = "flops"
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runs(main, capsys)


@pytest.fixture
def sweep_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("net.keras", "data.py"):
        (tmp_path / name).touch()
    monkeypatch.setattr(sweeping, "_TRAIN", ("-c", TRAIN))
    path = tmp_path / "sweep.toml"
    path.write_text(SWEEP, encoding="utf-8")
    return path


def calls(path: Path) -> list[list[str]]:
    text = (path.parent / "calls").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_grid_is_searched_and_the_best_are_marked(sweep_file: Path, run: Any) -> None:
    (sweep_file.parent / "broken").touch()
    code, out, err = run("sweep", sweep_file, "--json")
    assert code == 1, err
    found = json.loads(out)
    assert (found["done"], found["metric"]) == (False, "accuracy")
    states = {(run["budget"], run["seed"]): run for run in found["runs"]}
    assert len(states) == 4
    assert [key for key, one in states.items() if one["state"] == "failed"] == [
        ("80%", 1), ("60%", 1),
    ]  # fmt: skip
    assert "no luck with seed 1" in states["60%", 1]["reason"]
    (sweep_file.parent / "broken").unlink()
    code, out, err = run("sweep", sweep_file, "--json")
    assert code == 0, err
    assert len(calls(sweep_file)) == 4 + 2  # those that had failed, and no others
    found = json.loads(out)
    assert [(run["budget"], run["seed"]) for run in found["runs"] if run["best"]] == [
        ("80%", 0), ("60%", 0),
    ]  # fmt: skip
    assert Path(found["picture"]).stat().st_size > 1000
    code, out, err = run("sweep", sweep_file)
    assert (code, len(calls(sweep_file))) == (0, 6)
    assert "best" in out


def test_every_search_is_a_command_that_train_takes(sweep_file: Path) -> None:
    sweep_file.write_text(SWEEP + COUNTED)
    asked = sweeping.read_sweep(sweep_file)
    tasks = [sweeping._SearchTask(asked, target, "60%", 1) for target in asked.targets]
    commands = [task._arguments[len(sweeping._TRAIN) :] for task in tasks]
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    timed, counted = (train.make_context("train", list(command)).params for command in commands)
    assert timed["model"] == sweep_file.parent / "net.keras"
    assert timed["table"].endswith("onnxruntime-float32")
    assert (timed["target"], timed["seed"], timed["threads"]) == ("60%", 1, 1)
    assert (timed["search_epochs"], timed["finish"].value) == (2, "finetune")
    assert timed["augment"]
    assert timed["predict_only"]
    assert [item.value for item in timed["export"]] == ["onnx"]
    assert timed["json"]
    assert (counted["table"], counted["cost"]) == (None, "flops")
    assert timed["out"] != counted["out"]
    # Another option is another search.
    sweep_file.write_text(SWEEP.replace("search_epochs = 2", "search_epochs = 3"))
    other = sweeping.read_sweep(sweep_file)
    again = sweeping._SearchTask(other, other.targets[0], "60%", 1)
    assert again._digest != tasks[0]._digest


def test_options_of_searches_are_those_of_train() -> None:
    train = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    takes: dict[str, Any] = {param.name: param for param in train.params}
    for name, (least, most) in sweeping._WHOLE.items():
        assert (takes[name].min, takes[name].max or most) == (least, most)
    for name, limits in sweeping._NUMBERS.items():
        assert (takes[name].min, takes[name].max) == limits
    assert set(sweeping._WORDS["finish"]) == set(FinishName)
    assert set(sweeping._WORDS["importance"]) == set(ImportanceName)
    assert sweeping._WORDS["signal"] == tuple(SIGNALS)
    assert set(sweeping._EXPORTS) == set(ExportName)
    assert takes.keys() >= set(sweeping._FLAGS)


def test_a_metric_that_no_network_has_is_told(sweep_file: Path, run: Any) -> None:
    sweep_file.write_text('metric = "acuracy"\n' + SWEEP)
    code, _, err = run("sweep", sweep_file)
    assert code == 0
    assert "sweep.toml: metric: no network has 'acuracy'. Known: accuracy, loss." in err
    sweep_file.write_text('metric = "loss"\n' + SWEEP)
    code, _, err = run("sweep", sweep_file)
    assert code == 0
    assert "no network has" not in err
    assert len(calls(sweep_file)) == 4


@pytest.mark.parametrize(
    ("metric", "best"),
    [("accuracy", 1), ("auc", 1), ("loss", 0), ("mae", 0), ("mean_absolute_error", 0)],
)
def test_of_some_metrics_less_is_better(metric: str, best: int) -> None:
    runs = [
        sweeping.Searched(
            target="a", budget="60%", seed=seed, folder=Path(), unit="ms", state="done",
            found={"predicted": 1.0, "metrics": {metric: value}},
        )
        for seed, value in enumerate((0.1, 0.2))
    ]  # fmt: skip
    assert sweeping._best(runs, metric) == [best]


def test_two_sweeps_refuse_each_other(sweep_file: Path, run: Any) -> None:
    (sweep_file.parent / "sweep-results").mkdir()
    with hold(sweep_file.parent / "sweep-results" / "sweep.lock", "it"):
        code, _, err = run("sweep", sweep_file)
    assert code == 2
    assert "Another sweep holds the sweep" in err
    assert "timings" not in err


def test_a_sweep_is_a_use_of_python(sweep_file: Path) -> None:
    found = mc.sweep(sweep_file)
    assert found.is_done
    assert [run.best for run in found.runs] == [True, False, True, False]


def test_an_interrupted_sweep_says_so_and_leaves_nothing_running(sweep_file: Path) -> None:
    (sweep_file.parent / "slow").touch()
    script = (
        "import sys; from morphnet_core.uses import sweeping; from morphnet_core.cli import main\n"
        "sweeping._TRAIN = ('-c', sys.argv[1])\nmain(['sweep', sys.argv[2]])"
    )
    command = [sys.executable, "-c", script, TRAIN, str(sweep_file)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        until = time.monotonic() + 30.0
        while not (sweep_file.parent / "calls").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        driver.send_signal(signal.SIGINT)
        _, err = driver.communicate(timeout=30.0)
    assert driver.returncode == 130, err
    assert "same command to resume" in err


MISTAKES = {
    "no model": ("model", 'model = "no.keras"', "model: there is no file"),
    "no data": ("data", "data = 3", "data: expected a text"),
    "no budget": ("budgets", "", "budgets is missing"),
    "a budget of nothing": ("budgets", 'budgets = ["0%"]', "budgets: expected shares"),
    "a budget in words": ("budgets", 'budgets = ["fast"]', "'fast'"),
    "one budget twice": ("budgets", 'budgets = ["5%", "5%"]', "given twice"),
    "milliseconds of flops": ("budgets", "budgets = [5.0]", "cost: flops counts"),
    "a bad seed": ("seeds", "seeds = [-1]", "seeds: expected"),
    "a slip": ("finish", 'finnish = "none"', "Did you mean finish?"),
    "a number in words": ("search_epochs", 'search_epochs = "two"', "search_epochs: expected"),
    "one budget twice in other words": ("budgets", 'budgets = ["5%", "5 %"]', "given twice"),
    "two that are one in words": ("budgets", "budgets = [5.0, 5.0000001]", "given twice"),
    "an end that there is not": ("finish", 'finish = "fintune"', "finish: expected one of retrain"),
    "too much": ("augment", "distil = 1.5", "distil: expected 0 to 1"),
    "nothing at a time": ("augment", "batch_size = 0", "batch_size: expected 1 to"),
    "no format": ("export", 'export = ["pb"]', "'onnx' or 'litert'. It holds 'pb'"),
    "no donor": ("threads", 'donors = ["no.jsonl"]', "donors: There is neither"),
    "no table": ("table", 'table = "no.jsonl"', "table: There is neither"),
    "nothing to price by": ("table", "", "table: the cost 'regression' needs one"),
    "no cost": ("cost", 'cost = "magic"', "cost: There is no cost model"),
    "a bad name": ("name", 'name = "a/b"', "'a/b'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named_with_file_field_and_fix(
    sweep_file: Path, run: Any, mistake: str
) -> None:
    field, line, words = MISTAKES[mistake]
    lines = (SWEEP + COUNTED).splitlines()
    place = next(n for n, text in enumerate(lines) if text.startswith(f"{field} ="))
    lines[place] = line
    sweep_file.write_text("\n".join(lines))
    code, out, err = run("sweep", sweep_file)
    assert (code, out) == (2, "")
    assert words in err
    assert "sweep.toml" in err
    assert not (sweep_file.parent / "sweep-results").exists()

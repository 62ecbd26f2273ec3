"""The small programs to start from: each runs, and says what it promises."""

from __future__ import annotations

import runpy
import sys
import tempfile
from pathlib import Path

import onnx
import pytest

from costmodel.model_rows import model_op
from costmodel.op import Op
from costmodel.protocols import CostModel, Runner
from costmodel.testing import CostModelContract, RunnerContract
from morphnet_core import Structure

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import own_cost  # noqa: E402
import own_runner  # noqa: E402

MOST_LINES = 60
#: What each prints, and the files that it writes.
SAYS = {
    "budget": ("fast/model.onnx", ("fast/model.keras", "fast/model.onnx")),
    "keras_tuner_search": ("is too slow", ()),
    "optuna_search": ("PRUNED", ()),
    "own_cost": ("100.0 %", ()),
    "own_runner": ("tiny: ", ("npu.jsonl",)),
    "pad_widths": ("pruned", ()),
    "predict": ("tiny: predicted", ("tiny.jsonl",)),
    "pytorch_network": ("times as fast", ("net.onnx", "fast.onnx")),
    "regularize": ("after shrinking", ("structure.json",)),
    "sklearn_pipeline": ("random forest: ", ()),
    "torch_pruning_plan": ("planned: ", ("net.onnx", "planned.onnx")),
}
#: What some need beside the packages of the tests, and the extra that has it.
NEEDS = {
    "pytorch_network": (("torch", "onnxscript"), "torch"),
    "torch_pruning_plan": (("torch", "torch_pruning"), "pruning"),
}


def test_every_example_is_short_and_tested() -> None:
    lengths = {
        path.stem: len(path.read_text("utf-8").splitlines()) for path in EXAMPLES.glob("*.py")
    }
    assert set(lengths) == set(SAYS)
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


#: Those in which other packages warn of themselves.
WARNED = {*NEEDS, "keras_tuner_search"}
NAMES = [
    pytest.param(name, marks=pytest.mark.filterwarnings("ignore")) if name in WARNED else name
    for name in SAYS
]


@pytest.mark.keras
@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    modules, extra = NEEDS.get(name, ((), ""))
    for module in modules:
        pytest.importorskip(module, reason=f"needs the {extra} extra")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")  # an example sets it, and it is put back
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # locks of its own
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    text, files = SAYS[name]
    assert text in capsys.readouterr().out
    assert [file for file in files if not (tmp_path / file).exists()] == []
    if name == "regularize":
        kept = Structure.load(tmp_path / "structure.json").counts
        assert 0 < kept["conv0/Conv2D"] + kept["conv1/Conv2D"] < 16 + 32


class TestNpu(RunnerContract):
    @pytest.fixture
    def runner(self) -> Runner:
        return own_runner.Npu()

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        path = tmp_path / "tiny.onnx"
        onnx.save(onnx.parser.parse_model(own_runner.NET), path)
        return path

    @pytest.fixture
    def unsupported_op(self) -> Op:  # a formula has an answer for any kernel
        return model_op("net", "0" * 16, ())


class TestFlash(CostModelContract):
    @pytest.fixture
    def cost(self) -> CostModel:
        return own_cost.Flash()

"""``morphnet train``, ``shrink`` and ``expand``: what is written, what is said, how it ends."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from command_line import Run, runs
from keras import layers

from costmodel.errors import InvalidInputError
from costmodel.pages.records import MorphRecord, read_record
from costmodel.profiler import Job, Plan, time_jobs
from costmodel.readers.keras import export_onnx
from costmodel.registry import load_runner
from costmodel.sampling.select import sample_ops
from costmodel.table import LatencyTable
from morphnet_core import morphing
from morphnet_core.cli import main
from morphnet_core.structure import Structure

pytestmark = pytest.mark.keras

RECIPE = """
import numpy as np

def load():
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 8, 8, 3)).astype("float32")
    y = random.integers(3, size=64)
    return x, y, x[:16], y[:16]
"""
QUICK = Plan(rounds=2, min_rounds=2, visit_ms=3.0, restart_every=10, anchor_every_ms=float("inf"))
SHORT = ("--search-epochs", 1, "--finish-epochs", 1, "--batch-size", 16)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runs(main, capsys)


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 8, 3))
    for name in "ab":
        x = layers.Conv2D(24, 3, padding="same", use_bias=False, name=name)(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm_{name}")(x))
    outputs = layers.Dense(3, name="head")(layers.GlobalAveragePooling2D()(x))
    path = tmp_path_factory.mktemp("net") / "net.keras"
    keras.Model(inputs, outputs, name="net").save(path)
    return path


@pytest.fixture(scope="module")
def recipe(net: Path) -> Path:
    path = net.with_name("recipe.py")
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def table(net: Path) -> Path:
    """Measured here, in seconds: its numbers are rough, but they are this device's."""
    onnx = export_onnx(net, net.with_suffix(".onnx"))
    out = net.with_name("cpu.jsonl")
    sample = sample_ops(load_runner("ort", {"threads": 1}), 12, models=[onnx], sizes={}, thinned=0)
    jobs = [Job(op=op) for op in sample.ops]
    time_jobs(jobs, runner="ort", options={"threads": 1}, out=out, plan=QUICK)
    return out


def test_a_budget_in_flops(run: Any, net: Path, recipe: Path, tmp_path: Path) -> None:
    code, out, err = run(
        "train", net, "--data", recipe, "--cost", "flops", "--target", "50%", *SHORT,
        "--finish", "finetune", "--distil", 0.7, "--looks", 3, "--out", tmp_path / "half",
        "--json",
    )  # fmt: skip
    assert code == 0, err
    assert "choices of widths: a loss of" in err
    found = json.loads(out)
    assert found["predicted"] <= 0.5 * found["seed"]
    assert found["measured_ms"] is None
    assert {"accuracy", "loss"} <= set(found["metrics"])
    for kind in ("keras", "onnx", "structure", "widths"):
        assert Path(found["files"][kind]).exists(), kind
    assert found["difference"]["onnx"] < 1e-4
    small = keras.models.load_model(found["files"]["keras"])
    kept = [small.get_layer(name).filters for name in "ab"]
    assert kept == [now for size, now in found["groups"].values() if size == 24]
    assert min(kept) < 24


def test_milliseconds_are_timed_on_the_device(
    run: Any, net: Path, recipe: Path, table: Path, tmp_path: Path
) -> None:
    code, out, err = run(
        "train", net, "-d", recipe, "-t", table, "--target", "80%", *SHORT, "--finish", "none",
        "--out", tmp_path, "--rounds", 2, "--no-wait", "--save-every", 5,
    )  # fmt: skip
    assert code == 0, err
    assert "right after shrinking: accuracy" in err
    assert "(taken)" in out
    assert "predicted only" not in out
    assert (tmp_path / "layers.svg").exists()
    record = read_record(tmp_path)
    assert isinstance(record, MorphRecord)
    assert record.measured_ms in [item.measured_ms for item in record.rounds]
    assert sum(before for before, _ in record.layers.values()) > 0


def test_what_is_only_predicted_is_not_timed(
    run: Any, net: Path, recipe: Path, table: Path, tmp_path: Path
) -> None:
    code, out, err = run(
        "train", net, "-d", recipe, "-t", table, "--target", "80%", *SHORT, "--finish", "none",
        "--out", tmp_path, "--predict-only", "--json",
    )  # fmt: skip
    assert code == 0, err
    assert json.loads(out)["measured_ms"] is None


def test_cutting_to_a_structure_and_to_a_budget(
    run: Any, net: Path, recipe: Path, tmp_path: Path
) -> None:
    out = tmp_path / "small.keras"
    code, _, err = run(
        "shrink", net, "--data", recipe, "--cost", "params", "--target", "40%", "-o", out
    )
    assert code == 0, err
    seed, small = keras.models.load_model(net), keras.models.load_model(out)
    assert small.count_params() <= 0.45 * seed.count_params()
    assert np.abs(np.array(seed.get_layer("norm_a").moving_mean)).max() == 0.0
    assert np.abs(np.array(small.get_layer("norm_a").moving_mean)).max() > 0.0
    kept = [int(small.get_layer(name).filters) for name in "ab"]
    text = Structure.from_json(
        json.dumps({f"{name}/Conv2D": width for name, width in zip("ab", kept, strict=True)})
    )
    text.save(tmp_path / "structure.json")
    code, out_text, err = run(
        "shrink", net, "-s", tmp_path / "structure.json", "-o", tmp_path / "same.keras", "--json"
    )
    assert code == 0, err
    groups = json.loads(out_text)["groups"].values()
    assert [now for size, now in groups if size == 24] == kept
    code, _, err = run("shrink", net, "-s", tmp_path / "structure.json", "-d", recipe, "-o", out)
    assert code == 0, err
    small, same = (keras.models.load_model(path) for path in (out, tmp_path / "same.keras"))
    means = [np.array(item.get_layer("norm_a").moving_mean) for item in (small, same)]
    assert np.abs(means[0]).max() > 0.0 == np.abs(means[1]).max()


def test_blocks_may_go_and_images_be_smaller(
    run: Any, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.Conv2D(24, 3, padding="same", use_bias=False, name="a")(x)
    y = layers.ReLU()(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", name="b")(y))
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([x, y])))
    net, out = tmp_path / "net.keras", tmp_path / "small.keras"
    keras.Model(inputs, layers.Dense(3, name="head")(x), name="net").save(net)
    both = ("--data", recipe, "--cost", "flops", "--remove-blocks", "--resolution", 4)
    code, text, err = run("shrink", net, *both, "--target", "20%", "-o", out, "--json")
    assert code == 0, err
    assert "images of 4 by 4" in err
    assert "rated 1 blocks" in err
    small, (_, left) = keras.models.load_model(out), json.loads(text)["groups"]["a"]
    assert small.input_shape == (None, 4, 4, 3)
    names = {layer.name for layer in small.layers}
    assert {"a", "b"} & names == ({"a", "b"} if left else set())
    given: dict[str, Any] = {}

    def asked(*_: Any, **options: Any) -> None:
        given.update(options)
        message = "enough"
        raise InvalidInputError(message)

    monkeypatch.setattr(morphing, "morph", asked)
    code, _, err = run("train", net, *both, "--target", "20%", "-o", tmp_path / "out")
    assert "enough" in err
    assert given["remove_blocks"]
    assert given["resolutions"] == [4]


def test_widening_by_a_factor_and_up_to_a_cost(run: Any, net: Path, tmp_path: Path) -> None:
    out = tmp_path / "wide.keras"
    assert run("expand", net, "--by", 1.5, "-o", out)[0] == 0
    assert keras.models.load_model(out).get_layer("a").filters == 36
    code, text, err = run(
        "expand", net, "--cost", "flops", "--target", "200%", "--multiple", 4, "-o", out, "--json"
    )
    assert code == 0, err
    found = json.loads(text)
    assert found["seed"] < found["predicted"] <= 2 * found["seed"]
    assert keras.models.load_model(out).get_layer("b").filters % 4 == 0


def test_a_donor_helps_a_table_of_few_rows(
    run: Any, net: Path, recipe: Path, table: Path, tmp_path: Path
) -> None:
    full = LatencyTable.load(table)
    few = tmp_path / "few.jsonl"
    slow = [
        replace(row, latency_ms=3 * row.latency_ms, median_ms=3 * row.median_ms, rounds=())
        for row in full.kernels()[::4]
    ]
    LatencyTable(replace(full.device, name="a board"), slow).save(few)
    common = ("--table", few, "--donor", table, "--json")
    code, text, err = run("expand", net, *common, "--target", "150%", "-o", tmp_path / "w.keras")
    assert code == 0, err
    assert "its own law" in err
    wide = json.loads(text)
    assert 0 < wide["predicted"] <= 1.5 * wide["seed"]
    code, text, err = run(
        "shrink", net, "-d", recipe, *common, "--target", "70%", "--predict-only", "-o",
        tmp_path / "s.keras",
    )  # fmt: skip
    assert code == 0, err
    small = json.loads(text)
    assert small["seed"] == pytest.approx(wide["seed"])
    assert small["predicted"] <= 0.7 * small["seed"]


def bad(folder: Path, text: str) -> Path:
    path = folder / f"bad{abs(hash(text))}.py"
    path.write_text(text)
    return path


MISTAKES = {
    "no budget": (lambda net, data, to: ("train", net, "-d", data, "-o", to), "--target-ms"),
    "two budgets": (
        lambda net, data, to: (
            "train", net, "-d", data, "-o", to, "--target", "5%", "--target-ms", 3,
        ),
        "either",
    ),
    "no number": (
        lambda net, data, to: ("train", net, "-d", data, "-o", to, "--target", "fast"),
        "'fast'",
    ),
    "nothing to price by": (
        lambda net, data, to: ("train", net, "-d", data, "-o", to, "--target", "50%"),
        "--table",
    ),
    "milliseconds of flops": (
        lambda net, data, to: (
            "train", net, "-d", data, "-o", to, "--cost", "flops", "--target-ms", 3,
        ),
        "milliseconds",
    ),
    "cutting to milliseconds of flops": (
        lambda net, data, to: (
            "shrink", net, "-d", data, "-o", to / "s.keras", "--cost", "flops", "--target-ms", 3,
        ),
        "milliseconds",
    ),
    "widening to milliseconds of flops": (
        lambda net, _, to: (
            "expand", net, "-o", to / "s.keras", "--cost", "flops", "--target-ms", 3,
        ),
        "milliseconds",
    ),
    "training by a donor of flops": (
        lambda net, data, to: (
            "train", net, "-d", data, "-o", to, "--cost", "flops", "--donor", "t.jsonl",
            "--target", "50%",
        ),
        "Donors help a table's regression",
    ),
    "onnx": (
        lambda net, data, to: (
            "train", net.with_suffix(".onnx"), "-d", data, "-o", to, "--cost", "flops", "--target",
            "50%",
        ),
        "morphnet align",
    ),
    "no recipe": (
        lambda net, _, to: (
            "train", net, "-d", to / "none.py", "-o", to, "--cost", "flops", "--target", "50%",
        ),
        "load()",
    ),
    "recipe without load": (
        lambda net, _, to: (
            "train", net, "-d", bad(to, "x = 1"), "-o", to, "--cost", "flops", "--target", "50%",
        ),
        "has no function load",
    ),
    "recipe that fails": (
        lambda net, _, to: (
            "train", net, "-d", bad(to, "def load():\n    raise OSError('gone')"), "-o", to,
            "--cost", "flops", "--target", "50%",
        ),
        "gone",
    ),
    "recipe of something else": (
        lambda net, _, to: (
            "train", net, "-d", bad(to, "def load():\n    return 3"), "-o", to,
            "--cost", "flops", "--target", "50%",
        ),
        "returned a int",
    ),
    "unequal data": (
        lambda net, _, to: (
            "train", net, "-d", bad(to, "def load():\n    return [1, 2], [1]"), "-o", to,
            "--cost", "flops", "--target", "50%",
        ),
        "2 inputs with 1 targets",
    ),
    "above the seed": (
        lambda net, data, to: (
            "train", net, "-d", data, "-o", to, "--cost", "flops", "--target", "150%",
        ),
        "above 0 and at most",
    ),
    "shrink to nothing": (lambda net, _, to: ("shrink", net, "-o", to / "s.keras"), "--structure"),
    "blocks of a structure": (
        lambda net, _, to: (
            "shrink", net, "-o", to / "s.keras", "-s", to / "s.json", "--remove-blocks",
        ),
        "are for a budget",
    ),
    "blocks of a network that grows": (
        lambda net, data, to: (
            "train", net, "-d", data, "-o", to, "--cost", "flops", "--target", "100%", "--grow", 2,
            "--remove-blocks",
        ),
        "without grow",
    ),
    "shrink without data": (
        lambda net, _, to: (
            "shrink", net, "-o", to / "s.keras", "--cost", "flops", "--target", "50%",
        ),
        "--data",
    ),
    "out that is no model": (
        lambda net, _, to: ("expand", net, "--by", 2, "-o", to / "s.onnx"),
        ".keras",
    ),
    "out nowhere": (
        lambda net, _, to: ("expand", net, "--by", 2, "-o", to / "no" / "s.keras"),
        "no folder",
    ),
    "expand by nothing": (lambda net, _, to: ("expand", net, "-o", to / "s.keras"), "--by"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_named(run: Any, net: Path, recipe: Path, tmp_path: Path, case: str) -> None:
    arguments, words = MISTAKES[case]
    code, _, err = run(*arguments(net, recipe, tmp_path))
    assert code == 2
    assert words in err


def test_the_standard_recipe_knows_probabilities_from_logits() -> None:
    from morphnet_core.morphing import standard

    for last, logits in (("softmax", False), (None, True)):
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, activation=last)])
        assert standard(model, 10).loss.get_config()["from_logits"] is logits
    x = np.zeros((2, 4))
    assert standard(model, 1).evaluate(x, np.zeros(2), verbose=0)[0] > 0
    with pytest.raises(ValueError, match="standard recipe"):
        standard(keras.Sequential([keras.Input((4,)), layers.Dense(1)]), 10)

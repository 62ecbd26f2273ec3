"""Of many choices of widths the one that does best is taken, and none is tried twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.groups import Alive, find_groups
from morphnet_core.morphing import Data, morph
from morphnet_core.morphing.looking import Looking, loss_of_cut
from morphnet_core.morphing.sample import JUDGED_BY, judged_by
from morphnet_core.morphing.unfinished import Section
from morphnet_core.pricing import Pricer
from morphnet_core.projection import project, proposals
from morphnet_core.projection.problem import candidates

pytestmark = pytest.mark.keras


def network(**more: Any) -> Any:
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 3))
    for name in "abcd":
        x = layers.Conv2D(16, 3, padding="same", use_bias=False, name=name, **more)(x)
        x = layers.ReLU()(layers.BatchNormalization(name=f"norm_{name}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


def data(count: int = 36) -> Data:
    x = np.random.default_rng(0).normal(size=(count, 6, 6, 3)).astype("float32")
    y = np.arange(count) % 3
    return Data(x=x, y=y, x_val=x[:12], y_val=y[:12], batch_size=12)


@pytest.fixture
def pricer() -> Pricer:
    return Pricer(find_groups(read_keras(network())), "flops")


@pytest.fixture
def importance(pricer: Pricer) -> Any:
    return np.random.default_rng(1).random(pricer.grouping.num_units)


def looking(judge: Callable[[Alive], float], path: Path | None = None) -> Looking:
    section = Section(name="looks", path=path, belongs={})
    return Looking(judge=judge, count=8, seed=0, section=section, say=lambda _: None)


def test_the_least_loss_is_taken_and_its_importances_serve_later(
    pricer: Pricer, importance: Any
) -> None:
    target = 0.5 * pricer.seed
    made = list(proposals(pricer, importance, target, count=8, seed=0))
    wanted = made[-1]
    assert len(made) > 2

    def judge(kept: Alive) -> float:
        return float((kept != wanted.projection.alive).sum())

    choose = looking(judge)
    np.testing.assert_array_equal(
        choose(pricer, importance, target).counts, wanted.projection.counts
    )
    later = project(pricer, wanted.importance, 0.6 * pricer.seed)
    np.testing.assert_array_equal(
        choose(pricer, importance, 0.6 * pricer.seed).counts, later.counts
    )


def test_what_was_tried_is_not_tried_again(pricer: Pricer, importance: Any, tmp_path: Path) -> None:
    asked: list[bytes] = []

    def judge(kept: Alive) -> float:
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append(kept.tobytes())
        return float("nan") if len(asked) == 1 else float(len(asked))

    target = 0.5 * pricer.seed
    with pytest.raises(KeyboardInterrupt):
        looking(judge, tmp_path / "looks.npz")(pricer, importance, target)

    def again(kept: Alive) -> float:
        assert kept.tobytes() not in asked
        return 100.0

    found = looking(again, tmp_path / "looks.npz")(pricer, importance, target)
    assert found.alive.tobytes() == asked[1], "what is no number is not the least"


def test_penalties_of_weights_are_no_loss() -> None:
    plain, charged = network(), network(kernel_regularizer=keras.regularizers.L2(0.1))
    losses = {"loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    found = []
    for model in (plain, charged):
        grouping = find_groups(read_keras(model))
        kept = grouping.full()
        free = next(group for group in grouping.groups if not group.frozen)
        kept[free.units][:4] = False
        found.append(loss_of_cut(model, kept, grouping, data(), losses))
    assert found[0] == pytest.approx(found[1], rel=1e-4)
    assert 0.5 < found[0] < 3.0


def test_a_network_is_judged_by_validation_data_or_else_by_others() -> None:
    many = np.zeros((3 * JUDGED_BY, 2), dtype="float32")
    few = judged_by(Data(x=many, y=many, x_val=many[:5], y_val=many[:5]))
    assert len(few.x_val) == 5
    few = judged_by(Data(x=many, y=many))
    assert len(few.x_val) == len(few.y_val) == JUDGED_BY
    assert few.weights_val is None

    def batches() -> Any:
        while True:
            yield many[:100], many[:100]

    stream = judged_by(Data(x=batches(), steps_per_epoch=4))
    assert [len(stream.x_val[place][0]) for place in range(len(stream.x_val))] == [100] * 11


def compiled(model: Any, steps: int) -> Any:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss, run_eagerly=True)  # tracing takes longer
    return model


def morphed(**options: Any) -> Any:
    told: list[str] = []
    settings: dict[str, Any] = {
        "compiled": compiled, "target": "50%", "clock": None, "search_epochs": 1,
        "finish": "none", "verbose": 0, "exports": (), "looks": 5, "tell": told.append,
        "dry_run": False, **options,
    }  # fmt: skip
    return morph(network(), data(), "flops", **settings), told


def test_morph_looks_and_goes_on_looking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, told = morphed()
    assert any("looked at" in line for line in told)
    assert whole.loop.best.projection.cost <= 0.5 * whole.loop.seed_ms
    from morphnet_core.morphing import course

    calls: list[int] = []

    def failing(*arguments: Any, **options: Any) -> float:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss_of_cut(*arguments, **options)

    monkeypatch.setattr(course, "loss_of_cut", failing)
    with pytest.raises(KeyboardInterrupt):
        morphed(out=tmp_path)
    calls[:] = [0] * 3
    again, _ = morphed(out=tmp_path)
    assert len(calls) < 3 + 5, "two were tried before"
    assert again.loop.best.projection.counts.tolist() == (
        whole.loop.best.projection.counts.tolist()
    )


def test_what_grows_is_not_looked_at() -> None:
    with pytest.raises(InvalidInputError, match="without grow"):
        morphed(grow=2.0)


def residual() -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem")(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="norm_stem")(x))
    for name in "ab":
        y = layers.Conv2D(16, 3, padding="same", use_bias=False, name=f"{name}1")(x)
        y = layers.ReLU()(layers.BatchNormalization(name=f"norm_{name}1")(y))
        y = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}2")(y)
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization(name=f"norm_{name}2")(y)]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(3, name="head")(x), name="net")


@pytest.mark.parametrize("useless", ["a1", "b1"])
def test_the_block_goes_without_which_the_loss_is_least(useless: str, tmp_path: Path) -> None:
    grouping = find_groups(read_keras(residual()))
    pricer = Pricer(grouping, "flops")
    worth = np.ones(grouping.num_units)
    asked: list[bytes] = []

    def judge(kept: Alive) -> float:
        """Narrow layers lose, one block loses nothing, the other everything."""
        asked.append(kept.tobytes())
        counts = dict(zip(grouping.by_name, grouping.counts(kept), strict=True))
        other = "b1" if useless == "a1" else "a1"
        return 5.0 * (not counts[other]) + 0.1 * (8 - counts["stem"]) + 0.05 * (16 - counts[other])

    told: list[str] = []
    section = Section(name="looks", path=tmp_path / "looks.npz", belongs={})
    choose = Looking(judge=judge, count=1, seed=0, section=section, say=told.append, blocks=9)
    found = choose(pricer, worth, 0.55 * pricer.seed)
    counts = dict(zip(grouping.by_name, found.counts, strict=True))
    assert counts[useless] == 0
    assert min(count for name, count in counts.items() if name != useless) > 0
    assert found.cost <= 0.55 * pricer.seed
    assert told == [line for line in told if f"without {useless}," in line]
    assert len(asked) == len(set(asked)), "nothing is tried twice"
    later = choose(pricer, worth, 0.5 * pricer.seed)
    assert later.counts[list(grouping.by_name).index(useless)] == 0
    again = Looking(judge=judge, count=1, seed=0, section=Section(
        name="looks", path=tmp_path / "looks.npz", belongs={}), say=told.append, blocks=9,
    )  # fmt: skip
    before = len(asked)
    np.testing.assert_array_equal(again(pricer, worth, 0.55 * pricer.seed).counts, found.counts)
    assert len(asked) == before


def test_blocks_stay_where_all_are_needed_or_none_is_there(pricer: Pricer) -> None:
    told: list[str] = []
    section = Section(name="looks", path=None, belongs={})
    options: dict[str, Any] = {"count": 1, "seed": 0, "section": section, "say": told.append}
    choose = Looking(judge=lambda _: 1.0, blocks=9, **options)
    worth = np.ones(pricer.grouping.num_units)
    found = choose(pricer, worth, 0.5 * pricer.seed)
    np.testing.assert_array_equal(found.counts, project(pricer, worth, 0.5 * pricer.seed).counts)
    assert "no block" in told[0]
    grouping = find_groups(read_keras(residual()))
    whole = grouping.full_counts

    def judge(kept: Alive) -> float:
        return float(
            9.0 * (grouping.counts(kept) == 0).any() + (whole - grouping.counts(kept)).sum()
        )

    section = Section(name="looks", path=None, belongs={})
    choose = Looking(judge=judge, blocks=9, **{**options, "section": section})
    residual_pricer = Pricer(grouping, "flops")
    found = choose(residual_pricer, np.ones(grouping.num_units), 0.9 * residual_pricer.seed)
    assert found.counts.all()
    assert "without any" in told[-1]


def test_morph_without_blocks(tmp_path: Path) -> None:
    told: list[str] = []
    done = morph(
        residual(), data(), "flops", target="40%", clock=None, search_epochs=0, finish="finetune",
        finish_epochs=1, remove_blocks=True, importance="signal", verbose=0, out=tmp_path,
        tell=told.append,
    )  # fmt: skip
    assert any("rated 2 blocks" in line for line in told)
    assert done.structure is not None
    assert done.loop.best.projection.cost <= 0.4 * done.loop.seed_ms
    there = {layer.name for layer in done.model.layers}
    assert not there.intersection(done.structure.removed)
    assert not any("constant" in name for name in there)
    with pytest.raises(InvalidInputError, match="without grow"):
        morph(residual(), data(), "flops", target="100%", remove_blocks=True, grow=2.0)


def test_blocks_go_where_the_budget_asks_for_it_rated_or_not() -> None:
    """One is rated, and without it the loss is no number; the budget needs more than one gone."""
    grouping = find_groups(read_keras(residual()))
    pricer = Pricer(grouping, "flops")
    least = np.array([own[0] for own in candidates(pricer, grouping.full_counts, 1.0)])
    least[list(grouping.by_name).index("b1")] = 0
    target = 0.999 * pricer.at_counts(least)
    asked: list[Any] = []

    def judge(kept: Alive) -> float:
        counts = dict(zip(grouping.by_name, grouping.counts(kept), strict=True))
        asked.append(counts)
        return float("nan") if not counts["a1"] else 1.0 + 0.01 * sum(counts.values())

    told: list[str] = []
    section = Section(name="looks", path=None, belongs={})
    choose = Looking(judge=judge, count=1, seed=0, section=section, say=told.append, blocks=1)
    found = choose(pricer, np.ones(grouping.num_units), target)
    counts = dict(zip(grouping.by_name, found.counts, strict=True))
    assert (counts["a1"], counts["b1"]) == (0, 0)
    assert found.cost <= target
    assert "rated 1 blocks" in told[-1]

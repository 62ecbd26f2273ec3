"""The exporter: names, files and counts as the original had them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras_models import MODELS

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.exporter import StructureExporter
from morphnet_core.groups import Grouping, find_groups
from morphnet_core.groups.convert import alive_of, structure_of
from morphnet_core.structure import Structure
from morphnet_core.structure_fields import LayerWidth

pytestmark = pytest.mark.keras


def grouped(name: str) -> Grouping:
    return find_groups(read_keras(MODELS[name](keras)))


def some_alive(grouping: Grouping, seed: int = 0) -> np.ndarray:
    alive = np.random.default_rng(seed).random(grouping.num_units) < 0.5
    for group in grouping.groups:
        alive[group.units] |= bool(group.frozen)
    return alive


class Regularizer:
    def structure(self) -> Structure:
        layers = {"net/a": LayerWidth(count=2, operation="Conv2D"), "net/b": LayerWidth(count=1)}
        return Structure(layers=layers)


def test_counts_are_named_by_operation() -> None:
    grouping = grouped("unet")
    counts = StructureExporter(grouping, grouping.full()).get_alive_counts()
    assert counts["down1/Conv2D"] == 4
    assert counts["up1/Conv2DBackpropInput"] == 5
    assert len(counts) == 7


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("separable", "sep/separable_conv2d"),
        ("one_dimensional", "up/Conv2DBackpropInput"),
        ("three_dimensional", "conv3/Conv3DBackpropInputV2"),
        ("three_dimensional", "conv1/Conv3D"),
        ("sequential", "hidden/MatMul"),
        ("nested", "backbone/conv1/Conv2D"),
        ("depthwise", "excite/Conv2D"),
    ],
)
def test_operations_are_called_as_tensorflow_1_did(name: str, operation: str) -> None:
    grouping = grouped(name)
    counts = StructureExporter(grouping, grouping.full()).get_alive_counts()
    assert operation in counts
    assert not any(key.startswith("dw") for key in counts)


def test_the_file_is_where_the_original_put_it(tmp_path: Path) -> None:
    grouping = grouped("residual")
    alive = some_alive(grouping)
    exporter = StructureExporter(grouping, alive)
    path = exporter.create_file_and_save_alive_counts(tmp_path, 120)
    assert path == tmp_path / "learned_structure" / "alive_120"
    assert np.array_equal(alive_of(grouping, Structure.load(path)), alive)
    with pytest.raises(InvalidInputError, match="counted from 0"):
        exporter.create_file_and_save_alive_counts(tmp_path, -1)


def test_counts_alone_are_the_originals_text(tmp_path: Path) -> None:
    exporter = StructureExporter(Regularizer())
    file = io.StringIO()
    exporter.save_alive_counts(file)
    assert file.getvalue() == '{\n  "net/a/Conv2D": 2,\n  "net/b": 1\n}\n'
    exporter.save_alive_counts(tmp_path / "counts.json")
    assert (tmp_path / "counts.json").read_text(encoding="utf-8") == file.getvalue()


def test_a_common_prefix_is_removed(tmp_path: Path) -> None:
    exporter = StructureExporter(Regularizer(), remove_common_prefix=True)
    assert exporter.get_alive_counts() == {"a/Conv2D": 2, "b": 1}
    path = exporter.create_file_and_save_alive_counts(tmp_path, 0)
    assert json.loads(path.read_text(encoding="utf-8")) == {"a/Conv2D": 2, "b": 1}


def test_a_grouping_needs_alive_units() -> None:
    grouping = grouped("chain")
    with pytest.raises(InvalidInputError, match="made of a regularizer alone"):
        StructureExporter(grouping)
    with pytest.raises(InvalidInputError, match="made of a regularizer alone"):
        StructureExporter(Regularizer(), grouping.full())


@pytest.mark.parametrize("name", list(MODELS))
@pytest.mark.parametrize("seed", range(3))
def test_a_structure_and_back(name: str, seed: int) -> None:
    grouping = grouped(name)
    alive = some_alive(grouping, seed)
    structure = structure_of(grouping, alive, device="cpu", predicted_ms=2.0)
    assert structure.device == "cpu"
    assert np.array_equal(alive_of(grouping, structure), alive)
    # Of counts alone, the first channels of each group are kept, as many as were alive.
    counts = Structure.from_json(json.dumps(structure.counts))
    first = alive_of(grouping, counts)
    assert structure_of(grouping, first).counts == structure.counts
    bare = {name: replace(width, kept=None) for name, width in structure.layers.items()}
    told = alive_of(grouping, replace(structure, layers=bare))
    assert np.array_equal(grouping.counts(told), grouping.counts(alive))
    for group in grouping.groups:
        assert (np.diff(first[group.units].astype(int)) <= 0).all()


def test_a_structure_of_another_network_is_refused() -> None:
    grouping = grouped("residual")
    structure = structure_of(grouping, grouping.full())
    with pytest.raises(InvalidInputError, match="has a layer 'stem', but the network's"):
        alive_of(grouped("chain"), structure)
    wide = {**structure.layers, "a1": LayerWidth(count=5, of=9, operation="Conv2D")}
    with pytest.raises(InvalidInputError, match="keeps 5 of 9 channels of layer 'a1', which has 4"):
        alive_of(grouping, Structure(layers=wide))


def test_layers_of_one_group_must_agree() -> None:
    grouping = grouped("residual")
    layers = {"stem": LayerWidth(count=1, kept=(0,)), "a2": LayerWidth(count=1, kept=(1,))}
    with pytest.raises(InvalidInputError, match="'a2', which lives and dies with one of layer 'st"):
        alive_of(grouping, Structure(layers=layers))
    layers = {"stem": LayerWidth(count=1), "a2": LayerWidth(count=2)}
    with pytest.raises(InvalidInputError, match="of which 'stem' says otherwise"):
        alive_of(grouping, Structure(layers=layers))


def test_frozen_channels_must_stay() -> None:
    grouping = grouped("chain")
    structure = Structure(layers={"head": LayerWidth(count=2)})
    with pytest.raises(InvalidInputError, match="'head' cannot be removed: it is the network's ou"):
        alive_of(grouping, structure)
    with pytest.raises(InvalidInputError, match="Begin with grouping"):
        structure_of(grouping, np.ones(3, dtype=bool))

"""What ``load()`` of a user's file may return, and what is said of anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.errors import InvalidInputError
from morphnet_core.morphing import load_recipe

pytestmark = pytest.mark.keras

A = "np.zeros((128, 4, 4, 3), 'float32')"
B = "np.zeros((128, 5), 'float32')"
Y = "np.zeros(128, 'int64')"
SET = "tf.data.Dataset.from_tensor_slices(({x}, {y})).batch(64)"
RETURNS = {
    "arrays": f"{A}, {Y}",
    "validation": f"{A}, {Y}, {A}[:8], {Y}[:8]",
    "weights": f"{A}, {Y}, np.ones(128)",
    "weights and validation": f"{A}, {Y}, np.ones(128), {A}[:8], {Y}[:8], np.ones(8)",
    "two inputs": f"[{A}, {B}], {Y}",
    "inputs by name": f"{{'image': {A}, 'numbers': {B}}}, {Y}",
    "two outputs": f"{A}, [{Y}, {B}]",
    "both by name": f"{{'image': {A}}}, {{'kind': {Y}, 'place': {B}}}",
    "as keras.datasets": f"({A}, {Y}), ({A}[:8], {Y}[:8])",
    "inputs alone": f"{{'image': {A}, 'target': {Y}}}",
    "samples in a list": f"list({A}), list(range(128))",
    "a dataset": SET.format(x=A, y=Y),
    "two datasets": f"{SET.format(x=A, y=Y)}, {SET.format(x=A, y=Y)}",
    "Data": f"Data(x={A}, y={Y}, batch_size=64)",
}
VALIDATED = {
    "validation", "weights and validation", "as keras.datasets", "two datasets",
}  # fmt: skip


def written(folder: Path, returned: str) -> Path:
    path = folder / "data.py"
    path.write_text(
        "import numpy as np\nimport tensorflow as tf\nfrom morphnet_core import Data\n\n"
        f"def load():\n    return {returned}\n"
    )
    return path


@pytest.mark.parametrize("kind", RETURNS)
def test_every_form_is_128_samples(kind: str, tmp_path: Path) -> None:
    data = load_recipe(written(tmp_path, RETURNS[kind]), batch_size=64).data
    assert data.steps == 2
    assert (data.validation is not None) == (kind in VALIDATED)
    (_, _, weights), *_ = data.first(1)
    assert (weights is not None) == ("weights" in kind)


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("3", "returned a int"),
        ("1, 2, 3, 4, 5", "returned a tuple of 5"),
        ("[np.zeros(4), np.zeros(3)], np.zeros(4)", "4 inputs (0) with 3 inputs (1)"),
        ("iter([(np.zeros(4), np.zeros(4))])", "Give steps_per_epoch"),
    ],
)
def test_anything_else_is_named(returned: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError) as found:
        load_recipe(written(tmp_path, returned))
    assert words in str(found.value)
    assert "data.py" in str(found.value)


def test_what_lies_beside_the_file_can_be_imported_by_load(tmp_path: Path) -> None:
    (tmp_path / "beside_me.py").write_text("import numpy as np\nX = np.ones((4, 2))\n")
    path = tmp_path / "late.py"
    path.write_text("def load():\n    import beside_me as b\n    return b.X, b.X[:, 0]\n")
    found: Any = load_recipe(path).data
    np.testing.assert_array_equal(found.x, np.ones((4, 2)))

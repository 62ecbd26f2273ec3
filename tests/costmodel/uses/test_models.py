"""Models in any form become files that runners read."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from small_models import Draft

from costmodel.errors import InvalidInputError
from costmodel.uses.models import as_list, model_files


@pytest.fixture
def proto() -> onnx.ModelProto:
    draft = Draft(1, 3, 8, 8)
    return draft.done(draft.node("Relu", "x"))


def test_files_are_used_where_they_lie(proto: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(proto, str(path))
    with model_files([path, str(path)], {}) as (files, _):
        assert files == [path, path]


def test_a_model_in_memory_is_written_under_its_name_and_tidied_up(proto: onnx.ModelProto) -> None:
    proto.graph.name = "a net/of: mine"
    before = proto.SerializeToString()
    with model_files([proto, proto], {}) as (files, _):
        assert [path.name for path in files] == ["a_net_of__mine.onnx"] * 2
        assert files[0] != files[1]
        assert onnx.load(str(files[0])) == proto
    assert not files[0].exists()
    assert proto.SerializeToString() == before


@pytest.mark.keras
def test_a_keras_model_is_exported(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)], name="small")
    model.save(tmp_path / "saved.keras")
    with model_files([model, tmp_path / "saved.keras"], {}) as (files, _):
        assert [path.name for path in files] == ["small.onnx", "saved.onnx"]
        for path in files:
            assert {node.op_type for node in onnx.load(str(path)).graph.node} >= {"Conv"}


@pytest.mark.parametrize("model", [3, None, {"a": 1}, object()])
def test_what_is_no_model_is_named(model: object) -> None:
    wanted = f"{type(model).__name__} is no model"
    with pytest.raises(InvalidInputError, match=wanted), model_files([model], {}):
        pass


def test_missing_files_and_folders_are_told_before_anything_is_written(
    proto: onnx.ModelProto, tmp_path: Path
) -> None:
    with (
        pytest.raises(InvalidInputError, match=r"no file .*gone\.onnx"),
        model_files([proto, tmp_path / "gone.onnx"], {}),
    ):
        pass
    with pytest.raises(InvalidInputError, match="is a folder"), model_files([tmp_path], {}):
        pass


def test_one_model_is_a_list_of_one(proto: onnx.ModelProto) -> None:
    assert as_list("a.onnx") == ["a.onnx"]
    assert as_list(("a.onnx", proto)) == ["a.onnx", proto]

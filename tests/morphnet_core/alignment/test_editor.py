"""The editor of ONNX files: groups with their layers, gains by rule, files at other widths."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx_graphs import Blocks, bottleneck, widths

from costmodel.editing import Editor
from costmodel.errors import InvalidInputError
from morphnet_core.alignment import agreement
from morphnet_core.alignment.editor import OnnxEditor


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "net.onnx"
    onnx.save(bottleneck(), found)
    return found


@pytest.fixture
def opened(path):
    cost = Blocks()
    return OnnxEditor().open(path, {}, cost=cost, device=cost.device, law=None)


def test_groups_know_who_writes_passes_and_reads_them(opened):
    assert isinstance(OnnxEditor(), Editor)
    groups = {group.name: group for group in opened.groups}
    inner = groups["conv3"]
    assert (inner.size, inner.frozen) == (27, "")
    assert inner.writers == ("conv3",)
    assert set(inner.through) == {"conv4", "relu5"}  # depthwise
    assert inner.readers == ("conv6",)
    assert inner.layers == {"conv3", "conv4", "relu5", "conv6"}
    assert groups["image"].frozen


def test_gains_are_those_of_the_whole_network(opened):
    one, two = {"conv3": 28}, {"conv3": 28, "conv8": 28}
    gains = opened.gains_ms([one, two, {}, {"conv3": 27}])
    assert gains[1] == pytest.approx(2 * gains[0], rel=0.05)
    assert gains[0] > 0
    assert gains[2:] == [0.0, 0.0]
    assert opened.fast_widths() == {"conv0": 16, "conv3": 28, "conv8": 28}


def test_a_width_without_a_price_gains_nothing(path):
    cost = Blocks(unknown=lambda op: op.kind == "conv" and op.out_channels == 28)
    found = OnnxEditor().open(path, {}, cost=cost, device=cost.device, law=None)
    assert found.gains_ms([{"conv3": 28}, {"conv3": 28, "conv8": 28}]) == [-np.inf, -np.inf]


def test_wider_files_compute_the_same_and_narrower_ones_have_fewer_weights(path, opened, tmp_path):
    opened.save({"conv3": 32}, tmp_path / "wide.onnx")
    opened.save({"conv3": 16}, tmp_path / "thin.onnx")
    wide, thin = (onnx.load(tmp_path / name) for name in ("wide.onnx", "thin.onnx"))
    assert agreement(path, onnx.load(path), wide, {}).difference < 1e-5
    assert (32, 13, 1, 1) in widths(wide)
    assert (16, 13, 1, 1) in widths(thin)
    assert (16, 1, 3, 3) in widths(thin)
    with pytest.raises(InvalidInputError, match="Some groups would grow"):
        opened.save({"conv3": 32, "conv8": 16}, tmp_path / "both.onnx")
    with pytest.raises(InvalidInputError, match="no group of channels 'conv99'"):
        opened.save({"conv99": 32}, tmp_path / "none.onnx")

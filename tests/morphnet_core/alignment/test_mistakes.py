"""Files that cannot be aligned are refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_graphs import SIDE, Blocks, Graph, bottleneck

from costmodel.errors import CostModelError, InvalidInputError, ModelFormatError
from morphnet_core.alignment import pad_to_fast_widths, paddable, read_source

WHOLE = bottleneck().SerializeToString()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no ONNX graph"), (WHOLE[:2000], "ONNX"), (b"no model" * 9, "not an ONNX file")],
)
def test_damaged_files(tmp_path, content, message):
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=message):
        pad_to_fast_widths(path, Blocks())


@pytest.mark.parametrize("groups", [0, 2, 4])
def test_groups_that_do_not_divide_the_channels(tmp_path, groups):
    model = bottleneck()
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    kept = [item for item in conv.attribute if item.name != "group"]
    del conv.attribute[:]
    conv.attribute.extend([*kept, onnx.helper.make_attribute("group", groups)])
    path = tmp_path / "net.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFormatError, match="cannot run this network"):
        pad_to_fast_widths(path, Blocks())


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, len(WHOLE) - 1), value=st.integers(0, 255))
def test_any_damage_is_an_error_or_harmless(tmp_path, place, value):
    path = tmp_path / "net.onnx"
    path.write_bytes(WHOLE[:place] + bytes([value]) + WHOLE[place + 1 :])
    try:
        found = pad_to_fast_widths(path, Blocks())
    except CostModelError:
        return
    assert found.difference <= 1e-5


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ModelFormatError, match="cannot be opened"):
        pad_to_fast_widths(tmp_path / "none.onnx", Blocks())
    with pytest.raises(ModelFormatError, match="not a file"):
        pad_to_fast_widths(tmp_path, Blocks())


def test_external_data_is_brought_in_or_missed(tmp_path):
    path = tmp_path / "net.onnx"
    onnx.save(
        bottleneck(), path, save_as_external_data=True, location="net.data", size_threshold=16
    )
    found = pad_to_fast_widths(path, Blocks())
    assert found.changed
    saved = found.save(tmp_path / "alone" / "fast.onnx")
    assert not pad_to_fast_widths(saved, Blocks()).changed
    (tmp_path / "net.data").unlink()
    with pytest.raises(ModelFormatError, match=r"'net\.data' beside it, which is missing"):
        pad_to_fast_widths(path, Blocks())


def test_open_sizes_are_asked_for():
    graph = Graph()
    graph.inputs[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model = graph.model(graph.conv(graph.conv("image", 13), 2))
    with pytest.raises(ModelFormatError, match="--size height"):
        pad_to_fast_widths(model, Blocks())
    found = pad_to_fast_widths(model, Blocks(), sizes={"height": SIDE})
    assert found.changed
    assert found.model.graph.input[0].type.tensor_type.shape.dim[2].dim_param == "height"
    with pytest.raises(InvalidInputError, match="no open dimension 'depth'"):
        pad_to_fast_widths(model, Blocks(), sizes={"height": SIDE, "depth": 3})


def test_quantised_networks_are_refused():
    graph = Graph()
    scale, zero = graph.constant(0.1), graph.constant(0, "int8")
    low = graph.node("QuantizeLinear", graph.conv("image", 13), scale, zero)
    last = graph.conv(graph.node("DequantizeLinear", low, scale, zero), 2)
    with pytest.raises(ModelFormatError, match=r"quantised: node .* is a QuantizeLinear"):
        pad_to_fast_widths(graph.model(last), Blocks())


def test_networks_laid_out_for_one_machine_are_refused():
    model = bottleneck()
    model.graph.node[0].domain = "com.microsoft.nchwc"
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft.nchwc", 1))
    with pytest.raises(ModelFormatError, match="optimised for one machine"):
        pad_to_fast_widths(model, Blocks())


def test_custom_kernels_are_named():
    model = bottleneck()
    model.graph.node[0].domain = "my.own"
    model.opset_import.append(onnx.helper.make_opsetid("my.own", 1))
    with pytest.raises(InvalidInputError, match=r"custom domain 'my\.own'"):
        pad_to_fast_widths(model, Blocks())


def test_networks_without_stored_weights_stay_as_they_are():
    graph = Graph()
    size = graph.sizes["image"]
    weight = graph.node("RandomNormalLike", graph.normal(13, 3, 3, 3), size=(13, 3, 3, 3))
    wide = graph.node("Conv", "image", weight, size=(1, 13, *size[2:]), pads=[1, 1, 1, 1])
    found = pad_to_fast_widths(graph.model(graph.node("Relu", wide)), Blocks())
    assert not found.changed
    reasons = [group.frozen for group in found.groups]
    assert any("computed rather than constant" in reason for reason in reasons), reasons


def test_networks_that_compute_nothing_are_refused():
    graph = Graph()
    model = graph.model(graph.node("Relu", graph.normal(3, 3), size=(3, 3)))
    with pytest.raises(InvalidInputError, match="computes nothing from its inputs"):
        pad_to_fast_widths(model, Blocks())


def test_a_model_that_the_runtime_cannot_run_is_an_error():
    graph = Graph()
    made = graph.node("Acos", graph.conv(graph.conv("image", 13), 2))
    model = graph.model(made)
    model.graph.node[-1].attribute.append(onnx.helper.make_attribute("strange", 1))
    with pytest.raises(ModelFormatError, match="ONNX Runtime cannot load"):
        pad_to_fast_widths(model, Blocks())


def test_an_input_without_sizes_that_unread_layers_read_is_left_alone(tmp_path):
    """A damaged file that fuzzing made of a network: its input has no sizes any more."""
    hostile = Path(__file__).parents[2] / "data" / "hostile" / "onnx" / "KeyError-355"
    path = tmp_path / "net.onnx"
    path.write_bytes(hostile.read_bytes())
    grouping = paddable(read_source(path, {}))
    assert any("If runs a graph inside" in group.frozen for group in grouping.groups)

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper

from costmodel.costs.features import path_of
from costmodel.errors import InvalidInputError
from costmodel.runners.ort.runner import OrtRunner
from costmodel.sampling import tokens
from costmodel.sampling.design import design
from costmodel.sampling.kernels import FAMILIES
from costmodel.sampling.layers import BUILDERS
from costmodel.sampling.lowered import lower_probes
from costmodel.sampling.probes import Probe, probe_model


def session(*probes: Probe) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    model = probe_model(probes).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(*probes: Probe) -> list[np.ndarray]:
    made = session(*probes)
    types = {"tensor(float)": np.float32, "tensor(int64)": np.int64}
    feed = {i.name: np.ones(i.shape, types[i.type]) for i in made.get_inputs()}
    return list(made.run(None, feed))


def test_each_probe_has_inputs_and_outputs_of_its_own() -> None:
    probes = [
        Probe(name=f"p{i}", kind="conv", in_channels=4, out_channels=i, size=(6, 6), kernel=(3, 3))
        for i in (3, 5)
    ]
    made = session(*probes)
    assert [item.name for item in made.get_inputs()] == ["p3/x", "p5/x"]
    assert [value.shape for value in run(*probes)] == [(1, 3, 6, 6), (1, 5, 6, 6)]


def test_every_kind_of_the_design_is_built_and_runs() -> None:
    probes = [p for p in design(700) if p.weight_bytes < 2e7 and p.activation_bytes < 2e6]
    kinds = {probe.kind: probe for probe in reversed(probes)}
    assert set(kinds) >= {*FAMILIES, *tokens.FAMILIES} - {"large_gemm"}
    assert set(kinds) <= set(BUILDERS)
    for value in run(*kinds.values()):
        assert np.isfinite(value).all()
        assert value.size > 0


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("average_pool", "average_pool@nhwc of uint8"),
        ("max_pool", "max_pool@nhwc of uint8"),
        ("reduce_mean", "reduce_mean/outer"),
    ],
)
def test_kernels_between_convolutions_have_the_layout_of_a_networks(kind: str, path: str) -> None:
    probe = next(p for p in design(2000) if p.kind == kind and p.variant.startswith("blocked"))
    found = lower_probes(OrtRunner(threads=1, dtype="int8"), [probe], {})
    assert path in {path_of(item.op) for item in found if item.role == "target"}


def test_every_form_of_tokens_runs() -> None:
    forms = {
        (probe.kind, probe.variant): probe
        for probe in reversed(design(3000))
        if probe.kind in tokens.FAMILIES
    }
    assert len(forms) > 40
    values = run(*forms.values())
    assert all(value.size > 0 for value in values)


@pytest.mark.parametrize("padding", ["symmetric", "same", "valid"])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [((3, 5), 2, 1), ((3, 3), 1, 3)])
def test_convolution_sizes_are_those_the_runtime_finds(
    padding: str, kernel: tuple[int, int], stride: int, dilation: int
) -> None:
    probe = Probe(
        name="p",
        kind="conv",
        in_channels=6,
        out_channels=9,
        size=(13, 18),
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        groups=3,
        padding=padding,  # type: ignore[arg-type]
    )
    (value,) = run(probe)
    assert value.shape == (1, 9, *probe.out_size)
    assert probe.macs == value.size * 2 * kernel[0] * kernel[1]


def test_residual_sum_and_activation_follow_the_convolution() -> None:
    probe = Probe(
        name="p",
        kind="conv",
        in_channels=5,
        out_channels=7,
        size=(6, 6),
        kernel=(3, 3),
        activation="relu",
        residual=True,
    )
    kernels = [node.op_type for node in probe_model([probe]).graph.node]
    assert kernels == ["Conv", "Conv", "Relu", "Add", "Relu"]


@pytest.mark.parametrize(
    ("kind", "size", "shape"),
    [
        ("flatten", (3, 3), (2, 45)),
        ("squeeze", (1, 1), (2, 5)),
        ("unsqueeze", (1, 1), (2, 5, 1, 1)),
        ("matmul", (1, 1), (2, 7)),
        ("matmul", (6, 1), (2, 6, 7)),
    ],
)
def test_relabelling_and_products_write_the_sizes_they_should(
    kind: str, size: tuple[int, int], shape: tuple[int, ...]
) -> None:
    probe = Probe(name="p", kind=kind, batch=2, in_channels=5, out_channels=7, size=size)
    (value,) = run(probe)
    assert value.shape == shape
    assert probe.macs == (5 * value.size if kind == "matmul" else 0)


def test_weights_are_he_normal_and_shared_by_shape() -> None:
    probes = [
        Probe(name=n, kind="conv", in_channels=64, out_channels=128, kernel=(3, 3), size=(3, 3))
        for n in "ab"
    ]
    model = probe_model(probes)
    (weight,) = [item for item in model.graph.initializer if len(item.dims) == 4]
    values = numpy_helper.to_array(weight)
    assert values.shape == (128, 64, 3, 3)
    assert abs(values.std() / np.sqrt(2 / (64 * 9)) - 1) < 0.02
    assert abs(values.mean()) < 0.001


def test_overridable_weights_are_inputs_too() -> None:
    probe = Probe(name="p", kind="conv", in_channels=3, out_channels=3, overridable=True)
    graph = probe_model([probe]).graph
    inputs = {item.name for item in graph.input}
    assert len(inputs) == 3
    assert {name for name in graph.node[0].input if name != "p/x"} <= inputs


@pytest.mark.parametrize(
    ("probes", "text"),
    [
        ([], "at least one"),
        ([Probe(name="a", kind="relu"), Probe(name="a", kind="relu")], "unique names"),
        ([Probe(name="a", kind="rnn")], "kind 'rnn'"),
    ],
)
def test_refuses_what_cannot_be_one_model(probes: list[Probe], text: str) -> None:
    with pytest.raises(InvalidInputError, match=text):
        probe_model(probes)

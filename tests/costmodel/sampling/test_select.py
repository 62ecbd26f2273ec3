from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest
from architectures import network_file

from costmodel.device import Device
from costmodel.errors import InvalidInputError, ModelFormatError
from costmodel.model_rows import model_op_counts
from costmodel.network import Network, model_digest
from costmodel.protocols import Runner, Workload
from costmodel.registry import load_runner
from costmodel.sampling.design import design
from costmodel.sampling.lowered import Found, lower_probes
from costmodel.sampling.probe import Probe
from costmodel.sampling.probes import probe_model
from costmodel.sampling.select import Sample, sample_ops


@pytest.fixture(scope="module")
def runner() -> Runner:
    return load_runner("ort")


@pytest.fixture(scope="module")
def sample(runner: Runner) -> Sample:
    return sample_ops(runner, 150, seed=1)


class Picky:
    """A runtime that refuses models with some kinds of nodes."""

    def __init__(self, inner: Runner, *refused: str) -> None:
        self.inner = inner
        self.refused = set(refused)

    @property
    def device(self) -> Device:
        return self.inner.device

    def lower(self, model: Path, sizes: Mapping[str, int]) -> Network:
        found = self.refused & {node.op_type for node in onnx.load(str(model)).graph.node}
        if found:
            message = f"no kernel for {sorted(found)}"
            raise ModelFormatError(message)
        return self.inner.lower(model, sizes)

    def load_op(self, op: object) -> Workload:
        raise AssertionError

    def load_model(self, model: Path, sizes: Mapping[str, int]) -> Workload:
        raise AssertionError


def write_model(path: Path) -> Path:
    chain = Probe(name="a", kind="conv", in_channels=16, out_channels=24, size=(8, 8))
    path.write_bytes(probe_model([chain]).SerializeToString())
    return path


def roles(found: list[Found]) -> Counter[tuple[str, str]]:
    return Counter((item.op.kind, item.role) for item in found)


def test_rows_are_distinct_and_as_many_as_asked_for(sample: Sample) -> None:
    assert len(sample.ops) == 150
    assert len({op.digest for op in sample.ops}) == 150
    assert sample.skipped == {}
    assert sample.model_jobs == ()


def test_six_in_ten_are_convolutions_and_few_are_layout_conversions(sample: Sample) -> None:
    kinds = Counter(op.kind for op in sample.ops)
    assert 0.54 <= kinds["conv"] / 150 <= 0.62
    assert sum(n for kind, n in kinds.items() if kind.startswith("reorder")) <= 0.08 * 150
    assert {"gemm", "max_pool", "add", "concat", "softmax", "session"} <= set(kinds)


def test_every_execution_path_is_met(sample: Sample) -> None:
    convs = [op for op in sample.ops if op.kind == "conv"]
    assert any(op.is_depthwise for op in convs)
    assert any(op.groups > 1 and not op.is_depthwise for op in convs)
    assert any(set(op.kernel) == {1} for op in convs)
    assert any(op.in_channels == 3 for op in convs)
    assert any(op.epilogue == ("sum", "relu") for op in convs)
    assert len({op.implementation for op in convs}) >= 2


def test_same_seed_same_sample(runner: Runner) -> None:
    first = sample_ops(runner, 20, seed=3)
    assert first == sample_ops(runner, 20, seed=3)
    assert first != sample_ops(runner, 20, seed=4)


def test_models_bring_their_ops_their_thinned_ops_and_a_row_of_their_own(
    runner: Runner, tmp_path: Path
) -> None:
    path = write_model(tmp_path / "net.onnx")
    network = runner.lower(path, {})
    sample = sample_ops(runner, 0, models=[path])
    assert set(network.ops) <= set(sample.ops)
    ((op, file),) = sample.model_jobs
    assert file == path
    assert op.implementation == model_digest(path, {})
    assert sum(model_op_counts(op).values()) == len(network.ops)


def test_where_time_is_short_every_kind_is_known_first(runner: Runner) -> None:
    path = network_file("resnet20")
    sample = sample_ops(runner, 0, models=[path], thinned=0)
    kinds = [op.kind for op in sample.ops]
    assert kinds[0] == "session"
    distinct = len(set(kinds))
    assert len(set(kinds[:distinct])) == distinct


def test_thinned_variants_add_other_sizes(runner: Runner, tmp_path: Path) -> None:
    # The last convolution's channels are the model's output, so only a chain can be thinned.
    path = network_file("resnet20")
    plain = sample_ops(runner, 0, models=[path], thinned=0)
    more = sample_ops(runner, 0, models=[path], thinned=1)
    assert set(plain.ops) == set(runner.lower(path, {}).ops)
    assert set(plain.ops) < set(more.ops)
    assert len(more.ops) > 1.5 * len(plain.ops)
    assert len(more.model_jobs) == 1


def test_layers_a_runtime_does_not_take_are_skipped_with_the_reason(runner: Runner) -> None:
    probes = [p for p in design(300) if p.kind in {"lrn", "elu", "relu", "pad"}][:12]
    skipped: dict[str, str] = {}
    found = list(lower_probes(Picky(runner, "LRN", "Elu"), probes, skipped))
    refused = {p.name for p in probes if p.kind in {"lrn", "elu"}}
    assert skipped.keys() == refused
    assert all("no kernel for" in reason for reason in skipped.values())
    assert {item.probe.name for item in found} == {p.name for p in probes} - refused


def test_a_runtime_that_takes_nothing_is_an_error(runner: Runner) -> None:
    picky = Picky(runner, *(node.op_type for node in probe_model(design(40)).graph.node))
    with pytest.raises(
        InvalidInputError, match=r"none of the .* probe layers. The first: no kernel"
    ):
        sample_ops(picky, 10)


def test_roles_say_what_is_worth_measuring(runner: Runner) -> None:
    shortcut = Probe(
        name="a",
        kind="conv",
        in_channels=33,
        out_channels=20,
        size=(9, 9),
        kernel=(3, 3),
        activation="relu",
        residual=True,
    )
    norm = Probe(name="b", kind="batch_norm", variant="blocked", in_channels=32, size=(9, 9))
    found = list(lower_probes(runner, [shortcut, norm], {}))
    mine = [item for item in found if item.probe == shortcut and item.role == "target"]
    assert [item.op.weights[0][1:] for item in mine] == [(33, 3, 3)]
    assert roles(found)["conv", "scaffold"] == 2
    assert {item.role for item in found if item.op.kind.startswith("reorder")} <= {
        "layout",
        "scaffold",
    }


def test_unreadable_model_is_told(runner: Runner, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelFormatError, match=r"broken\.onnx"):
        sample_ops(runner, 10, models=[path])


@pytest.mark.parametrize(("samples", "seed", "thinned"), [(0, 0, 0), (-1, 0, 0), (5, 0, -1)])
def test_refuses_numbers_that_mean_nothing(
    runner: Runner, samples: int, seed: int, thinned: int
) -> None:
    with pytest.raises(InvalidInputError, match=f"samples={samples}, seed={seed}"):
        sample_ops(runner, samples, seed, thinned=thinned)


@pytest.mark.slow
def test_a_whole_design_lowers_without_a_skip(runner: Runner) -> None:
    sample = sample_ops(runner, 1000)
    kinds = Counter(op.kind for op in sample.ops)
    assert sample.skipped == {}
    assert len(sample.ops) == 1000
    assert min(kinds.values()) >= 3
    assert {"squeeze", "unsqueeze", "flatten", "reshape"} <= set(kinds)
    assert min(kinds["matmul"], kinds["gemm"], kinds["lrn"]) > kinds["exp"]

"""The profiler's own networks: every family runs, keeps its seed, and lowers without a gap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from costmodel.errors import InvalidInputError
from costmodel.registry import load_runner
from costmodel.sampling.networks import FAMILIES, OwnNetwork, named_network, own_networks
from costmodel.sampling.select import sample_ops


def written(network: OwnNetwork, folder: Path) -> Path:
    path = folder / f"{network.name}.onnx"
    path.write_bytes(network.model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def networks() -> list[OwnNetwork]:
    return list(own_networks(len(FAMILIES)))


@pytest.mark.parametrize("number", range(len(FAMILIES)))
def test_every_family_runs(number: int, networks: list[OwnNetwork]) -> None:
    network = networks[number]
    onnx.checker.check_model(network.model, full_check=True)
    session = onnxruntime.InferenceSession(
        network.model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (image,) = session.get_inputs()
    (out,) = session.run(None, {image.name: np.ones(image.shape, np.float32)})
    assert out.size >= 2
    assert np.isfinite(out).all()


def test_families_take_turns_and_a_smaller_choice_comes_first(
    networks: list[OwnNetwork],
) -> None:
    assert [network.family for network in networks] == [*FAMILIES]
    for one, other in zip(own_networks(2), networks, strict=False):
        assert one.model.SerializeToString() == other.model.SerializeToString()
    (other_seed,) = own_networks(1, seed=1)
    assert other_seed.model.SerializeToString() != networks[0].model.SerializeToString()


def test_weights_reach_from_near_caches_to_memory(networks: list[OwnNetwork]) -> None:
    sizes = [network.model.ByteSize() / 2**20 for network in networks]
    assert min(sizes) < 4.0
    assert max(sizes) > 48.0
    assert sum(8.0 < size < 48.0 for size in sizes) >= 2


def test_a_network_is_made_again_from_its_name(networks: list[OwnNetwork]) -> None:
    again = named_network(networks[3].name)
    assert again is not None
    assert again.model.SerializeToString() == networks[3].model.SerializeToString()
    (seeded,) = own_networks(1, seed=7)
    other = named_network(seeded.name)
    assert other is not None
    assert other.model.SerializeToString() == seeded.model.SerializeToString()


@pytest.mark.parametrize(
    "name",
    ["resnet50", "own-", "own-mobile", "own-mobile-", "own-mobile-1", "own-mobile-0-0",
     "own-mobile-x", "own-mobile-0-y", "own-mobile-²", "own-mobile-" + "9" * 60],
)  # fmt: skip
def test_other_names_mean_no_own_network(name: str) -> None:
    assert named_network(name) is None


def test_every_layer_has_weights_of_its_own() -> None:
    (network,) = own_networks(1)
    convs = [node for node in network.model.graph.node if node.op_type == "Conv"]
    assert len({node.input[1] for node in convs}) == len(convs)


def test_their_kernels_count_towards_the_sample(tmp_path: Path) -> None:
    runner = load_runner("ort")
    (network,) = own_networks(1)
    path = written(network, tmp_path)
    sample = sample_ops(runner, 60, own=[path])
    ((row, file),) = sample.own_jobs
    assert file == path
    assert row.attribute("name", "") == network.name
    lowered = set(runner.lower(path, {}).ops)
    assert lowered <= set(sample.ops)
    assert len(sample.ops) <= 60 + len(lowered) // 2
    assert sample.model_jobs == ()


@pytest.mark.parametrize(("count", "seed"), [(-1, 0), (2, -1)])
def test_refuses_what_is_no_count(count: int, seed: int) -> None:
    with pytest.raises(InvalidInputError, match=f"count={count}, seed={seed}"):
        list(own_networks(count, seed))

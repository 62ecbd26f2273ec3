from collections import Counter
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from costmodel.sampling import convolutions, tokens
from costmodel.sampling.design import CONV_SHARE, design


def family(name: str) -> str:
    return name.rsplit("_", 1)[0]


@settings(max_examples=15, deadline=None)
@given(small=st.integers(1, 150), large=st.integers(150, 300), seed=st.integers(0, 99))
def test_smaller_design_is_a_prefix_of_a_larger_one(small: int, large: int, seed: int) -> None:
    assert design(small, seed) == design(large, seed)[:small]


def test_another_seed_is_another_design() -> None:
    assert design(20, 0) != design(20, 1)


def test_names_are_unique_and_no_probe_is_repeated() -> None:
    probes = design(1000)
    assert len({probe.name for probe in probes}) == 1000


@pytest.mark.parametrize("samples", [150, 1000])
def test_families_keep_their_shares(samples: int) -> None:
    count = Counter(family(probe.name) for probe in design(samples))
    for name, (share, _) in convolutions.FAMILIES.items():
        wished = CONV_SHARE * share * samples / sum(s for s, _ in convolutions.FAMILIES.values())
        assert abs(count[name] - wished) <= 1.5
    assert set(count) >= set(convolutions.FAMILIES)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_convolutions_keep_their_bounds_and_spread_over_them(seed: int) -> None:
    probes = [probe for probe in design(1000, seed) if probe.kind == "conv"]
    macs = np.array([probe.macs for probe in probes])
    assert macs.min() >= 1e4
    assert macs.max() <= 2e9
    assert np.mean((macs >= 1e6) & (macs <= 3e8)) > 0.65
    assert all(np.mean(macs < edge) > 0.05 for edge in (1e6, 1e7))
    assert max(probe.weight_bytes for probe in probes) <= 40e6
    assert {side for probe in probes for side in probe.kernel} >= {1, 3, 5, 7, 11}
    assert {probe.stride for probe in probes} == {1, 2, 4}
    assert {probe.dilation for probe in probes} == {1, 2, 3, 4}
    assert {probe.batch for probe in probes} == {1, 2, 4, 8}
    assert np.mean([probe.batch == 1 for probe in probes]) > 0.85
    assert any(probe.size[0] != probe.size[1] for probe in probes)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_half_of_the_channel_counts_are_as_pruning_leaves_them(seed: int) -> None:
    dense = [p for p in design(1000, seed) if p.kind == "conv" and p.groups == 1]
    odd_in = np.mean([probe.in_channels % 4 != 0 for probe in dense])
    odd_out = np.mean([probe.out_channels % 4 != 0 for probe in dense])
    assert 0.4 < odd_in < 0.6
    assert 0.4 < odd_out < 0.6


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_most_depthwise_convolutions_have_counts_that_blocks_do_not_hold(seed: int) -> None:
    alone = [p for p in design(1000, seed) if p.kind == "conv" and p.groups == p.in_channels > 1]
    assert len(alone) > 0.15 * 1000 * CONV_SHARE
    assert 0.5 < np.mean([probe.in_channels % 4 != 0 for probe in alone]) < 0.7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_convolutions_of_few_channels_come_in_every_size(seed: int) -> None:
    thin = [p for p in design(1000, seed) if family(p.name) == "thin"]
    assert len(thin) >= 30
    assert {p.in_channels < 4 for p in thin} == {True, False}
    assert max(max(p.in_channels, p.out_channels) for p in thin) <= 48
    assert min(p.size[0] for p in thin) < 16
    assert max(p.size[0] for p in thin) > 100


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_products_and_normalisations_reach_the_sizes_of_classifiers_and_early_images(
    seed: int,
) -> None:
    probes = design(1000, seed)
    for kind in ("gemm", "matmul"):
        sizes = [p.weight_bytes for p in probes if p.kind == kind and p.size == (1, 1)][:8]
        assert min(sizes) < 1e5
        assert max(sizes) > 2e6
    assert any(p.kind == "matmul" and p.size[0] > 1 for p in probes)
    assert all(p.macs <= 2e9 for p in probes if p.kind == "matmul")
    elements = [p.in_channels * prod(p.size) for p in probes if p.kind == "lrn"]
    assert min(elements) < 1e5
    assert max(elements) > 5e5


def test_groups_divide_channels() -> None:
    for probe in design(1000, 3):
        if probe.kind in tokens.FAMILIES:
            continue  # their groups are heads beside their features
        assert probe.in_channels % probe.groups == 0
        if probe.kind == "conv":
            assert probe.out_channels % probe.groups == 0


def test_few_products_are_large() -> None:
    large = [p for p in design(3000) if p.weight_bytes > 60e6]
    assert len(large) <= 2
    assert all(probe.kind == "gemm" for probe in large)


@pytest.mark.parametrize(("samples", "seed"), [(0, 0), (-3, 0), (5, -1)])
def test_refuses_what_is_no_count(samples: int, seed: int) -> None:
    with pytest.raises(InvalidInputError, match=f"samples={samples}, seed={seed}"):
        design(samples, seed)

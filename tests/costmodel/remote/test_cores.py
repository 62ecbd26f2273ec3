"""Processors of a device by list, by cluster, or by what threads need."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.errors import InvalidInputError
from costmodel.remote.cores import CLUSTERS, choose_cores, name_of, parse_cores

PHONE: dict[str, Any] = {
    "cores": [0, 1, 2, 3, 4, 5, 6, 7],
    "clusters": [
        {"cores": [0, 1, 2, 3], "max_mhz": 1800},
        {"cores": [4, 5, 6], "max_mhz": 2400},
        {"cores": [7], "max_mhz": 3000},
    ],
}
SHOWN = r"little 0,1,2,3 \(1800 MHz\), middle 4,5,6 \(2400 MHz\), big 7 \(3000 MHz\)"


@given(st.sets(st.integers(0, 200), min_size=1))
def test_a_list_is_read_back(cores: set[int]) -> None:
    assert parse_cores(",".join(map(str, cores))) == tuple(sorted(cores))


@pytest.mark.parametrize("text", ["x", "5-4", "1,", "-1", "1-2-3", "12345", "big,0"])
def test_other_words_name_no_processors(text: str) -> None:
    with pytest.raises(InvalidInputError, match="names no processors"):
        parse_cores(text)


@pytest.mark.parametrize(
    ("wanted", "threads", "chosen"),
    [
        ("big", 1, (7,)),
        (" Middle ", 2, (4, 5, 6)),
        ("little", 4, (0, 1, 2, 3)),
        ("2,5", 2, (2, 5)),
        # Without a choice: the fastest cluster that has enough, else all.
        ("", 1, (7,)),
        ("", 3, (4, 5, 6)),
        ("", 4, (0, 1, 2, 3)),
        ("", 5, (0, 1, 2, 3, 4, 5, 6, 7)),
    ],
)
def test_what_is_chosen(wanted: str, threads: int, chosen: tuple[int, ...]) -> None:
    assert choose_cores(parse_cores(wanted), PHONE, threads, "board") == chosen


@pytest.mark.parametrize(
    ("wanted", "threads", "message"),
    [
        ("big", 2, f"2 threads need as many processors; 1 were chosen: {SHOWN}"),
        ("8", 1, f"board has no processor 8 to offer. It has: {SHOWN}"),
    ],
)
def test_what_is_not_there_is_named_beside_what_is(wanted: str, threads: int, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        choose_cores(parse_cores(wanted), PHONE, threads, "board")


def test_a_device_of_one_cluster_has_big_processors_only() -> None:
    facts = {"cores": [0, 1], "clusters": [{"cores": [0, 1], "max_mhz": 0}]}
    assert choose_cores("big", facts, 2, "board") == (0, 1)
    with pytest.raises(InvalidInputError, match=r"no cluster 'little'. It has: big 0,1\."):
        choose_cores("little", facts, 1, "board")


@given(st.integers(1, 9))
def test_names_go_from_slow_to_fast(count: int) -> None:
    names = [name_of(index, count) for index in range(count)]
    assert names[-1] == "big"
    assert names == sorted(names, key=CLUSTERS.index)

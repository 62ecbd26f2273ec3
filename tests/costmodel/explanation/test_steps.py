"""Where channels stand on their staircases."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan
from pathlib import Path

import pytest

from costmodel.device import Device
from costmodel.editing import Channels, Widths, load_editor
from costmodel.errors import InvalidInputError
from costmodel.explanation.steps import block_of, find_steps


class Stairs:
    """Every block of 16 channels costs 1 ms, and nobody knows what 96 of them cost."""

    def __init__(self, *sizes: int) -> None:
        self.groups = tuple(Channels(name=f"g{i}", size=size) for i, size in enumerate(sizes))
        self.groups += (Channels(name="fixed", size=10, frozen="it is an output"),)

    def gains_ms(self, many: Sequence[Widths]) -> list[float]:
        sizes = {group.name: group.size for group in self.groups}
        pairs = [next(iter(widths.items())) for widths in many]
        return [
            -inf if width == 96 else -(-sizes[name] // 16) - -(-width // 16)
            for name, width in pairs
        ]

    def fast_widths(self) -> Widths:
        return {}

    def save(self, widths: Widths, path: Path) -> None:
        raise NotImplementedError


def test_steps_say_what_a_block_less_or_more_brings() -> None:
    past, full, least, high = find_steps(Stairs(36, 32, 12, 84), 16)
    assert (past.past, past.fewer, past.gain_ms, past.more, past.cost_ms) == (4, 32, 1, 48, 0)
    assert (full.past, full.fewer, full.gain_ms, full.more, full.cost_ms) == (0, 16, 1, 48, 1)
    assert (least.fewer, least.more) == (0, 16)
    assert isnan(least.gain_ms)
    assert isnan(high.cost_ms)
    shown = high.to_json()
    assert (shown["cost_ms"], shown["more"]) == (None, 96)
    assert least.to_json()["fewer"] is None


def test_blocks_follow_the_device() -> None:
    avx2 = Device(name="cpu", runtime="onnxruntime", isa="avx2")
    assert block_of(avx2) == 8
    assert block_of(Device(name="cpu", runtime="onnxruntime", isa="avx512")) == 16
    assert block_of(Device(name="gpu", runtime="pytorch-vulkan")) == 4


def test_an_editor_is_found_by_name() -> None:
    assert type(load_editor()).__name__ == "OnnxEditor"
    with pytest.raises(InvalidInputError, match="No editor 'caffe' is registered"):
        load_editor("caffe")

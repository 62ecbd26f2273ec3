"""Steps: what a block of channels less would bring each layer, and what one more would cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd, isfinite, lcm

from costmodel.anticipation import CHANNEL_SLICES
from costmodel.anticipation.fast_path import blocked_layout
from costmodel.device import Device
from costmodel.editing import Channels, Editable

#: Channels of a step where a runtime does not tell.
_USUAL_BLOCK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Where a group of channels stands on its staircase.

    Attributes:
        group: its name.
        channels: how many it has.
        past: how many of them are beyond the last whole block.
        fewer: channels after the next step down; 0 where there is none.
        gain_ms: what these would save, by rule; NaN where nobody knows.
        more: channels at the end of the next step up.
        cost_ms: what these would cost; near 0 where the block is paid for already.
    """

    group: str
    channels: int
    past: int
    fewer: int
    gain_ms: float
    more: int
    cost_ms: float

    def to_json(self) -> dict[str, object]:
        """The step as plain values; NaN becomes None."""
        return {
            "group": self.group,
            "channels": self.channels,
            "past": self.past,
            "fewer": self.fewer or None,
            "gain_ms": self.gain_ms if isfinite(self.gain_ms) else None,
            "more": self.more,
            "cost_ms": self.cost_ms if isfinite(self.cost_ms) else None,
        }


def block_of(device: Device | None) -> int:
    """Channels of one step of a device's staircases.

    >>> block_of(Device(name="phone", runtime="tflite-gpu")), block_of(None)
    (4, 8)
    """
    slices = CHANNEL_SLICES.get(device.runtime, 0) if device is not None else 0
    block = slices or blocked_layout(device)
    return block if block > 1 else _USUAL_BLOCK


def own_block(group: Channels, block: int) -> int:
    """How many of a group fill whole blocks wherever they are.

    >>> own_block(Channels(name="a", size=32), 16)
    16
    >>> own_block(Channels(name="shuffled", size=34, each=16, spans=(16, 4)), 16)
    4
    """
    return lcm(*(block // gcd(block, span) for span in group.spans))


def below(channels: int, block: int) -> int:
    """The next whole number of blocks below; 0 where there is none.

    >>> below(68, 16), below(64, 16), below(12, 16)
    (64, 48, 0)
    """
    return (channels - 1) // block * block


def above(channels: int, block: int) -> int:
    """The next whole number of blocks above.

    >>> above(68, 16), above(64, 16)
    (80, 80)
    """
    return (channels // block + 1) * block


def find_steps(editable: Editable, block: int) -> tuple[Step, ...]:
    """The steps around every group that may change.

    Args:
        editable: the network.
        block: channels of one step of the device's.
    """
    free = [group for group in editable.groups if not group.frozen and group.size > 1]
    wanted = [
        {group.name: width}
        for group in free
        for own in [own_block(group, block)]
        for width in (below(group.size, own) or group.size, above(group.size, own))
    ]
    gains = editable.gains_ms(wanted)
    pairs = zip(free, gains[::2], gains[1::2], strict=True)
    return tuple(_step(group, less, more, own_block(group, block)) for group, less, more in pairs)


def _step(group: Channels, less: float, more: float, block: int) -> Step:
    fewer = below(group.size, block)
    return Step(
        group=group.name,
        channels=group.size * group.each,
        past=group.size % block * group.each,
        fewer=fewer * group.each,
        gain_ms=less if fewer and isfinite(less) else float("nan"),
        more=above(group.size, block) * group.each,
        cost_ms=-more if isfinite(more) else float("nan"),
    )


def by_group(steps: Sequence[Step]) -> dict[str, Step]:
    """Steps by the name of their group."""
    return {step.group: step for step in steps}

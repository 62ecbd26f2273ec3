"""What OpenVINO's CPU plug-in does differently from one instruction set to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PluginFacts:
    """Facts about one instruction set that the rules ask for.

    Attributes:
        vector: the word for it in the names of kernels.
        block: channels that lie together in blocked layouts.
        planar_pools_from: channels from which planar memory is pooled as it lies; fewer, but for a
            single one, are pooled in a blocked layout. ``None`` where any number is.
        normalises_in_blocks: whether a local response normalisation asks for a blocked layout.
        transposes_by_matrix: whether large maps are made planar or channels last by the kernel that
            also copies matrices.
        few_channels: channels of input a group up to which a grouped convolution runs in the
            older kernel.
    """

    vector: str
    block: int
    planar_pools_from: int | None
    normalises_in_blocks: bool
    transposes_by_matrix: bool
    few_channels: int

    @property
    def blocked(self) -> str:
        """The blocked layout."""
        return f"nchw{self.block}c"

    def pools_planar(self, channels: int) -> bool:
        """Whether planar memory of so many channels is pooled as it lies."""
        least = self.planar_pools_from
        return channels == 1 or (least is not None and channels >= least)


#: By ``Device.isa``.
PLUGIN_FACTS: Mapping[str, PluginFacts] = {
    "avx512": PluginFacts(
        vector="avx512",
        block=16,
        planar_pools_from=4,
        normalises_in_blocks=True,
        transposes_by_matrix=True,
        few_channels=16,
    ),
    "avx2": PluginFacts(
        vector="avx2",
        block=8,
        planar_pools_from=None,
        normalises_in_blocks=False,
        transposes_by_matrix=False,
        few_channels=0,
    ),
}

"""Which channels of a network live and die together, and the network without some of them."""

from morphnet_core.groups.blocks import Block, find_blocks, vanished
from morphnet_core.groups.cascade import cascade
from morphnet_core.groups.find import find_groups
from morphnet_core.groups.flow import Member
from morphnet_core.groups.grouping import NOBODY, Alive, ChannelGroup, Grouping, Units
from morphnet_core.groups.resize import resize

__all__ = [
    "NOBODY",
    "Alive",
    "Block",
    "ChannelGroup",
    "Grouping",
    "Member",
    "Units",
    "cascade",
    "find_blocks",
    "find_groups",
    "resize",
    "vanished",
]

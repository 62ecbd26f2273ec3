"""Which channels of a network live and die together, and the network without some of them."""

from morphnet_core.groups.cascade import cascade, constant_tensors, starved
from morphnet_core.groups.find import find_groups
from morphnet_core.groups.grouping import NOBODY, Alive, ChannelGroup, Grouping, Member, Units

__all__ = [
    "NOBODY",
    "Alive",
    "ChannelGroup",
    "Grouping",
    "Member",
    "Units",
    "cascade",
    "constant_tensors",
    "find_groups",
    "starved",
]

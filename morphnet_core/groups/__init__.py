"""Which channels of a network live and die together, and the network without some of them."""

from morphnet_core.groups.cascade import cascade
from morphnet_core.groups.find import find_groups
from morphnet_core.groups.flow import Member
from morphnet_core.groups.grouping import NOBODY, Alive, ChannelGroup, Grouping, Units
from morphnet_core.groups.resize import resize

__all__ = [
    "NOBODY",
    "Alive",
    "ChannelGroup",
    "Grouping",
    "Member",
    "Units",
    "cascade",
    "find_groups",
    "resize",
]

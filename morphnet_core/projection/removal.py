"""What may go as a whole, and what that loses: choices of yes or no beside the widths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from morphnet_core.groups import Grouping
from morphnet_core.groups.flow import cut_off
from morphnet_core.projection.problem import Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One thing that may go.

    Attributes:
        groups: indices of the groups that go with it, all of them or none; see
            ``groups.find_blocks``.
        lost: what is lost without it, as a share of the importance of all that is alive.
    """

    groups: tuple[int, ...]
    lost: float


def lost_by_group(removals: Sequence[Removal], alive: Counts) -> dict[int, float]:
    """By group that may go, what is lost with it, so that sums over groups are of removals.

    What lies within another removal loses its own, and the other one what it loses beyond that.

    Args:
        removals: in any order.
        alive: units of each group; those of none are not there to be removed.
    """
    lost: dict[int, float] = {}
    for removal in sorted(removals, key=lambda item: len(item.groups)):
        own = [group for group in removal.groups if group not in lost and alive[group]]
        rest = removal.lost - sum(lost.get(group, 0.0) for group in removal.groups)
        lost |= dict.fromkeys(own, max(rest, 0.0) / max(len(own), 1))
    return lost


def implied(removals: Sequence[Removal], lost: Mapping[int, float]) -> tuple[tuple[int, int], ...]:
    """Pairs of groups of which the second goes where the first does."""
    pairs = set()
    for group in lost:
        # The least removal that a group is in is what dies with it.
        least = min((r.groups for r in removals if group in r.groups), key=len)
        pairs |= {(group, other) for other in least if other != group and other in lost}
    return tuple(sorted(pairs))


def conflict(grouping: Grouping, gone: Sequence[int], counts: Counts) -> tuple[int, ...]:
    """Of groups that are gone, a least set that cannot all go; empty if nothing is cut off.

    Args:
        grouping: of the network.
        gone: the groups that went by choice.
        counts: units of each group.
    """

    def lacks(without: Sequence[int]) -> bool:
        tried = counts.copy()
        for group in gone:
            tried[group] = 0 if group in without else grouping.groups[group].size
        return bool(cut_off(grouping.network, grouping.members, tried))

    if not lacks(gone):
        return ()
    least = list(gone)
    for group in gone:
        fewer = [other for other in least if other != group]
        if lacks(fewer):
            least = fewer
    return tuple(least)

"""How many channels each group keeps, where layers tell only how many they keep themselves."""

from __future__ import annotations

from collections.abc import Mapping

from costmodel.errors import InvalidInputError
from morphnet_core.groups.grouping import Grouping

#: Channels of a group, and the layer that says so.
Known = dict[int, tuple[int, str]]


def group_counts(
    grouping: Grouping, layers: Mapping[str, tuple[str, int]], known: Known
) -> dict[int, int]:
    """Channels that the groups of some layers keep.

    A layer of one group tells that group's number. What a layer with several groups has left
    beside those that are known from other layers is shared in proportion to their sizes.

    Args:
        grouping: the groups.
        layers: by name, a layer's tensor and how many of its channels it keeps.
        known: what is known already.

    Returns:
        Channels kept, by index of the group, of the groups that were not known.

    Raises:
        InvalidInputError: naming the layer whose count contradicts the others.
    """
    known, found = dict(known), {}
    shares = {
        name: {item.group: item.positions for item in grouping.members[tensor]}
        for name, (tensor, _) in layers.items()
    }
    for name in sorted(layers, key=lambda name: len(shares[name])):
        share = shares[name]
        told = {group: known[group] for group in share if group in known}
        rest = layers[name][1] - sum(share[group] * count for group, (count, _) in told.items())
        split = _split(grouping, rest, {g: n for g, n in share.items() if g not in known})
        if split is None:
            others = dict.fromkeys(who for _, who in told.values())
            message = (
                f"The count {layers[name][1]} of layer {name!r} does not fit its "
                f"{len(share)} groups of channels"
                + (f", of which {', '.join(map(repr, others))} says otherwise" if others else "")
                + ". Use a structure with kept positions, as this package saves it."
            )
            raise InvalidInputError(message)
        found.update(split)
        known.update({group: (count, name) for group, count in split.items()})
    return found


def _split(grouping: Grouping, rest: int, share: Mapping[int, int]) -> dict[int, int] | None:
    """``rest`` positions over groups of so many positions a unit; None where they do not fit."""
    room = {group: each * grouping.groups[group].size for group, each in share.items()}
    if not 0 <= rest <= sum(room.values()):
        return None
    total = max(1, sum(room.values()))
    found = {group: rest * room[group] // total // each for group, each in share.items()}
    left = rest - sum(share[group] * count for group, count in found.items())
    for group in sorted(share, key=lambda g: -((rest * room[g] / total / share[g]) % 1)):
        if left >= share[group] and found[group] < grouping.groups[group].size:
            found[group] += 1
            left -= share[group]
    return None if left else found

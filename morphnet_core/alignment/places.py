"""Where each position of a tensor's channel axis goes when groups get wider or lose channels.

A wider network is traced anew, so that new channels lie where the network itself puts them: behind
the channels of their own layer, hence in the middle of a concatenation, once per position of a
flattened picture, at the end of every part of a grouped convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from costmodel.errors import InvalidInputError
from morphnet_core.groups import NOBODY, Alive, Grouping, Units, find_groups, resize

Positions = NDArray[np.intp]


class UnfitError(Exception):
    """A layer's constants cannot follow its channels; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """What becomes of one channel axis.

    Attributes:
        old: positions that stay, ascending.
        new: where each of them is afterwards, ascending.
        before: length of the axis now.
        after: length afterwards.
    """

    old: Positions
    new: Positions
    before: int
    after: int

    @property
    def same(self) -> bool:
        """Whether nothing changes."""
        return self.before == self.after == len(self.old)

    def part(self, parts: int) -> Places:
        """The places within each of ``parts`` equal parts of the axis.

        Raises:
            UnfitError: if the parts do not all change in the same way.
        """
        old, new = divmod(self.before, parts), divmod(self.after, parts)
        if old[1] or new[1] or len(self.old) % parts:
            message = f"{self.before} channels in {parts} parts cannot become {self.after}"
            raise UnfitError(message)
        shift = np.arange(parts)[:, None]
        olds = self.old.reshape(parts, -1) - shift * old[0]
        news = self.new.reshape(parts, -1) - shift * new[0]
        if (olds != olds[0]).any() or (news != news[0]).any():
            message = f"its {parts} groups of channels would not stay equal"
            raise UnfitError(message)
        return Places(old=olds[0], new=news[0], before=old[0], after=new[0])


def wider_places(grouping: Grouping, counts: Units) -> Mapping[str, Places]:
    """Places of every tensor when groups have more units.

    Args:
        grouping: of the network now.
        counts: units per group, at least as many as now.

    Raises:
        InvalidInputError: if a group would shrink, or a frozen one change.
        UnfitError: if the wider network's channels do not lie as the network's do.
    """
    if (counts < grouping.full_counts).any():
        message = "Padding cannot take channels away. Give at least as many units as there are."
        raise InvalidInputError(message)
    wider = find_groups(resize(grouping, counts))
    if not np.array_equal(wider.full_counts, counts):
        message = "the wider network has other groups of channels"
        raise UnfitError(message)
    # The n-th unit of a group stays the n-th; new ones come after.
    moved = np.full(grouping.num_units + 1, NOBODY, dtype=np.intp)
    for was, now in zip(grouping.groups, wider.groups, strict=True):
        moved[was.units] = np.arange(now.start, now.start + was.size)
    return {
        name: _matched(moved[units], wider.units[name], name)
        for name, units in grouping.units.items()
    }


def _matched(wanted: Units, found: Units, name: str) -> Places:
    """Places of a tensor: the n-th position of a unit stays its n-th."""
    new = np.flatnonzero(np.isin(found, wanted))
    old_order = np.argsort(wanted, kind="stable")
    new_order = new[np.argsort(found[new], kind="stable")]
    if len(old_order) != len(new_order):
        message = f"the channels of {name} lie elsewhere in the wider network"
        raise UnfitError(message)
    places = np.empty(len(wanted), dtype=np.intp)
    places[old_order] = new_order
    if (np.diff(places) <= 0).any():
        message = f"the channels of {name} change their order in the wider network"
        raise UnfitError(message)
    old = np.arange(len(wanted), dtype=np.intp)
    return Places(old=old, new=places, before=len(wanted), after=len(found))


def kept_places(grouping: Grouping, alive: Alive) -> Mapping[str, Places]:
    """Places of every tensor when only some units stay: the inverse of ``wider_places``.

    Args:
        grouping: of the network now.
        alive: one truth value per unit.
    """
    found = {}
    for name, units in grouping.units.items():
        kept = grouping.kept(name, alive)
        new = np.arange(len(kept), dtype=np.intp)
        found[name] = Places(old=kept, new=new, before=len(units), after=len(kept))
    return found

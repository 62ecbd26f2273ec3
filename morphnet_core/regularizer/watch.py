"""Warnings about training runs that go nowhere, or too far."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from morphnet_core.groups import Grouping

#: Steps after the warm-up before a run is said to shrink nothing.
PATIENCE = 500
#: A median signal that fell by less than this share has not moved.
MOVED = 0.05


class RegularizationWarning(UserWarning):
    """A regularized training run needs a look: strength, threshold or model are odd."""


class Watch:
    """Looks at a run now and then and warns once of each thing."""

    def __init__(self, grouping: Grouping, signalled: NDArray[np.bool_], threshold: float) -> None:
        """Watch the groups that may shrink.

        Args:
            grouping: of the model.
            signalled: which units have a signal.
            threshold: above which a unit is alive.
        """
        self._grouping = grouping
        self._signalled = signalled
        self._threshold = threshold
        self._free = [
            index
            for index, group in enumerate(grouping.groups)
            if not group.frozen and signalled[group.units].all()
        ]
        self._told: set[str] = set()
        self._first: float | None = None

    def look(self, *, scores: NDArray[np.float64], above: NDArray[np.bool_], quiet: int) -> None:
        """Warn where something is odd.

        Args:
            scores: signal per unit.
            above: which units are above the threshold.
            quiet: steps since the end of the warm-up; negative during it.
        """
        median = float(np.median(scores[self._signalled]))
        if self._first is None:
            self._first = median
        counts = self._grouping.counts(above)
        dead = [index for index in self._free if not counts[index]]
        if dead and len(dead) == len(self._free):
            self._warn("everything", _EVERYTHING)
        else:
            for index in dead:
                name = self._grouping.groups[index].name
                self._warn(f"group {name}", _GROUP.format(name=name, threshold=self._threshold))
        if quiet >= PATIENCE and above.all() and median > (1.0 - MOVED) * self._first:
            least = float(scores[self._signalled].min())
            text = _NOTHING.format(
                steps=quiet, median=median, first=self._first, least=least, limit=self._threshold
            )
            self._warn("nothing", text)

    def denormal(self, names: list[str]) -> None:
        """Warn that values were too small for normal arithmetic and have been set to zero."""
        if names:
            self._warn("denormal", _DENORMAL.format(names=", ".join(names)))

    def _warn(self, key: str, text: str) -> None:
        if key not in self._told:
            self._told.add(key)
            warnings.warn(text, RegularizationWarning, stacklevel=4)


_EVERYTHING = (
    "Every channel that may go is below the threshold: the strength is too high (try a tenth), or "
    "the threshold is."
)
_GROUP = (
    "No channel of group {name!r} is above the threshold {threshold}. It keeps what the network "
    "cannot do without; a branch that it can do without is cut. If that is not meant, lower the "
    "strength or exclude the group."
)
_NOTHING = (
    "Nothing has shrunk in {steps} steps: the median signal is {median:.3g} (at first {first:.3g}),"
    " the smallest {least:.3g}, the threshold {limit:.3g}. Raise the strength tenfold."
)
_DENORMAL = (
    "Gammas so small that arithmetic on them is slow (below 1.2e-38) were set to zero, in: "
    "{names}. Weight decay on gammas does that; their channels were dead long before."
)

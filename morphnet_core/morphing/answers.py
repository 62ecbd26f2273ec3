"""A clock whose answers are kept: an interrupted search for widths asks it nothing twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from morphnet_core.morphing.clock import Clock
from morphnet_core.morphing.identity import shape_digest
from morphnet_core.morphing.unfinished import Section


class KeptClock:
    """Answers from what was timed before, in the same order; then asks, and keeps the answer.

    Where another network is asked for than was timed then, what was timed from there on is
    forgotten.

    Args:
        clock: times networks.
        section: where answers are kept.
    """

    def __init__(self, clock: Clock, section: Section) -> None:
        self._clock, self._section = clock, section
        self._timed = [dict(item) for item in section.state.values.get("timed", ())]
        self._next = 0

    def __call__(self, models: Sequence[Any]) -> list[float]:
        """Latency of each model in ms."""
        asked = [shape_digest(model) for model in models]
        if self._next < len(self._timed) and self._timed[self._next]["asked"] != asked:
            del self._timed[self._next :]
        if self._next == len(self._timed):
            self._timed.append({"asked": asked, "ms": list(self._clock(models))})
            self._section.save({"timed": self._timed})
        found: list[float] = self._timed[self._next]["ms"]
        self._next += 1
        return found

    def try_out(self, model: Any) -> None:
        """Time the first network, before anything else is done; it is asked for again later.

        Args:
            model: the seed.
        """
        self._timed.clear()
        self([model])
        self._next = 0

    @property
    def timed(self) -> list[dict[str, Any]]:
        """What was asked, and what the answers were."""
        return self._timed

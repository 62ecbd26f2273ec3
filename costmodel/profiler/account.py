"""Account: where the time of a session went, and which visits a slow machine spoiled."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from costmodel.profiler.messages import Probed, Visited

#: What wall time is booked under; what is left is ``other``.
PARTS = ("timed", "warm_up", "load", "wait", "start")


class Account:
    """Books of one session.

    Attributes:
        spent_ms: wall time by part.
        counts: ``visits``, ``revisits``, ``blocks``, ``discarded``, ``starts``.
        anchor_ms: time of every probe of the anchor.
        drifting: whether the last probe was slow.
        spoiled: jobs visited around a slow probe, since ``forget_spoiled``.
        times_ms: single times of whole networks, by job.
    """

    def __init__(self) -> None:
        self.spent_ms = dict.fromkeys(PARTS, 0.0)
        self.counts = Counter[str]()
        self.anchor_ms: list[float] = []
        self.drifting = False
        self.spoiled: set[int] = set()
        self.times_ms: dict[int, list[float]] = defaultdict(list)
        self._since_probe: list[int] = []

    @property
    def mean_start_ms(self) -> float:
        """What starting a process took, on average; 0 before the first."""
        return self.spent_ms["start"] / max(self.counts["starts"], 1)

    def visited(self, event: Visited) -> Collection[int]:
        """Book a visit; returns the jobs whose last visit is now known to be spoiled."""
        self.spent_ms["timed"] += event.timed_ms
        self.spent_ms["warm_up"] += event.warm_ms
        self.spent_ms["load"] += event.load_ms
        self.counts["visits"] += 1
        self.counts["blocks"] += event.round.blocks
        self.counts["discarded"] += event.round.discarded
        self.times_ms[event.job].extend(event.times_ms)
        self._since_probe.append(event.job)
        return self._spoil() if self.drifting else ()

    def probed(self, event: Probed) -> Collection[int]:
        """Book a probe; returns the jobs whose last visit is now known to be spoiled."""
        self.anchor_ms.append(event.latency_ms)
        self.spent_ms["timed"] += event.timed_ms
        self.spent_ms["wait"] += event.waited_ms
        self.drifting = event.slow
        if event.slow:
            return self._spoil()
        self._since_probe.clear()
        return ()

    def forget_spoiled(self) -> set[int]:
        """Jobs spoiled since the last call."""
        spoiled, self.spoiled = self.spoiled, set()
        return spoiled

    def shares(self, wall_ms: float) -> Mapping[str, float]:
        """Share of the wall time by part; they sum to 1."""
        shares = {name: self.spent_ms[name] / wall_ms for name in PARTS}
        shares["other"] = max(0.0, 1.0 - sum(shares.values()))
        return shares

    def _spoil(self) -> Collection[int]:
        """Doubt the visits since the last good probe: the machine slowed down around them."""
        spoiled = tuple(self._since_probe)
        self.spoiled.update(spoiled)
        self._since_probe.clear()
        return spoiled

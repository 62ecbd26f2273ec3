"""Report: where a regularized training run stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from costmodel.figures import digits, percent, quantity


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Cost, penalty and channels of a model in training.

    Attributes:
        step: training steps begun.
        strength: strength of the penalty now.
        penalty: its value now, as added to the loss.
        unit: unit of the costs.
        cost: of the network with the channels that are alive.
        seed_cost: of the network with all of them.
        alive: by group: channels alive, and channels in all; frozen groups too.
        silent: groups that might shrink but have no signal, each with the reason.
        unfollowed: layers through which channels could not be followed, each with the reason.
        unpriced: layers that are in no cost, each with the reason.
        offsets: layers whose dead channels still carry a constant, for their readers to add.
    """

    step: int
    strength: float
    penalty: float
    unit: str
    cost: float
    seed_cost: float
    alive: Mapping[str, tuple[int, int]]
    silent: Mapping[str, str]
    unfollowed: Mapping[str, str]
    unpriced: Mapping[str, str]
    offsets: Mapping[str, str] = field(default_factory=dict)

    @property
    def cost_share(self) -> float:
        """Cost as a share of the seed's."""
        return self.cost / self.seed_cost if self.seed_cost else float("nan")

    @property
    def alive_channels(self) -> int:
        """Channels alive in all groups."""
        return sum(now for now, _ in self.alive.values())

    def record(self) -> dict[str, Any]:
        """What a line of a history file holds."""
        return {
            "step": self.step,
            "strength": self.strength,
            "penalty": self.penalty,
            "unit": self.unit,
            "cost": self.cost,
            "cost_share": self.cost_share,
            "alive": {name: now for name, (now, _) in self.alive.items()},
        }

    def __str__(self) -> str:
        lines = [
            f"step {self.step}: {quantity(self.cost, self.unit)} of "
            f"{quantity(self.seed_cost, self.unit)} ({percent(self.cost_share)}), penalty "
            f"{digits(self.penalty)} at strength {digits(self.strength)}"
        ]
        width = max((len(name) for name in self.alive), default=0)
        lines += [f"  {name:<{width}}  {now:>5} / {of}" for name, (now, of) in self.alive.items()]
        for title, reasons in (
            ("no signal", self.silent),
            ("not followed", self.unfollowed),
            ("not priced", self.unpriced),
            ("constant", self.offsets),
        ):
            lines += [f"  {title}: {name}: {reason}" for name, reason in reasons.items()]
        return "\n".join(lines)

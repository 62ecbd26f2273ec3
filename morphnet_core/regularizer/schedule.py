"""When prices are refreshed, and how strong the penalty is at each step."""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Strength over steps.

    Attributes:
        strength: after the warm-up.
        warmup_steps: steps over which the strength rises from zero, in a line.
        refresh_every: steps between two refreshes of prices and strength.
    """

    strength: float
    warmup_steps: int = 0
    refresh_every: int = 100

    def __post_init__(self) -> None:
        """Raise ``InvalidInputError`` for numbers that mean nothing."""
        if not self.strength >= 0.0:
            message = f"strength must be at least 0. Received: {self.strength}."
            raise InvalidInputError(message)
        if self.warmup_steps < 0 or self.refresh_every < 1:
            message = (
                "warmup_steps must be at least 0 and refresh_every at least 1. Received: "
                f"warmup_steps={self.warmup_steps}, refresh_every={self.refresh_every}."
            )
            raise InvalidInputError(message)

    def at(self, step: int) -> float:
        """Strength from this step on, until the next refresh."""
        if step >= self.warmup_steps:
            return self.strength
        return self.strength * step / self.warmup_steps

    def due(self, step: int, refreshed: int) -> bool:
        """Whether prices set before ``refreshed`` are to be set anew before ``step``."""
        if refreshed < 0:
            return True
        return step // self.refresh_every > refreshed // self.refresh_every

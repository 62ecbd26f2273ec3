"""Controller: moves the strength of a penalty so that a cost follows a path to its target.

Dual ascent on ``cost <= goal`` with a proportional term, as nuPI does it (Sohrabi et al., "On PI
controllers for updating Lagrange multipliers in constrained optimization", ICML 2024), in the
logarithm of the strength: the right strength differs by orders of magnitude between networks and
signals, and never gets negative.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from costmodel.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Where the cost should be at each step: from the seed's to the target, exponentially.

    Attributes:
        target: share of the seed's cost in the end.
        steps: steps until then; the target holds from there on.
        begin: steps before the cost begins to fall.

    >>> path = Path(target=0.25, steps=100)
    >>> [path.at(step) for step in (0, 50, 100, 200)]
    [1.0, 0.5, 0.25, 0.25]
    """

    target: float
    steps: int
    begin: int = 0

    def __post_init__(self) -> None:
        """Raise ``InvalidInputError`` for numbers that mean nothing."""
        if not 0.0 < self.target <= 1.0 or self.begin < 0 or self.steps <= self.begin:
            message = (
                "A path needs a target above 0 and at most 1 and more steps than it begins with. "
                f"Received: target={self.target}, steps={self.steps}, begin={self.begin}."
            )
            raise InvalidInputError(message)

    def at(self, step: float) -> float:
        """Share of the seed's cost at a step."""
        done = (step - self.begin) / (self.steps - self.begin)
        return float(self.target ** min(1.0, max(0.0, done)))


@dataclass(slots=True, kw_only=True)
class Controller:
    """One limit's strength.

    Attributes:
        path: of the cost, as shares of the seed's.
        strength: now.
        least: it never falls below; what is below presses on nothing.
        most: it never rises above.
        gain: change of its logarithm per update at an error of 1, and as much again for a change
            of the error.
        delayed: steps by which the path is behind, after recoveries.
        error: of the last update: cost over goal, less 1.
    """

    path: Path
    strength: float = 1.0
    least: float = 1e-3
    most: float = 1e3
    gain: float = 0.5
    delayed: int = 0
    error: float = 0.0

    def goal(self, step: int) -> float:
        """Where the cost should be at this step, as a share of the seed's."""
        return self.path.at(step - self.delayed)

    def update(self, share: float, step: int) -> float:
        """Strength from now on.

        Errors count up to 1 either way, and the strength keeps to its bounds, so that nothing
        builds up while the penalty cannot act yet (anti-windup).

        Args:
            share: cost now as a share of the seed's.
            step: training steps begun.
        """
        error = share / self.goal(step) - 1.0
        change = _clipped(error) + _clipped(error - self.error)
        self.error = error
        wanted = math.log(self.strength) + self.gain * change
        self.strength = min(self.most, max(self.least, math.exp(min(wanted, 700.0))))
        return self.strength

    def recover(self, steps: int) -> None:
        """Press a quarter as hard and give the path time, after accuracy collapsed.

        Args:
            steps: by which the path is put back.
        """
        self.strength = max(self.least, self.strength / 4.0)
        self.delayed += steps
        self.error = 0.0

    def state(self) -> tuple[float, float, float]:
        """What a resumed run needs."""
        return self.strength, float(self.delayed), self.error

    def restore(self, state: tuple[float, float, float]) -> None:
        """Take back what ``state`` gave."""
        self.strength, self.error = float(state[0]), float(state[2])
        self.delayed = int(state[1])


def _clipped(error: float) -> float:
    return min(1.0, max(-1.0, error))

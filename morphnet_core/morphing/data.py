"""Data: what a network is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """What a network is trained on.

    Attributes:
        x: training inputs.
        y: training targets.
        x_val: inputs that the best epoch is chosen by; None to take the last epoch.
        y_val: their targets.
        batch_size: samples a step.

    >>> Data(x=[[0.0]] * 100, y=[0] * 100).steps
    2
    """

    x: Any
    y: Any
    x_val: Any = None
    y_val: Any = None
    batch_size: int = 64

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        return -(-len(self.x) // self.batch_size)

    @property
    def validation(self) -> tuple[Any, Any] | None:
        """What Keras takes as ``validation_data``."""
        return None if self.x_val is None else (self.x_val, self.y_val)

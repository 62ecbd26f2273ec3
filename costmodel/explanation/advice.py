"""Advice and Explanation: what changes bring, as checked, and where a network's time goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from costmodel.explanation.losses import Loss
from costmodel.explanation.proposals import Kind, Proposal
from costmodel.explanation.steps import Step
from costmodel.figures import percent
from costmodel.prediction import Prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """A change of a network, written, priced, and perhaps timed.

    Attributes:
        proposal: the change.
        before_ms: predicted for the network as it is.
        after_ms: predicted for the changed network.
        gain_ms: predicted to be saved.
        low_ms: lower end of its interval.
        high_ms: upper end.
        checked: how the changed network's kernels were found: ``lowered`` (asked from the
            runtime) or ``anticipated`` (by rule).
        measured_before_ms: time of the network as it is; None where nothing was timed.
        measured_after_ms: time of the changed network.
        repeatability: how well two halves of the measuring rounds agree, the worse of both.
    """

    proposal: Proposal
    before_ms: float
    after_ms: float
    gain_ms: float
    low_ms: float
    high_ms: float
    checked: str
    measured_before_ms: float | None = None
    measured_after_ms: float | None = None
    repeatability: float | None = None

    def __str__(self) -> str:
        """One line: what to do, and what it brings."""
        timed = self.measured_gain_ms
        measured = "" if timed is None else f", measured {timed:.3g} ms"
        return (
            f"{self.gain_ms:.3g} ms ({percent(self.gain_ms / self.before_ms)}){measured}: "
            f"{self.where}: {self.proposal.todo} [{self.kind}: {self.proposal.why}]"
        )

    @property
    def kind(self) -> Kind:
        """What is the matter that it mends."""
        return self.proposal.kind

    @property
    def layers(self) -> tuple[str, ...]:
        """Layers of the file that it is about."""
        return self.proposal.layers

    @property
    def where(self) -> str:
        """The first of its layers, and how many more there are."""
        more = len(self.layers) - 1
        first = self.layers[0] if self.layers else next(iter(self.proposal.widths), "")
        return f"{first} and {more} more" if more > 0 else first

    @property
    def measured_gain_ms(self) -> float | None:
        """What the clock says that it saves; None where it was not asked."""
        if self.measured_before_ms is None or self.measured_after_ms is None:
            return None
        return self.measured_before_ms - self.measured_after_ms

    @property
    def best_known_ms(self) -> float:
        """What it saves, by the clock where that was asked."""
        timed = self.measured_gain_ms
        return self.gain_ms if timed is None else timed

    def to_json(self) -> dict[str, object]:
        """The advice as plain values."""
        change = self.proposal
        return {
            "kind": self.kind,
            "layers": list(self.layers),
            "why": change.why,
            "todo": change.todo,
            "channels": {name: list(pair) for name, pair in change.widths.items()},
            "skips": list(change.skip) if change.skip else None,
            "keeps_function": change.keeps_function,
            "gain_ms": self.gain_ms,
            "interval_ms": [self.low_ms, self.high_ms],
            "checked": self.checked,
            "predicted_before_ms": self.before_ms,
            "predicted_after_ms": self.after_ms,
            "measured_before_ms": self.measured_before_ms,
            "measured_after_ms": self.measured_after_ms,
            "measured_gain_ms": self.measured_gain_ms,
            "repeatability": self.repeatability,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Where a network's milliseconds go, and what would bring some back.

    Attributes:
        prediction: of the network as it is.
        advices: most milliseconds first; each is of the network as it is, so that their gains do
            not add up.
        losses: what is the matter with its kernels.
        steps: of its groups of channels.
        block: channels of one step.
        notes: what could not be looked at or checked, and why.
        measured_on: the device that was timed; empty where none was.
        fixed: the file with everything that keeps the function; None where none was written.
    """

    prediction: Prediction
    advices: tuple[Advice, ...]
    losses: tuple[Loss, ...]
    steps: tuple[Step, ...]
    block: int
    notes: tuple[str, ...] = ()
    measured_on: str = ""
    fixed: Path | None = None

    def __str__(self) -> str:
        """The network's line, and a line for each advice."""
        lines = [str(self.prediction), *(f"  {advice}" for advice in self.advices)]
        return "\n".join(lines if self.advices else [*lines, "  nothing is worth changing"])

    @property
    def model(self) -> str:
        """The network's name."""
        return self.prediction.model

    def to_json(self) -> dict[str, object]:
        """Everything as plain values."""
        shown: Mapping[str, object] = self.prediction.to_json()
        names = ("model", "device", "predicted_ms", "interval_ms", "source", "cost", "priced_share")
        return {
            **{name: shown[name] for name in names},
            "advices": [advice.to_json() for advice in self.advices],
            "losses": [loss.to_json() for loss in self.losses],
            "block": self.block,
            "steps": [step.to_json() for step in self.steps],
            "notes": list(self.notes),
            "measured_on": self.measured_on or None,
            "fixed": str(self.fixed) if self.fixed else None,
        }

"""Job and Plan: what to time, and how much care and time to spend on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from costmodel.device import Device
from costmodel.errors import InvalidInputError
from costmodel.op import MODEL, Op

#: Timed wall time that an estimate is asked for, and longest time that computing one may take.
_ESTIMATE_VISIT_MS, _ESTIMATE_TIMEOUT_MS = 1e-3, 1_800_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One row to measure.

    Attributes:
        op: the row's key; what ``Runner.load_op`` rebuilds, unless ``model`` is given.
        model: file of a whole network, timed with ``Runner.load_model``; for ``model`` rows.
        sizes: named dynamic dimensions of ``model``.
    """

    op: Op
    model: Path | None = None
    sizes: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if self.op.kind == MODEL and self.model is None:
            message = (
                f"The row {self.op.label!r} is a whole network, so its job needs the model's file. "
                "Pass Job(op=..., model=path)."
            )
            raise InvalidInputError(message)


class Progress(Protocol):
    """Who is told how far a profile is. Called between visits, so it should return quickly."""

    def start(self, total: int) -> None:
        """Begin.

        Args:
            total: visits expected; more may follow when rows are noisy.
        """
        ...

    def advance(self, done: int, total: int, seconds_left: float, note: str) -> None:
        """Tell that a visit is over and, if it gave a number, on disk.

        Args:
            done: visits that count towards ``total``.
            total: visits expected by now.
            seconds_left: estimate; never beyond the budget.
            note: what was timed, for people.
        """
        ...

    def stop(self) -> None:
        """End, also after an error."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How to measure.

    Attributes:
        rounds: most visits to a job that disturbances did not spoil; what has not settled by then
            is kept, and called noisy by its spread.
        min_rounds: fewest visits before a job may be finished.
        settled: a job is finished when its two halves of rounds agree within this share.
        budget_ms: wall time for the whole profile, or None to take what it takes.
        visit_ms: timed wall time per visit; shortened when the budget asks for it.
        block_ms: shortest stretch that is timed at once.
        timeout_ms: longest a visit may take before its worker is killed.
        start_timeout_ms: longest a worker may take to come up.
        memory_limit_bytes: most memory a worker may hold; None for 60 % of what is available.
        restart_every: rounds after which a fresh process, with another memory layout, takes over.
        anchor: Op probed as a drift watch; None to pick the job of middle size.
        anchor_every_ms: time between two probes of the anchor; infinite to do without.
        seed: of the order in which jobs are visited.
    """

    rounds: int = 24
    min_rounds: int = 8
    settled: float = 0.015
    budget_ms: float | None = None
    visit_ms: float = 30.0
    block_ms: float = 1.0
    timeout_ms: float = 60_000.0
    start_timeout_ms: float = 120_000.0
    memory_limit_bytes: int | None = None
    restart_every: int = 2
    anchor: Op | None = None
    anchor_every_ms: float = 2_000.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rounds", "min_rounds", "restart_every"):
            value = getattr(self, name)
            if value < 1:
                message = f"Plan.{name} counts rounds, so it must be at least 1. Received: {value}."
                raise InvalidInputError(message)
        if self.min_rounds > self.rounds:
            message = (
                f"Plan.min_rounds={self.min_rounds} is more than Plan.rounds={self.rounds}. "
                "Raise rounds or lower min_rounds."
            )
            raise InvalidInputError(message)
        for name in ("visit_ms", "block_ms", "timeout_ms", "start_timeout_ms", "anchor_every_ms"):
            _require_positive(name, getattr(self, name))
        if math.isinf(self.visit_ms) or math.isinf(self.block_ms):
            message = "Plan.visit_ms and Plan.block_ms must be finite."
            raise InvalidInputError(message)
        if self.budget_ms is not None:
            _require_positive("budget_ms", self.budget_ms)
        if self.memory_limit_bytes is not None:
            _require_positive("memory_limit_bytes", self.memory_limit_bytes)

    def with_rounds(self, rounds: int | None) -> Plan:
        """This plan with another most number of rounds; None changes nothing."""
        if rounds is None:
            return self
        return replace(self, rounds=rounds, min_rounds=min(self.min_rounds, rounds))

    def for_estimates(self) -> Plan:
        """This plan for a device whose numbers are computed: one visit each, nothing to wait for.

        A computed number is the same every time, so rounds, warm-up and an anchor tell nothing;
        but computing it may take minutes.
        """
        return replace(
            self,
            rounds=1,
            min_rounds=1,
            visit_ms=_ESTIMATE_VISIT_MS,
            block_ms=_ESTIMATE_VISIT_MS,
            timeout_ms=max(self.timeout_ms, _ESTIMATE_TIMEOUT_MS),
            anchor=None,
            anchor_every_ms=math.inf,
        )


def _require_positive(name: str, value: float) -> None:
    if not value > 0:
        message = f"Plan.{name} must be above 0. Received: {value}."
        raise InvalidInputError(message)


def is_computed(device: Device) -> bool:
    """Whether a device's numbers are computed, and so the same every time.

    An emulated processor's are ``estimated`` too, but they are timed like any other's.
    """
    return device.provenance == "estimated" and device.state.get("numbers") == "computed"


def unique_jobs(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Jobs without repeated Ops, in order.

    Raises:
        InvalidInputError: if there is nothing to time.
    """
    unique = {job.op.digest: job for job in reversed(jobs)}
    if not unique:
        message = "There is nothing to profile: the list of jobs is empty. Give at least one Op."
        raise InvalidInputError(message)
    return tuple(reversed(unique.values()))


def pick_anchor(jobs: Sequence[Job], plan: Plan) -> Op | None:
    """The Op to probe for drift: ``plan.anchor``, else the middle one of the convolutions.

    Without a convolution the middle Op of any kind is taken; None when only models are timed,
    because a whole model is too long a probe.
    """
    if plan.anchor is not None or math.isinf(plan.anchor_every_ms):
        return plan.anchor if not math.isinf(plan.anchor_every_ms) else None
    kernels = [job.op for job in jobs if job.model is None]
    convolutions = [op for op in kernels if op.kind == "conv"]
    ranked = sorted(convolutions or kernels, key=lambda op: (op.macs, op.num_output_elements))
    return ranked[(len(ranked) - 1) // 2] if ranked else None

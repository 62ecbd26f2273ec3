"""Which signal a user means, with its settings and the threshold that decides what is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from costmodel.errors import InvalidInputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Press on the scale (gamma) of batch normalisations.

    Attributes:
        threshold: a unit is alive while its ``|gamma|`` is above this. Gammas begin at 1 and those
            that the task does not defend end within a learning rate of 0.
    """

    threshold: float = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLasso:
    """Press on the norm of the kernels that write a channel.

    Attributes:
        threshold: a unit is alive while the norm (root mean square weight, for ``l1_fraction`` 0)
            is above this. Kernels begin at about ``sqrt(2 / fan-in)``, 0.02 to 0.2.
        l1_fraction: share of the L1 norm.
    """

    threshold: float = 0.001
    l1_fraction: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """Press on the probability that stochastic gates are open.

    Attributes:
        kind: ``logistic_sigmoid`` (FiGS) or ``hard_concrete`` (L0).
        threshold: a unit is alive while its gate at inference is above this; gates reach 0 exactly.
        on_draws: press on the gates drawn in a step rather than on their probability, as the
            original does by default; noisier.
        by_probability: judge what is alive by the probability instead of the gate at inference.
        keep_first_channel_alive: never close the first gate of a group.
        settings: further arguments of ``LogisticSigmoidGating`` or ``HardConcreteGating``.
    """

    kind: str
    threshold: float = 0.0
    on_draws: bool = False
    by_probability: bool = False
    keep_first_channel_alive: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


Signal = Gamma | GroupLasso | Gates
SIGNALS: Mapping[str, Signal] = {
    "gamma": Gamma(),
    "group_lasso": GroupLasso(),
    "logistic_sigmoid": Gates(kind="logistic_sigmoid", settings={"temperature": 0.5}),
    "hard_concrete": Gates(kind="hard_concrete"),
}


def choose(signal: str | Signal, threshold: float | None = None) -> Signal:
    """The signal of a name, or the one given, with another threshold if there is one.

    Raises:
        InvalidInputError: for an unknown name, or a threshold below zero.

    >>> choose("gamma", 0.02)
    Gamma(threshold=0.02)
    """
    if isinstance(signal, str):
        if signal not in SIGNALS:
            message = f"There is no signal {signal!r}. Use one of {', '.join(SIGNALS)}."
            raise InvalidInputError(message)
        signal = SIGNALS[signal]
    if threshold is None:
        return signal
    if threshold < 0.0:
        message = f"A threshold of {threshold} lets nothing die; it must be at least 0."
        raise InvalidInputError(message)
    return replace(signal, threshold=threshold)

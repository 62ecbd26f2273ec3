"""Which signal a user means, with its settings and the threshold that decides what is alive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol

from costmodel.errors import InvalidInputError
from morphnet_core.groups import Grouping
from morphnet_core.signals.gamma import gamma_sources
from morphnet_core.signals.group_lasso import group_lasso_sources
from morphnet_core.signals.source import Source


class Pressed(Protocol):
    """A signal of the model's own variables: any frozen dataclass that has these.

    Attributes:
        lacking: why a group of channels may have no such signal, in a few words.

    It may say ``around`` besides: what a way that goes past every source lacks, in a few words.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    lacking: ClassVar[str]

    @property
    def threshold(self) -> float:
        """A unit is alive while its value is above this."""
        ...

    def sources(self, grouping: Grouping, model: Any) -> tuple[Source, ...]:
        """Where its values are.

        Args:
            grouping: of the model.
            model: a functional or sequential Keras model.

        Raises:
            InvalidInputError: if a layer that carries channels which may go lacks what it needs.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Gamma:
    """Press on the scale (gamma) of batch normalisations.

    Attributes:
        threshold: a unit is alive while its ``|gamma|`` is above this. Gammas begin at 1 and those
            that the task does not defend end within a learning rate of 0.
    """

    lacking: ClassVar[str] = "no BatchNormalization carries its channels"
    around: ClassVar[str] = "passes no BatchNormalization with a gamma"
    threshold: float = 0.01

    def sources(self, grouping: Grouping, model: Any) -> tuple[Source, ...]:
        """The gammas; see ``gamma_sources``."""
        return gamma_sources(grouping, model)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLasso:
    """Press on the norm of the kernels that write a channel.

    Attributes:
        threshold: a unit is alive while the norm (root mean square weight, for ``l1_fraction`` 0)
            is above this. Kernels begin at about ``sqrt(2 / fan-in)``, 0.02 to 0.2.
        l1_fraction: share of the L1 norm.
    """

    lacking: ClassVar[str] = "no layer with a kernel writes its channels"
    around: ClassVar[str] = "begins at a layer without a kernel"
    threshold: float = 0.001
    l1_fraction: float = 0.0

    def sources(self, grouping: Grouping, model: Any) -> tuple[Source, ...]:
        """The norms; see ``group_lasso_sources``."""
        return group_lasso_sources(grouping, model, self.l1_fraction)


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

    lacking: ClassVar[str] = (
        "not only convolutions and dense layers read its channels, so no gate can stand there"
    )
    kind: str
    threshold: float = 0.0
    on_draws: bool = False
    by_probability: bool = False
    keep_first_channel_alive: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


#: Gates are put into the model; anything else is there already.
Signal = Pressed | Gates
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

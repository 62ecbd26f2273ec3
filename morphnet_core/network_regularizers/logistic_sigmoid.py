"""The original's regularizers on stochastic gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morphnet_core.network_regularizers.base import NetworkRegularizer
from morphnet_core.signals import Gates


class _LogisticSigmoidRegularizer(NetworkRegularizer):
    def __init__(
        self,
        output_boundary: Any,
        *,
        regularize_on_mask: bool = True,
        alive_threshold: float = 0.1,
        mask_as_alive_vector: bool = True,
        gate: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Press on stochastic gates, which are put into ``model``.

        The original's ``get_regularization_term`` with ``regularize_on_mask`` is one draw; ours is
        its expectation, and the draw is what goes into the loss of ``model``.

        Args:
            output_boundary: model, or tensors at which it is to end.
            regularize_on_mask: charge for the gates drawn in a step, not for probabilities.
            alive_threshold: what the gate, or the probability, of an alive channel is above.
            mask_as_alive_vector: judge by the gate at inference, not by the probability. (The
                original judges by a draw.)
            gate: arguments of ``LogisticSigmoidGating``.
            **options: see ``NetworkRegularizer``.
        """
        signal = Gates(
            kind="logistic_sigmoid",
            threshold=alive_threshold,
            on_draws=regularize_on_mask,
            by_probability=not mask_as_alive_vector,
            settings=dict(gate or {}),
        )
        super().__init__(output_boundary, signal, **options)


class LogisticSigmoidFlopsRegularizer(_LogisticSigmoidRegularizer):
    """FLOPs by stochastic gates."""

    name, cost_name, _cost = "LogisticSigmoidFlops", "FLOPs", "flops"


class LogisticSigmoidModelSizeRegularizer(_LogisticSigmoidRegularizer):
    """Weights of kernels by stochastic gates."""

    name, cost_name, _cost = "LogisticSigmoidModelSize", "ModelSize", "params"


class LogisticSigmoidLatencyRegularizer(_LogisticSigmoidRegularizer):
    """Latency of a datasheet's hardware by stochastic gates."""

    name = "LogisticSigmoidLatency"

    def __init__(
        self, output_boundary: Any, hardware: str, batch_size: int = 1, **options: Any
    ) -> None:
        """Price milliseconds; otherwise as ``LogisticSigmoidFlopsRegularizer``.

        Args:
            output_boundary: model, or tensors at which it is to end.
            hardware: see ``GammaLatencyRegularizer``.
            batch_size: images at once.
            **options: see ``LogisticSigmoidFlopsRegularizer``.
        """
        self.cost_name = f"{hardware} Latency"
        super().__init__(output_boundary, cost=hardware, batch_size=batch_size, **options)

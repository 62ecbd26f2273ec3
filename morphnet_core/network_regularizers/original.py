"""The original's regularizers: what is pressed on (gammas, norms of kernels, gates) by target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from morphnet_core.network_regularizers.base import NetworkRegularizer
from morphnet_core.signals import Gamma, Gates, GroupLasso


class _GammaRegularizer(NetworkRegularizer):
    def __init__(self, output_boundary: Any, gamma_threshold: float, **options: Any) -> None:
        """Press on gammas.

        Args:
            output_boundary: model, or tensors at which it is to end.
            gamma_threshold: a channel is alive while ``|gamma|`` is above this.
            **options: ``regularizer_decorator``, ``decorator_parameters``, ``input_boundary``,
                ``force_group``, ``regularizer_blacklist``; see ``NetworkRegularizer``.
        """
        super().__init__(output_boundary, Gamma(threshold=gamma_threshold), **options)


class GammaFlopsRegularizer(_GammaRegularizer):
    """FLOPs by gammas."""

    name, cost_name, _cost = "GammaFlops", "FLOPs", "flops"


class GammaModelSizeRegularizer(_GammaRegularizer):
    """Weights of kernels by gammas."""

    name, cost_name, _cost = "GammaModelSize", "ModelSize", "params"


class GammaActivationRegularizer(_GammaRegularizer):
    """Number of activation channels by gammas."""

    name, cost_name, _cost = "GammaActivationCount", "Activations", "activations"


class GammaLatencyRegularizer(_GammaRegularizer):
    """Latency of a datasheet's hardware by gammas."""

    name = "Latency"

    def __init__(
        self,
        output_boundary: Any,
        gamma_threshold: float,
        hardware: str,
        batch_size: int = 1,
        **options: Any,
    ) -> None:
        """Price milliseconds; otherwise as ``GammaFlopsRegularizer``.

        Args:
            output_boundary: model, or tensors at which it is to end.
            gamma_threshold: a channel is alive while ``|gamma|`` is above this.
            hardware: ``K80``, ``P4``, ``T4``, ``P100``, ``V100``, ``TPUv2`` or another name of
                ``costmodel.costs.roofline``.
            batch_size: images at once.
            **options: see ``NetworkRegularizer``.
        """
        super().__init__(
            output_boundary, gamma_threshold, cost=hardware, batch_size=batch_size, **options
        )


class _GroupLassoRegularizer(NetworkRegularizer):
    def __init__(
        self, output_boundary: Any, threshold: float, l1_fraction: float = 0.0, **options: Any
    ) -> None:
        """Press on the norms of kernels.

        Args:
            output_boundary: model, or tensors at which it is to end.
            threshold: a channel is alive while its norm is above this.
            l1_fraction: share of the L1 norm, 0 to 1.
            **options: see ``NetworkRegularizer``.
        """
        signal = GroupLasso(threshold=threshold, l1_fraction=l1_fraction)
        super().__init__(output_boundary, signal, **options)


class GroupLassoFlopsRegularizer(_GroupLassoRegularizer):
    """FLOPs by group lasso."""

    name, cost_name, _cost = "GroupLassoFlops", "FLOPs", "flops"


class GroupLassoModelSizeRegularizer(_GroupLassoRegularizer):
    """Weights of kernels by group lasso."""

    name, cost_name, _cost = "GroupLassoModelSize", "ModelSize", "params"


class GroupLassoActivationRegularizer(_GroupLassoRegularizer):
    """Number of activation channels by group lasso."""

    name, cost_name, _cost = "GroupLassoActivationCount", "Activations", "activations"


class GroupLassoLatencyRegularizer(_GroupLassoRegularizer):
    """Latency of a datasheet's hardware by group lasso."""

    name = "Latency"

    def __init__(
        self,
        output_boundary: Any,
        threshold: float,
        hardware: str,
        batch_size: int = 1,
        l1_fraction: float = 0.0,
        **options: Any,
    ) -> None:
        """Price milliseconds; otherwise as ``GroupLassoFlopsRegularizer``.

        Args:
            output_boundary: model, or tensors at which it is to end.
            threshold: a channel is alive while its norm is above this.
            hardware: see ``GammaLatencyRegularizer``.
            batch_size: images at once.
            l1_fraction: share of the L1 norm, 0 to 1.
            **options: see ``NetworkRegularizer``.
        """
        super().__init__(
            output_boundary,
            threshold,
            l1_fraction,
            cost=hardware,
            batch_size=batch_size,
            **options,
        )


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
        super().__init__(output_boundary, cost=hardware, batch_size=batch_size, **options)

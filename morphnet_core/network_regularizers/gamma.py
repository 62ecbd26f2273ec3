"""The original's regularizers on the gammas of batch normalisations."""

from __future__ import annotations

from typing import Any

from morphnet_core.network_regularizers.base import NetworkRegularizer
from morphnet_core.signals import Gamma


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
        self.cost_name = f"{hardware} Latency"
        super().__init__(
            output_boundary, gamma_threshold, cost=hardware, batch_size=batch_size, **options
        )

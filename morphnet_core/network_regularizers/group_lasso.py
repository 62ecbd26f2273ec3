"""The original's regularizers on the norms of kernels."""

from __future__ import annotations

from typing import Any

from morphnet_core.network_regularizers.base import NetworkRegularizer
from morphnet_core.signals import GroupLasso


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
        self.cost_name = f"{hardware} Latency"
        super().__init__(
            output_boundary,
            threshold,
            l1_fraction,
            cost=hardware,
            batch_size=batch_size,
            **options,
        )

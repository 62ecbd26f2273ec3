"""NetworkRegularizer: the original's interface over a CostRegularizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from costmodel.errors import InvalidInputError
from costmodel.readers.keras import read_keras
from morphnet_core.groups import Grouping, find_groups
from morphnet_core.network_regularizers.boundary import at_batch, layer_name, model_of
from morphnet_core.pricing import Count, Pricer
from morphnet_core.regularizer import CostRegularizer
from morphnet_core.signals import Signal

Decorator = Callable[..., Any]


class NetworkRegularizer:
    """What all of them share; not used by itself.

    Attributes:
        model: the model that carries the penalty; with gates, another than the one given.
        regularizer: the ``CostRegularizer`` underneath.
    """

    #: The original's names.
    name = ""
    cost_name = ""
    #: Target as ``CostRegularizer`` takes it; empty where the hardware names it.
    _cost = ""

    def __init__(  # noqa: PLR0913 - the original's arguments
        self,
        output_boundary: Any,
        signal: Signal,
        *,
        cost: str = "",
        batch_size: int = 1,
        regularizer_decorator: Decorator | None = None,
        decorator_parameters: Mapping[str, Any] | None = None,
        input_boundary: Sequence[Any] | None = None,
        force_group: Sequence[str] | None = None,
        regularizer_blacklist: Sequence[str] | None = None,
    ) -> None:
        """Group and price the network.

        Args:
            output_boundary: model, or tensors at which it is to end.
            signal: what is pressed on.
            cost: hardware whose latency is the target, where the class has no other.
            batch_size: images that the target is priced for at once.
            regularizer_decorator: changes the values of each source of the signal.
            decorator_parameters: its arguments.
            input_boundary: layers, their names or tensors; these and what feeds them stay.
            force_group: regular expressions; the layers of each live and die together.
            regularizer_blacklist: regular expressions; layers found by one keep all channels.

        Raises:
            InvalidInputError: if nothing can shrink, or an argument is wrong.
        """
        if cost:
            self.cost_name = f"{cost} Latency"
        model = model_of(output_boundary)
        grouping = find_groups(
            read_keras(at_batch(model, batch_size)),
            inputs=[layer_name(item) for item in input_boundary or ()],
            force_group=force_group or (),
            exclude=regularizer_blacklist or (),
        )
        self.regularizer = CostRegularizer(
            model,
            cost or self._cost,
            signal=signal,
            strength=0.0,
            grouping=grouping,
            normalise=False,
            decorator=regularizer_decorator,
            decorator_parameters=decorator_parameters,
        )
        self.model = self.regularizer.model

    @property
    def op_regularizer_manager(self) -> Grouping:
        """Which channels live and die together."""
        return self.regularizer.grouping

    def callback(self, strength: float) -> CostRegularizer:
        """The callback for ``fit``, which puts ``strength`` times the term into the loss."""
        self.regularizer.strength = strength
        return self.regularizer

    def get_regularization_term(self, ops: Sequence[Any] | None = None) -> Any:
        """The term without a strength, at the prices that were last set.

        Args:
            ops: layers or their paths that are to be charged for; by default all.

        Returns:
            float32 scalar, differentiable.

        Raises:
            InvalidInputError: if ``ops`` names no layer, or the target has no price per layer.
        """
        state = self.regularizer.state
        if ops is None:
            return state.raw()
        return state.raw(self._part(ops).channel_prices(self.regularizer.alive()).values)

    def get_cost(self, ops: Sequence[Any] | None = None) -> float:
        """Cost of the channels that are alive.

        Args:
            ops: layers or their paths that are to be counted; by default all.

        Raises:
            InvalidInputError: if ``ops`` names no layer, or the target has no cost per layer.
        """
        alive = self.regularizer.alive()
        if ops is None:
            return self.regularizer.pricer.total(alive)
        return self._part(ops).total(alive)

    def _part(self, chosen: Sequence[Any]) -> Pricer:
        """The same target for some layers only."""
        whole = self.regularizer.pricer
        if not isinstance(whole.cost, Count):
            message = (
                f"{whole.cost.name!r} prices what a runtime executes, which has no parts by layer. "
                "Ask without ops, or for FLOPs, model size or activations."
            )
            raise InvalidInputError(message)
        names = [layer_name(item) for item in chosen]
        grouping = self.regularizer.grouping
        layers = [
            layer for layer in grouping.network.layers if (layer.origin or layer.name) in names
        ]
        missing = set(names) - {layer.origin or layer.name for layer in layers}
        if missing:
            message = (
                f"The network has no layer {min(missing)!r}. Give layers or their paths "
                "(nested/layer)."
            )
            raise InvalidInputError(message)
        network = replace(grouping.network, layers=tuple(layers))
        return Pricer(replace(grouping, network=network), whole.cost)

"""Prices whose differences mean something: rows and their neighbours by the same law."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from costmodel.device import Device
from costmodel.network import Network
from costmodel.op import Op
from costmodel.prediction import Prediction, price_network
from costmodel.protocols import CostModel, NetworkLaw, Prices, PricesSmoothly, Unit


@dataclass(frozen=True, slots=True)
class Even:
    """A cost model that prices no Op by its own row, where it can do otherwise.

    Attributes:
        cost: whose prices these are.
    """

    cost: CostModel

    @property
    def unit(self) -> Unit:
        """Unit of every price."""
        return self.cost.unit

    @property
    def name(self) -> str:
        """Short name for reports."""
        return self.cost.name

    @property
    def device(self) -> Device | None:
        """The device whose numbers these are."""
        return self.cost.device

    def price(self, ops: Sequence[Op]) -> Prices:
        """Price each Op."""
        if isinstance(self.cost, PricesSmoothly):
            return self.cost.price_smoothly(ops)
        return self.cost.price(ops)


def price_evenly(network: Network, cost: Even, law: NetworkLaw | None) -> Prediction:
    """A prediction to be held against that of a changed network.

    What has no price counts nothing in either: a share of the time that was seen in one run
    changes from run to run by more than most changes bring.
    """
    layers = tuple(replace(layer, share=float("nan")) for layer in network.layers)
    unshared = replace(network, layers=layers, unread_shares={})
    return price_network(unshared, cost, law, device=cost.device)
